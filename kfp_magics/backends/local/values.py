"""Typed values between tasks: parameters as JSON of their declared type, artifacts as KFP's RuntimeArtifact JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kfp_magics.errors import ArgumentError, BackendError
from kfp_magics.model import Artifact, Task

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from kfp_magics.model import Json

_PYTHON = {
    "NUMBER_INTEGER": int,
    "NUMBER_DOUBLE": (int, float),
    "STRING": str,
    "BOOLEAN": bool,
    "LIST": list,
    "STRUCT": dict,
}
_WORDS = {
    "NUMBER_INTEGER": "int",
    "NUMBER_DOUBLE": "float",
    "STRING": "str",
    "BOOLEAN": "bool",
    "LIST": "list",
    "STRUCT": "dict",
}
_EXPONENT = 1e21  # from here on KFP's launcher writes whole numbers with an exponent, and JSON reads those as floats


@dataclass(kw_only=True, slots=True)
class Values:
    """What a task is given or gives.

    Attributes:
        parameters: Name → value of the declared type.
        artifacts: Name → RuntimeArtifact messages; a plain artifact is a list of one.
    """

    parameters: dict[str, Json] = field(default_factory=dict)
    artifacts: dict[str, list[dict[str, Json]]] = field(default_factory=dict)


def typed(value: Json, declared: str, name: str) -> Json:
    """Gives a value its declared type.

    KFP's messages know only one kind of number, and its launcher writes whole ones without a point. So a whole number
    in a list or a dict is an int, here as on a cluster; the compiler's YAML says 1.0 for the 1 that a person wrote.

    Args:
        value: The value.
        declared: KFP's parameter type, e.g. ``NUMBER_INTEGER``.
        name: Of the parameter, for messages.

    Raises:
        ArgumentError: It cannot have that type.
    """
    if value is None or declared not in _PYTHON:
        return value
    if declared == "NUMBER_INTEGER" and isinstance(value, float) and value.is_integer():
        return int(value)
    if declared == "NUMBER_DOUBLE" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    wanted = _PYTHON[declared]
    if isinstance(value, str) and wanted is not str:
        value = _read(value, declared, name)
        if not isinstance(value, str):
            return typed(value, declared, name)
    if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):  # type: ignore[arg-type]
        raise ArgumentError(
            f"The parameter {name!r} wants {_WORDS[declared]}, and {json.dumps(value, default=str)[:80]} is none.",
            f"Give a value of type {_WORDS[declared]}.",
        )
    return whole(value) if declared in {"LIST", "STRUCT"} else value


def whole(value: Json) -> Json:
    """Turns whole numbers into int throughout a value."""
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < _EXPONENT else value
    if isinstance(value, list):
        return [whole(item) for item in value]
    return {key: whole(item) for key, item in value.items()} if isinstance(value, dict) else value


def _read(text: str, declared: str, name: str) -> Json:
    try:
        return json.loads(text.lower() if declared == "BOOLEAN" else text)
    except ValueError:
        raise ArgumentError(
            f"The parameter {name!r} wants {_WORDS[declared]}, and {text[:80]!r} is none.",
            f"Give a value of type {_WORDS[declared]}.",
        ) from None


def with_defaults(given: Values, definitions: Mapping[str, Json]) -> Values:
    """Completes inputs with the defaults that a component declares, and gives parameters their types.

    KFP's compiler declares the items of a loop as strings whatever they are, and so a value that does not fit its type
    is passed on as it is.
    """
    declared = definitions.get("parameters", {})
    parameters = {name: one["defaultValue"] for name, one in declared.items() if "defaultValue" in one}
    parameters |= given.parameters
    return Values(
        parameters={
            name: as_near(value, declared.get(name, {}).get("parameterType", ""), name)
            for name, value in parameters.items()
        },
        artifacts=dict(given.artifacts),
    )


def as_near(value: Json, declared: str, name: str) -> Json:
    """Gives a value its declared type where it can have it, and as it is where it cannot; see `typed`."""
    try:
        return typed(value, declared, name)
    except ArgumentError:
        return value


def executor_input(inputs: Values, component: Mapping[str, Json], folder: Path) -> dict[str, Json]:
    """Makes KFP's ExecutorInput message.

    Args:
        inputs: What the task is given.
        component: The ComponentSpec.
        folder: Where the task writes.
    """
    outputs = component.get("outputDefinitions", {})
    return {
        "inputs": {
            "parameterValues": dict(inputs.parameters),
            "artifacts": {name: {"artifacts": items} for name, items in inputs.artifacts.items()},
        },
        "outputs": {
            "parameters": {name: {"outputFile": str(folder / name)} for name in outputs.get("parameters", {})},
            "artifacts": {
                name: {"artifacts": [_new_artifact(name, one, folder)]}
                for name, one in outputs.get("artifacts", {}).items()
            },
            "outputFile": str(folder / "executor_output.json"),
        },
    }


def _new_artifact(name: str, definition: Mapping[str, Json], folder: Path) -> dict[str, Json]:
    return {"name": name, "type": definition.get("artifactType", {}), "uri": str(folder / name), "metadata": {}}


def read_outputs(message: Mapping[str, Json], component: Mapping[str, Json]) -> Values:
    """Reads what a task that succeeded gave.

    Args:
        message: Its ExecutorInput.
        component: The ComponentSpec.

    Raises:
        BackendError: A declared parameter was not written, or has another type.
    """
    from pathlib import Path  # noqa: PLC0415  (at run time only here)

    wanted = message["outputs"]
    path = Path(wanted["outputFile"])
    try:
        written = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise BackendError(f"The step wrote {path.name} that is no JSON: {error}.") from error
    found = Values(parameters=dict(written.get("parameterValues", {})))
    for name, definition in component.get("outputDefinitions", {}).get("parameters", {}).items():
        declared = definition.get("parameterType", "")
        file = Path(wanted["parameters"][name]["outputFile"])
        if file.is_file():
            text = file.read_text(encoding="utf-8", errors="replace")
            found.parameters[name] = text if declared == "STRING" else _read(text, declared, name)
        if name not in found.parameters:
            raise BackendError(
                f"The step wrote no output {name!r}.", "Return it, or write it to the path that the step was given."
            )
        found.parameters[name] = typed(found.parameters[name], declared, name)
    for name, one in wanted["artifacts"].items():
        found.artifacts[name] = _merge(one["artifacts"], written.get("artifacts", {}).get(name, {}).get("artifacts"))
    return found


def _merge(planned: list[dict[str, Json]], written: list[dict[str, Json]] | None) -> list[dict[str, Json]]:
    if not written:
        return planned
    return [{**planned[0], **{key: value for key, value in one.items() if key != "type"}} for one in written]


def as_artifacts(values: Values, io: str) -> tuple[Artifact, ...]:
    """Artifacts as the model shows them."""
    return tuple(
        Artifact(
            name=name,
            io="input" if io == "input" else "output",
            type=one.get("type", {}).get("schemaTitle", "system.Artifact"),
            uri=one.get("uri", ""),
            metadata=one.get("metadata", {}),
        )
        for name, items in values.artifacts.items()
        for one in items
    )


def outputs_of(task: Task, component: Mapping[str, Json]) -> Values:
    """The outputs of a task of an earlier attempt, as they were."""
    definitions = component.get("outputDefinitions", {}).get("artifacts", {})
    artifacts: dict[str, list[dict[str, Json]]] = {}
    for one in task.artifacts:
        if one.io == "output":
            kind = definitions.get(one.name, {}).get("artifactType", {"schemaTitle": one.type})
            artifacts.setdefault(one.name, []).append(
                {"name": one.name, "type": kind, "uri": one.uri, "metadata": dict(one.metadata)}
            )
    return Values(parameters=dict(task.outputs), artifacts=artifacts)


def collect(results: Iterable[Values]) -> Values:
    """Gathers the outputs of a loop's iterations: parameters become lists, artifacts longer lists."""
    gathered = Values()
    for one in results:
        for name, value in one.parameters.items():
            gathered.parameters.setdefault(name, []).append(value)
        for name, items in one.artifacts.items():
            gathered.artifacts.setdefault(name, []).extend(items)
    return gathered
