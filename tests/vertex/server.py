"""Vertex AI and Cloud Logging over a socket, with their own messages; it does wrong what it is told to."""

from __future__ import annotations

import json
import random
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from graphlib import TopologicalSorter
from typing import Any

import grpc
from google.cloud import aiplatform_v1 as vertex
from google.cloud.logging_v2.types import ListLogEntriesRequest, ListLogEntriesResponse, LogEntry
from google.longrunning import operations_pb2
from google.protobuf import empty_pb2
from google.protobuf.json_format import MessageToDict, ParseDict
from google.rpc import status_pb2
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from kfp_magics.ir import needs
from kfp_magics.model import Task

NUMBER = "123456789"
"""Of the project, which the names of custom jobs have in place of its id."""
_PASSING = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.RESOURCE_EXHAUSTED]
_State, _Pipeline = vertex.PipelineTaskDetail.State, vertex.PipelineState


@dataclass
class Fault:
    """What goes wrong with some calls.

    Attributes:
        code: The answer.
        times: How many calls it hits.
        after: Whether the call takes effect and only its answer is lost.
        message: What is said.
        reason: Why, in the word that Google has for machines.
        facts: What the reason is about.
        slow: Seconds after which it is answered all the same, in place of a code.
    """

    code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE
    times: int = 1
    after: bool = False
    message: str = "the test wants it so"
    reason: str = ""
    facts: dict[str, str] = field(default_factory=dict)
    slow: float = 0.0

    def abort(self, context: grpc.ServicerContext) -> None:
        """Answers as Google does: with details, where there are some."""
        if not self.reason:
            context.abort(self.code, self.message)
        said = status_pb2.Status(code=self.code.value[0], message=self.message)
        info = ErrorInfo(reason=self.reason, domain="googleapis.com", metadata=self.facts)
        said.details.add().Pack(info)
        context.abort_with_status(rpc_status.to_status(said))


@dataclass
class Plan:
    """How a run goes.

    Attributes:
        lasts: Seconds that it goes on.
        waits: Seconds after which it begins, at the latest.
        fails: Tasks that fail.
        reused: Tasks whose result is taken from an earlier run.
        unmet: Groups whose condition is not met.
        values: Task → its output parameters.
        artifacts: Task → its output artifacts by name, as URIs.
        results: Task, by the id that kfp-magics gives it → what it took and gave, in the place of the two before.
        iterations: Loop → how often it runs, where the pipeline does not say it.
        flat: Lists the members of all iterations side by side, without a detail for each iteration.
        rooted: Lists the pipeline itself as a task that all others are in.
    """

    lasts: float = 0.3
    waits: float = 1.0
    fails: dict[str, str] = field(default_factory=dict)
    reused: set[str] = field(default_factory=set)
    unmet: set[str] = field(default_factory=set)
    values: dict[str, dict[str, Any]] = field(default_factory=dict)
    artifacts: dict[str, dict[str, str]] = field(default_factory=dict)
    results: dict[str, Task] = field(default_factory=dict)
    iterations: dict[str, int] = field(default_factory=dict)
    flat: bool = False
    rooted: bool = True


class VertexServer:
    """The server.

    Attributes:
        jobs: Id → what was asked for.
        plan: How runs go.
        plans: Display name of a run → how it goes, where it goes in a way of its own.
        faults: Method → what goes wrong with it.
        flaky: Share of calls that fail, before or after they took effect.
        failed: How many did.
        word: State that all runs have instead of their own.
        calls: Methods in the order in which they were called.
        entries: What Cloud Logging holds.
        filters: What it was asked for.

    Args:
        credentials: Its certificate; without one it is reached unencrypted.
    """

    def __init__(self, credentials: grpc.ServerCredentials | None = None) -> None:
        self.jobs: dict[str, vertex.PipelineJob] = {}
        self.schedules: dict[str, vertex.Schedule] = {}
        self.plan = Plan()
        self.plans: dict[str, Plan] = {}
        self.faults: dict[str, Fault] = {}
        self.flaky = 0.0
        self.failed = 0
        self._random = random.Random(7)
        self.calls: list[str] = []
        self.entries: list[LogEntry] = []
        self.filters: list[str] = []
        self.word: int | None = None
        self._cancelled: dict[str, float] = {}
        self._guard = threading.RLock()
        self._server = grpc.server(ThreadPoolExecutor(8, "call"))
        v = vertex
        schedule = v.types.schedule_service
        self._serve(
            "google.cloud.aiplatform.v1.PipelineService",
            CreatePipelineJob=(self._create, v.CreatePipelineJobRequest, v.PipelineJob),
            GetPipelineJob=(self._get, v.GetPipelineJobRequest, v.PipelineJob),
            ListPipelineJobs=(self._list, v.ListPipelineJobsRequest, v.ListPipelineJobsResponse),
            CancelPipelineJob=(self._cancel, v.CancelPipelineJobRequest, None),
            DeletePipelineJob=(self._delete, v.DeletePipelineJobRequest, None),
        )
        self._serve(
            "google.cloud.aiplatform.v1.ScheduleService",
            CreateSchedule=(self._create_schedule, schedule.CreateScheduleRequest, v.Schedule),
            GetSchedule=(self._get_schedule, schedule.GetScheduleRequest, v.Schedule),
            ListSchedules=(self._list_schedules, schedule.ListSchedulesRequest, schedule.ListSchedulesResponse),
            PauseSchedule=(self._pause, schedule.PauseScheduleRequest, None),
            ResumeSchedule=(self._resume, schedule.ResumeScheduleRequest, None),
            DeleteSchedule=(self._delete_schedule, schedule.DeleteScheduleRequest, None),
        )
        self._serve(
            "google.logging.v2.LoggingServiceV2",
            ListLogEntries=(self._entries, ListLogEntriesRequest, ListLogEntriesResponse),
        )
        self._encrypted = credentials is not None
        where = "localhost:0" if credentials is not None else "127.0.0.1:0"
        self.port = (
            self._server.add_insecure_port(where)
            if credentials is None
            else self._server.add_secure_port(where, credentials)
        )
        self._server.start()

    @property
    def endpoint(self) -> str:
        return f"https://localhost:{self.port}" if self._encrypted else f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._server.stop(None)

    def _serve(self, service: str, **methods: Any) -> None:
        handlers = {name: self._handler(name, *parts) for name, parts in methods.items()}
        self._server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, handlers)])

    def _fault(self, name: str) -> Fault | None:
        fault = self.faults.get(name)
        if fault is not None and fault.times > 0:
            fault.times -= 1
            return fault
        if self._random.random() < self.flaky:
            self.failed += 1
            return Fault(self._random.choice(_PASSING), after=self._random.random() < 0.5)
        return None

    def _handler(self, name: str, call: Callable[..., Any], request: Any, response: Any) -> grpc.RpcMethodHandler:
        def answer(message: Any, context: grpc.ServicerContext) -> Any:
            with self._guard:
                self.calls.append(name)
                fault = self._fault(name)
                if fault is not None and not fault.after and not fault.slow:
                    fault.abort(context)
                done = call(message, context)
            if fault is not None:
                time.sleep(fault.slow)
                if not fault.slow:
                    fault.abort(context)
            return done

        def write(message: Any) -> bytes:
            return response.serialize(message) if response is not None else message.SerializeToString()

        return grpc.unary_unary_rpc_method_handler(answer, request.deserialize, write)

    # Runs

    def _create(self, request: vertex.CreatePipelineJobRequest, context: grpc.ServicerContext) -> vertex.PipelineJob:
        job, run_id = request.pipeline_job, request.pipeline_job_id or f"generated-{uuid.uuid4().hex[:8]}"
        if not re.fullmatch(r"projects/[^/]+/locations/[a-z0-9-]+", request.parent):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"invalid parent {request.parent!r}")
        if not re.fullmatch(r"[a-z][-a-z0-9]{0,127}", run_id):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"invalid pipeline job id {run_id!r}")
        if run_id in self.jobs:
            context.abort(grpc.StatusCode.ALREADY_EXISTS, f"PipelineJob {run_id} already exists")
        if not job.runtime_config.gcs_output_directory.startswith("gs://"):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "gcs_output_directory is not a Cloud Storage path")
        for key, value in job.labels.items():
            if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", key) or not re.fullmatch(r"[a-z0-9_-]{0,63}", value):
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"invalid label {key}={value}")
        if len(job.display_name) > 128:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "display_name is longer than 128 characters")
        kept = vertex.PipelineJob.deserialize(vertex.PipelineJob.serialize(job))
        kept.name = f"{request.parent.replace('shop', NUMBER)}/pipelineJobs/{run_id}"
        kept.create_time = datetime.now(tz=UTC)
        self.jobs[run_id] = kept
        return self.shown(run_id)

    def _get(self, request: vertex.GetPipelineJobRequest, context: grpc.ServicerContext) -> vertex.PipelineJob:
        run_id = request.name.rpartition("/")[2]
        if run_id not in self.jobs:
            context.abort(grpc.StatusCode.NOT_FOUND, f"The PipelineJob {request.name} does not exist.")
        return self.shown(run_id)

    def _list(
        self, request: vertex.ListPipelineJobsRequest, context: grpc.ServicerContext
    ) -> vertex.ListPipelineJobsResponse:
        wanted = re.fullmatch(r'(display_name):"\*(.*)\*"|(update_time)>="([^"]+)"', request.filter)
        if (request.filter and wanted is None) or request.order_by not in {"", "create_time desc", "update_time"}:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"invalid filter {request.filter!r}")
        found = [self.shown(run_id) for run_id in reversed(self.jobs)]
        if wanted is not None and wanted[1]:
            found = [one for one in found if wanted[2] in one.display_name]
        if wanted is not None and wanted[3]:
            since = datetime.fromisoformat(wanted[4])
            found = sorted((one for one in found if one.update_time >= since), key=lambda one: one.update_time)
        for number, one in enumerate(found):
            del one.job_detail
            if paths := request.read_mask.paths:
                found[number] = vertex.PipelineJob({path: getattr(one, path) for path in paths})
        first = int(request.page_token or 0)
        last = first + (request.page_size or 50)
        token = str(last) if last < len(found) else ""
        return vertex.ListPipelineJobsResponse(pipeline_jobs=found[first:last], next_page_token=token)

    def _cancel(self, request: vertex.CancelPipelineJobRequest, context: grpc.ServicerContext) -> empty_pb2.Empty:
        job = self._get(vertex.GetPipelineJobRequest(name=request.name), context)
        if job.end_time:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"The PipelineJob {request.name} has ended.")
        self._cancelled.setdefault(request.name.rpartition("/")[2], time.time())
        return empty_pb2.Empty()

    def _delete(self, request: vertex.DeletePipelineJobRequest, context: grpc.ServicerContext) -> Any:
        self._get(vertex.GetPipelineJobRequest(name=request.name), context)
        del self.jobs[request.name.rpartition("/")[2]]
        return operations_pb2.Operation(name=f"{request.name}/operations/1", done=True)

    def shown(self, run_id: str) -> vertex.PipelineJob:
        job = vertex.PipelineJob.deserialize(vertex.PipelineJob.serialize(self.jobs[run_id]))
        plan = self.plans.get(job.display_name, self.plan)
        began = job.create_time.timestamp()
        cancelled = self._cancelled.get(run_id)
        end = min(began + plan.lasts, cancelled or float("inf"))
        job.update_time = job.create_time
        if cancelled is None and time.time() < began + min(plan.lasts / 4, plan.waits):
            job.state = _Pipeline.PIPELINE_STATE_PENDING
            return job
        over = time.time() >= end
        job.start_time = job.create_time
        job.update_time = datetime.fromtimestamp(began + min(plan.lasts / 4, plan.waits), tz=UTC)
        if over:
            job.end_time = job.update_time = datetime.fromtimestamp(end, tz=UTC)
        spec = MessageToDict(vertex.PipelineJob.pb(job).pipeline_spec)
        arguments = MessageToDict(vertex.PipelineJob.pb(job).runtime_config).get("parameterValues", {})
        details = list(Engine(spec, plan, job, over=over, cancelled=cancelled is not None).details(arguments))
        job.job_detail.task_details = details
        failed = [one.task_name for one in details if one.state == _State.FAILED]
        words = {
            (False, False): _Pipeline.PIPELINE_STATE_RUNNING,
            (False, True): _Pipeline.PIPELINE_STATE_CANCELLING,
            (True, True): _Pipeline.PIPELINE_STATE_CANCELLED,
            (True, False): _Pipeline.PIPELINE_STATE_FAILED if failed else _Pipeline.PIPELINE_STATE_SUCCEEDED,
        }
        job.state = words[over, cancelled is not None]
        if job.state == _Pipeline.PIPELINE_STATE_FAILED:
            job.error = {"code": 9, "message": f"The DAG failed because some tasks failed. Failed: {failed}.\nmore"}
        if self.word is not None:
            vertex.PipelineJob.pb(job).state = self.word
        return job

    # Schedules

    def _create_schedule(self, request: Any, context: grpc.ServicerContext) -> vertex.Schedule:
        schedule = request.schedule
        inner = schedule.create_pipeline_job_request
        if inner.parent != request.parent or not schedule.max_concurrent_run_count:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "a schedule needs a parent and max_concurrent_run_count")
        if not re.fullmatch(r"((CRON_)?TZ=\S+ )?(\S+ ){4}\S+", schedule.cron):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"invalid cron {schedule.cron!r}")
        kept = vertex.Schedule.deserialize(vertex.Schedule.serialize(schedule))
        kept.name = f"{request.parent}/schedules/{len(self.schedules) + 1}"
        kept.state = vertex.Schedule.State.ACTIVE
        self.schedules[kept.name] = kept
        return kept

    def _get_schedule(self, request: Any, context: grpc.ServicerContext) -> vertex.Schedule:
        if request.name not in self.schedules:
            context.abort(grpc.StatusCode.NOT_FOUND, f"The Schedule {request.name} does not exist.")
        return self.schedules[request.name]

    def _list_schedules(self, request: Any, context: grpc.ServicerContext) -> Any:
        return vertex.types.schedule_service.ListSchedulesResponse(schedules=list(self.schedules.values()))

    def _pause(self, request: Any, context: grpc.ServicerContext) -> empty_pb2.Empty:
        self._get_schedule(request, context).state = vertex.Schedule.State.PAUSED
        return empty_pb2.Empty()

    def _resume(self, request: Any, context: grpc.ServicerContext) -> empty_pb2.Empty:
        schedule = self._get_schedule(request, context)
        schedule.state, schedule.catch_up = vertex.Schedule.State.ACTIVE, request.catch_up
        return empty_pb2.Empty()

    def _delete_schedule(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._get_schedule(request, context)
        del self.schedules[request.name]
        return operations_pb2.Operation(name=f"{request.name}/operations/1", done=True)

    # Logs

    def job_of(self, run_id: str, task: str) -> str:
        """The id of the custom job that does a task's work."""
        (found,) = [one for one in self.shown(run_id).job_detail.task_details if one.task_name == task]
        return found.executor_detail.container_detail.main_job.rpartition("/")[2]

    def print(self, job: str, text: str, *, ago: float = 0.0, payload: dict[str, Any] | None = None) -> None:
        """Has a custom job print a line."""
        raw: dict[str, Any] = {
            "insertId": uuid.uuid4().hex,
            "logName": "projects/shop/logs/workerpool0-0",
            "resource": {"type": "ml_job", "labels": {"job_id": job, "project_id": "shop"}},
            "timestamp": datetime.fromtimestamp(time.time() - ago, tz=UTC).isoformat().replace("+00:00", "Z"),
        }
        raw |= {"jsonPayload": payload} if payload is not None else {"textPayload": text}
        entry = LogEntry()
        ParseDict(raw, LogEntry.pb(entry))
        with self._guard:
            self.entries.append(entry)

    def _entries(self, request: ListLogEntriesRequest, context: grpc.ServicerContext) -> ListLogEntriesResponse:
        self.filters.append(request.filter)
        form = r'resource\.type="ml_job"(?: AND resource\.labels\.job_id=\((?P<jobs>[^)]+)\))?'
        match = re.fullmatch(form + r'(?: AND timestamp>="(?P<since>[^"]+)")?', request.filter)
        if match is None or request.resource_names not in (["projects/shop"], [f"projects/{NUMBER}"]):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"invalid filter {request.filter!r}")
            raise AssertionError
        jobs = re.findall(r'"(\w+)"', match["jobs"] or "")
        day_ago = datetime.now(tz=UTC).timestamp() - 86_400  # what Google takes when nothing is said
        since = datetime.fromisoformat(match["since"]).timestamp() if match["since"] else day_ago
        found = [
            one
            for one in sorted(self.entries, key=lambda one: one.timestamp)
            if dict(one.resource.labels)["job_id"] in jobs and one.timestamp.timestamp() >= since
        ]
        first = int(request.page_token or 0)
        last = first + min(request.page_size, 3)  # small pages, so that reading on is tried
        token = str(last) if last < len(found) else ""
        return ListLogEntriesResponse(entries=found[first:last], next_page_token=token)


class Engine:
    """What the tasks of a run look like."""

    def __init__(self, spec: dict, plan: Plan, job: vertex.PipelineJob, *, over: bool, cancelled: bool) -> None:
        self._spec = spec
        self._plan = plan
        self._job = job
        self._over = over
        self._cancelled = cancelled
        self._next = 100

    def details(self, arguments: dict[str, Any]) -> Iterator[vertex.PipelineTaskDetail]:
        root = self._spec["root"]
        declared = root.get("inputDefinitions", {}).get("parameters", {})
        defaults = {name: one["defaultValue"] for name, one in declared.items() if "defaultValue" in one}
        arguments = {**defaults, **arguments}
        top = self._detail("the-whole-run", 0, {}) if self._plan.rooted else None
        if top is not None:
            yield top
        yield from self._dag(root, top.task_id if top is not None else 0, arguments, "")

    def _dag(
        self, component: dict, parent: int, values: dict[str, Any], prefix: str
    ) -> Iterator[vertex.PipelineTaskDetail]:
        lost: set[str] = set()
        tasks = component["dag"]["tasks"]
        for key in TopologicalSorter({key: needs(spec) for key, spec in tasks.items()}).static_order():
            spec = tasks[key]
            inner = self._spec["components"][spec["componentRef"]["name"]]
            is_exit = spec.get("triggerPolicy", {}).get("strategy") == "ALL_UPSTREAM_TASKS_COMPLETED"
            if lost & set(needs(spec)) and not is_exit:
                lost.add(key)
                continue
            inputs = _inputs(spec, values)
            one = self._detail(key, parent, inputs)
            if key in self._plan.unmet:
                one.state = _State.NOT_TRIGGERED
                yield one
                continue
            if "dag" not in inner:
                self._work(one, key, prefix + key)
                lost |= {key} if one.state == _State.FAILED else set()
                yield one
                continue
            yield one
            if "parameterIterator" in spec:
                yield from self._loop(key, spec, inner, one.task_id, inputs, prefix)
            else:
                yield from self._dag(inner, one.task_id, inputs, f"{prefix}{key}/")

    def _loop(
        self, key: str, spec: dict, inner: dict, parent: int, values: dict[str, Any], prefix: str
    ) -> Iterator[vertex.PipelineTaskDetail]:
        raw = spec["parameterIterator"]["items"].get("raw")
        items = json.loads(raw) if raw else values.get(spec["parameterIterator"]["items"]["inputParameter"], [])
        for number, item in enumerate(items):
            inside = {**values, spec["parameterIterator"]["itemInput"]: item}
            below = parent
            if not self._plan.flat:
                one = self._detail(f"{key}-iteration-{number}", parent, inside)
                below = one.task_id
                yield one
            yield from self._dag(inner, below, inside, f"{prefix}{key}/{number}/")

    def _detail(self, name: str, parent: int, inputs: dict[str, Any]) -> vertex.PipelineTaskDetail:
        self._next += 1
        detail = vertex.PipelineTaskDetail(task_id=self._next, parent_task_id=parent, task_name=name)
        detail.create_time = detail.start_time = self._job.create_time
        detail.state = _State.RUNNING
        if self._over:
            detail.state = _State.CANCELLED if self._cancelled else _State.SUCCEEDED
            detail.end_time = self._job.end_time
        ParseDict({f"input:{key}": value for key, value in inputs.items()}, _metadata(detail))
        return detail

    def _work(self, one: vertex.PipelineTaskDetail, key: str, task_id: str) -> None:
        container = one.executor_detail.container_detail
        container.main_job = f"projects/{NUMBER}/locations/r/customJobs/{one.task_id}"
        if not self._over or self._cancelled:
            return
        if key in self._plan.fails:
            one.state = _State.FAILED
            one.error = {"code": 9, "message": self._plan.fails[key]}
            container.failed_main_jobs = [f"projects/{NUMBER}/locations/r/customJobs/{one.task_id}0"]
            return
        if key in self._plan.reused:
            one.state = _State.SKIPPED
            del one.executor_detail
        if task_id in self._plan.results:
            self._give(one, self._plan.results[task_id])
            return
        metadata = _metadata(one)
        metadata.update({f"output:{name}": value for name, value in self._plan.values.get(key, {}).items()})
        for name, uri in self._plan.artifacts.get(key, {}).items():
            artifact = vertex.Artifact(name=f"a/{name}", uri=uri, schema_title="system.Dataset")
            ParseDict({"rows": 7}, vertex.Artifact.pb(artifact).metadata)
            one.outputs[name] = vertex.PipelineTaskDetail.ArtifactList(artifacts=[artifact])

    @staticmethod
    def _give(one: vertex.PipelineTaskDetail, task: Task) -> None:
        metadata = _metadata(one)
        metadata.update({f"input:{name}": value for name, value in task.inputs.items()})
        metadata.update({f"output:{name}": value for name, value in task.outputs.items()})
        for made in task.artifacts:
            artifact = vertex.Artifact(name=f"a/{made.name}", uri=made.uri, schema_title=made.type)
            ParseDict(dict(made.metadata), vertex.Artifact.pb(artifact).metadata)
            side = one.inputs if made.io == "input" else one.outputs
            known = list(side[made.name].artifacts) if made.name in side else []
            side[made.name] = vertex.PipelineTaskDetail.ArtifactList(artifacts=[*known, artifact])


def _metadata(detail: vertex.PipelineTaskDetail) -> Any:
    return vertex.PipelineTaskDetail.pb(detail).execution.metadata


def _inputs(spec: dict, values: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for name, given in spec.get("inputs", {}).get("parameters", {}).items():
        if "runtimeValue" in given:
            found[name] = given["runtimeValue"]["constant"]
        elif given.get("componentInputParameter") in values:
            found[name] = values[given["componentInputParameter"]]
    return found
