"""What a run that failed or was cancelled keeps when it is resumed, and what it does again."""

from __future__ import annotations

from dataclasses import replace
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING

from kfp_magics.model import State

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kfp_magics.model import Run, Task


def resumption(run: Run) -> Run:
    """The same run, about to be carried out once more.

    Args:
        run: The run as it ended.
    """
    kept = _kept(run.tasks)
    tasks = tuple(task if task.id in kept else _again(task) for task in run.tasks)
    return replace(run, attempt=run.attempt + 1, state=State.PENDING, finished=None, error=None, tasks=tasks)


def _kept(tasks: Iterable[Task]) -> set[str]:
    """What succeeded and waited only for what is kept: all else may now see other inputs, or another final status."""
    by_id = {task.id: task for task in tasks}
    graph = {task.id: {*task.needs, *([task.parent] if task.parent else [])} for task in by_id.values()}
    kept: set[str] = set()
    entered: set[str] = set()  # groups that get the same inputs again, whether or not they succeeded
    for task_id in TopologicalSorter(graph).static_order():
        task = by_id.get(task_id)
        if task is None or not kept.issuperset(task.needs) or (task.parent and task.parent not in entered):
            continue
        entered.add(task_id)
        if task.state is State.SUCCEEDED:
            kept.add(task_id)
    return kept


def _again(task: Task) -> Task:
    return replace(
        task,
        state=State.PENDING,
        started=None,
        finished=None,
        outputs={},
        artifacts=(),
        error=None,
        reason="",
        cached=False,
    )
