"""Runs as plain text, for terminals and for notebooks without JavaScript."""

from __future__ import annotations

import json
import time
import unicodedata
from typing import TYPE_CHECKING

from kfp_magics.model import TRIGGER, State

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from kfp_magics.model import Json, Run, Task
    from kfp_magics.runs.compare import Comparison

MARKS = {
    State.PENDING: "·",
    State.RUNNING: "▶",
    State.SUCCEEDED: "✓",
    State.FAILED: "✗",
    State.CANCELLED: "■",
    State.SKIPPED: "–",
    State.UNKNOWN: "?",
}


def listed(words: Sequence[str]) -> str:
    """Words as a sentence lists them: ``a, b and c``."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def duration(seconds: float) -> str:
    """Writes a duration: ``0.4 s``, ``12 s``, ``1 m 12 s``, ``2 h 05 m``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} m {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} m"


def size_text(count: float) -> str:
    """Writes a number of bytes: ``453 B``, ``1.5 kB``, ``85.8 MB``."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def lasted(one: Run | Task, stale: float | None = None) -> str:
    """How long a run or a task took, or has taken so far as is known; nothing before it starts.

    Args:
        one: The run or the task.
        stale: Since when nothing is known of it, in seconds since the epoch.
    """
    if one.started is None:
        return ""
    end = next(moment for moment in (one.finished, stale, time.time()) if moment is not None)
    return duration(max(0.0, end - one.started))


def stale_since(run: Run) -> str:
    """Since when a run's backend has not told where it stands, and why; nothing while it does."""
    return f"stale since {when(run.stale)}: {run.stale_reason}" if run.stale else ""


def when(seconds: float) -> str:
    """Writes a time as the local clock shows it."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def value_text(value: Json, limit: int = 60) -> str:
    """Writes a value on one line, shortened in the middle of nowhere when it is long."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def table(rows: Iterable[Sequence[str]], titles: Sequence[str]) -> str:
    """Writes aligned columns; wide characters count twice."""
    lines = [tuple(titles), *(tuple(row) for row in rows)]
    widths = [max(map(_width, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell + " " * (width - _width(cell)) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(one) in "WF" else not unicodedata.combining(one) for one in text)


def runs_table(runs: Sequence[Run], *, all_of_them: bool = True) -> str:
    """Lists runs; says of none whether there are no others either."""
    if not runs:
        return (
            "No runs yet: %kfp_run PIPELINE starts one."
            if all_of_them
            else "No runs are like that: %kfp_runs lists all."
        )
    rows = [
        (
            run.id,
            f"{MARKS[run.state]} {run.state}{' (stale)' if run.stale else ''}",
            lasted(run, run.stale),
            run.pipeline,
            run.name,
            when(run.created),
        )
        for run in runs
    ]
    return table(rows, ("ID", "STATE", "TOOK", "PIPELINE", "NAME", "CREATED"))


def run_tree(run: Run) -> str:
    """Shows a run with its tasks, groups before their members."""
    head = f"{MARKS[run.state]} {run.name}  {run.state}  {lasted(run, run.stale)}".rstrip() + f"  ({run.id})"
    lines = [head]
    if run.started_by.startswith(TRIGGER):
        lines.append(f"    started by {run.started_by.removeprefix(TRIGGER)}")
    if run.stale:
        lines.append(f"    {stale_since(run)}")
    if run.error:
        lines += [f"    {line}" for line in (run.error.message, run.error.hint) if line]
    if run.target and run.url:
        lines.append(f"    {run.target}: {run.url}")
    lines += task_lines(run.tasks, run.stale)
    return "\n".join(lines)


def task_lines(tasks: Sequence[Task], stale: float | None = None) -> list[str]:
    """Writes a line for each task, members indented below their group.

    Args:
        tasks: The tasks of a run or a pipeline.
        stale: Since when nothing is known of them.
    """
    members: dict[str, list[Task]] = {}
    for task in tasks:
        members.setdefault(task.parent, []).append(task)
    return _branch("", members, "  ", stale)


def _branch(parent: str, members: dict[str, list[Task]], indent: str, stale: float | None) -> list[str]:
    lines: list[str] = []
    for task in members.get(parent, ()):
        name = f"[{task.name}]" if task.kind == "iteration" else task.name
        notes = [lasted(task, stale) if task.kind != "iteration" else "", "cached" if task.cached else ""]
        why = task.error.message if task.error and task.id not in members else task.reason
        line = f"{indent}{MARKS[task.state]} {name}  " + "  ".join(note for note in notes if note)
        lines.append((line + (f"  {why}" if why and not task.cached else "")).rstrip())
        if task.error and task.error.line and task.id not in members:
            lines.append(f"{indent}    line {task.error.line}: {task.error.text}")
        lines += _branch(task.id, members, indent + "  ", stale)
    return lines


def artifacts_table(tasks: Iterable[Task]) -> str:
    """Lists what tasks wrote: artifacts with their metadata, and output values."""
    rows = [
        (task.id, one.name, one.type.removeprefix("system."), metadata_text(one.metadata), one.uri)
        for task in tasks
        for one in task.artifacts
        if one.io == "output"
    ]
    return table(rows, ("STEP", "NAME", "TYPE", "METADATA", "WHERE")) if rows else "No artifacts."


def metadata_text(metadata: Mapping[str, Json]) -> str:
    """Writes what a step noted beside an artifact: ``rmse=0.5, rows=1450``."""
    return ", ".join(f"{key}={value_text(value, 20)}" for key, value in metadata.items() if key != "display_name")


def comparison_text(comparison: Comparison) -> str:
    """Shows what differs between two runs."""
    lines = [f"{comparison.a} → {comparison.b}"]
    if comparison.same:
        lines.append("  Nothing differs but the time.")
    for title, differences in comparison.groups:
        rows = [(f"  {one.what}", _side(one.a), "→", _side(one.b), one.delta) for one in differences]
        if rows:
            lines += [f"{title}:", table(rows, ("", "", "", "", "")).lstrip("\n")]
    lines += [text for _, text in comparison.sources]
    return "\n".join(lines)


def _side(value: Json) -> str:
    return "–" if value is None or value == "" else value_text(value, 40)
