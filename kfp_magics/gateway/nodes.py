"""A run's tasks as Kubeflow Pipelines tells them: a flat list of the nodes of a workflow.

A cluster runs a pipeline as an Argo workflow, and what clients know of its structure are names and ids of Argo's nodes:
``root`` below the workflow, ``executor`` below each step, ``iteration-iterations(0:0)`` and ``iteration-item`` for each
item of a loop. An id ends with a hash of the node's path. The same is told here, so that whoever reads a cluster's runs
reads these; only drivers are missing, since nothing here needs them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kfp_magics.gateway.metadata import artifact_number, execution_number
from kfp_magics.gateway.status import of_failure
from kfp_magics.gateway.words import STATES, given, run_id_outside, timestamp
from kfp_magics.model import State

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kfp_magics.model import Failure, Json, Run, Task

_FNV_OFFSET, _FNV_PRIME, _WORD = 0x811C9DC5, 0x01000193, 0xFFFFFFFF
_EXECUTOR = "executor"


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """A node of a run's workflow.

    Attributes:
        id: What the API calls it; its pod's name as well.
        name: What is shown.
        parent: The id of the node that it is below; empty for the workflow.
        state: Where it stands.
        started: Seconds since the epoch, or None.
        finished: Seconds since the epoch, or None.
        error: Why it failed.
        task: The task that it is a part of; None for what stands above all tasks.
        attempt: The attempt whose pod it would be; 0 for what has no pod.
    """

    id: str
    name: str
    parent: str
    state: State
    started: float | None
    finished: float | None
    error: Failure | None = None
    task: Task | None = None
    attempt: int = 0


def _hash(text: str) -> int:
    """FNV-1a with 32 bits, as at the end of Argo's ids."""
    value = _FNV_OFFSET
    for byte in text.encode():
        value = ((value ^ byte) * _FNV_PRIME) & _WORD
    return value


def nodes(run: Run) -> Iterator[Node]:
    """The nodes of a run, each behind the one that it is below."""
    workflow = run_id_outside(run.id)

    def node(path: str, name: str, parent: str, task: Task) -> Node:
        return Node(
            id=f"{workflow}-{_hash(path)}",
            name=name,
            parent=parent,
            state=task.state,
            started=task.started,
            finished=task.finished,
            error=task.error,
            task=task,
        )

    top = Node(
        id=workflow,
        name=workflow,
        parent="",
        state=run.state,
        started=run.started,
        finished=run.finished,
        error=run.error,
    )
    yield top
    root_path = f"{workflow}.root"
    root = Node(
        id=f"{workflow}-{_hash(root_path)}",
        name="root",
        parent=top.id,
        state=run.state,
        started=run.started,
        finished=run.finished,
    )
    yield root
    inside = {"": (root_path, root.id)}  # group → its path, and the id of the node that its members are below
    for task in run.tasks:
        path, parent = inside.get(task.parent, inside[""])
        key = task.id.rsplit("/", 1)[-1]
        if task.kind == "iteration":
            outer = node(
                f"{path}.iteration-iterations({key}:{key})", f"iteration-iterations({key}:{key})", parent, task
            )
            yield outer
            path, parent, key = f"{path}.{outer.name}", outer.id, "iteration-item"
        found = node(f"{path}.{key}", key, parent, task)
        yield found
        inside[task.id] = (f"{path}.{key}", found.id)
        if task.has_log:
            yield from _executors(workflow, f"{path}.{key}", found)


def _executors(workflow: str, path: str, step: Node) -> Iterator[Node]:
    """The pods in which a step's code would run on a cluster, one for each attempt."""
    task = step.task
    if task is None or not (task.attempt or task.cached):
        return
    for attempt in range(1, max(task.attempt, 1) + 1):
        name = f"{_EXECUTOR}({attempt - 1})" if task.attempt > 1 else _EXECUTOR
        last = attempt == max(task.attempt, 1)
        state = State.SKIPPED if task.cached else task.state if last else State.FAILED
        yield Node(
            id=f"{workflow}-system-container-impl-{_hash(f'{path}.{name}')}",
            name=name,
            parent=step.id,
            state=state,
            started=task.started if last else None,
            finished=task.finished if last else None,
            error=task.error if last else None,
            task=task,
            attempt=attempt,
        )


def find(run: Run, name: str) -> tuple[Task, int] | None:
    """Finds the task and the attempt that a client means: by a node's id, or by the id that we give the task."""
    for node in nodes(run):
        if node.task is not None and name in {node.id, node.task.id}:
            return node.task, node.attempt or node.task.attempt
    return None


def task_details(run: Run, born: int) -> list[dict[str, Json]]:
    """The nodes of a run as ``V2beta1PipelineTaskDetail``.

    Args:
        run: The run.
        born: The number of its row, which numbers of ML Metadata begin with.
    """
    found = list(nodes(run))
    children: dict[str, list[dict[str, Json]]] = {}
    for node in found:
        children.setdefault(node.parent, []).append({"task_id": node.id})
    return [
        given(
            {
                "run_id": run_id_outside(run.id),
                "task_id": node.id,
                "display_name": node.name,
                "create_time": timestamp(run.created),
                "start_time": timestamp(node.started) if node.started else "",
                "end_time": timestamp(node.finished) if node.finished else "",
                "state": STATES[node.state],
                "error": of_failure(node.error) if node.error else None,
                "parent_task_id": node.parent,
                "state_history": history(run.created, node.started, node.finished, node.state),
                "pod_name": node.id,
                "child_tasks": children.get(node.id, []),
                "executor_detail": {"main_job": node.id} if node.attempt else None,
                **(_recorded(node.task, born) if node.task is not None and not node.attempt else {}),
            }
        )
        for node in found
    ]


def _recorded(task: Task, born: int) -> dict[str, Json]:
    """What a task took and gave, by its numbers in ML Metadata; the API has no place for more."""
    sides: dict[str, dict[str, dict[str, list[str]]]] = {"input": {}, "output": {}}
    for one in task.artifacts:
        ids = sides[one.io].setdefault(one.name, {"artifact_ids": []})["artifact_ids"]
        ids.append(str(artifact_number(born, one)))
    return {
        "execution_id": str(execution_number(born, task)),
        "inputs": sides["input"],
        "outputs": sides["output"],
    }


def history(
    created: float, started: float | None, finished: float | None, state: State, cancel_asked: float | None = None
) -> list[dict[str, Json]]:
    """The states that something went through, as far as it is remembered, as ``V2beta1RuntimeStatus``."""
    steps: list[tuple[float, str]] = [(created, "PENDING")]
    if started is not None:
        steps.append((started, "RUNNING"))
    if cancel_asked is not None:
        steps.append((cancel_asked, "CANCELING"))
    if state.final:
        steps.append((finished or started or created, STATES[state]))
    return [{"update_time": timestamp(when), "state": word} for when, word in steps]
