"""Handlers: what a run was made of, what differs between runs, and what a notebook shows on its cells."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING

from kfp_magics import ir as irs
from kfp_magics.backends.local import request_of
from kfp_magics.errors import NotFoundError
from kfp_magics.model import MISSING
from kfp_magics.runs import compare, listing
from kfp_magics.runs.badges import badges
from kfp_magics.server.base import Handler, operation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kfp_magics.backends.base import StepSource
    from kfp_magics.model import Json, Run
    from kfp_magics.server.service import Service


class PipelineHandler(Handler):
    """The pipeline of a run."""

    @operation("getPipeline")
    async def get(self, asked: dict[str, Json], run_id: str) -> None:  # noqa: ARG002  (all operations are called alike)
        """Reads what the run was asked to do."""
        self.answer(await self.service.call(_pipeline_of, self.service, run_id))


class DescribeHandler(Handler):
    """A pipeline that has not run."""

    @operation("describePipeline")
    async def post(self, asked: dict[str, Json]) -> None:
        """Reads a compiled pipeline."""
        self.answer(await self.service.call(_describe, asked["ir"]))


def _pipeline_of(service: Service, run_id: str) -> dict[str, Json]:
    run = service.store.get(run_id)
    request = request_of(service.settings, run)
    sources = {name: asdict(source) for name, source in request.options.sources.items()}
    return _describe(request.ir) | {
        "arguments": dict(request.arguments),
        "sources": sources,
        "experiment": run.experiment,
    }


def _describe(text: str) -> dict[str, Json]:
    ir = irs.parse(text)
    return {
        "name": irs.name(ir),
        "ir": ir.text,
        "parameters": [
            {
                "name": port.name,
                "type": port.type,
                "required": port.default is MISSING and not port.optional,
                "artifact": not port.is_parameter,
                **({} if port.default is MISSING else {"default": port.default}),
            }
            for port in irs.parameters(ir)
        ],
        "arguments": {},
        "tasks": [task.to_json() for task in irs.static_tasks(ir, templates=True)],
        "sources": {},
        "experiment": "",
    }


class CompareHandler(Handler):
    """Runs beside each other."""

    @operation("compareRuns")
    async def get(self, asked: dict[str, Json]) -> None:
        """Compares runs."""
        self.answer(await self.service.call(_compare, self.service, asked["run"]))


def _compare(service: Service, run_ids: list[str]) -> dict[str, Json]:
    rows = service.with_paths(listing.rows_of(service.store, run_ids))
    runs = [service.store.get(run_id) for run_id in run_ids]
    tables = {
        group: [{"what": row.what, "values": list(row.values), "same": row.same} for row in facts]
        for group, facts in compare.side_by_side(runs).items()
    }
    texts = [{name: source.source for name, source in _sources(service, run).items()} for run in runs]
    changes = compare.source_changes(texts)
    return {
        "runs": rows,
        **tables,
        "sources": [{"step": step, "diffs": list(diffs)} for step, diffs in changes.items()],
    }


def _sources(service: Service, run: Run) -> Mapping[str, StepSource]:
    with suppress(NotFoundError):  # the folder of a run may be gone; the rest can still be compared
        return request_of(service.settings, run).options.sources
    return {}


class BadgesHandler(Handler):
    """What a notebook shows on its cells."""

    @operation("getBadges")
    async def get(self, asked: dict[str, Json]) -> None:
        """Finds the last run and image of each cell."""
        if self.unchanged(await self.service.call(listing.version, self.service.store)):
            return
        self.answer(await self.service.call(_badges, self.service, asked["notebook"]))


def _badges(service: Service, notebook: str) -> dict[str, Json]:
    def sources(run_id: str) -> dict[str, str]:
        found = _sources(service, service.store.get(run_id))
        return {source.cell_id: source.source for source in found.values()}

    return {"notebook": notebook, "cells": badges(service.store, service.notebook_names(notebook), sources)}
