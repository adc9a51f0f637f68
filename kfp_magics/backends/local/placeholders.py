"""KFP's placeholders in commands, arguments and constant inputs, resolved in one pass.

One pass, so that a value which happens to look like a placeholder (what a step printed, what a user typed) is never
read as one. kfp.local's own resolver substitutes again and again and reads its configuration from class attributes.
What is no placeholder of KFP's (``{{$.State}}`` in a template of docker's or helm's) is left as it is.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kfp_magics.model import Json

_PLACEHOLDER = re.compile(r"\{\{\$(.*?)\}\}", re.DOTALL)
_PATH = re.compile(r"""\.?([A-Za-z_]\w*)|\[\s*(?:''|'|")(.*?)(?:''|'|")\s*\]""")


@dataclass(frozen=True, kw_only=True, slots=True)
class Constants:
    """What the same placeholders mean throughout a task.

    Attributes:
        names: Placeholder without its braces and dollar (``.pipeline_job_name``) → text.
    """

    names: Mapping[str, str]


def resolve_text(template: str, executor_input: Mapping[str, Json], constants: Constants) -> str:
    """Replaces the placeholders of one text.

    Args:
        template: Text from the IR.
        executor_input: KFP's ExecutorInput message as JSON.
        constants: The placeholders without a key.
    """

    def value(match: re.Match[str]) -> str:
        inner = match[1]
        if inner == "":
            return json.dumps(executor_input)
        if inner in constants.names:
            return constants.names[inner]
        try:
            found = _look_up(inner, executor_input)
        except LookupError:
            return match[0]
        return found if isinstance(found, str) else json.dumps(found)

    return _PLACEHOLDER.sub(value, template)


def resolve_command(
    templates: Iterable[str], executor_input: Mapping[str, Json], constants: Constants
) -> tuple[str, ...]:
    """Resolves a command: texts, and the structures ``Concat`` and ``IfPresent`` written as JSON."""
    provided = {
        name
        for kind in ("parameterValues", "artifacts")
        for name, value in executor_input.get("inputs", {}).get(kind, {}).items()
        if value is not None
    }
    flat = [text for template in templates for text in _expand(template, provided)]
    return tuple(resolve_text(text, executor_input, constants) for text in flat)


def resolve_json(value: Json, executor_input: Mapping[str, Json], constants: Constants) -> Json:
    """Resolves every text in a JSON value, keys included."""
    if isinstance(value, str):
        return resolve_text(value, executor_input, constants)
    if isinstance(value, list):
        return [resolve_json(item, executor_input, constants) for item in value]
    if isinstance(value, dict):
        return {
            resolve_text(key, executor_input, constants): resolve_json(item, executor_input, constants)
            for key, item in value.items()
        }
    return value


def _look_up(inner: str, executor_input: Mapping[str, Json]) -> Json:
    parts = [match[1] or match[2] for match in _PATH.finditer(inner)]
    match parts:
        case ["inputs", "parameters", name]:
            return executor_input["inputs"].get("parameterValues", {}).get(name)
        case ["outputs", "output_file"]:
            return executor_input["outputs"]["outputFile"]
        case ["outputs", "parameters", name, "output_file"]:
            return executor_input["outputs"]["parameters"][name]["outputFile"]
        case ["inputs" | "outputs" as side, "artifacts", name, *rest]:
            return _artifact(executor_input[side].get("artifacts", {}).get(name), rest)
    raise LookupError(inner)


def _artifact(value: Json, rest: list[str]) -> Json:
    if not value or not value.get("artifacts"):
        return None
    artifact = value["artifacts"][0]
    match rest:
        case ["path" | "uri"]:
            return artifact["uri"]
        case ["metadata"]:
            return artifact.get("metadata", {})
        case ["metadata", key]:
            return artifact.get("metadata", {}).get(key)
    raise LookupError(rest)


def _expand(template: str, provided: set[str]) -> list[str]:
    if not template.startswith(('{"Concat":', '{"IfPresent":')):
        return [template]
    return _structure(json.loads(template), provided)


def _structure(value: Json, provided: set[str]) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [text for item in value for text in _structure(item, provided)]
    if "Concat" in value:
        return ["".join(text for item in value["Concat"] for text in _structure(item, provided))]
    choice = value["IfPresent"]
    branch = choice["Then"] if choice["InputName"] in provided else choice.get("Else")
    return [] if branch is None else _structure(branch, provided)
