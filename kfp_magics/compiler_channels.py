"""The items of loops, handed down to every step that speaks of them.

KFP's compiler (2.17) forgets two cases, which a cluster finds out when the step is reached: a step deep in a loop that
uses its item in nothing but an f-string, and an f-string over a key of an item.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kfp_magics.model import Json

_ITEM = re.compile(r"pipelinechannel--.*loop-item.*")
_KEY = "-subvar-"  # between the name of an item and a key of it


def hand_down(text: str) -> str:
    """Completes a compiled pipeline.

    Args:
        text: What KFP's compiler wrote.

    Returns:
        The same text when nothing was forgotten.
    """
    if "loop-item" not in text:
        return text
    documents = list(yaml.safe_load_all(text))
    channels = _Channels(documents[0])
    channels.needed_by(documents[0]["root"])
    if not channels.changed:
        return text
    lines = text.splitlines(keepends=True)
    first = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    return "".join(lines[:first]) + yaml.safe_dump_all(documents, sort_keys=True, allow_unicode=True)


class _Channels:
    def __init__(self, spec: dict[str, Json]) -> None:
        self._components: dict[str, Json] = spec.get("components", {})
        self.changed = False

    def needed_by(self, component: Mapping[str, Json]) -> set[str]:
        """The items that the tasks of a DAG ask it for and it does not declare; groups in it are completed first."""
        declared = component.get("inputDefinitions", {}).get("parameters", {})
        asked: set[str] = set()
        for task in component["dag"].get("tasks", {}).values():
            inner = self._components[task["componentRef"]["name"]]
            if "dag" in inner:
                self._drop_keys(inner, task)
                for name in self.needed_by(inner):
                    self._declare(inner, task, name)
            for source in task.get("inputs", {}).get("parameters", {}).values():
                self._read_key(source, declared)
                asked.add(source.get("componentInputParameter", ""))
        return {name for name in asked if _ITEM.fullmatch(name) and name not in declared}

    def _drop_keys(self, loop: Mapping[str, Json], task: Mapping[str, Json]) -> None:
        """A loop makes its items itself, and nobody outside can give it a key of one."""
        item = task.get("parameterIterator", {}).get("itemInput", "")
        for names in (task.get("inputs", {}), loop.get("inputDefinitions", {})):
            for name in [one for one in names.get("parameters", {}) if item and one.startswith(f"{item}{_KEY}")]:
                self.changed = True
                del names["parameters"][name]

    def _read_key(self, source: dict[str, Json], declared: Mapping[str, Json]) -> None:
        item, found, key = source.get("componentInputParameter", "").partition(_KEY)
        if found and item in declared and "parameterExpressionSelector" not in source:
            self.changed = True
            source["componentInputParameter"] = item
            source["parameterExpressionSelector"] = f'parseJson(string_value)["{key}"]'

    def _declare(self, inner: dict[str, Json], task: dict[str, Json], name: str) -> None:
        self.changed = True
        definitions = inner.setdefault("inputDefinitions", {}).setdefault("parameters", {})
        definitions.setdefault(name, {"parameterType": self._type(name)})
        task.setdefault("inputs", {}).setdefault("parameters", {})[name] = {"componentInputParameter": name}

    def _type(self, name: str) -> str:
        for component in self._components.values():
            found = component.get("inputDefinitions", {}).get("parameters", {}).get(name, {}).get("parameterType", "")
            if found:
                return str(found)
        return "STRING"
