"""A pipeline made of the last steps of another; what the other steps would give is given, or taken from a run.

The steps that are left out are cut off in the compiled pipeline. What is still needed of them becomes a parameter: a
plain value as it is, an artifact as the URI that an importer reads. Every backend can run what comes out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from kfp_magics import cutting, reusing
from kfp_magics import ir as irs
from kfp_magics.backends.local.values import typed
from kfp_magics.cutting import Cut
from kfp_magics.errors import ArgumentError, did_you_mean
from kfp_magics.model import StandIn
from kfp_magics.outputs import with_outputs

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from kfp_magics.cutting import Outlet
    from kfp_magics.ir import IR
    from kfp_magics.model import Json, Pipeline, Run

_ANY = "system.Artifact"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Outlet:
    """An output of a step that is left out, which a step that stays takes.

    Attributes:
        taken: Which output of which task.
        step: The step that makes it.
        output: How the step calls it.
        name: The part's parameter.
    """

    taken: Outlet
    step: str
    output: str
    name: str = ""

    @property
    def is_parameter(self) -> bool:
        return self.taken.kind == "parameters"

    @property
    def artifact(self) -> Mapping[str, Json]:
        found: Mapping[str, Json] = self.taken.definition["artifactType"]
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
    rest = _cut(ir, start)
    outlets = _outlets(ir, rest)
    spec = rest.spec
    tasks = spec["root"]["dag"]["tasks"]
    given: dict[tuple[str, str], Mapping[str, Json]] = {}
    importers = []
    for outlet in outlets:
        found = taken.get(outlet.name, {})
        source: dict[str, Json] = {"componentInputParameter": outlet.name}
        if not outlet.is_parameter:
            task = cutting.free_name(f"{'reused' if found else 'given'}-{irs.component_key(outlet.name)}", tasks)
            tasks[task] = reusing.importer(
                spec,
                task,
                outlet.artifact,
                uri=found.get("uri", ""),
                parameter="" if found else outlet.name,
                metadata=found.get("metadata"),
            )
            importers.append(task)
            source = {"taskOutputArtifact": {"producerTask": task, "outputArtifactKey": reusing.ARTIFACT}}
        given[outlet.taken.task, outlet.taken.key] = source
    rest.give(given, importers)
    _declare(spec["root"], outlets, taken)
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
    outlets = _outlets(ir, _cut(ir, start))
    names = {one.name for one in outlets}
    if unknown := next((one for one in given if one not in names), ""):
        raise ArgumentError(f"The part takes no {unknown!r} from the steps before it.", did_you_mean(unknown, names))
    return {one.name: _result(ir, one, run) for one in outlets if one.name not in given}


def _result(ir: IR, outlet: _Outlet, run: Run) -> dict[str, Json]:
    known = {task.id: task for task in run.tasks}
    taken = outlet.taken
    earlier = with_outputs(ir, known[taken.task], known) if taken.task in known else None
    hint = f"Take another run, or give it yourself: --give {outlet.name}"
    why = reusing.lacking(earlier, taken.kind, taken.key)
    if why or earlier is None:
        raise ArgumentError(f"Run {run.name!r} has no {outlet.name!r} of {outlet.step!r}: {why}.", hint)
    if outlet.is_parameter:
        try:
            value = typed(earlier.outputs[taken.key], taken.definition["parameterType"], outlet.name)
        except ArgumentError as error:
            raise ArgumentError(f"Run {run.name!r} does not fit: {error.message}", hint) from error
        return {"run": run.id, "value": value}
    artifact = reusing.made(earlier, taken.key)[0]
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


def _cut(ir: IR, start: Collection[str]) -> Cut:
    """The pipeline without the steps before some."""
    left_out = cutting.before(ir, [_path(ir, one) for one in start])
    if not left_out:
        raise ArgumentError(
            f"Nothing comes before {' and '.join(map(repr, start))}: the part would be the whole pipeline.",
            "Start with a later step.",
        )
    while True:
        rest = Cut(ir, left_out)
        # What only imports stays with those who read it, and all branches do of which one gives something.
        kept = {one.task for one in rest.outlets if _only_imports(ir, one.task)} | rest.bound.keys()
        if not kept:
            break
        left_out -= kept
    for path, who in rest.watched.items():
        raise ArgumentError(
            f"The step {who!r} is told how {path!r} ended, which the part would leave out.",
            f"Start with {path!r}, or with another step.",
        )
    return rest


def _only_imports(ir: IR, path: str) -> bool:
    task = ir.task(path) or {}
    return "importer" in ir.executor(ir.component(task)) and not irs.needs(task)


def _path(ir: IR, step: str) -> str:
    path, kind = cutting.path_of(ir, step)
    if kind:
        raise ArgumentError(
            f"The step {step!r} is inside the {kind} {path!r}, which a part has whole or not at all.",
            f"Start with all of it: --from {path}",
        )
    return path


def _outlets(ir: IR, rest: Cut) -> tuple[_Outlet, ...]:
    """What steps that stay take of steps that are left out, by name."""
    used = {name for task in rest.spec["root"]["dag"]["tasks"].values() for name in _read(task)}
    found = []
    for taken in rest.outlets:
        if taken.definition.get("isArtifactList"):
            raise ArgumentError(
                f"The step {taken.consumer!r} takes a list of artifacts of {taken.task!r}, which cannot be given.",
                f"Start earlier: --from {taken.task}",
            )
        step, output = _maker(ir, taken)
        found.append(_Outlet(taken=taken, step=step, output=output))
    short = [_identifier(one.step if one.output == "Output" else one.output) for one in found]
    named = []
    for word, one in zip(short, found, strict=True):
        unique = short.count(word) == 1 and word not in used
        name = cutting.free_name(word if unique else _identifier(f"{one.step}_{one.output}"), used)
        used.add(name)
        named.append(replace(one, name=name))
    return tuple(named)


def _read(task: Mapping[str, Json]) -> set[str]:
    """The parameters and artifacts of the pipeline that a task takes."""
    inputs = task.get("inputs", {})
    parameters = {one.get("componentInputParameter", "") for one in inputs.get("parameters", {}).values()}
    artifacts = {one.get("componentInputArtifact", "") for one in inputs.get("artifacts", {}).values()}
    return (parameters | artifacts) - {""}


def _maker(ir: IR, taken: Outlet) -> tuple[str, str]:
    """The step that makes an output, and how it calls it: what a group hands out, one of its tasks has made."""
    task, output = taken.task, taken.key
    kind, key = taken.kind, "outputParameterKey" if taken.kind == "parameters" else "outputArtifactKey"
    while "dag" in (component := ir.component(ir.task(task) or {})):
        first = next(
            iter(cutting.selectors_of(component["dag"].get("outputs", {}).get(kind, {}).get(output, {}))), None
        )
        if first is None:
            break
        task, output = f"{task}/{first['producerSubtask']}", first[key]
    return task.rpartition("/")[2], output


def _identifier(text: str) -> str:
    return irs.component_key(text).replace("-", "_")


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
        if not outlet.is_parameter:
            described = f"URI of {outlet.output!r} of {outlet.step}, a {outlet.artifact.get('schemaTitle', _ANY)}"
            one: dict[str, Json] = {"parameterType": "STRING", "description": described}
        else:
            described = f"{outlet.output!r} of {outlet.step}" + (f"; else that of run {found['run']}" if found else "")
            one = {"parameterType": outlet.taken.definition["parameterType"], "description": described}
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
    if not outlet.is_parameter:
        kind = outlet.artifact.get("schemaTitle", _ANY).removeprefix("system.")
    else:
        kind = irs.TYPES.get(outlet.taken.definition["parameterType"], "str")
    return StandIn(name=outlet.name, step=outlet.step, type=kind, run=found.get("run", ""), uri=found.get("uri", ""))
