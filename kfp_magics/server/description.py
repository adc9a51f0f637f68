"""The OpenAPI description at work: what it says of parameters and bodies is what requests are checked by."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from math import isfinite
from typing import TYPE_CHECKING, Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from kfp_magics.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from kfp_magics.model import Json

_Loader: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@cache
def document() -> Mapping[str, Json]:
    """The description."""
    text = files("kfp_magics.server").joinpath("openapi.yaml").read_text(encoding="utf-8")
    found: Mapping[str, Json] = yaml.load(text, Loader=_Loader)  # noqa: S506  (both are safe loaders)
    return found


@cache
def _operations() -> dict[str, tuple[list[Json], Json]]:
    """Operation → its parameters in the query and the schema of its body."""
    found = {}
    for path in document()["paths"].values():
        shared = path.get("parameters", [])
        for method, operation in path.items():
            if method == "parameters":
                continue
            parameters = [resolved(one) for one in (*shared, *operation.get("parameters", []))]
            content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            query = [one for one in parameters if one["in"] == "query"]
            found[operation["operationId"]] = (query, resolved(content.get("schema", {})))
    return found


def resolved(node: Json) -> Json:
    """Follows a reference inside the description."""
    while isinstance(node, dict) and "$ref" in node:
        rest = {key: value for key, value in node.items() if key != "$ref"}
        target: Json = document()
        for word in node["$ref"].removeprefix("#/").split("/"):
            target = target[word]
        node = {**target, **rest}
    return node


def read_query(operation: str, given: Callable[[str], Sequence[str]]) -> dict[str, Json]:
    """Reads the query of a request as its parameters' types, defaults put in.

    Args:
        operation: Its ``operationId``.
        given: Name → the texts that were sent.

    Raises:
        ArgumentError: One is missing, or is not what it must be.
    """
    values: dict[str, Json] = {}
    for parameter in _operations()[operation][0]:
        name, schema, texts = parameter["name"], resolved(parameter["schema"]), given(parameter["name"])
        if schema.get("type") == "array":
            items = resolved(schema["items"])
            value: Json = [_read(text, items, name) for text in texts]
            if texts or parameter.get("required"):
                _check(value, {**schema, "items": items}, f"The parameter {name!r}")
        elif texts:
            value = _read(texts[-1], schema, name)
            _check(value, schema, f"The parameter {name!r}")
        elif parameter.get("required"):
            raise ArgumentError(f"The parameter {name!r} is missing.", parameter.get("description", ""))
        else:
            value = schema.get("default")
        values[name] = value
    return values


def read_body(operation: str, body: bytes) -> dict[str, Json]:
    """Reads the body of a request; an empty one is an empty object.

    Raises:
        ArgumentError: It is not what the description says.
    """
    schema = _operations()[operation][1]
    if not schema:
        return {}
    try:
        value = json.loads(body or b"{}")
    except (ValueError, RecursionError) as error:
        raise ArgumentError(f"The body is no JSON: {error}.") from error
    _check(value, schema, "The body")
    found: dict[str, Json] = value
    return found


def _read(text: str, schema: Mapping[str, Json], name: str) -> Json:
    try:
        match schema.get("type"):
            case "integer":
                return int(text)
            case "number":
                return _finite(text)
            case "boolean":
                return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
    except (ValueError, KeyError) as error:
        raise ArgumentError(f"The parameter {name!r} wants {schema['type']}, and {text[:80]!r} is none.") from error
    return text


def _finite(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError(text)
    return number


def _check(value: Json, schema: Mapping[str, Json], what: str) -> None:
    wrong = best_match(Draft202012Validator(schema).iter_errors(value))
    if wrong is not None:
        where = "".join(f" at {'/'.join(map(str, wrong.absolute_path))!r}" if wrong.absolute_path else "")
        raise ArgumentError(f"{what} is not what it must be{where}: {wrong.message[:300]}")
