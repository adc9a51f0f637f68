"""What differs between two runs."""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kfp_magics.model import State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from kfp_magics.model import Json, Run, Task


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not the same.

    Attributes:
        what: Its name: a parameter, or ``step: metric``.
        a: In the first run; None when it has none.
        b: In the second run.
    """

    what: str
    a: Json
    b: Json

    @property
    def delta(self) -> str:
        """How much a number changed, with its sign; nothing for other values."""
        if any(isinstance(one, bool) or not isinstance(one, int | float) for one in (self.a, self.b)):
            return ""
        return f"{self.b - self.a:+.4g}" if math.isfinite(self.b - self.a) else ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """What differs between two runs.

    Attributes:
        a: Name of the first run.
        b: Name of the second run.
        parameters: Arguments of the pipeline.
        metrics: Metadata of metrics artifacts, by step.
        states: States of steps.
        durations: Seconds of steps that ran in both and differ by more than a tenth of a second.
        images: Images of steps.
        sources: Step → unified difference of its cell.
    """

    a: str
    b: str
    parameters: tuple[Difference, ...] = ()
    metrics: tuple[Difference, ...] = ()
    states: tuple[Difference, ...] = ()
    durations: tuple[Difference, ...] = ()
    images: tuple[Difference, ...] = ()
    sources: tuple[tuple[str, str], ...] = ()

    @property
    def groups(self) -> tuple[tuple[str, tuple[Difference, ...]], ...]:
        """The differences by what they are about."""
        return (
            ("Parameters", self.parameters),
            ("Metrics", self.metrics),
            ("States", self.states),
            ("Durations in seconds", self.durations),
            ("Images", self.images),
        )

    @property
    def same(self) -> bool:
        """Whether nothing differs but how long things took."""
        return not (self.parameters or self.metrics or self.states or self.images or self.sources)


def compare(a: Run, b: Run, *, sources_a: Mapping[str, str], sources_b: Mapping[str, str]) -> Comparison:
    """Finds what differs between two runs.

    Args:
        a: The first run, with its tasks.
        b: The second run, with its tasks.
        sources_a: Step → text of its cell in the first run.
        sources_b: The same for the second run.
    """
    return Comparison(
        a=a.name,
        b=b.name,
        parameters=_differences(a.parameters, b.parameters),
        metrics=_differences(_metrics(a), _metrics(b)),
        states=_differences(_of(a, lambda task: str(task.state)), _of(b, lambda task: str(task.state))),
        durations=tuple(
            one
            for one in _differences(_of(a, _seconds), _of(b, _seconds))
            if one.a is not None and one.b is not None and abs(one.a - one.b) > 0.1
        ),
        images=_differences(_of(a, lambda task: task.image), _of(b, lambda task: task.image)),
        sources=tuple(_source_differences(sources_a, sources_b)),
    )


def _differences(a: Mapping[str, Json], b: Mapping[str, Json]) -> tuple[Difference, ...]:
    names = [*a, *(name for name in b if name not in a)]
    return tuple(Difference(name, a.get(name), b.get(name)) for name in names if a.get(name) != b.get(name))


def _metrics(run: Run) -> dict[str, Json]:
    return {
        f"{task.id}: {key}": value
        for task in run.tasks
        for one in task.artifacts
        if one.io == "output" and one.type.endswith("Metrics")
        for key, value in one.metadata.items()
        if isinstance(value, int | float | str)
    }


def _of(run: Run, value: Callable[[Task], Json]) -> dict[str, Json]:
    return {task.id: value(task) for task in run.tasks if task.kind == "step"}


def _seconds(task: Task) -> float | None:
    if task.cached or task.state is not State.SUCCEEDED or task.started is None or task.finished is None:
        return None
    return round(max(0.0, task.finished - task.started), 2)  # a clock may have jumped


def _source_differences(a: Mapping[str, str], b: Mapping[str, str]) -> list[tuple[str, str]]:
    found = []
    for step in dict.fromkeys([*a, *b]):
        before, after = (text.splitlines() for text in (a.get(step, ""), b.get(step, "")))
        text = "\n".join(difflib.unified_diff(before, after, fromfile=step, tofile=step, lineterm=""))
        if text:
            found.append((step, text))
    return found


@dataclass(frozen=True, slots=True)
class Row:
    """One fact about several runs.

    Attributes:
        what: Its name: a parameter, a step, or ``step: metric``.
        values: In each run; None where a run has none.
    """

    what: str
    values: tuple[Json, ...]

    @property
    def same(self) -> bool:
        """Whether it is the same in all of them."""
        return all(one == self.values[0] for one in self.values)


def side_by_side(runs: Sequence[Run]) -> dict[str, tuple[Row, ...]]:
    """Puts the facts of several runs beside each other, those that are the same included.

    Args:
        runs: With their tasks.

    Returns:
        ``parameters``, ``metrics``, ``states``, ``durations`` in seconds and ``images``, each with its rows.
    """
    return {
        "parameters": _rows([run.parameters for run in runs]),
        "metrics": _rows([_metrics(run) for run in runs]),
        "states": _rows([_of(run, lambda task: str(task.state)) for run in runs]),
        "durations": _rows([_known(_of(run, _seconds)) for run in runs]),
        "images": _rows([_of(run, lambda task: task.image) for run in runs]),
    }


def source_changes(sources: Sequence[Mapping[str, str]]) -> dict[str, tuple[str, ...]]:
    """Tells what each run's cells have that those of the first run have not.

    Args:
        sources: For each run: step → text of its cell.

    Returns:
        Step → a unified difference for each run, empty where there is none; steps that are the same everywhere are
        left out.
    """
    diffs = [dict(_source_differences(sources[0], other)) for other in sources]
    steps = dict.fromkeys(step for one in diffs for step in one)
    return {step: tuple(one.get(step, "") for one in diffs) for step in steps}


def _rows(facts: Sequence[Mapping[str, Json]]) -> tuple[Row, ...]:
    names = dict.fromkeys(name for one in facts for name in one)
    return tuple(Row(name, tuple(one.get(name) for one in facts)) for name in names)


def _known(values: Mapping[str, Json]) -> dict[str, Json]:
    return {name: value for name, value in values.items() if value is not None}
