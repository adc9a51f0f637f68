"""Runs: those of the local engine, whoever started them."""

from __future__ import annotations

import json
import shlex
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kfp_magics.backends.base import SubmitOptions, trigger_of
from kfp_magics.backends.local import request_of
from kfp_magics.errors import ArgumentError, BackendError, DefinitionError, NotFoundError
from kfp_magics.gateway import lists
from kfp_magics.gateway.experiments import NAMED
from kfp_magics.gateway.nodes import history, task_details
from kfp_magics.gateway.rows import select
from kfp_magics.gateway.specs import spec_of
from kfp_magics.gateway.status import of_failure
from kfp_magics.gateway.words import STATES, given, run_id_inside, run_id_outside, timestamp
from kfp_magics.model import Run, Task
from kfp_magics.runs import actions
from kfp_magics.runs.database import clean

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

    from kfp_magics.backends.base import Backend
    from kfp_magics.gateway.experiments import Experiments
    from kfp_magics.gateway.jobs import Job
    from kfp_magics.gateway.pipelines import Pipelines
    from kfp_magics.model import Json
    from kfp_magics.runs.store import Store
    from kfp_magics.settings import Settings

_BACKEND = "local"
_TABLE = "runs LEFT JOIN run_facts ON run_facts.run_id = runs.id"
_STATE = (
    "CASE WHEN final = 0 AND cancel_asked IS NOT NULL THEN 'CANCELING' "
    + " ".join(f"WHEN state = '{state}' THEN '{word}'" for state, word in STATES.items())
    + " END"
)
_CREATED = lists.Column(sql="json_extract(summary, '$.created')", kind="time", order="born")
_SOURCE = lists.Source(
    table=_TABLE,
    columns={
        "id": lists.Column(sql="id", inside=run_id_inside),
        "run_id": lists.Column(sql="id", inside=run_id_inside),
        "name": lists.Column(sql="name"),
        "display_name": lists.Column(sql="name"),
        "description": lists.Column(sql="ifnull(run_facts.description, '')"),
        "experiment_id": lists.Column(
            sql=f"ifnull((SELECT e.id FROM experiments AS e WHERE e.display_name = {NAMED}), '')"  # noqa: S608  (only our own words)
        ),
        "created_at": _CREATED,
        "scheduled_at": lists.Column(sql="ifnull(scheduled, json_extract(summary, '$.created'))", kind="time"),
        "finished_at": lists.Column(sql="json_extract(summary, '$.finished')", kind="time"),
        "state": lists.Column(sql=_STATE),
        "storage_state": lists.Column(sql="CASE archived WHEN 0 THEN 'AVAILABLE' ELSE 'ARCHIVED' END"),
        "pipeline_id": lists.Column(sql="ifnull(pipeline_id, '')"),
        "pipeline_version_id": lists.Column(sql="ifnull(version_id, '')"),
        "recurring_run_id": lists.Column(sql="ifnull(schedule_id, '')"),
    },
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tick:
    """The moment of a schedule at which a run is due."""

    schedule_id: str
    scheduled: float
    run_name: str


class Runs:
    """The runs of the engine of this machine.

    Args:
        settings: Where things are kept and how they run.
        store: Where runs are remembered.
        backend: The engine.
        experiments: What runs stand under.
        pipelines: What runs may refer to.
    """

    def __init__(
        self, settings: Settings, store: Store, backend: Backend, experiments: Experiments, pipelines: Pipelines
    ) -> None:
        self._settings = settings
        self._store = store
        self._backend = backend
        self._experiments = experiments
        self._pipelines = pipelines

    @property
    def _backends(self) -> dict[str, Backend]:
        return {_BACKEND: self._backend}

    def start(self, job: Job, tick: Tick | None = None) -> dict[str, Json]:
        """Starts a run.

        Args:
            job: What is to run.
            tick: The moment of a schedule that it is due to; None for a run that somebody starts.
        """
        name = tick.run_name if tick else job.display_name.strip()
        if not name:
            raise ArgumentError("A run needs a name.", "Give a display_name.")
        ir = job.ir or self._pipelines.ir(job.pipeline_id, job.version_id)
        starter = "schedule" if tick else trigger_of(clean(job.description)) or "kfp"
        options = SubmitOptions(name=clean(name), experiment=job.experiment, started_by=starter)
        run = self._backend.submit(ir, job.parameters, options)
        self.note(run.id, job, tick)
        return self.get(run.id)

    def note(self, run_id: str, job: Job, tick: Tick | None = None) -> None:
        """Remembers of a run what only this API tells."""
        row = {
            "run_id": run_id,
            "description": clean(job.description),
            "pipeline_id": job.pipeline_id,
            "version_id": job.version_id,
            "schedule_id": tick.schedule_id if tick else "",
            "scheduled": tick.scheduled if tick else None,
            "service_account": clean(job.service_account),
            "pipeline_root": clean(job.pipeline_root),
        }
        names = ", ".join(row)
        values = ", ".join(f":{name}" for name in row)
        with self._store.writing() as connection:
            connection.execute(f"INSERT OR REPLACE INTO run_facts ({names}) VALUES ({values})", row)  # noqa: S608

    def run(self, run_id: str) -> Run:
        """Reads a run as it stands now.

        Args:
            run_id: By either id.

        Raises:
            NotFoundError: The engine has no such run.
        """
        inside = run_id_inside(run_id)
        with self._store.reading() as connection:
            found = connection.execute("SELECT 1 FROM runs WHERE id = ? AND backend = ?", (inside, _BACKEND)).fetchone()
        if found is None:
            raise NotFoundError(f"There is no run {run_id!r}.", "kfp run list")
        return actions.current(self._store, self._backends, inside)

    def born(self, run_id: str) -> int:
        """The number of a run's row."""
        with self._store.reading() as connection:
            return int(connection.execute("SELECT born FROM runs WHERE id = ?", (run_id,)).fetchone()[0])

    def get(self, run_id: str) -> dict[str, Json]:
        """Reads a run with its tasks and its compiled pipeline."""
        run = self.run(run_id)
        with self._store.reading() as connection:
            facts = _facts(connection, [run.id])[run.id]
        return self._shape(run, facts, self._experiments.ids([facts["experiment"]])) | self._spec(run)

    def list(self, asked: lists.Asked, experiment_id: str) -> dict[str, Json]:
        """Reads a page of runs, with their tasks; with their compiled pipelines but for those that name a version."""
        fixed: dict[str, Json] = {"backend": _BACKEND, "kind": "pipeline"}
        if experiment_id:
            fixed[NAMED] = self._experiments.name(experiment_id)
        with self._store.reading() as connection:
            page = lists.page(connection, _SOURCE, asked, fixed)
            runs = _load(connection, page.born)
            facts = _facts(connection, [run.id for run in runs])
        ids = self._experiments.ids(one["experiment"] for one in facts.values())
        specs = [{} if facts[run.id]["version_id"] else self._spec(run) for run in runs]
        shown = [self._shape(run, facts[run.id], ids) | spec for run, spec in zip(runs, specs, strict=True)]
        return page.answer("runs", shown)

    def terminate(self, run_id: str) -> None:
        """Asks for the end of a run.

        Raises:
            BackendError: It has ended.
        """
        run = self.run(run_id)
        if run.state.final:
            raise BackendError(f"The run {run.name!r} has ended: it is {run.state}.")
        with self._store.writing() as connection:
            _ensure_facts(connection, run.id)
            connection.execute("UPDATE run_facts SET cancel_asked = ? WHERE run_id = ?", (time.time(), run.id))
        self._backend.cancel(run)

    def retry(self, run_id: str) -> None:
        """Resumes a run that failed or was cancelled."""
        run = self.run(run_id)
        self._backend.retry(run)
        with self._store.writing() as connection:
            connection.execute("UPDATE run_facts SET cancel_asked = NULL WHERE run_id = ?", (run.id,))

    def archive(self, run_id: str, *, archived: bool) -> None:
        """Takes a run out of the usual lists, or puts it back.

        Raises:
            BackendError: Its whole experiment is put away.
        """
        run = self.run(run_id)
        if not archived and self._experiments.is_archived(run.experiment):
            raise BackendError(
                f"The experiment {run.experiment!r} of the run {run.name!r} is archived.",
                f"Bring it back first: kfp experiment unarchive --experiment-name {shlex.quote(run.experiment)}",
            )
        self._store.archive(run.id, archived=archived)

    def delete(self, run_id: str) -> None:
        """Forgets a run that has ended, and what it left on this machine."""
        actions.delete(self._store, self._backends, self.run(run_id).id)

    def _spec(self, run: Run) -> dict[str, Json]:
        """Its compiled pipeline; nothing when the folder of the run is gone, or holds what cannot be read."""
        with suppress(NotFoundError, DefinitionError):
            return {"pipeline_spec": spec_of(request_of(self._settings, run).ir)}
        return {}

    def _shape(self, run: Run, facts: Mapping[str, Json], experiment_ids: Mapping[str, str]) -> dict[str, Json]:
        asked = facts["cancel_asked"]
        word = "CANCELING" if asked is not None and not run.state.final else STATES[run.state]
        reference = given({"pipeline_id": facts["pipeline_id"], "pipeline_version_id": facts["version_id"]})
        return given(
            {
                "experiment_id": experiment_ids.get(facts["experiment"]),
                "run_id": run_id_outside(run.id),
                "display_name": run.name,
                "storage_state": "ARCHIVED" if facts["archived"] else "AVAILABLE",
                "description": facts["description"],
                "pipeline_version_reference": reference,
                "runtime_config": given({"parameters": dict(run.parameters), "pipeline_root": facts["pipeline_root"]}),
                "service_account": facts["service_account"],
                "created_at": timestamp(run.created),
                "scheduled_at": timestamp(facts["scheduled"] or run.created),
                "finished_at": timestamp(run.finished) if run.finished and run.state.final else "",
                "state": word,
                "error": of_failure(run.error) if run.error else None,
                "run_details": {"task_details": task_details(run, facts["born"])},
                "recurring_run_id": facts["schedule_id"],
                "state_history": history(run.created, run.started, run.finished, run.state, asked),
            }
        )


def _ensure_facts(connection: sqlite3.Connection, run_id: str) -> None:
    connection.execute("INSERT OR IGNORE INTO run_facts VALUES (?, '', '', '', '', NULL, '', '', NULL)", (run_id,))


def _facts(connection: sqlite3.Connection, run_ids: list[str]) -> dict[str, dict[str, Json]]:
    """What stands beside runs, empty where nothing does."""
    empty = ("description", "pipeline_id", "version_id", "schedule_id", "service_account", "pipeline_root")
    columns = ", ".join(f"ifnull({name}, '') AS {name}" for name in empty)
    marks = ", ".join("?" * len(run_ids))
    query = f"""SELECT id, runs.born AS born, archived, {NAMED} AS experiment, scheduled, cancel_asked, {columns}
        FROM {_TABLE} WHERE id IN ({marks})"""  # noqa: S608  (only our own words)
    return {row["id"]: row for row in select(connection, query, run_ids)}


def _load(connection: sqlite3.Connection, born: list[int]) -> list[Run]:
    """Reads runs with their tasks, with two questions however many they are."""
    marks = ", ".join("?" * len(born))
    bodies = dict(connection.execute(f"SELECT born, body FROM runs WHERE born IN ({marks})", born).fetchall())  # noqa: S608
    runs = [Run.from_json(json.loads(bodies[number])) for number in born]
    tasks: dict[str, list[Task]] = {run.id: [] for run in runs}
    query = f"SELECT run_id, body FROM tasks WHERE run_id IN ({marks}) ORDER BY number"  # noqa: S608
    for run_id, body in connection.execute(query, list(tasks)):
        tasks[run_id].append(Task.from_json(json.loads(body)))
    return [replace(run, tasks=tuple(tasks[run.id])) for run in runs]
