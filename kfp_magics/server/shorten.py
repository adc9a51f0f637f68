"""Values that are too long for a look: cut to a beginning."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kfp_magics.model import Json


class Shortener:
    """Cuts long values of a run and of its tasks.

    Args:
        limit: Characters that are left.

    Attributes:
        used: Whether something was cut.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.used = False

    def run(self, body: dict[str, Json]) -> dict[str, Json]:
        """Shortens a run as JSON."""
        return {
            **body,
            "parameters": self._values(body["parameters"]),
            "outputs": self._values(body["outputs"]),
            "tasks": [self._task(task) for task in body["tasks"]],
        }

    def _task(self, task: dict[str, Json]) -> dict[str, Json]:
        artifacts = [{**one, "metadata": self._values(one["metadata"])} for one in task["artifacts"]]
        inputs, outputs = self._values(task["inputs"]), self._values(task["outputs"])
        return {**task, "inputs": inputs, "outputs": outputs, "artifacts": artifacts}

    def _values(self, values: Mapping[str, Json]) -> dict[str, Json]:
        return {name: self._value(value) for name, value in values.items()}

    def _value(self, value: Json) -> Json:
        if isinstance(value, int | float | None):
            return value
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        if len(text) <= self._limit:
            return value
        self.used = True
        return f"{text[: self._limit]}… ({len(text):,} characters)"
