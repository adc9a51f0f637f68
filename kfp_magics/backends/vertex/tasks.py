"""Vertex AI's task details to our tasks: nested, with iterations, values, artifacts and errors."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import dataclass, replace
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING

from google.cloud import aiplatform_v1 as vertex
from google.protobuf.json_format import MessageToDict

from kfp_magics import ir as irs
from kfp_magics.backends.shown import group_inputs, item_of
from kfp_magics.backends.vertex.states import is_reused, task_state
from kfp_magics.model import Artifact, Failure, State, Task

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from kfp_magics.ir import IR
    from kfp_magics.model import Json

_NUMBER = re.compile(r"(\d+)$")
_LONGEST = 20_000  # characters of an error that are kept


def seconds(moment: datetime | None) -> float | None:
    """A time of Vertex AI's as seconds since the epoch."""
    return moment.timestamp() if moment else None


def failure(status: vertex.PipelineJob.error) -> Failure | None:
    """What went wrong, as Vertex AI says it."""
    if not status.code and not status.message:
        return None
    lines = (status.message or f"code {status.code}").strip().splitlines()
    return Failure(message=lines[0] if lines else "no reason given", traceback="\n".join(lines[1:])[:_LONGEST])


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """What a run's task details say.

    Attributes:
        tasks: Groups before their members.
        jobs: Step → the ids of the custom jobs that did its work, one for each attempt.
        outputs: The pipeline's own output parameters.
    """

    tasks: tuple[Task, ...]
    jobs: Mapping[str, tuple[str, ...]]
    outputs: Mapping[str, Json]


class Reader:
    """Reads the task details of one run.

    Args:
        ir: The compiled pipeline.
        details: The details.
        ended: How the run ended; None while it goes on.
    """

    def __init__(self, ir: IR, details: Sequence[vertex.PipelineTaskDetail], ended: State | None) -> None:
        self._ir = ir
        self._ended = ended
        self._static = irs.static_tasks(ir)
        self._inside: dict[int, list[vertex.PipelineTaskDetail]] = defaultdict(list)
        known = {one.task_id for one in details}
        for one in sorted(details, key=lambda one: one.task_id):
            parent = one.parent_task_id
            self._inside[parent if parent in known and parent != one.task_id else 0].append(one)
        self._jobs: dict[str, tuple[str, ...]] = {}

    def read(self) -> Told:
        """Gives the tasks."""
        root = self._ir.spec["root"]
        top = self._inside[0]
        whole = top[0] if len(top) == 1 and top[0].task_name not in root["dag"].get("tasks", {}) else None
        members = self._inside[whole.task_id] if whole is not None else top
        outputs = _values(whole, "output", root.get("outputDefinitions", {})) if whole is not None else {}
        return Told(tasks=tuple(self._dag(root, members, "", self._ended)), jobs=self._jobs, outputs=outputs)

    def _dag(
        self,
        component: Mapping[str, Json],
        members: Sequence[vertex.PipelineTaskDetail],
        prefix: str,
        over: State | None,
    ) -> Iterator[Task]:
        tasks = component["dag"].get("tasks", {})
        by_name = {one.task_name: one for one in members}
        for key in TopologicalSorter({key: irs.needs(spec) for key, spec in tasks.items()}).static_order():
            spec = tasks[key]
            inner = self._ir.component(spec)
            detail = by_name.get(key)
            task = self._told(irs.static_task(self._ir, key, spec, prefix), inner, detail, over)
            yield task
            below = task.state if task.state.final else over
            if detail is None or not (found := self._below(task, members, detail)):
                yield from self._not_begun(task, below)
            elif task.kind == "loop":
                yield from self._loop(task, spec, inner, found, below)
            elif "dag" in inner:
                yield from self._dag(inner, found, f"{task.id}/", below)

    def _below(
        self, task: Task, members: Sequence[vertex.PipelineTaskDetail], detail: vertex.PipelineTaskDetail
    ) -> list[vertex.PipelineTaskDetail]:
        same = [one for one in members if one.task_name == detail.task_name]
        return same if task.kind == "loop" and len(same) > 1 else self._inside[detail.task_id]

    def _not_begun(self, task: Task, over: State | None) -> Iterator[Task]:
        for one in self._static:
            if one.id.startswith(f"{task.id}/"):
                yield _left(one, over)

    def _loop(
        self,
        task: Task,
        spec: Mapping[str, Json],
        inner: Mapping[str, Json],
        found: Sequence[vertex.PipelineTaskDetail],
        over: State | None,
    ) -> Iterator[Task]:
        for number, (one, members) in _iterations(inner, found, self._inside).items():
            state = Task(id=f"{task.id}/{number}", name=str(number), kind="iteration", parent=task.id)
            if one is not None:
                state = self._told(state, {"inputDefinitions": inner.get("inputDefinitions", {})}, one, over)
                given = _values(one, "input", inner.get("inputDefinitions", {}))
                state = replace(state, inputs=item_of(spec, given))
            else:
                state = replace(state, **_summary(members))
            yield state
            if "dag" in inner:
                yield from self._dag(inner, members, f"{state.id}/", state.state if state.state.final else over)

    def _told(
        self,
        task: Task,
        component: Mapping[str, Json],
        detail: vertex.PipelineTaskDetail | None,
        over: State | None,
    ) -> Task:
        if detail is None:
            return _left(task, over)
        state = task_state(detail)
        reused = is_reused(detail)
        inputs = _values(detail, "input", component.get("inputDefinitions", {}))
        jobs = _jobs(detail)
        if jobs:
            self._jobs[task.id] = tuple(one.rpartition("/")[2] for one in jobs)
        if not state.final and over is not None:
            state = _leftover(over)
        return replace(
            task,
            state=state,
            started=seconds(detail.start_time),
            finished=seconds(detail.end_time) if state.final else None,
            attempt=max(len(jobs), 1 if detail.start_time and not reused and not _is_group(task) else 0),
            inputs=group_inputs(inputs) if "dag" in component else inputs,
            outputs=_values(detail, "output", component.get("outputDefinitions", {})),
            artifacts=tuple(_artifacts(detail, component)),
            error=failure(detail.error) if state in {State.FAILED, State.CANCELLED} else None,
            cached=reused,
            reason="Vertex AI reused an earlier result" if reused else _why(state),
        )


def _is_group(task: Task) -> bool:
    return not task.has_log and task.kind != "importer"


def _why(state: State) -> str:
    return "its condition was not met" if state is State.SKIPPED else ""


def _left(task: Task, over: State | None) -> Task:
    return task if over is None else replace(task, state=_leftover(over))


def _leftover(over: State) -> State:
    """How a task ended that never began, or of which no end was told, in a group that is over."""
    return State.CANCELLED if over is State.CANCELLED else State.SKIPPED


def _jobs(detail: vertex.PipelineTaskDetail) -> list[str]:
    """The custom jobs of a step, one for each attempt."""
    container, custom = detail.executor_detail.container_detail, detail.executor_detail.custom_job_detail
    found = [*container.failed_main_jobs, container.main_job, *custom.failed_jobs, custom.job]
    return list(dict.fromkeys(one for one in found if one))


def _iterations(
    inner: Mapping[str, Json],
    found: Sequence[vertex.PipelineTaskDetail],
    inside: Mapping[int, list[vertex.PipelineTaskDetail]],
) -> dict[int, tuple[vertex.PipelineTaskDetail | None, list[vertex.PipelineTaskDetail]]]:
    """Number → the iteration's own detail, where it has one, and those of its members.

    Vertex AI's documentation does not tell how it lists what a loop repeats, so both ways are read: a detail for each
    iteration with its members below, and the members of all iterations side by side.
    """
    keys = inner.get("dag", {}).get("tasks", {})
    if any(one.task_name not in keys for one in found):
        numbers = [int(match[1]) for one in found if (match := _NUMBER.search(one.task_name))]
        if len(set(numbers)) != len(found):
            numbers = list(range(len(found)))
        return {
            number: (one, inside[one.task_id]) for number, one in sorted(zip(numbers, found, strict=True), key=_first)
        }
    iterations: dict[int, tuple[vertex.PipelineTaskDetail | None, list[vertex.PipelineTaskDetail]]] = {}
    seen: dict[str, int] = defaultdict(int)
    for one in found:
        iterations.setdefault(seen[one.task_name], (None, []))[1].append(one)
        seen[one.task_name] += 1
    return iterations


def _first(pair: tuple[int, vertex.PipelineTaskDetail]) -> int:
    return pair[0]


def _summary(members: Sequence[vertex.PipelineTaskDetail]) -> dict[str, Json]:
    """State and times of an iteration that Vertex AI shows by its members only."""
    states = [task_state(one) for one in members]
    over = all(state.final for state in states)
    order = (State.RUNNING, State.PENDING, State.UNKNOWN) if not over else (State.FAILED, State.CANCELLED)
    state = next((one for one in order if one in states), State.SUCCEEDED)
    started = [moment for one in members if (moment := seconds(one.start_time))]
    finished = [moment for one in members if (moment := seconds(one.end_time))]
    return {
        "state": state,
        "started": min(started, default=None),
        "finished": max(finished, default=None) if over else None,
    }


def _values(detail: vertex.PipelineTaskDetail, io: str, definitions: Mapping[str, Json]) -> dict[str, Json]:
    """Parameters of a task, which Vertex AI keeps in the metadata of its execution as ``input:NAME``."""
    types = {name: one.get("parameterType", "") for name, one in definitions.get("parameters", {}).items()}
    metadata = MessageToDict(vertex.Execution.pb(detail.execution)).get("metadata", {})
    return {
        name: plain(value, types.get(name, ""))
        for key, value in metadata.items()
        if key.startswith(f"{io}:") and (name := key.partition(":")[2])
    }


def plain(value: Json, kind: str) -> Json:
    """A value as it was meant: whole numbers stay whole, lists and dicts that were sent as text are read."""
    if isinstance(value, float) and value.is_integer() and kind == "NUMBER_INTEGER":
        return int(value)
    if isinstance(value, str) and kind in {"LIST", "STRUCT", "NUMBER_INTEGER", "NUMBER_DOUBLE", "BOOLEAN"}:
        try:
            return json.loads(value)
        except ValueError:
            return value
    if isinstance(value, list):
        return [_whole(one) for one in value]
    if isinstance(value, dict):
        return {key: _whole(one) for key, one in value.items()}
    return value


def _whole(value: Json) -> Json:
    """Inside lists and dicts nobody says which numbers are whole; Google's messages know only one kind."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return plain(value, "")


def _artifacts(detail: vertex.PipelineTaskDetail, component: Mapping[str, Json]) -> Iterator[Artifact]:
    for io, ports in (("input", detail.inputs), ("output", detail.outputs)):
        declared = list(component.get(f"{io}Definitions", {}).get("artifacts", {}))
        order = {name: number for number, name in enumerate(declared)}
        for name, several in sorted(ports.items(), key=lambda one: (order.get(one[0], len(order)), one[0])):
            for one in several.artifacts:
                metadata = MessageToDict(vertex.Artifact.pb(one)).get("metadata", {})
                yield Artifact(
                    name=name,
                    io="input" if io == "input" else "output",
                    type=one.schema_title or "system.Artifact",
                    uri=one.uri,
                    metadata={key: plain(value, "") for key, value in metadata.items()},
                )
