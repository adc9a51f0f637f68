"""From the supervisor to the store: state changes gathered for a moment and written together, off the event loop."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kfp_magics.errors import StoreError
from kfp_magics.model import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kfp_magics.model import Failure, Run, Task
    from kfp_magics.runs.store import Store

_DELAY = 0.02  # seconds; several tasks that end at once cost one transaction
_PATIENCE = 600.0  # seconds that a store which others lock is tried again
_PAUSE = 0.5  # seconds between two tries


class Journal:
    """The state of one run as its supervisor knows it.

    Args:
        store: Where it is written.
        run: The run as it starts.
        tasks: Its tasks as they start.
    """

    def __init__(self, store: Store, run: Run, tasks: Iterable[Task]) -> None:
        self._store = store
        self.run = replace(run, tasks=())
        self.tasks = {task.id: task for task in tasks}
        self._dirty: dict[str, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._writer = ThreadPoolExecutor(1, "journal")  # one thread: what is written stays in order
        self._failure: BaseException | None = None
        self._members: dict[str, list[str]] = {}
        for task in self.tasks.values():
            self._members.setdefault(task.parent, []).append(task.id)

    def members(self, group: str) -> Iterator[Task]:
        """The tasks in a group, at any depth."""
        for task_id in tuple(self._members.get(group, ())):
            yield self.tasks[task_id]
            yield from self.members(task_id)

    def add(self, task: Task) -> None:
        """Adds a task that was not known before, unless it is."""
        if task.id not in self.tasks:
            self.tasks[task.id] = task
            self._members.setdefault(task.parent, []).append(task.id)
            self._touch(task.id)

    def change(self, task_id: str, **fields: Any) -> Task:  # noqa: ANN401  (fields of Task)
        """Changes what is known about a task."""
        self.tasks[task_id] = replace(self.tasks[task_id], **fields)
        self._touch(task_id)
        return self.tasks[task_id]

    def _touch(self, task_id: str) -> None:
        self._dirty[task_id] = None
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_DELAY, self.flush)

    def change_run(self, **fields: Any) -> None:  # noqa: ANN401  (fields of Run)
        """Changes what is known about the run, and writes it with everything that waits."""
        self.run = replace(self.run, **fields)
        self.flush(whole=True)

    def flush(self, *, whole: bool = False) -> None:
        """Hands what has changed to the writer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        changed = tuple(self.tasks[task_id] for task_id in self._dirty)
        self._dirty.clear()
        if whole or changed:
            written = self._writer.submit(self._write, self.run, changed, whole=whole)
            written.add_done_callback(self._note)

    def _note(self, written: Future[None]) -> None:
        self._failure = self._failure or written.exception()

    def _write(self, run: Run, changed: tuple[Task, ...], *, whole: bool) -> None:
        deadline = time.monotonic() + _PATIENCE
        while self._failure is None:
            try:
                if whole:
                    self._store.save(replace(run, tasks=changed))
                else:
                    self._store.save_tasks(run.id, changed, attempt=run.attempt)
            except StoreError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_PAUSE)
            else:
                return

    def close(self) -> None:
        """Waits until everything is written.

        Raises:
            StoreError: The store could not be written.
        """
        self.flush()
        self._writer.shutdown()
        if self._failure is not None:
            raise self._failure


def ended(run: Run, state: State, error: Failure | None) -> Run:
    """A run whose supervisor will not end it: what ran has ended likewise, what waited never started."""
    now = time.time()
    tasks = tuple(
        task
        if task.state.final
        else replace(task, state=state, error=error, finished=now)
        if task.state is State.RUNNING
        else replace(task, state=State.CANCELLED, reason="the run ended before it started")
        for task in run.tasks
    )
    return replace(run, state=state, finished=now, error=error, tasks=tasks)
