"""Where the inputs of a task come from, and what a DAG hands out."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from kfp_magics.backends.local.placeholders import Constants, resolve_json
from kfp_magics.backends.local.values import Values
from kfp_magics.errors import BackendError
from kfp_magics.model import State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kfp_magics.backends.local.nodes import Result, Scope
    from kfp_magics.model import Json

_SELECTOR = re.compile(r"parseJson\(string_value\)((?:\[(?:\"[^\"]*\"|'[^']*'|\d+)\])*)")
_KEY = re.compile(r"\[(\"[^\"]*\"|'[^']*'|\d+)\]")
_FINAL_WORDS = {State.SUCCEEDED: "SUCCEEDED", State.CANCELLED: "CANCELLED", State.SKIPPED: "SKIPPED"}


class MissingInputError(Exception):
    """A task does not get an input that it needs, because what makes it was skipped or failed."""


def task_inputs(
    spec: Mapping[str, Json],
    scope: Scope,
    upstream: Mapping[str, Result],
    constants: Constants,
    component: Mapping[str, Json],
) -> Values:
    """Gathers what a task is given.

    Args:
        spec: The PipelineTaskSpec.
        scope: What the tasks of its DAG see.
        upstream: The tasks it needs, ended.
        constants: Placeholders in constant inputs.
        component: Its ComponentSpec, which says what may be left out.

    Raises:
        MissingInputError: Something that it needs was not made.
        BackendError: The IR asks for something that does not exist, or was not given.
    """
    wanted = spec.get("inputs", {})
    given = Values()
    templates: dict[str, Json] = {}
    for name, source in wanted.get("parameters", {}).items():
        if "runtimeValue" in source:
            templates[name] = source["runtimeValue"].get("constant")
            continue
        found = _parameter(name, source, scope, upstream, constants)
        if found is not _NOTHING:
            given.parameters[name] = _select(found, source.get("parameterExpressionSelector", ""))
        else:
            _check_missing(name, source, scope, component, "Parameter")
    for name, source in wanted.get("artifacts", {}).items():
        items = _artifact(name, source, scope, upstream)
        if items is not None:
            given.artifacts[name] = items
        else:
            _check_missing(name, source, scope, component, "Artifact")
    # A constant may speak of the task's other inputs ("{{$.inputs.parameters['pipelinechannel--year']}}").
    message = {
        "inputs": {
            "parameterValues": given.parameters,
            "artifacts": {name: {"artifacts": items} for name, items in given.artifacts.items()},
        }
    }
    for name, template in templates.items():
        given.parameters[name] = resolve_json(template, message, constants)
    return given


class _Nothing:
    """Not even None."""


_NOTHING = _Nothing()


def _parameter(
    name: str, source: Mapping[str, Json], scope: Scope, upstream: Mapping[str, Result], constants: Constants
) -> Json:
    if "componentInputParameter" in source:
        return scope.inputs.parameters.get(source["componentInputParameter"], _NOTHING)
    if "taskOutputParameter" in source:
        what = source["taskOutputParameter"]
        return upstream[what["producerTask"]].outputs.parameters.get(what["outputParameterKey"], _NOTHING)
    if "taskFinalStatus" in source:
        producer = source["taskFinalStatus"]["producerTask"]
        return _final_status(producer, upstream[producer], constants.names[".pipeline_job_resource_name"])
    raise BackendError(f"The input {name!r} comes from {', '.join(source)}, which is not known here.")


def _artifact(
    name: str, source: Mapping[str, Json], scope: Scope, upstream: Mapping[str, Result]
) -> list[dict[str, Json]] | None:
    if "componentInputArtifact" in source:
        return scope.inputs.artifacts.get(source["componentInputArtifact"])
    if "taskOutputArtifact" in source:
        what = source["taskOutputArtifact"]
        return upstream[what["producerTask"]].outputs.artifacts.get(what["outputArtifactKey"])
    raise BackendError(f"The input {name!r} comes from {', '.join(source)}, which is not known here.")


def _final_status(producer: str, result: Result, run: str) -> Json:
    error = {"message": result.error.message, "code": 9} if result.error else {}
    return {
        "state": _FINAL_WORDS.get(result.state, "FAILED"),
        "pipelineTaskName": producer,
        "pipelineJobResourceName": run,
        "error": error,
    }


def _check_missing(
    name: str, source: Mapping[str, Json], scope: Scope, component: Mapping[str, Json], kind: str
) -> None:
    """Says what it means that an input is not there; returns when the task does without."""
    definition = component.get("inputDefinitions", {}).get(f"{kind.lower()}s", {}).get(name)
    required = definition is not None and not definition.get("isOptional") and "defaultValue" not in definition
    if output := source.get(f"taskOutput{kind}"):
        # kfp's compiler adds inputs of loops that name outputs which no task declares; nothing ever reads them.
        declared = scope.outputs[output["producerTask"]].get(f"{kind.lower()}s", {})
        if output[f"output{kind}Key"] in declared and (required or definition is None):
            raise MissingInputError(f"its input {name!r} was not made by {output['producerTask']!r}")
        return
    if "dag" in component:  # likewise; who needs it inside will say so
        return
    outer = source[f"componentInput{kind}"]
    forgotten = definition is None and "loop-item" in outer  # groups may declare an item that nobody gives them
    if forgotten or outer not in scope.declared.get(f"{kind.lower()}s", {}):
        raise BackendError(
            f"The compiled pipeline does not hand {name!r} down to this step.",
            "KFP's compiler forgets the item of an outer loop in an f-string: give the item to the step as it is.",
        )
    if required:
        raise BackendError(
            f"The step needs {name!r}, and the pipeline was started without {outer!r}.",
            f"Start it with {outer}=…, or give {name!r} a default.",
        )


def _select(value: Json, selector: str) -> Json:
    if not selector:
        return value
    match = _SELECTOR.fullmatch(selector)
    if match is None:
        raise BackendError(f"The expression {selector} is not known here.")
    found = json.loads(value) if isinstance(value, str) else value
    for key in _KEY.findall(match[1]):
        try:
            found = found[int(key) if key.isdigit() else key[1:-1]]
        except (KeyError, IndexError, TypeError) as error:
            raise BackendError(
                f"{json.dumps(value)[:80]} has no item {key}.", "Look at what the step before it returns."
            ) from error
    return found


def dag_outputs(dag: Mapping[str, Json], results: Mapping[str, Values]) -> Values:
    """Gathers what a DAG hands out; what was not made is left out.

    Args:
        dag: The DagSpec.
        results: Task → what it gave.
    """
    wanted = dag.get("outputs", {})
    found = Values()
    for name, source in wanted.get("parameters", {}).items():
        selectors = source.get("valueFromOneof", {}).get("parameterSelectors") or [source["valueFromParameter"]]
        for selector in selectors:
            made = results[selector["producerSubtask"]].parameters
            if selector["outputParameterKey"] in made:
                found.parameters[name] = made[selector["outputParameterKey"]]
                break
    for name, source in wanted.get("artifacts", {}).items():
        for selector in source.get("artifactSelectors", ()):
            items = results[selector["producerSubtask"]].artifacts.get(selector["outputArtifactKey"])
            if items is not None:
                found.artifacts[name] = items
                break
    return found
