"""Handlers: lists of runs, one run, and what can be done to it."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

import kfp_magics
from kfp_magics.backends.base import SubmitOptions
from kfp_magics.runs import actions, listing
from kfp_magics.server.base import Handler, operation
from kfp_magics.server.shorten import Shortener

if TYPE_CHECKING:
    from kfp_magics.model import Json, Run
    from kfp_magics.server.service import Service

_STARTED_BY = "panel"


class StatusHandler(Handler):
    """What a status bar shows."""

    @operation("getStatus")
    async def get(self, asked: dict[str, Json]) -> None:  # noqa: ARG002  (all operations are called alike)
        """Counts runs by state."""
        if self.unchanged(await self.service.call(listing.version, self.service.store)):
            return
        states, change = await self.service.call(listing.states, self.service.store)
        self.answer(
            {
                "version": kfp_magics.__version__,
                "change": change,
                "now": time.time(),
                "states": states,
                "backends": list(self.service.backends),
            }
        )


class RunsHandler(Handler):
    """The list of runs."""

    @operation("listRuns")
    async def get(self, asked: dict[str, Json]) -> None:
        """Reads a page."""
        service = self.service
        if self.unchanged(await service.call(listing.version, service.store)):
            return
        page = await service.call(
            partial(
                listing.page,
                service.store,
                _filter(asked),
                limit=asked["limit"],
                before=int(asked["cursor"]) if asked["cursor"] else None,
                offset=asked["offset"],
            )
        )
        self.answer(
            {
                "runs": service.with_paths(page.rows),
                "total": page.total,
                "next": None if page.next is None else str(page.next),
                "change": page.change,
                "now": time.time(),
            }
        )

    @operation("submitRun", "execute")
    async def post(self, asked: dict[str, Json]) -> None:
        """Starts a compiled pipeline."""
        options = SubmitOptions(
            name=asked.get("name", ""),
            experiment=asked.get("experiment", ""),
            cache=asked.get("cache", True),
            notebook=asked.get("notebook", ""),
            started_by=_STARTED_BY,
        )
        backend = self.service.backends[asked.get("backend", "")]
        run = await self.service.call(backend.submit, asked["ir"], asked.get("arguments", {}), options)
        await _started(self, run)


class FacetsHandler(Handler):
    """Counts for filters."""

    @operation("getFacets")
    async def get(self, asked: dict[str, Json]) -> None:
        """Counts runs by every facet."""
        if self.unchanged(await self.service.call(listing.version, self.service.store)):
            return
        self.answer(await self.service.call(listing.facets, self.service.store, _filter(asked)))


def _filter(asked: dict[str, Json]) -> listing.Filter:
    return listing.Filter(
        search=asked["search"],
        values={name: asked[name] for name in listing.FACETS},
        archived=asked["archived"],
    )


class RunHandler(Handler):
    """One run."""

    @operation("getRun")
    async def get(self, asked: dict[str, Json], run_id: str) -> None:
        """Reads a run, or what is new of it."""
        store = self.service.store
        name = await self.service.call(listing.version, store)
        revision, archived = await self.service.call(listing.revision, store, run_id)
        if self.unchanged(f"{name.partition('-')[0]}-{revision}"):
            return
        self.answer(await self.service.call(_detail, self.service, run_id, asked, revision, archived))

    @operation("deleteRun", "write")
    async def delete(self, asked: dict[str, Json], run_id: str) -> None:  # noqa: ARG002  (as above)
        """Forgets a run and removes its folder."""
        await self.service.call(actions.delete, self.service.store, self.service.backends, run_id)
        self.set_status(204)
        await self.finish()


def _detail(service: Service, run_id: str, asked: dict[str, Json], revision: int, archived: bool) -> dict[str, Json]:  # noqa: FBT001
    since = asked["since"]
    run = listing.run_since(service.store, run_id, since) if since else service.store.get(run_id)
    body = run.to_json()
    shortener = Shortener(asked["value_limit"])
    if asked["value_limit"]:
        body = shortener.run(body)
    return {
        **body,
        "revision": revision,
        "archived": archived,
        "shortened": shortener.used,
        "now": time.time(),
        "logs": body["backend"] in service.backends,
        "notebook_path": service.contents_path(body["notebook"]),
    }


class TaskHandler(Handler):
    """One task."""

    @operation("getTask")
    async def get(self, asked: dict[str, Json], run_id: str) -> None:
        """Reads a task, whole."""
        _, task = await self.service.call(self.service.store.run_of_task, run_id, asked["task"])
        self.answer(task.to_json())


class CancelHandler(Handler):
    """Cancels."""

    @operation("cancelRun", "write")
    async def post(self, asked: dict[str, Json], run_id: str) -> None:  # noqa: ARG002  (as above)
        """Asks for the end of a run."""
        run = await self.service.call(actions.current, self.service.store, self.service.backends, run_id)
        if not run.state.final:
            await self.service.call(self.service.backends[run.backend].cancel, run)
        await _row(self, run_id, 202)


class RetryHandler(Handler):
    """Retries."""

    @operation("retryRun", "execute")
    async def post(self, asked: dict[str, Json], run_id: str) -> None:  # noqa: ARG002  (as above)
        """Resumes a run."""
        run = await self.service.call(self.service.store.get, run_id)
        await self.service.call(self.service.backends[run.backend].retry, run)
        await _row(self, run_id, 202)


class CloneHandler(Handler):
    """Clones."""

    @operation("cloneRun", "execute")
    async def post(self, asked: dict[str, Json], run_id: str) -> None:
        """Starts the same pipeline again."""
        service = self.service
        run = await service.call(service.store.get, run_id)
        again = actions.Again(**asked, started_by=_STARTED_BY)
        await _started(self, await service.call(actions.clone, service.settings, service.backends, run, again))


class ArchiveHandler(Handler):
    """Puts away."""

    @operation("archiveRun", "write")
    async def post(self, asked: dict[str, Json], run_id: str) -> None:
        """Takes a run out of the usual list, or puts it back."""
        service = self.service
        archived = asked.get("archived", True)
        await service.call(actions.archive, service.store, service.backends, run_id, archived=archived)
        await _row(self, run_id, 200)


async def _started(handler: Handler, run: Run) -> None:
    handler.set_header("Location", f"{handler.base_url}kfp-magics/api/runs/{run.id}")
    await _row(handler, run.id, 201)


async def _row(handler: Handler, run_id: str, status: int) -> None:
    rows = await handler.service.call(listing.rows_of, handler.service.store, [run_id])
    handler.answer(handler.service.with_paths(rows)[0], status)
