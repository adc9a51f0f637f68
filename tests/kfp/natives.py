"""Tasks as servers from version 3 on keep them: made by drivers and launchers, without nodes of a workflow."""

from __future__ import annotations

import re

from tests.kfp.workflow import OMITTED

KINDS = {"system.Metrics": "Metric", "system.ClassificationMetrics": "ClassificationMetric"}


def tasks_of(workflow, results) -> list[dict]:
    """The tasks of a run.

    Args:
        workflow: Its nodes, each of which names its parent.
        results: What its tasks took and gave.
    """
    nodes = {one["task_id"]: one for one in workflow.details}
    below: dict[str, list[dict]] = {}
    for one in workflow.details:
        below.setdefault(one.get("parent_task_id", ""), []).append(one)
    (top,) = below[""]
    root = next(one for one in below[top["task_id"]] if one["display_name"] == "root")
    given = {task.id: task for task in results}
    return list(_rows(root, None, "", "", below, nodes, given))


def _rows(node, parent, name, path, below, nodes, given):
    children = below.get(node["task_id"], ())
    loops = [one for one in children if one["display_name"].startswith("iteration-iterations")]
    executors = [one for one in children if one["display_name"].startswith("executor")]
    cached = bool(executors) and all(one["state"] == "SKIPPED" for one in executors)
    row = {
        "task_id": node["task_id"],
        "name": name or "ROOT",
        "display_name": "Loop" if loops else name,
        "create_time": node["start_time"],
        "state": "CACHED" if cached else node["state"],
        "pods": [{"name": f"{name}-driver-pod", "type": "DRIVER"}],
        "type": "LOOP" if loops else "RUNTIME" if executors else "DAG" if name else "ROOT",
        "type_attributes": {"iteration_count": str(len(loops))} if loops else {},
    }
    if node["state"] != "RUNNING":
        row["end_time"] = node["end_time"]
    if parent:
        row["parent_task_id"] = parent
    last = [one for one in executors if one["display_name"] != "executor"] or executors
    row["pods"] += [
        {"name": f"pod-of-{path}-{place}", "type": "EXECUTOR"} for place, _ in enumerate(last) if not cached
    ]
    if error := next((one["error"]["message"] for one in executors if one.get("error")), ""):
        row["status_metadata"] = {"message": error}
    row |= {side: _io(given.get(path), side) for side in ("inputs", "outputs")}
    yield row
    for outer in loops:
        number = re.search(r"\d+", outer["display_name"])[0]
        (item,) = (one for one in below[outer["task_id"]] if one["display_name"] == "iteration-item")
        first, *rest = _rows(item, node["task_id"], name, f"{path}/{number}", below, nodes, given)
        yield first | {"type_attributes": {"iteration_index": number}}
        yield from rest
    shown = {one["display_name"] for one in children}
    for one in children:
        inner = one["display_name"]
        if inner == "iteration-driver" or one in loops or one in executors:
            continue
        if inner.endswith("-driver"):
            owner = inner.removesuffix("-driver")
            if one["state"] == "FAILED" and owner not in shown:  # a driver tells its own failure as that of its task
                failed = {**one, "display_name": owner}
                (made,) = _rows(failed, node["task_id"], owner, f"{path}/{owner}".strip("/"), {}, nodes, given)
                yield made | {"status_metadata": {"message": one["error"]["message"]}}
            continue
        if one["state"] != OMITTED:
            yield from _rows(one, node["task_id"], inner, f"{path}/{inner}".strip("/"), below, nodes, given)


def _io(task, side):
    if task is None:
        return {}
    values = [{"parameter_key": key, "value": value} for key, value in getattr(task, side).items()]
    artifacts = [{"artifact_key": one.name, "artifacts": _parts(one)} for one in task.artifacts if f"{one.io}s" == side]
    return {"parameters": values, "artifacts": artifacts}


def _parts(one):
    kind = KINDS.get(one.type, one.type.removeprefix("system."))
    if kind == "Metric":
        return [
            {"name": key, "type": kind, "uri": one.uri, "number_value": value} for key, value in one.metadata.items()
        ]
    return [{"name": one.name, "type": kind, "uri": one.uri, "metadata": {**one.metadata, "display_name": one.name}}]
