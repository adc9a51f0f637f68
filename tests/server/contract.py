"""The API description as a contract: every answer of every test is held against it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from kfp_magics.server.description import document, resolved

_URI = "urn:description"
_REGISTRY: Registry[Any] = Registry().with_resource(
    _URI, Resource.from_contents({**document()}, default_specification=DRAFT202012)
)


def validator(schema: dict[str, Any] | str) -> Draft202012Validator:
    """Checks values against a schema of the description, or against one of its named schemas."""
    if isinstance(schema, str):
        schema = {"$ref": f"#/components/schemas/{schema}"}
    return Draft202012Validator(_absolute(schema), registry=_REGISTRY)


def _absolute(node: Any) -> Any:
    if isinstance(node, dict):
        return {
            key: f"{_URI}{value}" if key == "$ref" and value.startswith("#") else _absolute(value)
            for key, value in node.items()
        }
    return [_absolute(one) for one in node] if isinstance(node, list) else node


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Path, method and description of every operation."""
    for path, item in document()["paths"].items():
        for method, operation in item.items():
            if method != "parameters":
                yield path, method.upper(), {**operation, "parameters": _parameters(item, operation)}


def _parameters(item: dict[str, Any], operation: dict[str, Any]) -> list[Any]:
    return [resolved(one) for one in (*item.get("parameters", []), *operation.get("parameters", []))]


def check(method: str, path: str, status: int, headers: Any, body: bytes) -> None:
    """Fails when an answer is not as the description says."""
    described = [
        operation
        for template, verb, operation in operations()
        if verb == method and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path)
    ]
    assert len(described) == 1, f"{method} {path} is not described"
    operation = described[0]
    responses = operation["responses"]
    assert str(status) in responses or status >= 400, f"{status} of {operation['operationId']} is not described"
    response = resolved(responses.get(str(status), responses["default"]))
    for name, header in response.get("headers", {}).items():
        value = headers.get(name)
        assert value is not None, f"{operation['operationId']} says {name} and sends none"
        validator(resolved(header)["schema"]).validate(value)
    content = response.get("content", {})
    if "application/json" in content:
        assert headers["Content-Type"].startswith("application/json"), headers["Content-Type"]
        value = json.loads(body, parse_constant=_no_json)
        validator(content["application/json"]["schema"]).validate(value)
    elif not content:
        assert status in {204, 206, 304, 416}
        assert status == 206 or not body


def _no_json(word: str) -> Any:
    raise AssertionError(f"{word} is no JSON")
