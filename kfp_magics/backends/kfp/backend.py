"""A Kubeflow Pipelines server as a backend: one object for all servers that are known."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

from kfp_magics import ir as irs
from kfp_magics.backends.abilities import check_accelerators
from kfp_magics.backends.base import has_ended
from kfp_magics.backends.connections import Checked, Connection, Connections
from kfp_magics.backends.kfp import natives, resumed, schedules, submission
from kfp_magics.backends.kfp import runs as forms
from kfp_magics.backends.kfp.files import Files, maker_of
from kfp_magics.backends.kfp.looks import Look, Looks, silent_since
from kfp_magics.backends.kfp.records import Records, with_records
from kfp_magics.backends.kfp.secrets import with_key
from kfp_magics.backends.kfp.service import Service
from kfp_magics.backends.kfp.states import words
from kfp_magics.backends.kfp.tasks import seconds
from kfp_magics.backends.local import request as requests
from kfp_magics.backends.local.checks import check_arguments
from kfp_magics.backends.shown import Cells
from kfp_magics.errors import BackendError, NotFoundError, UnavailableError, UncertainError
from kfp_magics.model import Failure, Run, State, Task

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from kfp_magics.backends.base import Content, Kept, Schedule, SubmitOptions
    from kfp_magics.ir import IR
    from kfp_magics.model import Artifact, Json
    from kfp_magics.runs.store import Store
    from kfp_magics.settings import Settings

_STALE_AFTER = 1 / 3  # of the time that an answer may take: without one for so long, a view says so
_FOLLOW = 2.0  # seconds between two looks at a log
_KEPT = 500  # compiled pipelines of runs that are kept in memory


@dataclass(frozen=True, slots=True)
class _Server:
    """One server: its API, what it last said of runs, what it keeps of their steps, and what they wrote."""

    service: Service
    looks: Looks
    records: Records
    files: Files


class KfpBackend:
    """Runs compiled pipelines on Kubeflow Pipelines.

    Args:
        settings: Where things are kept, and how patient one is.
        store: Where runs are remembered.
    """

    name = "kfp"

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store
        self.connections = Connections(settings.home_path)
        self._services: dict[str, _Server] = {}
        self._pipelines: dict[str, IR | None] = {}
        self._cells = Cells(settings)
        self._seen: dict[str, tuple[object, forms.Seen]] = {}
        self._resumed_due: dict[str, float] = {}
        self._guard = threading.Lock()

    def service(self, target: str = "") -> Service:
        """The server of a connection.

        Args:
            target: Its name; that of the settings, or the one used last, when empty.

        Raises:
            NotFoundError: No such connection is known.
        """
        return self._server(target).service

    def _server(self, target: str) -> _Server:
        connection = self.connections.get(self.name, target or self._settings.connection)
        with self._guard:
            made = self._services.get(connection.name)
            if made is None or made.service.connection != connection:
                service = self.service_of(connection)
                made = self._services[connection.name] = _Server(
                    service,
                    Looks(service, partial(self._going_on, connection.name)),
                    Records(service.metadata),
                    Files(service, self._settings.server_timeout),
                )
            return made

    def service_of(self, connection: Connection) -> Service:
        """The server of a connection that need not be known."""
        return Service(connection, timeout=self._settings.server_timeout, patience=self._settings.server_patience)

    def _secret(self, service: Service) -> str:
        return service.connection.gcp_secret or self._settings.gcp_secret

    def _going_on(self, target: str) -> list[str]:
        return [run.id for run in self._store.unfinished() if run.backend == self.name and run.target == target]

    def check(self, connection: Connection) -> Checked:
        """Asks a server who it is, and whether it takes runs from here; see `Checks.check`."""
        from kfp_magics.backends.kfp.check import check  # noqa: PLC0415  (only when somebody connects)

        return check(connection, self.service_of)

    # Start

    def refuse(self, ir: str, options: SubmitOptions) -> None:  # noqa: ARG002  (the protocol's)
        """Looks whether a cluster can give each step what it asks for; see `Refuses.refuse`."""
        check_accelerators(irs.parse(ir))

    def submit(self, ir: str, arguments: Mapping[str, Json], options: SubmitOptions) -> Run:
        """Starts a run once, and returns when the server has it; see `Backend.submit`."""
        pipeline = irs.parse(ir)
        if options.input_artifacts:
            raise BackendError(
                "Live objects of the notebook cannot be sent to a server.", "%kfp_try runs on this machine."
            )
        check_arguments(pipeline, arguments, options)
        check_accelerators(pipeline)
        service = self.service(options.target)
        now = time.time()
        name = options.name or f"{irs.name(pipeline)} {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(now))}"
        mark, again = submission.mark(options.key), bool(options.key)
        complete = with_key(pipeline, self._secret(service))
        body = forms.body_of(complete, arguments, options, service.connection, name=name, mark=mark)
        raw = submission.start_once(service, body, options.experiment, self._settings.server_patience, again=again)
        if again and (begun := self._store.known(str(raw["run_id"]))):
            return begun
        known = Run(
            id=str(raw["run_id"]),
            name=name,
            kind=options.kind,
            pipeline=irs.name(pipeline),
            backend=self.name,
            target=service.connection.name,
            parameters=forms.parameters_of(pipeline, {"runtime_config": {"parameters": dict(arguments)}}),
            created=(again and seconds(raw.get("created_at"))) or now,
            url=service.page_url(str(raw["run_id"])),
            experiment=options.experiment or "Default",
            notebook=options.notebook,
            started_by=options.started_by,
        )
        request = requests.Request(
            run_id=known.id,
            ir=ir,
            arguments=dict(arguments),
            options=replace(options, target=known.target),
            settings={},
        )
        requests.write(requests.folder_of(self._settings, known.id), request)
        known = replace(known, tasks=self._cells.put(known.id, irs.static_tasks(pipeline)))
        self._pipelines[known.id] = pipeline
        return self._store.save(known)

    def upload(self, ir: str, name: str, *, version: str = "", description: str = "") -> str:
        """Puts a pipeline on the server, or a version of one that is there; see `KeepsPipelines.upload`."""
        service = self.service()
        version = version or datetime.now().strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]  # noqa: DTZ005  (read by people here)
        secret = self._secret(service)
        text = with_key(irs.parse(ir), secret).text if secret else ir
        made, is_version = service.upload(name, text, version=version, description=description)
        what = f"version {version!r} of pipeline {name!r}"
        what = what if is_version else f"the new pipeline {name!r} with version {version!r}"
        return f"{what} is at {service.host}/#/pipelines/details/{made.get('pipeline_id', '')}"

    def schedule(self, wanted: Schedule, ir: str, arguments: Mapping[str, Json], options: SubmitOptions) -> Schedule:
        """Has a pipeline run again and again; see `KeepsPipelines.schedule`."""
        pipeline = irs.parse(ir)
        check_arguments(pipeline, arguments, options)
        service = self.service(options.target)
        pipeline = with_key(pipeline, self._secret(service))
        body = forms.body_of(
            pipeline, arguments, options, service.connection, name=wanted.name, mark=submission.mark()
        ) | {
            "trigger": schedules.trigger_of(wanted),
            "mode": "ENABLE" if wanted.enabled else "DISABLE",
            "max_concurrency": str(wanted.at_once),
            "no_catchup": not wanted.catch_up,
        }
        return schedules.schedule_of(schedules.create(service, body, options.experiment))

    def schedules(self) -> list[Schedule]:
        """Lists what runs again and again; see `KeepsPipelines.schedules`."""
        return [schedules.schedule_of(one) for one in self.service().recurring_runs()]

    def switch(self, schedule: Schedule, *, enabled: bool) -> None:
        """Lets a schedule run, or rest; see `KeepsPipelines.switch`."""
        self.service().act_on_recurring("enable" if enabled else "disable", schedule.id)

    def unschedule(self, schedule: Schedule) -> None:
        """Removes a schedule; its runs stay; see `KeepsPipelines.unschedule`."""
        self.service().act_on_recurring("delete", schedule.id)

    # Look

    def poll(self, run: Run) -> Run:
        """Looks where a run stands; without an answer it stays as it was, and says since when; see `Backend.poll`."""
        return self._look(run)

    def _look(self, run: Run, *, now: bool = False) -> Run:
        server = self._server(run.target)
        try:
            look = server.looks.at(run.id, now=now)
        except NotFoundError:
            error = Failure(message=f"{server.service.host} has no such run any more: somebody deleted it.")
            return replace(run, state=State.CANCELLED, finished=time.time(), error=error, stale=None, stale_reason="")
        if (since := silent_since(look, run, _STALE_AFTER * self._settings.server_timeout)) is not None:
            return replace(run, stale=run.stale or since, stale_reason=look.trouble)
        if look.raw is None:
            return run
        return self._read(server, look, run).run

    def _read(self, server: _Server, look: Look, run: Run) -> forms.Seen:
        assert look.raw is not None
        with self._guard:
            raw, before = self._seen.get(run.id, (None, None))
        if before is not None and raw is look.raw and before.run.attempt == run.attempt:
            return before
        ir = self._pipeline(server.service, look.raw, run)
        found = forms.seen(look.raw, ir, run)
        found = replace(found, run=replace(found.run, tasks=self._cells.put(run.id, found.run.tasks)))
        folder = requests.folder_of(self._settings, run.id)
        if found.run.state.final and resumed.is_of_the_attempt_before(folder, run, look.raw):
            found = replace(found, run=run)
        elif ir is not None:
            told = natives.records(look.raw, found.run.tasks)
            records = told if told is not None else server.records.of(found.run)
            if records is None and not run.state.final:  # it has ended, and what its steps gave is still to come
                return replace(found, run=run)
            found = replace(found, run=with_records(found.run, ir, records or {}, run))
        with self._guard:
            self._seen[run.id] = look.raw, found
            _shorten(self._seen)
        return found

    def _pipeline(self, service: Service, raw: Mapping[str, Json], run: Run) -> IR | None:
        """The compiled pipeline of a run: what was sent, what the server keeps, or the version that it names."""
        if run.id not in self._pipelines:
            spec = raw.get("pipeline_spec")
            version = raw.get("pipeline_version_reference") or {}
            if not spec and version.get("pipeline_version_id"):
                spec = service.version_spec(version.get("pipeline_id", ""), version["pipeline_version_id"])
            found = forms.ir_of(spec)
            if found is None:
                with suppress(NotFoundError):
                    found = irs.parse(requests.read(requests.folder_of(self._settings, run.id)).ir)
            self._pipelines[run.id] = found
            _shorten(self._pipelines)
        return self._pipelines[run.id]

    def resumed(self, runs: Sequence[Run]) -> list[Run]:
        """Looks which runs somebody resumed on their server, at most twice a minute; see `Resumes.resumed`."""
        found = []
        for target in {run.target for run in runs if run.target in self.connections.all()}:
            if time.monotonic() >= self._resumed_due.get(target, 0.0):
                self._resumed_due[target] = time.monotonic() + resumed.EVERY
                server = self._server(target)
                for run, raw in resumed.resumed(server.service, [run for run in runs if run.target == target]):
                    again = replace(run, attempt=run.attempt + 1, finished=None, error=None)
                    found.append(self._read(server, Look(raw=raw, good=time.time()), again).run)
        return found

    def experiments(self) -> list[Kept]:
        """Lists the experiments of the server; see `KeepsNames.experiments`."""
        return [forms.kept(one, "experiment_id") for one in self.service().experiments()]

    def pipelines(self) -> list[Kept]:
        """Lists the pipelines of the server; see `KeepsNames.pipelines`."""
        return [forms.kept(one, "pipeline_id") for one in self.service().pipelines()]

    def versions(self, pipeline: Kept) -> list[Kept]:
        """Lists the versions of a pipeline; see `KeepsNames.versions`."""
        return [forms.kept(one, "pipeline_version_id") for one in self.service().versions(pipeline.id)]

    def recent(
        self, target: str = "", *, limit: int = 50, search: str = "", states: Collection[State] = ()
    ) -> list[Run]:
        """Lists the runs of a server, whoever started them; see `KeepsRuns.recent`."""
        service = self.service(target)
        found: list[Run] = []
        token = ""
        while len(found) < limit:
            page = service.page_of_runs(token=token, size=limit - len(found), name=search, states=words(states))
            found += [forms.foreign(raw, service) for raw in page.get("runs", ())]
            token = page.get("next_page_token", "")
            if not token:
                break
        return found[:limit]

    def find(self, run_id: str) -> Run | None:
        """Looks for a run on all servers that are known; see `KeepsRuns.find`."""
        for connection in reversed(self.connections.all().values()):
            if connection.kind != self.name:
                continue
            server = self._server(connection.name)
            service = server.service
            try:
                raw = service.run(run_id)
                experiment = service.experiment_name(str(raw.get("experiment_id", "")))
            except (NotFoundError, BackendError):  # not there, or that server does not answer
                continue
            run = replace(forms.foreign(raw, service), experiment=experiment)
            return self._read(server, Look(raw=raw, good=time.time()), run).run
        return None

    def logs(self, run: Run, task: Task, *, follow: bool = False) -> Iterator[str]:
        """Yields the log of a task, of its pod or from the archive; see `Backend.logs`."""
        service = self.service(run.target)
        read = 0
        while True:
            current = self._look(run) if follow else None
            now = current.task(task.id) if current is not None else None
            over = current is None or current.state.final or (now is not None and now.state.final)
            try:
                text = self._log(service, run, task)
            except UnavailableError:
                if not follow:
                    raise
                over, text = False, ""
            if text is None and over and task.started and not task.cached:
                yield f"(the server has no log of it: its pod is gone, and none was archived; {run.url})\n"
            if text is not None and len(text) > read:
                yield text[read:]
                read = len(text)
            if over:
                return
            time.sleep(_FOLLOW)

    def _log(self, service: Service, run: Run, task: Task) -> str | None:
        """What a step printed, as far as the server has it; None when it has no log of it."""
        texts = (service.log(run.id, pod) for pod in self._pods(run, task))
        return next((text for text in texts if text is not None), None)

    def _pods(self, run: Run, task: Task) -> list[str]:
        server = self._server(run.target)
        look = server.looks.at(run.id)
        if look.raw is None:
            raise UnavailableError(look.trouble or f"{server.service.host} has not answered yet.")
        return list(self._read(server, look, run).pods.get(task.id, ()))

    def artifact(self, run: Run, task: Task, name: str) -> BinaryIO:
        """Opens what an artifact holds, where the server gives it away; see `Backend.artifact`."""
        found = next((one for one in task.artifacts if one.name == name), None)
        if found is None:
            raise NotFoundError(f"The step {task.name!r} has no artifact {name!r}.", f"{run.url} shows what it has.")
        return self.open(run, task, found)

    def content(self, run: Run, task: Task, artifact: Artifact) -> Content:
        """Says what an artifact holds, as far as the server does; see `GivesContent.content`."""
        maker, made = maker_of(run, task, artifact)
        return self._server(run.target).files.content(run.id, partial(self._pods, run, maker), made)

    def open(self, run: Run, task: Task, artifact: Artifact, inside: str = "", *, start: int = 0) -> BinaryIO:
        """Opens what an artifact holds, through the server; see `GivesContent.open`."""
        maker, made = maker_of(run, task, artifact)
        return self._server(run.target).files.open(run.id, partial(self._pods, run, maker), made, inside, start=start)

    # Act

    def cancel(self, run: Run) -> None:
        """Asks for the end of a run, and looks at once what became of it; see `Backend.cancel`."""
        if run.state.final:
            raise has_ended(run)
        server = self._server(run.target)
        server.service.act("terminate", run.id)
        server.looks.at(run.id, now=True)

    def retry(self, run: Run) -> Run:
        """Resumes a failed or cancelled run; see `Backend.retry`."""
        current = self._look(run, now=True)
        if current.state not in {State.FAILED, State.CANCELLED}:
            raise BackendError(
                f"The run {current.name!r} is {current.state}; only failed and cancelled runs resume.",
                f"%kfp_clone {current.id} starts it anew.",
            )
        server = self._server(run.target)
        service, before = server.service, server.looks.at(run.id).raw or {}
        resumed.remember_end(requests.folder_of(self._settings, run.id), before)
        try:
            service.act("retry", run.id)
        except UncertainError:
            if self._look(run, now=True).state.final:
                raise
        tasks = tuple(task if task.state is State.SUCCEEDED else _again(task) for task in current.tasks)
        again = replace(current, attempt=run.attempt + 1, state=State.PENDING, finished=None, error=None, tasks=tasks)
        return self._store.save(again)

    def archive(self, run: Run, *, archived: bool) -> None:
        """Takes a run out of the server's usual list, or puts it back; see `KeepsRuns.archive`."""
        self.service(run.target).act("archive" if archived else "unarchive", run.id)

    def delete(self, run: Run) -> None:
        """Removes a run from its server; see `KeepsRuns.delete`."""
        with suppress(NotFoundError):  # it, or the connection to it, is gone
            self.service(run.target).act("delete", run.id)


def _again(task: Task) -> Task:
    return replace(task, state=State.PENDING, started=None, finished=None, error=None, reason="", cached=False)


def _shorten(kept: dict[str, Any]) -> None:
    """Forgets what is remembered longest."""
    for old in list(kept)[:-_KEPT]:
        kept.pop(old, None)
