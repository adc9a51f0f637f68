"""One thread that starts what is due, and notices runs whose engine is gone."""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from kfp_magics.errors import KfpMagicsError, StoreError
from kfp_magics.gateway.moments import Moment
from kfp_magics.gateway.runs import Tick
from kfp_magics.gateway.words import timestamp
from kfp_magics.runs import watch

if TYPE_CHECKING:
    from pathlib import Path

    from kfp_magics.backends.base import Backend
    from kfp_magics.gateway.runs import Runs
    from kfp_magics.gateway.schedules import Schedule, Schedules
    from kfp_magics.runs.store import Store

_LOOK = 0.5  # seconds between two looks at the clock
_REFRESH = 5.0  # seconds between two looks at runs that go on


class Scheduler:
    """Starts the runs that are due.

    Of several servers on one machine only one does so; when it ends, another one takes over.

    Args:
        schedules: What is due when.
        runs: Starts runs.
        store: Where runs are remembered.
        backend: The engine.
        lock: The file that says who does it.
    """

    def __init__(self, schedules: Schedules, runs: Runs, store: Store, backend: Backend, lock: Path) -> None:
        self._schedules = schedules
        self._runs = runs
        self._store = store
        self._backend = backend
        self._lock = FileLock(lock, thread_local=False)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="kfp-magics scheduler", daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self) -> None:
        """Ends, after what is just being started."""
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        refreshed = 0.0
        while not self._ended.wait(_LOOK):
            try:
                if time.monotonic() - refreshed > _REFRESH:
                    watch.refresh(self._store, {self._backend.name: self._backend})
                    refreshed = time.monotonic()
                if self._mine():
                    self.look(time.time())
            except StoreError:  # locked for a while; the next look will do
                continue
        self._lock.release()

    def _mine(self) -> bool:
        if not self._lock.is_locked:
            try:
                self._lock.acquire(timeout=0)
            except Timeout:
                return False
        return True

    def look(self, now: float) -> None:
        """Starts what is due by now.

        Args:
            now: Seconds since the epoch.
        """
        for schedule in self._schedules.running():
            try:
                self._catch_up(schedule, now)
            except StoreError:
                raise
            except Exception:  # noqa: BLE001  (one recurring run must not end the others)
                sys.excepthook(*sys.exc_info())

    def _catch_up(self, schedule: Schedule, now: float) -> None:
        free = schedule.most_at_once - self._schedules.going_on(schedule.id)
        for _ in range(free):
            due = schedule.trigger.after(schedule.last, schedule.created)
            if due is None or due > now:
                return
            if not schedule.catch_up:
                due = schedule.trigger.latest(due, now)
            self._schedules.move_on(schedule.id, due, self._fire(schedule, due, now))
            schedule = replace(schedule, last=due, fired=schedule.fired + 1)

    def _fire(self, schedule: Schedule, due: float, now: float) -> str:
        """Starts one run, unless that was done by a server that ended before it could say so.

        Returns:
            Why it could not be started; empty when it was.
        """
        job = schedule.job
        # No other moment and no other recurring run gives this name: it tells whether the run was started.
        name = f"{job.display_name} {timestamp(due)} ({schedule.id[:8]})"
        tick = Tick(schedule_id=schedule.id, scheduled=due, run_name=name)
        if started := self._schedules.started(name):
            self._runs.note(started, job, tick)
            return ""
        values = Moment(due=due, now=now, index=schedule.fired + 1).fill(job.parameters)
        try:
            self._runs.start(replace(job, parameters=values), tick)
        except StoreError:
            raise
        except KfpMagicsError as error:
            return error.message
        return ""
