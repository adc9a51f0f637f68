"""Running a part of a pipeline again: earlier results take the places of the tasks that made them.

A task that is left out is replaced in the compiled pipeline itself: its parameters become constants, its artifacts are
imported from where they are. Every backend can run what comes out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from kfp_magics import ir as irs
from kfp_magics.errors import ArgumentError, did_you_mean
from kfp_magics.model import State
from kfp_magics.outputs import with_outputs

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from kfp_magics.ir import IR
    from kfp_magics.model import Artifact, Json, Run, Task

_Dumper: type[Any] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
ARTIFACT = "artifact"
"""The output of an importer."""
STANDING_IN = ("reused-", "given-")
"""How the tasks are called that import what tasks which are left out would make."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reused:
    """A pipeline in which earlier results stand for some tasks.

    Attributes:
        ir: The pipeline, compiled.
        tasks: The tasks that are left out.
        again: Task → why it runs although it was to be left out.
    """

    ir: str
    tasks: tuple[str, ...]
    again: Mapping[str, str]


def before(ir: IR, step: str) -> set[str]:
    """The tasks of the pipeline that neither are a step nor come after it.

    Args:
        ir: The compiled pipeline.
        step: A task, or a step in one of its groups, by name or id.

    Raises:
        ArgumentError: There is no such step.
    """
    return set(ir.spec["root"]["dag"]["tasks"]) - after(ir, {_task_of(ir, step)})


def after(ir: IR, start: Collection[str]) -> set[str]:
    """Some tasks of the pipeline, and all that come after them."""
    tasks = ir.spec["root"]["dag"]["tasks"]
    later = set(start)
    while more := {key for key, task in tasks.items() if key not in later and later & set(irs.needs(task))}:
        later |= more
    return later


def _task_of(ir: IR, step: str) -> str:
    tasks: Mapping[str, Json] = ir.spec["root"]["dag"]["tasks"]
    wanted = {step, irs.component_key(step)}
    if found := wanted & tasks.keys():
        return found.pop()
    static = irs.static_tasks(ir, templates=True)
    inside = [task.id.partition("/")[0] for task in static if wanted & {task.id, task.name, task.component}]
    if not inside:
        raise ArgumentError(f"The pipeline has no step {step!r}.", did_you_mean(step, {task.name for task in static}))
    return inside[0]


def unchanged(ir: IR, earlier: IR, arguments: Mapping[str, Json], before_arguments: Mapping[str, Json]) -> set[str]:
    """The tasks of a pipeline that are what they were in an earlier one, and get what they got.

    Args:
        ir: The compiled pipeline.
        earlier: The one of the earlier run.
        arguments: Pipeline parameter → value, defaults included.
        before_arguments: The same of the earlier run.
    """
    tasks, old = ir.spec["root"]["dag"]["tasks"], earlier.spec["root"]["dag"]["tasks"]
    same: set[str] = set()
    for key in irs.in_order(tasks):
        task = tasks[key]
        given = [one.get("componentInputParameter") for one in task.get("inputs", {}).get("parameters", {}).values()]
        if (
            key in old
            and _whole(ir, task) == _whole(earlier, old[key])
            and all(arguments.get(name) == before_arguments.get(name) for name in given if name)
            and same.issuperset(irs.needs(task))
        ):
            same.add(key)
    return same


def _whole(ir: IR, task: Mapping[str, Json]) -> Json:
    """A task with everything that is in it."""
    component = ir.component(task)
    inside = {key: _whole(ir, one) for key, one in component.get("dag", {}).get("tasks", {}).items()}
    plain = {key: value for key, value in component.items() if key not in {"dag", "executorLabel"}}
    named = {key: value for key, value in task.items() if key not in {"componentRef", "cachingOptions"}}
    return [named, plain, inside, ir.executor(component), ir.pod(component.get("executorLabel", ""))]


def with_results(ir: IR, run: Run, wanted: Collection[str], *, is_here: bool) -> Reused:
    """Puts the results of an earlier run in the places of tasks.

    Args:
        ir: The compiled pipeline.
        run: The earlier run.
        wanted: The tasks to be left out; those whose results are not known run all the same.
        is_here: Whether the pipeline runs where the earlier run did, or on this machine: where paths mean something.
    """
    spec = json.loads(json.dumps(ir.spec))
    tasks = spec["root"]["dag"]["tasks"]
    again: dict[str, str] = {}
    left_out: dict[str, Task] = {}
    known = {task.id: task for task in run.tasks}
    for key in irs.in_order(tasks):
        if key in wanted:
            earlier = with_outputs(ir, known[key], known) if key in known else None
            why = _why_not(ir, key, earlier, is_here=is_here)
            if why or earlier is None:
                again[key] = why
            else:
                left_out[key] = earlier
    importers = _Importers(spec)
    for key in left_out:
        del tasks[key]
    for task in list(tasks.values()):
        _replace(task, left_out, importers)
    tasks.update(importers.tasks)
    drop_outputs(spec["root"], set(left_out))
    drop_unused(spec)
    return Reused(ir=text_of(spec, ir.platform), tasks=tuple(left_out), again=again)


def text_of(spec: Mapping[str, Json], platform: Mapping[str, Json]) -> str:
    """Writes a compiled pipeline, the same bytes for the same content."""
    documents = [dict(spec), dict(platform)] if platform else [dict(spec)]
    text: str = yaml.dump_all(documents, Dumper=_Dumper, allow_unicode=True, sort_keys=True, width=1000)
    return text


def _why_not(ir: IR, key: str, earlier: Task | None, *, is_here: bool) -> str:
    """Why the result of a task cannot be used again, or nothing."""
    if why := _state(earlier):
        return why
    assert earlier is not None
    for kind, name in _consumed(ir, key):
        if why := lacking(earlier, kind, name):
            return why
        if kind == "artifact" and made(earlier, name)[0].uri.startswith("/") and not is_here:
            return f"its artifact {name!r} is on this machine"
    return ""


def lacking(earlier: Task | None, kind: str, name: str) -> str:
    """Why an earlier run cannot give an output, or nothing.

    Args:
        earlier: The task that made it there.
        kind: ``parameter`` or ``artifact``.
        name: The output.
    """
    if why := _state(earlier):
        return why
    assert earlier is not None
    if kind == "parameter":
        if name not in earlier.outputs:
            return f"the earlier run does not tell its output {name!r}"
        if isinstance(earlier.outputs[name], str) and "{{$" in earlier.outputs[name]:
            return f"its output {name!r} reads like one of KFP's placeholders"
    else:
        found = made(earlier, name)
        if len(found) != 1 or not found[0].uri:
            return f"the earlier run does not tell where its artifact {name!r} is"
    return ""


def _state(earlier: Task | None) -> str:
    if earlier is None or earlier.state is not State.SUCCEEDED:
        return f"it {'was not there' if earlier is None else earlier.state} in the earlier run"
    return ""


def made(task: Task, name: str) -> list[Artifact]:
    """The artifacts that a task wrote under a name."""
    return [one for one in task.artifacts if one.io == "output" and one.name == name]


def _consumed(ir: IR, key: str) -> Iterator[tuple[str, str]]:
    """What other tasks take of a task: parameters and artifacts by name."""
    for task in ir.spec["root"]["dag"]["tasks"].values():
        inputs = task.get("inputs", {})
        for one in inputs.get("parameters", {}).values():
            if one.get("taskOutputParameter", {}).get("producerTask") == key:
                yield "parameter", one["taskOutputParameter"]["outputParameterKey"]
        for one in inputs.get("artifacts", {}).values():
            if one.get("taskOutputArtifact", {}).get("producerTask") == key:
                yield "artifact", one["taskOutputArtifact"]["outputArtifactKey"]


class _Importers:
    """Tasks that import artifacts, made as they are asked for.

    Args:
        spec: PipelineSpec that they are put into.
    """

    def __init__(self, spec: dict[str, Json]) -> None:
        self._spec = spec
        self.tasks: dict[str, Json] = {}

    def task(self, key: str, artifact: Artifact) -> str:
        """The task that imports an artifact of a task that is left out."""
        name = f"reused-{key}-{irs.component_key(artifact.name)}"
        if name not in self.tasks:
            kind = {"schemaTitle": artifact.type, "schemaVersion": "0.0.1"}
            self.tasks[name] = importer(self._spec, name, kind, uri=artifact.uri, metadata=artifact.metadata)
        return name


def importer(
    spec: dict[str, Json],
    name: str,
    kind: Mapping[str, Json],
    *,
    uri: str = "",
    parameter: str = "",
    metadata: Mapping[str, Json] | None = None,
) -> dict[str, Json]:
    """Adds what imports an artifact to a pipeline, and gives its task, whose output is `ARTIFACT`.

    Args:
        spec: PipelineSpec that its component is put into.
        name: Of the task.
        kind: Type of the artifact.
        uri: Where it is.
        parameter: Parameter of the pipeline that says where it is, instead.
        metadata: What is known of it.
    """
    place: dict[str, Json] = {"runtimeParameter": "uri"} if parameter else {"constant": uri}
    executor: dict[str, Json] = {"artifactUri": place, "typeSchema": dict(kind)}
    if metadata:
        executor["metadata"] = dict(metadata)
    component: dict[str, Json] = {
        "executorLabel": f"exec-{name}",
        "outputDefinitions": {"artifacts": {ARTIFACT: {"artifactType": dict(kind)}}},
    }
    inputs: dict[str, Json] = {}
    if parameter:
        component["inputDefinitions"] = {"parameters": {"uri": {"parameterType": "STRING"}}}
        inputs = {"parameters": {"uri": {"componentInputParameter": parameter}}}
    spec["components"][f"comp-{name}"] = component
    spec["deploymentSpec"]["executors"][f"exec-{name}"] = {"importer": executor}
    return {"componentRef": {"name": f"comp-{name}"}, "taskInfo": {"name": name}, "inputs": inputs}


def _replace(task: dict[str, Json], left_out: Mapping[str, Task], importers: _Importers) -> None:
    """Has a task take earlier results where it took those of tasks that are left out."""
    inputs = task.get("inputs", {})
    for name, one in inputs.get("parameters", {}).items():
        source = one.get("taskOutputParameter", {})
        if source.get("producerTask") in left_out:
            value = left_out[source["producerTask"]].outputs[source["outputParameterKey"]]
            rest = {key: item for key, item in one.items() if key != "taskOutputParameter"}
            inputs["parameters"][name] = {**rest, "runtimeValue": {"constant": value}}
    waits = [one for one in task.get("dependentTasks", ()) if one not in left_out]
    for one in inputs.get("artifacts", {}).values():
        source = one.get("taskOutputArtifact", {})
        if source.get("producerTask") in left_out:
            artifact = made(left_out[source["producerTask"]], source["outputArtifactKey"])[0]
            importer = importers.task(source["producerTask"], artifact)
            one["taskOutputArtifact"] = {"producerTask": importer, "outputArtifactKey": ARTIFACT}
            waits.append(importer)
    if waits:
        task["dependentTasks"] = sorted(set(waits))
    else:
        task.pop("dependentTasks", None)


def drop_outputs(root: dict[str, Json], left_out: Collection[str]) -> None:
    """A pipeline does not hand out what it does not make."""
    for kind in ("parameters", "artifacts"):
        outputs = root["dag"].get("outputs", {}).get(kind, {})
        for name in [name for name, one in outputs.items() if set(_producers(one)) & set(left_out)]:
            del outputs[name]
            root.get("outputDefinitions", {}).get(kind, {}).pop(name, None)


def _producers(value: Json) -> Iterator[str]:
    if isinstance(value, dict):
        if "producerSubtask" in value:
            yield value["producerSubtask"]
        for one in value.values():
            yield from _producers(one)
    elif isinstance(value, list):
        for one in value:
            yield from _producers(one)


def drop_unused(spec: dict[str, Json]) -> None:
    """Takes out of a pipeline the components and executors that no task refers to any more."""
    waiting, used = [spec["root"]], set[str]()
    while waiting:
        for task in waiting.pop().get("dag", {}).get("tasks", {}).values():
            name = task["componentRef"]["name"]
            if name not in used:
                used.add(name)
                waiting.append(spec["components"][name])
    spec["components"] = {name: one for name, one in spec["components"].items() if name in used}
    labels = {one.get("executorLabel") for one in spec["components"].values()}
    executors = spec.get("deploymentSpec", {}).get("executors", {})
    spec["deploymentSpec"] = {"executors": {label: one for label, one in executors.items() if label in labels}}
