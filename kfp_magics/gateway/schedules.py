"""Recurring runs: what runs again and again, and when."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kfp_magics import ir as irs
from kfp_magics.backends.base import SubmitOptions
from kfp_magics.backends.local.checks import check_arguments
from kfp_magics.errors import ArgumentError, NotFoundError
from kfp_magics.gateway import lists
from kfp_magics.gateway.jobs import Job
from kfp_magics.gateway.moments import Moment
from kfp_magics.gateway.rows import insert, rows, select
from kfp_magics.gateway.specs import spec_of
from kfp_magics.gateway.status import INTERNAL, status
from kfp_magics.gateway.triggers import Trigger
from kfp_magics.gateway.words import get, given, message, timestamp
from kfp_magics.runs.database import clean

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

    from kfp_magics.gateway.experiments import Experiments
    from kfp_magics.gateway.pipelines import Pipelines
    from kfp_magics.model import Json
    from kfp_magics.runs.store import Store

_STATUS = "CASE enabled WHEN 0 THEN 'DISABLED' ELSE 'ENABLED' END"
_SOURCE = lists.Source(
    table="schedules",
    columns={
        "id": lists.Column(sql="id"),
        "recurring_run_id": lists.Column(sql="id"),
        "name": lists.Column(sql="display_name"),
        "display_name": lists.Column(sql="display_name"),
        "description": lists.Column(sql="description"),
        "created_at": lists.Column(sql="created", kind="time"),
        "updated_at": lists.Column(sql="updated", kind="time"),
        "status": lists.Column(sql=_STATUS),
    },
)
_MOST_AT_ONCE = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """A recurring run.

    Attributes:
        id: Of the recurring run.
        job: What runs.
        trigger: When.
        most_at_once: How many of its runs may go on at once.
        catch_up: Whether each moment that was missed is made up for; otherwise only the last one is.
        enabled: Whether it runs.
        created: Seconds since the epoch.
        last: When it was due last; None if it never was.
        fired: How often it was.
        error: Why the last run could not be started; empty when it was.
    """

    id: str
    job: Job
    trigger: Trigger
    most_at_once: int
    catch_up: bool
    enabled: bool
    created: float
    last: float | None
    fired: int
    error: str

    @classmethod
    def of(cls, row: Mapping[str, Json]) -> Schedule:
        """Reads a row of the store."""
        body = json.loads(row["body"])
        return cls(
            job=Job(**body["job"]),
            trigger=Trigger(**body["trigger"]),
            most_at_once=body["most_at_once"],
            catch_up=body["catch_up"],
            enabled=bool(row["enabled"]),
            **{name: row[name] for name in ("id", "created", "last", "fired", "error")},
        )


class Schedules:
    """The recurring runs of this machine.

    Args:
        store: Where they are remembered.
        experiments: What their runs stand under.
        pipelines: What they may refer to.
    """

    def __init__(self, store: Store, experiments: Experiments, pipelines: Pipelines) -> None:
        self._store = store
        self._experiments = experiments
        self._pipelines = pipelines

    def create(self, body: Mapping[str, Json]) -> dict[str, Json]:
        """Makes a recurring run.

        Raises:
            ArgumentError: It does not say what to run, or when, or gives what the pipeline does not take.
        """
        job = Job.of(body, self._experiments.name)
        if not job.display_name.strip():
            raise ArgumentError("A recurring run needs a name.", "Give a display_name.")
        ir = job.ir or self._pipelines.ir(job.pipeline_id, job.version_id)
        trigger = Trigger.of(message(body, "trigger"))
        now = time.time()
        # What no moment could be started with is said now, and not to nobody in the night.
        check_arguments(irs.parse(ir), Moment(due=now, now=now, index=1).fill(job.parameters), SubmitOptions())
        what = {
            "job": job.to_json(),
            "trigger": {name: getattr(trigger, name) for name in ("cron", "interval", "start", "end")},
            "most_at_once": _most_at_once(get(body, "max_concurrency")),
            "catch_up": not get(body, "no_catchup"),
        }
        row = {
            "id": str(uuid.uuid4()),
            "display_name": clean(job.display_name),
            "description": clean(job.description),
            "created": now,
            "updated": now,
            "enabled": get(body, "mode") != "DISABLE",
            "experiment": job.experiment,
            "body": json.dumps(what),
        }
        with self._store.writing() as connection:
            insert(connection, "schedules", row)
        return self.get(row["id"])

    def get(self, schedule_id: str) -> dict[str, Json]:
        """Reads a recurring run.

        Raises:
            NotFoundError: There is none of that id.
        """
        with self._store.reading() as connection:
            row = _row(connection, schedule_id)
        return _shape(row, self._experiments.ids([row["experiment"]]))

    def list(self, asked: lists.Asked, experiment_id: str) -> dict[str, Json]:
        """Reads a page."""
        fixed = {"experiment": self._experiments.name(experiment_id)} if experiment_id else {}
        with self._store.reading() as connection:
            page = lists.page(connection, _SOURCE, asked, fixed)
            found = rows(connection, "schedules", page.born)
        ids = self._experiments.ids(row["experiment"] for row in found)
        return page.answer("recurringRuns", [_shape(row, ids) for row in found])

    def enable(self, schedule_id: str, *, enabled: bool) -> None:
        """Lets it run, or keeps it from running."""
        with self._store.writing() as connection:
            _row(connection, schedule_id)
            connection.execute(
                "UPDATE schedules SET enabled = ?, updated = ? WHERE id = ?", (enabled, time.time(), schedule_id)
            )

    def delete(self, schedule_id: str) -> None:
        """Forgets it; its runs stay."""
        with self._store.writing() as connection:
            _row(connection, schedule_id)
            connection.execute("DELETE FROM schedules WHERE id = ?", (schedule_id,))

    # For the scheduler

    def running(self) -> tuple[Schedule, ...]:
        """Those that are enabled."""
        with self._store.reading() as connection:
            found = select(connection, "SELECT * FROM schedules WHERE enabled = 1 ORDER BY born")
        return tuple(Schedule.of(row) for row in found)

    def going_on(self, schedule_id: str) -> int:
        """How many of its runs have not ended."""
        query = "SELECT count(*) FROM run_facts JOIN runs ON id = run_id WHERE schedule_id = ? AND final = 0"
        with self._store.reading() as connection:
            number: int = connection.execute(query, (schedule_id,)).fetchone()[0]
        return number

    def started(self, run_name: str) -> str:
        """The id of the run that a schedule started under a name; empty when it did not."""
        query = "SELECT id FROM runs WHERE name = ? AND started_by = 'schedule'"
        with self._store.reading() as connection:
            found = connection.execute(query, (clean(run_name),)).fetchone()
        return found[0] if found else ""

    def move_on(self, schedule_id: str, due: float, error: str) -> None:
        """Remembers that a moment has been dealt with."""
        with self._store.writing() as connection:
            connection.execute(
                "UPDATE schedules SET last = ?, fired = fired + 1, error = ? WHERE id = ?", (due, error, schedule_id)
            )


def _most_at_once(said: Json) -> int:
    try:
        found = int(said if said not in {None, ""} else 1)
    except (TypeError, ValueError):
        found = 0
    if not 1 <= found <= _MOST_AT_ONCE:
        raise ArgumentError(f"max_concurrency cannot be {said!r}.", f"Give a number from 1 to {_MOST_AT_ONCE}.")
    return found


def _row(connection: sqlite3.Connection, schedule_id: str) -> dict[str, Json]:
    found = select(connection, "SELECT * FROM schedules WHERE id = ?", [schedule_id])
    if not found:
        raise NotFoundError(f"There is no recurring run {schedule_id!r}.", "kfp recurring-run list")
    return found[0]


def _shape(row: dict[str, Json], experiment_ids: Mapping[str, str]) -> dict[str, Json]:
    schedule = Schedule.of(row)
    job = schedule.job
    reference = given({"pipeline_id": job.pipeline_id, "pipeline_version_id": job.version_id})
    return given(
        {
            "recurring_run_id": schedule.id,
            "display_name": job.display_name,
            "description": job.description,
            "pipeline_spec": spec_of(job.ir) if job.ir else None,
            "pipeline_version_reference": reference,
            "runtime_config": given({"parameters": dict(job.parameters), "pipeline_root": job.pipeline_root}),
            "service_account": job.service_account,
            "max_concurrency": str(schedule.most_at_once),
            "trigger": schedule.trigger.to_json(),
            "mode": "ENABLE" if schedule.enabled else "DISABLE",
            "created_at": timestamp(row["created"]),
            "updated_at": timestamp(row["updated"]),
            "status": "ENABLED" if schedule.enabled else "DISABLED",
            "error": status(INTERNAL, schedule.error) if schedule.error else None,
            "no_catchup": not schedule.catch_up or None,
            "experiment_id": experiment_ids.get(job.experiment),
        }
    )
