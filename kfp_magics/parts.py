"""A pipeline made of the last steps of another; what the other steps would give is given, or taken from a run.

The steps that are left out are cut off in the compiled pipeline. What is still needed of them becomes a parameter: a
plain value as it is, an artifact as the URI that an importer reads. Every backend can run what comes out.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kfp_magics import ir as irs
from kfp_magics import reusing
from kfp_magics.backends.local.values import typed
from kfp_magics.errors import ArgumentError, did_you_mean
from kfp_magics.model import StandIn

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from kfp_magics.ir import IR
    from kfp_magics.model import Json, Pipeline, Run

_GROUPS = {"loop": "loop", "condition": "condition", "exit-handler": "exit handler", "group": "nested pipeline"}
_ANY = "system.Artifact"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Outlet:
    """An output of a step that is left out, which a step that stays takes."""

    task: str
    key: str
    step: str
    output: str
    definition: Mapping[str, Json]
    name: str = ""

    @property
    def kind(self) -> str:
        return "parameter" if "parameterType" in self.definition else "artifact"

    @property
    def artifact(self) -> Mapping[str, Json]:
        found: Mapping[str, Json] = self.definition["artifactType"]
        return found


def cut(
    ir: IR, *, name: str, start: Collection[str], taken: Mapping[str, Mapping[str, Json]]
) -> tuple[str, tuple[StandIn, ...]]:
    """Cuts the first steps off a pipeline.

    Args:
        ir: The whole pipeline, compiled.
        name: KFP name of the part.
        start: The steps that the part starts with; what comes after them belongs to it.
        taken: What comes from an earlier run, as `results` gives it; everything else becomes a parameter.

    Returns:
        The part, compiled, and what stands in it for the steps that were left out.

    Raises:
        ArgumentError: The pipeline cannot be cut there.
    """
    left_out = _left_out(ir, start)
    outlets = _outlets(ir, left_out)
    spec: dict[str, Json] = json.loads(json.dumps(ir.spec))
    root = spec["root"]
    tasks = root["dag"]["tasks"]
    for key in left_out:
        del tasks[key]
    imports = {}
    for outlet in outlets:
        found = taken.get(outlet.name, {})
        if outlet.kind == "artifact":
            task = _free_name(f"{'reused' if found else 'given'}-{irs.component_key(outlet.name)}", tasks)
            parameter = "" if found else outlet.name
            tasks[task] = reusing.importer(
                spec,
                task,
                outlet.artifact,
                uri=found.get("uri", ""),
                parameter=parameter,
                metadata=found.get("metadata"),
            )
            imports[outlet.task, outlet.key] = task
    names = {(one.task, one.key): one.name for one in outlets}
    for task in tasks.values():
        _reconnect(task, left_out, names, imports)
    _declare(root, outlets, taken)
    reusing.drop_outputs(root, left_out)
    reusing.drop_unused(spec)
    spec["pipelineInfo"] = {"name": name}
    text = reusing.text_of(spec, _platform(ir, spec))
    return text, tuple(_stand_in(one, taken.get(one.name, {})) for one in outlets)


def results(ir: IR, *, start: Collection[str], run: Run, given: Collection[str]) -> dict[str, dict[str, Json]]:
    """What a run gives in the places of the steps that a part leaves out.

    Args:
        ir: The whole pipeline, compiled.
        start: The steps that the part starts with.
        run: The run.
        given: What is not to be taken from it.

    Returns:
        Parameter of the part → the run's id with a value, or with the URI and the metadata of an artifact.

    Raises:
        ArgumentError: The run has not got something of it, or not as the steps take it.
    """
    outlets = _outlets(ir, _left_out(ir, start))
    names = {one.name for one in outlets}
    if unknown := next((one for one in given if one not in names), ""):
        raise ArgumentError(f"The part takes no {unknown!r} from the steps before it.", did_you_mean(unknown, names))
    return {one.name: _result(one, run) for one in outlets if one.name not in given}


def _result(outlet: _Outlet, run: Run) -> dict[str, Json]:
    earlier = run.task(outlet.task)
    hint = f"Take another run, or give it yourself: --give {outlet.name}"
    why = reusing.lacking(earlier, outlet.kind, outlet.key)
    if why or earlier is None:
        raise ArgumentError(f"Run {run.name!r} has no {outlet.name!r} of {outlet.step!r}: {why}.", hint)
    if outlet.kind == "parameter":
        try:
            value = typed(earlier.outputs[outlet.key], outlet.definition["parameterType"], outlet.name)
        except ArgumentError as error:
            raise ArgumentError(f"Run {run.name!r} does not fit: {error.message}", hint) from error
        return {"run": run.id, "value": value}
    artifact = reusing.made(earlier, outlet.key)[0]
    wanted = outlet.artifact.get("schemaTitle", _ANY)
    if wanted not in {artifact.type, _ANY}:
        raise ArgumentError(
            f"Run {run.name!r} does not fit: its {outlet.name!r} is a {artifact.type}, not a {wanted}.", hint
        )
    return {"run": run.id, "uri": artifact.uri, "metadata": dict(artifact.metadata)}


def placed(pipeline: Pipeline, values: Mapping[str, Json], backend: str) -> dict[str, Json]:
    """Checks that the artifacts of a part are where its backend reaches them.

    Args:
        pipeline: The part; any other pipeline passes.
        values: What it is given.
        backend: Name of the backend that runs it.

    Returns:
        The values, with files of this machine named whole.

    Raises:
        ArgumentError: A file is not there, or on this machine and the pipeline runs elsewhere.
    """
    found = dict(values)
    for one in pipeline.stand_ins:
        uri = one.uri or values.get(one.name)
        if not one.is_artifact or not isinstance(uri, str) or ("://" in uri and not uri.startswith("file://")):
            continue
        path = Path(uri.removeprefix("file://")).expanduser().absolute()
        if backend != "local":
            raise ArgumentError(
                f"The {one.type} {one.name!r} is on this machine, and the pipeline {pipeline.name!r} runs elsewhere.",
                f"Copy it to a bucket and say where: {one.name}=gs://…",
            )
        if not path.exists():
            raise ArgumentError(f"There is no {one.type} {str(path)!r}.", f"Say where {one.name!r} is: {one.name}=…")
        if not one.uri:
            found[one.name] = str(path)
    return found


def _left_out(ir: IR, start: Collection[str]) -> set[str]:
    tasks = ir.spec["root"]["dag"]["tasks"]
    kept = reusing.after(ir, {_task(ir, one) for one in start})
    needed = {one for key in kept for one in irs.needs(tasks[key])}
    # What only imports stays with those who read it.
    kept |= {
        key
        for key in needed - kept
        if "importer" in ir.executor(ir.component(tasks[key])) and not irs.needs(tasks[key])
    }
    if kept == set(tasks):
        raise ArgumentError(
            f"Nothing comes before {' and '.join(map(repr, start))}: the part would be the whole pipeline.",
            "Start with a later step.",
        )
    for key in kept:
        for one in tasks[key].get("inputs", {}).get("parameters", {}).values():
            watched = one.get("taskFinalStatus", {}).get("producerTask", key)
            if watched not in kept:
                raise ArgumentError(
                    f"The step {key!r} is told how {watched!r} ended, which the part would leave out.",
                    f"Start with {watched!r}, or with another step.",
                )
    return set(tasks) - kept


def _task(ir: IR, step: str) -> str:
    wanted = {step, irs.component_key(step)}
    if found := wanted & ir.spec["root"]["dag"]["tasks"].keys():
        return str(min(found))
    static = irs.static_tasks(ir, templates=True)
    fits = [task for task in static if wanted & {task.id, task.name, task.component}]
    if not fits:
        raise ArgumentError(f"The pipeline has no step {step!r}.", did_you_mean(step, {task.name for task in static}))
    outer = fits[0].id.partition("/")[0]
    if outer != fits[0].id:
        kind = next(_GROUPS.get(task.kind, "group") for task in static if task.id == outer)
        raise ArgumentError(
            f"The step {step!r} is inside the {kind} {outer!r}, which a part has whole or not at all.",
            f"Start with all of it: --from {outer}",
        )
    return outer


def _outlets(ir: IR, left_out: Collection[str]) -> tuple[_Outlet, ...]:
    """What steps that stay take of steps that are left out, by name."""
    root = ir.spec["root"]
    tasks = root["dag"]["tasks"]
    found: dict[tuple[str, str], _Outlet] = {}
    used: set[str] = set()
    for consumer in sorted(set(tasks) - set(left_out)):
        used |= _read(tasks[consumer])
        for source in _sources(tasks[consumer]):
            if source.get("producerTask") in left_out:
                outlet = _outlet(ir, source)
                if outlet.definition.get("isArtifactList"):
                    raise ArgumentError(
                        f"The step {consumer!r} takes a list of artifacts of {outlet.task!r}, which cannot be given.",
                        f"Start earlier: --from {outlet.task}",
                    )
                found[outlet.task, outlet.key] = outlet
    short = {key: _identifier(one.step if one.output == "Output" else one.output) for key, one in found.items()}
    times = Counter(short.values())
    named = []
    for key, one in sorted(found.items()):
        unique = times[short[key]] == 1 and short[key] not in used
        name = short[key] if unique else _identifier(f"{one.step}_{one.output}")
        name = _free_name(name, used)
        used.add(name)
        named.append(
            _Outlet(task=one.task, key=one.key, step=one.step, output=one.output, definition=one.definition, name=name)
        )
    return tuple(named)


def _sources(task: Mapping[str, Json]) -> Iterator[Mapping[str, Json]]:
    inputs = task.get("inputs", {})
    for one in inputs.get("parameters", {}).values():
        yield one.get("taskOutputParameter", {})
    for one in inputs.get("artifacts", {}).values():
        yield one.get("taskOutputArtifact", {})


def _read(task: Mapping[str, Json]) -> set[str]:
    """The parameters and artifacts of the pipeline that a task takes."""
    inputs = task.get("inputs", {})
    parameters = {one.get("componentInputParameter", "") for one in inputs.get("parameters", {}).values()}
    artifacts = {one.get("componentInputArtifact", "") for one in inputs.get("artifacts", {}).values()}
    return (parameters | artifacts) - {""}


def _outlet(ir: IR, source: Mapping[str, Json]) -> _Outlet:
    task = source["producerTask"]
    key = source.get("outputParameterKey") or source["outputArtifactKey"]
    component = ir.component(ir.spec["root"]["dag"]["tasks"][task])
    kind = "parameters" if "outputParameterKey" in source else "artifacts"
    definition = component["outputDefinitions"][kind][key]
    step, output = task, key
    while "dag" in component:  # what a group hands out, one of its tasks has made
        handed = component["dag"]["outputs"][kind][output]
        first = next(iter(_selectors(handed)), None)
        if first is None:
            break
        step = first["producerSubtask"]
        output = first.get("outputParameterKey") or first["outputArtifactKey"]
        component = ir.component(component["dag"]["tasks"][step])
    return _Outlet(task=task, key=key, step=step, output=output, definition=definition)


def _selectors(handed: Mapping[str, Json]) -> Sequence[Mapping[str, Json]]:
    if "valueFromParameter" in handed:
        return [handed["valueFromParameter"]]
    found: Sequence[Mapping[str, Json]] = (
        handed.get("artifactSelectors") or handed["valueFromOneof"]["parameterSelectors"]
    )
    return found


def _identifier(text: str) -> str:
    return irs.component_key(text).replace("-", "_")


def _free_name(name: str, taken: Collection[str]) -> str:
    number, found = 2, name
    while found in taken:
        found, number = f"{name}-{number}" if "-" in name else f"{name}_{number}", number + 1
    return found


def _reconnect(
    task: dict[str, Json],
    left_out: Collection[str],
    names: Mapping[tuple[str, str], str],
    imports: Mapping[tuple[str, str], str],
) -> None:
    inputs = task.get("inputs", {})
    waits = [one for one in task.get("dependentTasks", ()) if one not in left_out]
    for name, one in inputs.get("parameters", {}).items():
        source = one.get("taskOutputParameter", {})
        if source.get("producerTask") in left_out:
            rest = {key: item for key, item in one.items() if key != "taskOutputParameter"}
            given = names[source["producerTask"], source["outputParameterKey"]]
            inputs["parameters"][name] = {**rest, "componentInputParameter": given}
    for one in inputs.get("artifacts", {}).values():
        source = one.get("taskOutputArtifact", {})
        if source.get("producerTask") in left_out:
            task_name = imports[source["producerTask"], source["outputArtifactKey"]]
            one["taskOutputArtifact"] = {"producerTask": task_name, "outputArtifactKey": reusing.ARTIFACT}
            waits.append(task_name)
    task.pop("dependentTasks", None)
    if waits:
        task["dependentTasks"] = sorted(set(waits))


def _declare(root: dict[str, Json], outlets: Sequence[_Outlet], taken: Mapping[str, Mapping[str, Json]]) -> None:
    """Has the pipeline take what is given, and nothing that nobody reads."""
    read = {name for task in root["dag"]["tasks"].values() for name in _read(task)}
    definitions = root.setdefault("inputDefinitions", {})
    for kind in ("parameters", "artifacts"):
        definitions[kind] = {name: one for name, one in definitions.get(kind, {}).items() if name in read}
    for outlet in outlets:
        found = taken.get(outlet.name, {})
        if "uri" in found:
            continue
        if outlet.kind == "artifact":
            described = f"URI of {outlet.output!r} of {outlet.step}, a {outlet.artifact.get('schemaTitle', _ANY)}"
            one: dict[str, Json] = {"parameterType": "STRING", "description": described}
        else:
            described = f"{outlet.output!r} of {outlet.step}" + (f"; else that of run {found['run']}" if found else "")
            one = {"parameterType": outlet.definition["parameterType"], "description": described}
        if "value" in found:
            one |= {"defaultValue": found["value"], "isOptional": True}
        definitions["parameters"][outlet.name] = one


def _platform(ir: IR, spec: Mapping[str, Json]) -> Mapping[str, Json]:
    """The platform part, without what belongs to steps that are left out."""
    platform: dict[str, Json] = json.loads(json.dumps(ir.platform))
    labels = spec["deploymentSpec"]["executors"]
    for one in platform.get("platforms", {}).values():
        executors = one.get("deploymentSpec", {}).get("executors", {})
        for label in [label for label in executors if label not in labels]:
            del executors[label]
    return platform


def _stand_in(outlet: _Outlet, found: Mapping[str, Json]) -> StandIn:
    if outlet.kind == "artifact":
        kind = outlet.artifact.get("schemaTitle", _ANY).removeprefix("system.")
    else:
        kind = irs.TYPES.get(outlet.definition["parameterType"], "str")
    return StandIn(name=outlet.name, step=outlet.step, type=kind, run=found.get("run", ""), uri=found.get("uri", ""))
