"""Looking again: runs that have not ended are polled, and whoever follows one is told what has changed."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kfp_magics.backends.base import Resumes
from kfp_magics.errors import KfpMagicsError, NotFoundError, StoreError
from kfp_magics.model import State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kfp_magics.backends.base import Backend
    from kfp_magics.model import Run
    from kfp_magics.runs.store import Store

_RESUMABLE = (State.FAILED, State.CANCELLED)
_RESUMED_WITHIN = 86_400.0  # seconds after its end for which one looks whether somebody resumed a run elsewhere
_MOST_ENDED = 100
_POLL = 1.0  # seconds between two polls of the backend; what it writes to the store is seen at once


def refresh(store: Store, backends: Mapping[str, Backend]) -> None:
    """Asks the backends about every run that has not ended, and stores what they say.

    Args:
        store: Where runs are remembered.
        backends: By name; runs of others are left as they are.
    """
    for run in store.unfinished():
        if run.backend in backends:
            with suppress(StoreError, NotFoundError):  # locked for a while, or deleted: it must not hide the others
                ask(store, store.get(run.id), poll_by(backends))
    reopen(store, backends)


def poll_by(backends: Mapping[str, Backend]) -> Callable[[Run], Run]:
    """Asks the backend of a run where it stands; one that cannot be had is found out only then."""
    return lambda run: backends[run.backend].poll(run)


def ask(store: Store, run: Run, poll: Callable[[Run], Run]) -> Run:
    """Asks a run's backend where it stands, and stores that; a run that cannot be asked about says since when, and why.

    Args:
        store: Where runs are remembered.
        run: The run, as it is remembered.
        poll: Asks its backend.

    Raises:
        NotFoundError: Somebody deleted it.
        StoreError: The store cannot be read or written.
    """
    try:
        now = poll(run)
    except StoreError:
        raise
    except KfpMagicsError as error:
        now = _stale(run, error.message)
    except Exception as error:  # noqa: BLE001  (shown whole, once; neither this run nor another must look alive by it)
        reason = f"What its server says cannot be read here: {type(error).__name__}."
        if reason != run.stale_reason:
            sys.excepthook(*sys.exc_info())
        now = _stale(run, reason)
    return store.update(run, now)


def _stale(run: Run, reason: str) -> Run:
    return replace(run, stale=run.stale or time.time(), stale_reason=reason)


def resumable(store: Store) -> list[Run]:
    """Lists the runs that failed or were cancelled so lately that somebody may resume them, the newest first."""
    since = time.time() - _RESUMED_WITHIN
    ended = store.list(states=_RESUMABLE, kind="pipeline", limit=_MOST_ENDED)
    return [run for run in ended if (run.finished or run.created) > since]


def reopen(store: Store, backends: Mapping[str, Backend]) -> None:
    """Looks whether somebody resumed runs where they run, as on a server's own page; such a run is a new attempt here.

    Args:
        store: Where runs are remembered.
        backends: By name.
    """
    ended = resumable(store)
    for name in {run.backend for run in ended}:
        if name in backends and isinstance(backend := backends[name], Resumes):
            for run in backend.resumed([run for run in ended if run.backend == name]):
                with suppress(NotFoundError):  # somebody deleted it
                    store.save(run)


@dataclass(slots=True)
class _Followed:
    callback: Callable[[Run], None]
    seen: Run | None = None


class Watcher:
    """One thread for all runs that are followed; it ends when none is.

    Args:
        store: Where runs are remembered.
        poll: Asks a run's backend.
        interval: Seconds between two looks at the store.
    """

    def __init__(self, store: Store, poll: Callable[[Run], Run], interval: float) -> None:
        self._store = store
        self._poll = poll
        self._interval = interval
        self._followed: dict[str, list[_Followed]] = {}
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None
        self._asking: dict[tuple[str, str], threading.Thread] = {}  # backend and target → who asks there

    def follow(self, run_id: str, callback: Callable[[Run], None]) -> Callable[[], None]:
        """Calls back with a run now, at each change, and for the last time when it has ended.

        Args:
            run_id: The run.
            callback: Called from a thread of the watcher.

        Returns:
            Ends the following.
        """
        entry = _Followed(callback)
        with self._guard:
            self._followed.setdefault(run_id, []).append(entry)
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="kfp-magics watcher", daemon=True)
                self._thread.start()
        return lambda: self._forget(run_id, entry)

    def _forget(self, run_id: str, entry: _Followed) -> None:
        with self._guard:
            entries = self._followed.get(run_id, [])
            if entry in entries:
                entries.remove(entry)
            if not entries:
                self._followed.pop(run_id, None)

    def _watch(self) -> None:
        polled: dict[str, float] = {}
        while True:
            with self._guard:
                runs = {run_id: tuple(entries) for run_id, entries in self._followed.items()}
                if not runs:
                    self._thread = None
                    return
            elsewhere: dict[tuple[str, str], list[str]] = {}
            for run_id, entries in runs.items():
                with suppress(StoreError):  # locked for a while; the next look will do
                    self._tell(run_id, entries, polled, elsewhere)
            for place, waiting in elsewhere.items():
                self._ask_elsewhere(place, waiting, polled)
            time.sleep(self._interval)

    def _ask_elsewhere(self, place: tuple[str, str], run_ids: list[str], polled: dict[str, float]) -> None:
        """Asks for runs on a server in a thread of its own: one that does not answer must not hold up the others."""
        asking = self._asking.get(place)
        if asking is None or not asking.is_alive():
            polled.update(dict.fromkeys(run_ids, time.monotonic()))
            name = f"kfp-magics asks {place[1]}"
            thread = self._asking[place] = threading.Thread(target=self._ask, args=(run_ids,), name=name, daemon=True)
            thread.start()

    def _ask(self, run_ids: list[str]) -> None:
        for run_id in run_ids:
            with suppress(StoreError, NotFoundError):  # locked for a while, or deleted; the next poll will do
                ask(self._store, self._store.get(run_id), self._poll)

    def _tell(
        self,
        run_id: str,
        entries: tuple[_Followed, ...],
        polled: dict[str, float],
        elsewhere: dict[tuple[str, str], list[str]],
    ) -> None:
        try:
            run = self._store.get(run_id)
        except NotFoundError:  # somebody deleted it
            for entry in entries:
                self._forget(run_id, entry)
            return
        if not run.state.final and time.monotonic() - polled.get(run_id, 0.0) > _POLL:
            if run.target:
                elsewhere.setdefault((run.backend, run.target), []).append(run_id)
            else:
                polled[run_id] = time.monotonic()
                self._ask([run_id])
                with suppress(NotFoundError):
                    run = self._store.get(run_id)
        for entry in entries:
            if run == entry.seen:
                continue
            entry.seen = run
            try:
                entry.callback(run)
            except Exception:  # noqa: BLE001  (a view that is gone must not end the others)
                sys.excepthook(*sys.exc_info())
                self._forget(run_id, entry)
            if run.state.final:
                self._forget(run_id, entry)

    def wait(self, run_id: str, on_change: Callable[[Run], None] | None = None) -> Run:
        """Blocks until a run has ended.

        Args:
            run_id: The run.
            on_change: Called with the run at each change.

        Returns:
            The run as it ended.

        Raises:
            NotFoundError: It was deleted meanwhile.
        """
        ended = threading.Event()

        def look(run: Run) -> None:
            if run.state.final:
                ended.set()

        # A view that fails must not keep anybody waiting: it follows on its own, and is told first.
        stops = [self.follow(run_id, one) for one in (on_change, look) if one is not None]
        try:
            while not ended.wait(0.1):  # in pieces, so that an interrupt is felt at once
                if run_id not in self._followed:
                    break
        finally:
            for stop in stops:
                stop()
        return self._store.get(run_id)
