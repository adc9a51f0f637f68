"""Running a part of a pipeline again: earlier results take the places of the tasks that made them.

A task that is left out is replaced in the compiled pipeline itself: its parameters become constants, its artifacts are
imported from where they are. Every backend can run what comes out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import yaml

from kfp_magics import ir as irs
from kfp_magics.cutting import Cut, free_name, is_plain_group
from kfp_magics.model import State
from kfp_magics.outputs import with_outputs

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from kfp_magics.cutting import Outlet
    from kfp_magics.ir import IR
    from kfp_magics.model import Artifact, Json, Run, Task

_Group: TypeAlias = "tuple[IR, Mapping[str, Json]]"
_Dumper: type[Any] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
ARTIFACT = "artifact"
"""The output of an importer."""
STANDING_IN = ("reused-", "given-")
"""How the tasks are called that import what tasks which are left out would make."""
_WITHOUT_FILES = ("system.Metrics", "system.ClassificationMetrics", "system.SlicedClassificationMetrics")
_ENDED = {State.FAILED: "failed", State.SKIPPED: "was skipped", State.CANCELLED: "was cancelled"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Reused:
    """A pipeline in which earlier results stand for some tasks.

    Attributes:
        ir: The pipeline, compiled.
        tasks: Paths of the tasks that are left out.
        again: Path of a task → why it runs although it was to be left out.
    """

    ir: str
    tasks: tuple[str, ...]
    again: Mapping[str, str]


def unchanged(ir: IR, earlier: IR, arguments: Mapping[str, Json], before_arguments: Mapping[str, Json]) -> set[str]:
    """The tasks of a pipeline that are what they were in an earlier one, and get what they got.

    Args:
        ir: The compiled pipeline.
        earlier: The one of the earlier run.
        arguments: Pipeline parameter → value, defaults included.
        before_arguments: The same of the earlier run.

    Returns:
        Their paths; of groups of which only something changed those inside that did not.
    """
    names = {*arguments, *before_arguments}
    changed = {name for name in names if arguments.get(name) != before_arguments.get(name)}
    return set(_same((ir, ir.spec["root"]), (earlier, earlier.spec["root"]), changed, ""))


def _same(now: _Group, then: _Group, changed: Collection[str], prefix: str) -> Iterator[str]:
    """What is in a group as it was, when some of its inputs changed."""
    (ir, component), (old, was) = now, then
    tasks, before = component["dag"]["tasks"], was["dag"]["tasks"]
    same: set[str] = set()
    for key in irs.in_order(tasks):
        task = tasks[key]
        if key not in before or not same.issuperset(irs.needs(task)):
            continue
        given = {
            name
            for kind, outer in (("parameters", "componentInputParameter"), ("artifacts", "componentInputArtifact"))
            for name, one in task.get("inputs", {}).get(kind, {}).items()
            if one.get(outer) in changed or one != before[key].get("inputs", {}).get(kind, {}).get(name)
        }
        if not given and _whole(ir, task) == _whole(old, before[key]):
            same.add(key)
            yield prefix + key
        elif is_plain_group(ir, task) and is_plain_group(old, before[key]):
            inner, inner_was = ir.component(task), old.component(before[key])
            given |= _declared_anew(inner, inner_was)
            inside = list(_same((ir, inner), (old, inner_was), given, f"{prefix}{key}/"))
            if not {f"{prefix}{key}/{one}" for one in inner["dag"]["tasks"]} <= {*inside}:
                yield from inside


def _declared_anew(component: Mapping[str, Json], was: Mapping[str, Json]) -> set[str]:
    """The inputs of a group whose types or defaults are others than they were."""
    now, before = component.get("inputDefinitions", {}), was.get("inputDefinitions", {})
    return {
        name
        for kind in ("parameters", "artifacts")
        for name, one in now.get(kind, {}).items()
        if one != before.get(kind, {}).get(name)
    }


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
        wanted: Paths of the tasks to be left out; those whose results are not known run all the same.
        is_here: Whether the pipeline runs where the earlier run did, or on this machine: where paths mean something.
    """
    known = {task.id: task for task in run.tasks}
    earlier = {path: with_outputs(ir, known[path], known) for path in wanted if path in known}
    skipped = {path for path, task in earlier.items() if task.state is State.SKIPPED}
    again = {path: why for path in {*wanted} - skipped if (why := _state(earlier.get(path)))}
    left_out = {*wanted} - again.keys()
    while True:
        cut = Cut(ir, left_out)
        unknown = {one.task: why for one in cut.outlets if (why := _why_not(one, earlier[one.task], is_here=is_here))}
        unknown |= {path: _state(earlier[path]) for path in skipped & cut.awaited}
        watched = {path: f"{who!r} is told how it ends" for path, who in cut.watched.items()}
        if not (more := {**unknown, **cut.bound, **watched}):
            break
        again |= more
        left_out -= again.keys()
    tasks = cut.spec["root"]["dag"]["tasks"]
    given: dict[tuple[str, str], Mapping[str, Json]] = {}
    importers = []
    for one in cut.outlets:
        if one.kind == "parameters":
            given[one.task, one.key] = {"runtimeValue": {"constant": earlier[one.task].outputs[one.key]}}
            continue
        artifact = made(earlier[one.task], one.key)[0]
        name = free_name(f"reused-{irs.component_key(one.task)}-{irs.component_key(one.key)}", tasks)
        kind = {"schemaTitle": artifact.type, "schemaVersion": "0.0.1"}
        tasks[name] = importer(cut.spec, name, kind, uri=artifact.uri, metadata=artifact.metadata)
        importers.append(name)
        given[one.task, one.key] = {"taskOutputArtifact": {"producerTask": name, "outputArtifactKey": ARTIFACT}}
    cut.give(given, importers)
    drop_unused(cut.spec)
    order = [task.id for task in irs.static_tasks(ir, templates=True)]
    return Reused(
        ir=text_of(cut.spec, ir.platform),
        tasks=tuple(path for path in order if path in left_out),
        again={path: again[path] for path in order if path in again},
    )


def text_of(spec: Mapping[str, Json], platform: Mapping[str, Json]) -> str:
    """Writes a compiled pipeline, the same bytes for the same content."""
    documents = [dict(spec), dict(platform)] if platform else [dict(spec)]
    text: str = yaml.dump_all(documents, Dumper=_Dumper, allow_unicode=True, sort_keys=True, width=1000)
    return text


def _why_not(outlet: Outlet, earlier: Task, *, is_here: bool) -> str:
    """Why an output of a task cannot be used again, or nothing."""
    if why := lacking(earlier, outlet.kind, outlet.key):
        return why
    if outlet.kind == "artifacts":
        artifact = made(earlier, outlet.key)[0]
        path = artifact.uri.removeprefix("file://")
        if path.startswith("/") and not is_here:
            return f"its artifact {outlet.key!r} is on this machine"
        if path.startswith("/") and artifact.type not in _WITHOUT_FILES and not Path(path).exists():
            return f"its artifact {outlet.key!r} is gone: there is no {path}"
    return ""


def lacking(earlier: Task | None, kind: str, name: str) -> str:
    """Why an earlier run cannot give an output, or nothing.

    Args:
        earlier: The task that made it there.
        kind: ``parameters`` or ``artifacts``.
        name: The output.
    """
    if why := _state(earlier):
        return why
    assert earlier is not None
    if kind == "parameters":
        if name not in earlier.outputs:
            return f"the earlier run does not tell its output {name!r}"
        if "{{$" in json.dumps(earlier.outputs[name]):
            return f"its output {name!r} reads like one of KFP's placeholders"
    else:
        found = made(earlier, name)
        if len(found) != 1 or not found[0].uri:
            return f"the earlier run does not tell where its artifact {name!r} is"
    return ""


def _state(earlier: Task | None) -> str:
    if earlier is None:
        return "it was not there in the earlier run"
    return (
        ""
        if earlier.state is State.SUCCEEDED
        else f"it {_ENDED.get(earlier.state, 'had not ended')} in the earlier run"
    )


def made(task: Task, name: str) -> list[Artifact]:
    """The artifacts that a task wrote under a name."""
    return [one for one in task.artifacts if one.io == "output" and one.name == name]


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
