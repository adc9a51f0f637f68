"""Tasks as servers from version 3 on tell them themselves: with parents, pods, and what each took and gave.

Servers before tell nodes of an Argo workflow (`nodes`), and leave the rest to ML Metadata (`records`). What is read
here is put into the words of both, so that one reader serves all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kfp_magics.backends.kfp.nodes import EXECUTOR
from kfp_magics.backends.kfp.records import Record
from kfp_magics.model import Artifact

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kfp_magics.model import Json, Task

_Row = dict[str, "Json"]
_TYPES = {
    "Metric": "system.Metrics",
    "ClassificationMetric": "system.ClassificationMetrics",
    "SlicedClassificationMetric": "system.SlicedClassificationMetrics",
}
_FIRST = 3
"""The version from which on servers tell tasks so, and have no ML Metadata."""


def tells_all(version: str) -> bool:
    """Whether a server of this version tells itself what steps took and gave."""
    major = version.removeprefix("v").partition(".")[0]
    return major.isdecimal() and int(major) >= _FIRST


def details(raw: Mapping[str, Json]) -> list[_Row]:
    """The task details of a run, in the words of servers before version 3."""
    tasks = raw.get("tasks") or []
    if not tasks:
        found: list[_Row] = (raw.get("run_details") or {}).get("task_details") or []
        return found
    known = _by_id(tasks)
    return [one for task in tasks for one in _nodes(task, known)]


def _by_id(tasks: Sequence[_Row]) -> dict[str, _Row]:
    return {str(task.get("task_id")): task for task in tasks}


def _nodes(task: _Row, known: Mapping[str, _Row]) -> Iterator[_Row]:
    """A task as the nodes that it would be: itself, and the pods of its code."""
    task_id, parent = str(task.get("task_id")), str(task.get("parent_task_id") or "")
    cached = task.get("state") == "CACHED"
    said = (task.get("status_metadata") or {}).get("message")
    node: _Row = {
        "task_id": task_id,
        "display_name": "root" if not parent else str(task.get("name")),
        "parent_task_id": parent,
        "state": "SUCCEEDED" if cached else task.get("state"),
        "start_time": task.get("create_time"),
        "end_time": task.get("end_time"),
        "state_history": task.get("state_history"),
        "error": {"message": said} if said and task.get("state") == "FAILED" else None,
    }
    if (number := _number(task, known)) is not None:  # two nodes in Argo: the one that repeats, and what is repeated
        outer = f"{task_id} of {parent}"
        yield node | {"task_id": outer, "display_name": f"iteration-iterations({number}:{number})"}
        node |= {"display_name": "iteration-item", "parent_task_id": outer}
    yield node
    pods = [str(pod.get("name")) for pod in task.get("pods") or () if pod.get("type") == "EXECUTOR" and pod.get("name")]
    below = {"parent_task_id": task_id, "state": node["state"], "start_time": task.get("create_time")}
    for attempt, pod in enumerate(pods):
        name = f"{EXECUTOR}({attempt})" if len(pods) > 1 else EXECUTOR
        yield below | {"task_id": f"{task_id} in {pod}", "display_name": name, "pod_name": pod}
    if cached:
        yield below | {"task_id": f"{task_id} cached", "display_name": EXECUTOR, "state": "SKIPPED"}


def _number(task: _Row, known: Mapping[str, _Row]) -> int | None:
    """Which iteration of a loop a task is; None when it is none."""
    loop = known.get(str(task.get("parent_task_id") or ""), {})
    number = str((task.get("type_attributes") or {}).get("iteration_index", ""))
    is_in_loop = "iteration_count" in (loop.get("type_attributes") or {})
    return int(number) if is_in_loop and number.isdecimal() else None


def records(raw: Mapping[str, Json], tasks: Sequence[Task]) -> dict[str, Record] | None:
    """What tasks took and gave, in the words of ML Metadata.

    Args:
        raw: The server's answer.
        tasks: The tasks of the run.

    Returns:
        Task → what is told of it; None when the server tells no such thing itself.
    """
    rows = raw.get("tasks") or []
    if not rows:
        return None
    known = _by_id(rows)
    ids, names = {one.id for one in tasks}, {(one.parent, one.name): one.id for one in tasks}
    found = {}
    for row in rows:
        path = _path(row, known, ids, names, len(known))
        if path is not None:
            found[path] = Record(
                inputs=_values(row.get("inputs")),
                outputs=_values(row.get("outputs")),
                artifacts=(*_artifacts(row.get("inputs"), "input"), *_artifacts(row.get("outputs"), "output")),
            )
    return found


def _path(
    row: _Row, known: Mapping[str, _Row], ids: set[str], names: Mapping[tuple[str, str], str], deepest: int
) -> str | None:
    """Our id of a task; empty for the whole pipeline, None when there is no such task."""
    parent = str(row.get("parent_task_id") or "")
    if not parent:
        return ""
    if parent not in known or not deepest:  # whoever names itself as its parent has none
        return None
    above = _path(known[parent], known, ids, names, deepest - 1)
    if above is None:
        return None
    number = _number(row, known)
    name = str(row.get("name")) if number is None else str(number)
    path = f"{above}/{name}" if above else name
    return path if path in ids else names.get((above, name))


def _values(side: Json) -> dict[str, Json]:
    return {
        str(one.get("parameter_key")): one.get("value")
        for one in (side or {}).get("parameters") or ()
        if one.get("parameter_key")
    }


def _artifacts(side: Json, io: str) -> Iterator[Artifact]:
    for one in (side or {}).get("artifacts") or ():
        parts = one.get("artifacts") or ()
        if not parts or not one.get("artifact_key"):
            continue
        first = parts[0]
        kind = str(first.get("type") or "Artifact")
        metadata = {key: value for part in parts for key, value in (part.get("metadata") or {}).items()}
        # Each number of a metrics artifact comes as a part of its own.
        metadata |= {str(part.get("name")): part["number_value"] for part in parts if "number_value" in part}
        yield Artifact(
            name=str(one["artifact_key"]),
            io="input" if io == "input" else "output",
            type=_TYPES.get(kind, f"system.{kind}"),
            uri=str(first.get("uri") or ""),
            metadata={key: value for key, value in sorted(metadata.items()) if key != "display_name"},
        )
