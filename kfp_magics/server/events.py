"""What changed in the store, told on Jupyter's event stream: one task for the whole server, whoever changed it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from kfp_magics.errors import KfpMagicsError
from kfp_magics.runs import listing
from kfp_magics.runs.watch import refresh, resumable

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

    from kfp_magics.model import Json
    from kfp_magics.server.service import Service

SCHEMA_ID = "urn:kfp-magics:events:run"
SCHEMA: dict[str, Any] = {
    "$id": SCHEMA_ID,
    "version": "1",
    "title": "A pipeline run changed",
    "description": "What a list and a drawing show of a run that changed; the API description calls it RunEvent.",
    "personal-data": True,
    "type": "object",
    "required": ["kind", "revision"],
    "properties": {
        "kind": {"enum": ["changed", "deleted", "reset"], "title": "What happened"},
        "revision": {"type": "integer", "title": "Revision", "description": "Of the run, or of the store for a reset."},
        "run_id": {"type": "string", "title": "Run"},
        "row": {"type": "object", "title": "The run", "description": "As a list shows it."},
        "tasks": {"type": "array", "title": "Tasks that changed", "items": {"type": "object"}},
        "complete": {"type": "boolean", "title": "Whether these are all tasks that changed"},
    },
}
_MOST_RUNS = 50  # changed at once; from there on a page is read again more cheaply
_MOST_TASKS = 200
_SHOWN = ("id", "state", "started", "finished", "attempt", "cached")
_POLL = 1.0  # seconds between two polls of the backends of runs that have not ended
_IDLE = 30.0  # seconds between two, while all runs have ended: somebody may resume one elsewhere
_SURE = 2.0  # seconds after which the store is looked at though its files seem untouched


class Watch:
    """Looks at the store as long as the server lives, and tells what is new.

    Args:
        service: The store and the backends.
        emit: Puts an event on the stream.
        log: Where trouble is reported.
    """

    def __init__(self, service: Service, emit: Callable[[dict[str, Json]], None], log: logging.Logger) -> None:
        self._service = service
        self._emit = emit
        self._log = log
        self._tasks: list[asyncio.Task[None]] = []
        self._seen: listing.Changes | None = None
        self._store = ""
        self._busy = False
        self._resumable = False
        self._trouble = ""

    def start(self) -> None:
        """Begins to look; called on the server's event loop."""
        self._tasks = [asyncio.ensure_future(self._looking()), asyncio.ensure_future(self._polling())]

    async def stop(self) -> None:
        """Ends the looking, and waits until it has ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _looking(self) -> None:
        loop = asyncio.get_running_loop()
        files: object = None
        looked = float("-inf")
        while True:
            now = _files(self._service)
            if now != files or loop.time() - looked > _SURE:
                files, looked = now, loop.time()
                await self._guarded(self._look())
            await asyncio.sleep(self._service.settings.poll_interval)

    async def _polling(self) -> None:
        loop = asyncio.get_running_loop()
        polled = float("-inf")
        while True:
            if self._busy or (self._resumable and loop.time() - polled >= _IDLE):
                await self._guarded(self._service.call(refresh, self._service.store, self._service.backends))
                polled = loop.time()
            await asyncio.sleep(_POLL)

    async def _guarded(self, work: Any) -> None:  # noqa: ANN401  (an awaitable of anything)
        """A store that is locked or damaged heals some day; until then it is said once."""
        try:
            await work
        except KfpMagicsError as error:
            if str(error) != self._trouble:
                self._log.warning("kfp-magics: %s", error)
            self._trouble = str(error)
        except Exception:  # noqa: BLE001  (logged whole; the next look must take place all the same)
            self._log.exception("kfp-magics: a look at the runs failed")
        else:
            self._trouble = ""

    async def _look(self) -> None:
        store = self._service.store
        name = (await self._service.call(listing.version, store)).partition("-")[0]
        since = self._seen.change if self._seen is not None and name == self._store else None
        if since is None:  # the first look, or another store: nobody can be told what is different
            again = self._seen is not None
            _, change = await self._service.call(listing.states, store)
            self._seen, self._store = listing.Changes(change=change), name
            if again:
                self._emit({"kind": "reset", "revision": change})
        else:
            found = await self._service.call(listing.changes, store, since, most=_MOST_RUNS)
            self._seen = found
            for event in _events(self._service, found) if found.change != since else ():
                self._emit(event)
        self._busy = bool(await self._service.call(store.unfinished))
        self._resumable = not self._busy and bool(await self._service.call(resumable, store))


def _events(service: Service, found: listing.Changes) -> list[dict[str, Json]]:
    if found.more:
        return [{"kind": "reset", "revision": found.change}]
    events: list[dict[str, Json]] = [
        {"kind": "deleted", "revision": revision, "run_id": run_id} for run_id, revision in found.deleted.items()
    ]
    for row in service.with_paths(found.rows):
        tasks = found.tasks.get(row["id"], [])
        shown = [{name: task[name] for name in _SHOWN} for task in tasks[:_MOST_TASKS]]
        complete = len(tasks) <= _MOST_TASKS
        event = {"kind": "changed", "revision": row["revision"], "run_id": row["id"], "row": row}
        events.append({**event, "tasks": shown, "complete": complete})
    return events


def _files(service: Service) -> object:
    """What changes when somebody writes to the store; cheap enough to ask for all the time."""
    path = service.store.path
    seen: list[tuple[int, int, int] | None] = []
    for one in (path, path.with_name(f"{path.name}-wal")):
        try:
            status = one.stat()
        except OSError:
            seen.append(None)
        else:
            seen.append((status.st_ino, status.st_size, status.st_mtime_ns))
    return seen
