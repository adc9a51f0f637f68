"""What steps took and gave, as a Kubeflow Pipelines server keeps it: not in its API, but in ML Metadata beside it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from kfp_magics import mlmd
from kfp_magics.backends.local.values import as_near, whole
from kfp_magics.backends.shown import group_inputs, item_of
from kfp_magics.errors import BackendError, LoginError, NotFoundError, UnavailableError
from kfp_magics.model import Artifact, State
from kfp_magics.outputs import run_outputs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from kfp_magics.ir import IR
    from kfp_magics.model import Json, Run, Task

_PAGE = 100
_KEPT = 1000  # runs whose records are kept in memory
_PATIENT = 3  # looks in a row that may fail, before a pause
_PAUSE = 60.0  # seconds of it
_AT_ONCE = 500  # ids in one question
_APART = 5.0  # seconds between two looks at runs that go on: they take several questions each
_SILENT = 600.0  # seconds for which a server that has no ML Metadata is not asked again
_SETTLING = 15.0  # seconds for which the values of a run that has ended are waited for
_OURS = frozenset({"display_name", "store_session_info"})  # what KFP itself writes beside a step's metadata
_HIDDEN_ARTIFACTS = frozenset({"executor-logs"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """What is kept of one task.

    Attributes:
        inputs: Parameter name → value, numbers as KFP sends them.
        outputs: The same.
        artifacts: What it read and wrote.
    """

    inputs: Mapping[str, Json] = field(default_factory=dict)
    outputs: Mapping[str, Json] = field(default_factory=dict)
    artifacts: tuple[Artifact, ...] = ()


class Metadata:
    """ML Metadata beside one server.

    Args:
        host: The server's address.
        post: Sends a message there and gives the answer, with login and patience.
    """

    def __init__(self, host: str, post: Callable[[str, dict[str, str], bytes], bytes]) -> None:
        parts = urlsplit(host)
        # Kubeflow has it beside the pipelines, not below them; behind other proxies everything is below one path.
        self._places = list(dict.fromkeys((f"{parts.scheme}://{parts.netloc}", host)))
        self._post = post

    def records(self, run_id: str, tasks: Sequence[Task]) -> dict[str, Record]:
        """Reads what is kept of a run.

        Args:
            run_id: The run.
            tasks: Its tasks as they are known.

        Returns:
            Task → what is kept of it.

        Raises:
            NotFoundError: Nothing is kept of this run, so far.
            BackendError: There is no ML Metadata, or it may not be read.
        """
        request = {"type_name": mlmd.RUN_CONTEXT, "context_name": run_id}
        answer = self._ask("GetContextByTypeAndName", **request)
        if not answer.HasField("context"):
            raise NotFoundError(f"Nothing is kept of run {run_id!r}.")
        executions = list(self._executions(answer.context.id))
        ids = [one.id for one in executions]
        events = [event for some in _parts(ids) for event in self._events(some)]
        artifacts = self._artifacts(sorted({one.artifact_id for one in events}))
        return _by_task(executions, events, artifacts, tasks)

    def trouble(self) -> str:
        """Why nothing is told of what steps gave; empty when it is."""
        try:
            self._ask("GetContextByTypeAndName", type_name=mlmd.RUN_CONTEXT, context_name="none")
        except (BackendError, NotFoundError) as error:
            return error.message
        return ""

    def _executions(self, context_id: int) -> Iterator[Any]:
        token = ""
        while True:
            options = mlmd.message("Options", max_result_size=_PAGE, next_page_token=token)
            answer = self._ask("GetExecutionsByContext", context_id=context_id, options=options)
            yield from answer.executions
            token = answer.next_page_token
            if not token:
                return

    def _events(self, ids: Sequence[int]) -> list[Any]:
        return list(self._ask("GetEventsByExecutionIDs", execution_ids=ids).events)

    def _artifacts(self, ids: Sequence[int]) -> dict[int, Artifact]:
        found: dict[int, Artifact] = {}
        for some in _parts(ids):
            answer = self._ask("GetArtifactsByID", artifact_ids=some)
            types = {one.id: one.name for one in answer.artifact_types}
            for one in answer.artifacts:
                metadata = {key: whole(mlmd.plain(value)) for key, value in one.custom_properties.items()}
                found[one.id] = Artifact(
                    name="",
                    io="output",
                    type=one.type or types.get(one.type_id, "") or "system.Artifact",
                    uri=one.uri,
                    metadata={key: value for key, value in sorted(metadata.items()) if key not in _OURS},
                )
        return found

    def _ask(self, method: str, **fields: Json) -> Any:  # noqa: ANN401  (a message made as the program runs)
        body = mlmd.frame(mlmd.message(f"{method}Request", **fields).SerializeToString())
        headers = {"Content-Type": mlmd.CONTENT_TYPE, "Accept": mlmd.CONTENT_TYPE, "X-Grpc-Web": "1"}
        while True:
            try:
                data = self._post(f"{self._places[0]}{mlmd.PATH}{method}", headers, body)
                break
            except UnavailableError:
                raise
            except (BackendError, NotFoundError) as error:
                if len(self._places) == 1:
                    what = "there is no ML Metadata, or it may not be read"
                    raise BackendError(f"{self._places[0]} does not tell what steps gave: {what}.") from error
                del self._places[0]
        answer, end = mlmd.unframe(data)
        code = int(end.get("grpc-status") or 0)
        if code == mlmd.NOT_FOUND:
            raise NotFoundError(end.get("grpc-message", "Nothing is kept of that."))
        if code:
            raise BackendError(f"ML Metadata refuses ({code}): {end.get('grpc-message', 'no reason given')}")
        return mlmd.parse(f"{method}Response", answer)


def _parts(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    for first in range(0, len(ids), _AT_ONCE):
        yield ids[first : first + _AT_ONCE]


def _by_task(
    executions: Sequence[Any], events: Sequence[Any], artifacts: Mapping[int, Artifact], tasks: Sequence[Task]
) -> dict[str, Record]:
    """Task → what is kept of it; of several executions of one task the last."""
    moved: dict[int, list[Artifact]] = {}
    for event in sorted(events, key=lambda one: one.artifact_id):
        name = event.path.steps[0].key if event.path.steps else ""
        side = {mlmd.INPUT: "input", mlmd.OUTPUT: "output", mlmd.DECLARED_OUTPUT: "output"}.get(event.type)
        known = artifacts.get(event.artifact_id)
        if name and name not in _HIDDEN_ARTIFACTS and known is not None and side is not None:
            io = "input" if side == "input" else "output"
            moved.setdefault(event.execution_id, []).append(replace(known, name=name, io=io))  # type: ignore[arg-type]
    ids = _Ids(executions, tasks)
    found: dict[str, Record] = {}
    for one in sorted(executions, key=lambda one: one.id):
        task_id = ids.of(one.id)
        if task_id is None:
            continue
        words = one.custom_properties
        # Looking a key up would make it.
        found[task_id] = Record(
            inputs=mlmd.fields(words["inputs"]) if "inputs" in words else {},
            outputs=mlmd.fields(words["outputs"]) if "outputs" in words else {},
            artifacts=tuple(moved.get(one.id, ())),
        )
    return found


class _Ids:
    """Which execution is which task: each names its parent, and its number in a loop."""

    def __init__(self, executions: Sequence[Any], tasks: Sequence[Task]) -> None:
        self._executions = {one.id: one.custom_properties for one in executions}
        self._by_id = {task.id for task in tasks}
        self._by_name = {(task.parent, task.name): task.id for task in tasks}
        self._found: dict[int, str | None] = {}

    def of(self, number: int) -> str | None:
        """The id of a task; empty for the whole pipeline, None when there is no such task."""
        if number not in self._found:
            self._found[number] = None  # whoever names itself as its parent has none
            self._found[number] = self._look(number)
        return self._found[number]

    def _look(self, number: int) -> str | None:
        words = self._executions.get(number)
        if words is None:
            return None
        if "parent_dag_id" not in words:
            return ""
        parent_number = words["parent_dag_id"].int_value
        parent = self.of(parent_number)
        if parent is None:
            return None
        prefix = f"{parent}/" if parent else ""
        if "iteration_index" in words and "iteration_count" in self._executions[parent_number]:
            task_id = f"{prefix}{words['iteration_index'].int_value}"
            return task_id if task_id in self._by_id else None
        name = words["task_name"].string_value if "task_name" in words else ""
        if f"{prefix}{name}" in self._by_id:
            return f"{prefix}{name}"
        return self._by_name.get((parent, name))


def with_records(run: Run, ir: IR, records: Mapping[str, Record], before: Run) -> Run:
    """Puts what is kept of its tasks to a run.

    Args:
        run: As its API tells it.
        ir: Its compiled pipeline.
        records: What is kept; of tasks that have none, what was known before stays.
        before: The run as it was known.
    """
    known = {task.id: task for task in before.tasks}
    every = {
        task.id: _told(task, ir, records[task.id])
        if task.id in records and task.state is not State.SKIPPED
        else _kept(task, known.get(task.id))
        for task in run.tasks
    }
    outputs = run_outputs(ir, every) if run.state is State.SUCCEEDED else {}
    return replace(run, tasks=tuple(every.values()), outputs=outputs or run.outputs)


def _kept(task: Task, known: Task | None) -> Task:
    if known is None or not task.state.final or (known.attempt, known.state) != (task.attempt, task.state):
        return task
    return replace(
        task,
        inputs={**task.inputs, **known.inputs},
        outputs=known.outputs,
        artifacts=known.artifacts or task.artifacts,
    )


def _told(task: Task, ir: IR, record: Record) -> Task:
    component = ir.spec["components"].get(f"comp-{task.component}", {})
    if task.kind == "iteration":
        return replace(task, inputs=_item(task, ir, record) or task.inputs)
    inputs = _typed(record.inputs, component.get("inputDefinitions", {}))
    outputs = _typed(record.outputs, component.get("outputDefinitions", {}))
    if not task.has_log and task.kind != "importer":
        return replace(task, inputs={**task.inputs, **group_inputs(inputs)})
    declared = {
        (io, name)
        for io, key in (("input", "inputDefinitions"), ("output", "outputDefinitions"))
        for name in component.get(key, {}).get("artifacts", {})
    }
    found = [one for one in record.artifacts if (one.io, one.name) in declared]
    told = {(one.io, one.name) for one in found}
    rest = [one for one in task.artifacts if (one.io, one.name) not in told]
    order = [*dict.fromkeys((one.io, one.name) for one in task.artifacts), *sorted(told)]
    artifacts = sorted((*found, *rest), key=lambda one: order.index((one.io, one.name)))
    return replace(task, inputs={**task.inputs, **inputs}, outputs=outputs, artifacts=tuple(artifacts))


def _item(task: Task, ir: IR, record: Record) -> dict[str, Json]:
    *path, _ = task.id.split("/")
    component: Mapping[str, Json] = ir.spec["root"]
    spec: Mapping[str, Json] = {}
    for key in path:
        if spec.get("parameterIterator") and key.isdecimal():
            continue
        spec = component["dag"]["tasks"].get(key, {})
        if not spec:
            return {}
        component = ir.component(spec)
    name, values = spec.get("parameterIterator", {}).get("itemInput", ""), record.inputs
    if name not in values and "item" in values:  # so the door to the local engine tells it
        values = {name: values["item"]}
    return item_of(spec, _typed(values, component.get("inputDefinitions", {})))


def _typed(values: Mapping[str, Json], definitions: Mapping[str, Json]) -> dict[str, Json]:
    types = {name: one.get("parameterType", "") for name, one in definitions.get("parameters", {}).items()}
    return {name: as_near(value, types.get(name, ""), name) for name, value in sorted(values.items())}


class Records:
    """What was last read of each run; a run that goes on is looked at now and then, one that has ended once.

    Args:
        metadata: Where it is kept.
    """

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata
        self._kept: dict[tuple[str, int], tuple[int, Mapping[str, Record]]] = {}  # by run and attempt
        self._waiting: dict[str, float] = {}
        self._next = 0.0
        self._failed = 0
        self._silent_until = 0.0
        self._guard = threading.Lock()

    def of(self, run: Run) -> Mapping[str, Record] | None:
        """Gives what is known of a run's tasks.

        Args:
            run: As its server just told it.

        Returns:
            Task → what is kept of it; None when it has ended and what is kept cannot be read at this moment.
        """
        ended = sum(task.state.final for task in run.tasks) + run.state.final
        with self._guard:
            before, known = self._kept.get((run.id, run.attempt), (0, {}))
            now = time.monotonic()
            if before >= ended or now < self._silent_until or (not run.state.final and now < self._next):
                return known
            self._next = now + _APART
        try:
            known = self._metadata.records(run.id, run.tasks)
            self._failed = 0
        except UnavailableError:
            self._failed += 1
            if self._failed >= _PATIENT:
                self._failed, self._silent_until = 0, now + _PAUSE
            since = self._waiting.setdefault(run.id, now)
            return None if run.state.final and now - since < _SETTLING else known
        except NotFoundError:
            pass  # nothing is kept of it: it ended before its first task
        except (LoginError, BackendError):
            self._silent_until = now + _SILENT
        self._waiting.pop(run.id, None)
        with self._guard:
            self._kept[run.id, run.attempt] = ended, known
            for old in list(self._kept)[:-_KEPT]:
                del self._kept[old]
        return known
