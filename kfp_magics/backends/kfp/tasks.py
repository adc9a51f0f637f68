"""The server's task details to our tasks: nested, without drivers, with iterations."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from kfp_magics import ir as irs
from kfp_magics.backends.kfp.nodes import DRIVER, EXECUTOR, Node, Nodes
from kfp_magics.backends.kfp.states import state
from kfp_magics.backends.shown import group_inputs, item_of
from kfp_magics.model import Artifact, Failure, State, Task

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kfp_magics.ir import IR
    from kfp_magics.model import Json

_ITERATION = "iteration-iterations"
_ITEM = "iteration-item"
_MOST_ITERATIONS = 10_000


def seconds(text: Json) -> float | None:
    """A time of the server's as seconds since the epoch; None for none, and for the year 1970 that stands for none."""
    if not isinstance(text, str):
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    moment = (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    return moment if moment > 0 else None


def failure(error: Json) -> Failure | None:
    """What went wrong, as the server says it."""
    if not isinstance(error, dict) or not (error.get("message") or error.get("code")):
        return None
    lines = str(error.get("message") or f"code {error['code']}").strip().splitlines()
    rest = "\n".join(lines[1:])[:20_000]
    return Failure(message=lines[0] if lines else "no reason given", traceback=rest)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Place:
    """Where in the pipeline, and in the workflow, one is."""

    prefix: str  # of our ids
    path: str  # in the workflow
    parent: Node | None
    values: Mapping[str, Json]
    over: State | None  # how the group ended


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """What a run's task details say.

    Attributes:
        tasks: Groups before their members.
        pods: Step → the names that the pod of its code may have.
    """

    tasks: tuple[Task, ...]
    pods: Mapping[str, list[str]]


class Reader:
    """Reads the task details of one run.

    Args:
        ir: The compiled pipeline.
        nodes: The details.
        ended: How the run ended; None while it goes on.
    """

    def __init__(self, ir: IR, nodes: Nodes, ended: State | None) -> None:
        self._ir = ir
        self._nodes = nodes
        self._ended = ended
        self._often = Counter(
            key
            for component in (ir.spec["root"], *ir.spec["components"].values())
            for key in component.get("dag", {}).get("tasks", {})
        )
        self._pods: dict[str, list[str]] = {}

    def read(self, parameters: Mapping[str, Json]) -> Told:
        """Gives the tasks.

        Args:
            parameters: What the run was given, defaults included.
        """
        root = self._ir.spec["root"]
        path = self._nodes.path("root")
        node = self._nodes.find("root", path, None, self._after_dag(root, path), alone=True)
        place = _Place(prefix="", path=path, parent=node, values=parameters, over=self._ended)
        return Told(tasks=tuple(self._dag(root, place, looped=False)), pods=self._pods)

    def _after_dag(self, component: Mapping[str, Json], path: str) -> list[str]:
        keys = component["dag"].get("tasks", {})
        return [f"{path}.{key}{ending}" for key in keys for ending in (DRIVER, "")]

    def _dag(self, component: Mapping[str, Json], place: _Place, *, looped: bool) -> Iterator[Task]:
        tasks = component["dag"].get("tasks", {})
        for key in irs.in_order(tasks):
            spec = tasks[key]
            inner = self._ir.component(spec)
            task = irs.static_task(self._ir, key, spec, place.prefix)
            path = f"{place.path}.{_hook(spec)}{key}"
            inputs = _inputs(spec, inner, place.values)
            if task.kind == "loop":
                yield from self._loop(task, spec, inner, replace(place, path=path, values=inputs))
                continue
            following = (
                self._after_dag(inner, path) if "dag" in inner else [f"{path}.{EXECUTOR}", f"{path}.{EXECUTOR}(0)"]
            )
            node = self._nodes.find(key, path, place.parent, following, alone=not looped and self._often[key] == 1)
            driver = self._nodes.find(
                f"{key}{DRIVER}", f"{path}{DRIVER}", place.parent, [path], alone=self._often[key] == 1
            )
            task = self._told(task, node, driver, place.over)
            if task.state is not State.SKIPPED:
                task = replace(task, inputs=group_inputs(inputs) if "dag" in inner else inputs)
            if "dag" in inner:
                yield task
                below = replace(
                    place, prefix=f"{task.id}/", path=path, parent=node, values=inputs, over=_over(task, place)
                )
                yield from self._dag(inner, below, looped=looped)
                continue
            self._pods[task.id] = self._nodes.pods(node, path)
            yield self._step(task, inner, node, path)

    def _told(self, task: Task, node: Node | None, driver: Node | None, over: State | None) -> Task:
        """Puts what the nodes of a task say to it."""
        if node is None:
            return self._before(task, driver, over)
        detail = node.detail
        found = state(detail.get("state"))
        if found is State.UNKNOWN and over is not None:  # Argo's 'Omitted' comes as no state at all
            return replace(task, state=_leftover(over), reason=f"the server gives it no state; its group {over}")
        if over is not None and not found.final:
            return replace(
                task,
                state=State.CANCELLED,
                started=seconds(detail.get("start_time")),
                reason="it was ended with the run",
            )
        error = failure(detail.get("error")) or _last_error(detail)
        return replace(
            task,
            state=found,
            started=None if found in {State.SKIPPED, State.PENDING} else seconds(detail.get("start_time")),
            finished=seconds(detail.get("end_time")) if found.final and found is not State.SKIPPED else None,
            attempt=1 if seconds(detail.get("start_time")) and _works(task) else 0,
            error=error if found is State.FAILED else None,
        )

    def _before(self, task: Task, driver: Node | None, over: State | None) -> Task:
        """A task that has no node yet; its driver may say more."""
        if not len(self._nodes) and over is not None:
            return replace(task, state=State.UNKNOWN, reason="the server tells nothing of its tasks")
        if driver is not None:
            found = state(driver.detail.get("state"))
            if found is State.FAILED:
                error = failure(driver.detail.get("error")) or Failure(
                    message="it could not be prepared (driver failed)"
                )
                times = {
                    "started": seconds(driver.detail.get("start_time")),
                    "finished": seconds(driver.detail.get("end_time")),
                }
                return replace(task, state=State.FAILED, error=error, attempt=1, **times)  # type: ignore[arg-type]
            if over is None and found in {State.RUNNING, State.SUCCEEDED}:
                return replace(task, reason="is being prepared")
        return task if over is None else replace(task, state=_leftover(over), reason="it never started")

    def _step(self, task: Task, component: Mapping[str, Json], node: Node | None, path: str) -> Task:
        artifacts = tuple(_artifacts(component, node)) if task.state is State.SUCCEEDED else ()
        executors = self._nodes.executors(node, path) if node is not None else []
        cached = (
            task.state is State.SUCCEEDED
            and bool(executors)
            and all(state(one.detail.get("state")) is State.SKIPPED for one in executors)
        )
        failed = [one for one in executors if state(one.detail.get("state")) is State.FAILED]
        error = task.error
        if task.state is State.FAILED and error is None:
            error = next((found for one in failed if (found := failure(one.detail.get("error")))), None)
            error = error or Failure(message="the step failed; its log says why")
        repeated = len([one for one in executors if one.name != EXECUTOR])
        attempt = max(task.attempt, repeated, self._nodes.attempts(path)) if task.attempt and not cached else 0
        reason = "the server reused an earlier result" if cached else task.reason
        return replace(task, artifacts=artifacts, cached=cached, error=error, attempt=attempt, reason=reason)

    def _loop(self, task: Task, spec: Mapping[str, Json], inner: Mapping[str, Json], place: _Place) -> Iterator[Task]:
        path, key = place.path, task.name
        driver_path = f"{path}.iteration{DRIVER}"
        node = self._nodes.find(key, path, place.parent, [driver_path], alone=self._often[key] == 1)
        task = self._told(replace(task, inputs=group_inputs(place.values)), node, None, place.over)
        yield task
        over = _over(task, place)
        for number in self._numbers(spec, path, place.values, node):
            name = f"{_ITERATION}({number}:{number})"
            inside = f"{path}.{name}"
            item_path = f"{inside}.{_ITEM}"
            outer = self._nodes.find(name, inside, node, [f"{item_path}{DRIVER}"], alone=False)
            found = self._nodes.find(_ITEM, item_path, outer, self._after(inner, item_path), alone=False)
            one = Task(id=f"{task.id}/{number}", name=str(number), kind="iteration", parent=task.id)
            values = dict(place.values) | _item(spec, place.values, number)
            one = self._told(replace(one, inputs=item_of(spec, values)), outer or found, None, over)
            yield one
            below = replace(
                place, prefix=f"{one.id}/", path=item_path, parent=found, values=values, over=_over(one, place)
            )
            if "dag" in inner:
                yield from self._dag(inner, below, looped=True)

    def _after(self, inner: Mapping[str, Json], path: str) -> list[str]:
        return self._after_dag(inner, path) if "dag" in inner else [f"{path}.{EXECUTOR}", f"{path}.{EXECUTOR}(0)"]

    def _numbers(self, spec: Mapping[str, Json], path: str, values: Mapping[str, Json], loop: Node | None) -> range:
        items = _items(spec, values)
        if items is not None:
            return range(len(items))
        found = self._nodes.below(loop, f"{_ITERATION}(")
        while found < _MOST_ITERATIONS and self._nodes.exists(f"{path}.{_ITERATION}({found}:{found})"):
            found += 1
        return range(found)


def _works(task: Task) -> bool:
    """Whether a task is begun and may be begun again, not only the tasks in it."""
    return task.has_log or task.kind == "importer"


def _hook(spec: Mapping[str, Json]) -> str:
    """Where in the workflow an exit task is: in a hook of the group that it waits for."""
    is_exit = spec.get("triggerPolicy", {}).get("strategy") == "ALL_UPSTREAM_TASKS_COMPLETED"
    return f"{spec['dependentTasks'][0]}.onExit." if is_exit and spec.get("dependentTasks") else ""


def _over(task: Task, place: _Place) -> State | None:
    return task.state if task.state.final else place.over


def _leftover(over: State) -> State:
    return State.CANCELLED if over is State.CANCELLED else State.SKIPPED


def _last_error(detail: Mapping[str, Json]) -> Failure | None:
    history = detail.get("state_history") or ()
    return next((found for one in reversed(history) if (found := failure(one.get("error")))), None)


def _inputs(spec: Mapping[str, Json], component: Mapping[str, Json], values: Mapping[str, Json]) -> dict[str, Json]:
    """The parameters of a task, as far as the pipeline and the run's arguments tell them; the server does not."""
    found: dict[str, Json] = {}
    for name, definition in component.get("inputDefinitions", {}).get("parameters", {}).items():
        given = spec.get("inputs", {}).get("parameters", {}).get(name)
        if given is None:
            if "defaultValue" in definition:
                found[name] = definition["defaultValue"]
        elif "runtimeValue" in given and "constant" in given["runtimeValue"]:
            found[name] = given["runtimeValue"]["constant"]
        elif given.get("componentInputParameter") in values and "parameterExpressionSelector" not in given:
            found[name] = values[given["componentInputParameter"]]
    return {name: value for name, value in found.items() if not _has_placeholder(value)}


def _has_placeholder(value: Json) -> bool:
    return isinstance(value, str) and "{{$" in value


def _items(spec: Mapping[str, Json], values: Mapping[str, Json]) -> list[Json] | None:
    """What a loop goes over, where the pipeline or the run's arguments say it."""
    items = spec.get("parameterIterator", {}).get("items", {})
    if "raw" in items:
        return list(json.loads(items["raw"]))
    given = values.get(items.get("inputParameter", ""))
    return given if isinstance(given, list) else None


def _item(spec: Mapping[str, Json], values: Mapping[str, Json], number: int) -> dict[str, Json]:
    items = _items(spec, values)
    name = spec.get("parameterIterator", {}).get("itemInput", "")
    return {name: items[number]} if items is not None and name else {}


def _artifacts(component: Mapping[str, Json], node: Node | None) -> Iterator[Artifact]:
    """The artifacts that a step has by its definition; the server tells their ids at best."""
    for io, key in (("input", "inputDefinitions"), ("output", "outputDefinitions")):
        told = (node.detail.get(f"{io}s") if node is not None else None) or {}
        for name, definition in component.get(key, {}).get("artifacts", {}).items():
            ids = (told.get(name) or {}).get("artifact_ids") or ()
            kind = definition.get("artifactType", {}).get("schemaTitle", "system.Artifact")
            metadata = {"artifact_ids": list(ids)} if ids else {}
            yield Artifact(name=name, io="input" if io == "input" else "output", type=kind, uri="", metadata=metadata)
