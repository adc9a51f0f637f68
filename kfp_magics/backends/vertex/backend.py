"""Vertex AI Pipelines as a backend: one object for all projects and regions that are known."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, BinaryIO

from kfp_magics import ir as irs
from kfp_magics.backends.base import has_ended
from kfp_magics.backends.connections import Checked, Connection, Connections
from kfp_magics.backends.local import request as requests
from kfp_magics.backends.local.checks import check_arguments
from kfp_magics.backends.shown import Cells
from kfp_magics.backends.vertex import check as checks
from kfp_magics.backends.vertex import limits, logs, schedules
from kfp_magics.backends.vertex import runs as forms
from kfp_magics.backends.vertex.looks import Looks, Pace, silent_since
from kfp_magics.backends.vertex.service import Service
from kfp_magics.backends.vertex.states import pipeline_state
from kfp_magics.errors import BackendError, LoginError, NotFoundError, UnavailableError
from kfp_magics.model import Failure, Run, State, Task

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from google.cloud import aiplatform_v1 as vertex

    from kfp_magics.backends.base import Content, Schedule, SubmitOptions
    from kfp_magics.ir import IR
    from kfp_magics.model import Artifact, Json
    from kfp_magics.runs.store import Store
    from kfp_magics.settings import Settings

_STALE_SHARE = 1 / 3  # of the time for one answer: after so long without any a view says so
_PATIENCE_OF_A_CHECK = 5.0  # seconds: somebody waits for the answer
_USUAL = Pace()
_KEPT = 500  # compiled pipelines of runs that are kept in memory


class VertexBackend:
    """Runs compiled pipelines on Vertex AI.

    Args:
        settings: Where things are kept, and how patient one is.
        store: Where runs are remembered.
        pace: How often Google is asked.
    """

    name = "vertex"

    def __init__(self, settings: Settings, store: Store, pace: Pace = _USUAL) -> None:
        self._pace = pace
        self._settings = settings
        self._store = store
        self.connections = Connections(settings.home_path)
        self._services: dict[str, tuple[Service, Looks]] = {}
        self._pipelines: dict[str, IR | None] = {}
        self._cells = Cells(settings)
        self._guard = threading.Lock()

    def _server(self, target: str = "") -> tuple[Service, Looks]:
        connection = self.connections.get(self.name, target or self._settings.connection)
        with self._guard:
            made = self._services.get(connection.name)
            if made is None or made[0].connection != connection:
                patience = self._settings.server_patience
                service = Service(connection, timeout=self._settings.server_timeout, patience=patience)
                made = self._services[connection.name] = service, Looks(service, self._pace)
            return made

    def check(self, connection: Connection) -> Checked:
        """Asks whether this login may see runs, logs and the bucket; see `Checks.check`."""
        patience = min(self._settings.server_patience, _PATIENCE_OF_A_CHECK)
        return checks.check(Service(connection, timeout=self._settings.server_timeout, patience=patience))

    # Start

    def refuse(self, ir: str, options: SubmitOptions) -> None:  # noqa: ARG002  (the protocol's)
        """Looks whether Vertex AI can give each step what it asks for; see `Refuses.refuse`."""
        limits.check(irs.parse(ir))

    def submit(self, ir: str, arguments: Mapping[str, Json], options: SubmitOptions) -> Run:
        """Starts a run once, and returns when Vertex AI has it; see `Backend.submit`."""
        service, _ = self._server(options.target)
        connection = service.connection
        pipeline = irs.parse(ir)
        if options.input_artifacts:
            raise BackendError(
                "Live objects of the notebook cannot be sent to Vertex AI.", "%kfp_try runs on this machine."
            )
        check_arguments(pipeline, arguments, options)
        limits.check(pipeline)
        now = time.time()
        name = options.name or f"{irs.name(pipeline)} {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(now))}"
        run_id = forms.new_id(irs.name(pipeline), options.key)
        if options.key and (begun := self._store.known(run_id)):
            return begun
        made = service.create(forms.job_of(pipeline, arguments, options, connection, name=name), run_id)
        known = Run(
            id=run_id,
            name=name,
            kind=options.kind,
            backend=self.name,
            target=connection.name,
            created=now,
            url=forms.page_of(connection, run_id),
            experiment=options.experiment,
            notebook=options.notebook,
            started_by=options.started_by,
        )
        request = requests.Request(
            run_id=run_id,
            ir=ir,
            arguments=dict(arguments),
            options=replace(options, target=connection.name),
            settings={},
        )
        requests.write(requests.folder_of(self._settings, run_id), request)
        self._pipelines[run_id] = pipeline
        begun = forms.seen(made, pipeline, known).run
        return self._store.save(replace(begun, tasks=self._cells.put(run_id, begun.tasks)))

    def upload(self, ir: str, name: str, *, version: str = "", description: str = "") -> str:  # noqa: ARG002  (the protocol's)
        """Refuses: Vertex AI itself keeps no pipelines; see `KeepsPipelines.upload`."""
        raise BackendError(
            "Vertex AI keeps no pipelines; Artifact Registry does, in a repository for Kubeflow Pipelines.",
            "%kfp_compile writes the file, and kfp.registry.RegistryClient puts it there. %kfp_schedule needs neither.",
        )

    def schedule(self, wanted: Schedule, ir: str, arguments: Mapping[str, Json], options: SubmitOptions) -> Schedule:
        """Has a pipeline run again and again; see `KeepsPipelines.schedule`."""
        service, _ = self._server(options.target)
        pipeline = irs.parse(ir)
        check_arguments(pipeline, arguments, options)
        limits.check(pipeline)
        job = forms.job_of(pipeline, arguments, options, service.connection, name=wanted.name)
        return schedules.create(service, wanted, job)

    def schedules(self) -> list[Schedule]:
        """Lists what runs again and again; see `KeepsPipelines.schedules`."""
        return schedules.every(self._server()[0])

    def switch(self, schedule: Schedule, *, enabled: bool) -> None:
        """Lets a schedule run, or rest; see `KeepsPipelines.switch`."""
        schedules.switch(self._server()[0], schedule, enabled=enabled)

    def unschedule(self, schedule: Schedule) -> None:
        """Removes a schedule; its runs stay; see `KeepsPipelines.unschedule`."""
        schedules.delete(self._server()[0], schedule)

    # Look

    def poll(self, run: Run) -> Run:
        """Looks where a run stands; without an answer it stays as it was, and says since when; see `Backend.poll`."""
        found = self._look(run)
        return found.run

    def _look(self, run: Run, *, now: bool = False) -> forms.Seen:
        service, looks = self._server(run.target)
        try:
            look = looks.at(run.id, now=now)
        except NotFoundError:
            error = Failure(message=f"{service.where} has no such run any more: somebody deleted it.")
            gone = replace(run, state=State.CANCELLED, finished=time.time(), error=error, stale=None, stale_reason="")
            return forms.Seen(run=gone, jobs={})
        if (since := silent_since(look, run, self._settings.server_timeout * _STALE_SHARE)) is not None:
            run = replace(run, stale=run.stale or since, stale_reason=look.trouble)
        elif look.job is not None:
            seen = forms.seen(look.job, self._pipeline(run.id, look.job), run)
            return replace(seen, run=replace(seen.run, tasks=self._cells.put(run.id, seen.run.tasks)))
        return forms.Seen(run=run, jobs={})

    def _pipeline(self, run_id: str, job: vertex.PipelineJob) -> IR | None:
        """The compiled pipeline of a run: what was sent with its platform part, or what Vertex AI keeps."""
        if run_id not in self._pipelines:
            try:
                found: IR | None = irs.parse(requests.read(requests.folder_of(self._settings, run_id)).ir)
            except NotFoundError:
                found = forms.ir_of(job)
            self._pipelines[run_id] = found
            for old in list(self._pipelines)[:-_KEPT]:
                del self._pipelines[old]
        return self._pipelines[run_id]

    def recent(
        self, target: str = "", *, limit: int = 50, search: str = "", states: Collection[State] = ()
    ) -> list[Run]:
        """Lists the runs of a project and region, whoever started them; see `KeepsRuns.recent`."""
        service, _ = self._server(target)
        text = search.replace("\\", "\\\\").replace('"', '\\"')
        found: list[Run] = []
        for job in service.jobs(f'display_name:"*{text}*"' if search else "", page=max(1, min(limit, 100))):
            if len(found) >= limit:
                break
            run = self._foreign(service, job)
            found += [run] if not states or run.state in states else []
        return found

    def _foreign(self, service: Service, job: vertex.PipelineJob) -> Run:
        run_id = job.name.rpartition("/")[2]
        known = Run(
            id=run_id,
            name=run_id,
            backend=self.name,
            target=service.connection.name,
            url=forms.page_of(service.connection, run_id),
            experiment=job.labels.get("experiment", ""),
            started_by=forms.starter_of(job),
        )
        return forms.seen(job, forms.ir_of(job), known).run

    def find(self, run_id: str) -> Run | None:
        """Looks for a run in all projects and regions that are known; see `KeepsRuns.find`."""
        for connection in reversed(self.connections.all().values()):
            if connection.kind != self.name:
                continue
            try:
                service, _ = self._server(connection.name)
                return self._foreign(service, service.job(run_id))
            except (NotFoundError, BackendError):  # not there, or nobody answers
                continue
        return None

    def logs(self, run: Run, task: Task, *, follow: bool = False) -> Iterator[str]:
        """Yields what a step prints, from Cloud Logging; see `Backend.logs`."""
        service, looks = self._server(run.target)
        look = looks.at(run.id, now=True)
        if look.job is None:
            raise UnavailableError(look.trouble or f"{service.where} has not answered yet.")
        log = logs.Log(service=service, run_id=run.id, since=look.job.create_time)
        quiet_after_end = False
        while True:
            seen = self._look(run)
            now = seen.run.task(task.id)
            over = seen.run.state.final or (now is not None and now.state.final)
            printed = 0
            try:
                for line in log.read(seen.jobs.get(task.id, ())):
                    printed += 1
                    yield line
            except UnavailableError:
                if not follow:
                    raise
                over = False
            if not follow or quiet_after_end:
                return
            quiet_after_end = over and not printed  # lines arrive some seconds after they were printed
            time.sleep(self._pace.log)

    def artifact(self, run: Run, task: Task, name: str) -> BinaryIO:
        """Opens what an artifact holds; see `Backend.artifact`."""
        found = next((one for one in task.artifacts if one.name == name), None)
        if found is None:
            raise NotFoundError(f"The step {task.name!r} has no artifact {name!r}.", f"{run.url} shows what it has.")
        return self.open(run, task, found)

    def content(self, run: Run, task: Task, artifact: Artifact) -> Content:  # noqa: ARG002  (the protocol's)
        """Says what an artifact in a bucket holds; see `GivesContent.content`."""
        return self._server(run.target)[0].buckets.content(artifact.uri)

    def open(self, run: Run, task: Task, artifact: Artifact, inside: str = "", *, start: int = 0) -> BinaryIO:  # noqa: ARG002  (as above)
        """Opens what an artifact in a bucket holds; see `GivesContent.open`."""
        return self._server(run.target)[0].buckets.open(artifact.uri, inside, start=start)

    # Act

    def cancel(self, run: Run) -> None:
        """Asks for the end of a run; see `Backend.cancel`."""
        service, looks = self._server(run.target)
        try:
            service.cancel(run.id)
        except (UnavailableError, LoginError, NotFoundError):
            raise
        except BackendError as error:
            job = looks.at(run.id, now=True).job
            if job is None or not (state := pipeline_state(job)).final:
                raise
            raise has_ended(replace(run, state=state)) from error

    def retry(self, run: Run) -> Run:
        """Refuses: Vertex AI resumes no run; see `Backend.retry`."""
        raise BackendError(
            "Vertex AI resumes no run.",
            f"%kfp_clone {run.id} starts it anew, and takes the results of steps that succeeded from its cache.",
        )

    def archive(self, run: Run, *, archived: bool) -> None:
        """Does nothing there: Vertex AI has no archive, and the run leaves our own lists; see `KeepsRuns.archive`."""

    def delete(self, run: Run) -> None:
        """Removes a run that has ended; see `KeepsRuns.delete`."""
        try:
            self._server(run.target)[0].delete(run.id)
        except NotFoundError:  # the connection to it is gone
            return
