from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import validate
from tornado.httpclient import HTTPClientError

from kfp_magics.model import Run
from kfp_magics.server.app import ROUTES
from kfp_magics.server.description import document
from tests.server import contract

EXAMPLE = Path(__file__).parents[1] / "data" / "run.json"
METHODS = ("get", "post", "put", "patch", "delete")


def test_it_is_openapi() -> None:
    validate(document())


def test_every_route_and_method_is_described_and_nothing_else() -> None:
    served = {
        (path, method.upper(), getattr(handler, method).operation)
        for path, handler in ROUTES
        for method in METHODS
        if method in vars(handler)
    }
    assert served == {(path, method, one["operationId"]) for path, method, one in contract.operations()}


def test_the_shared_example_is_a_run() -> None:
    run = json.loads(EXAMPLE.read_text(encoding="utf-8"))
    contract.validator("Run").validate(run)
    contract.validator("Run").validate(Run.from_json(run).to_json())
    for task in run["tasks"]:
        contract.validator("Task").validate(task)


@pytest.mark.parametrize("change", [{"state": "sleeping"}, {"tasks": [{}]}, {"parameters": None}, {"started": "now"}])
def test_what_is_no_run_is_refused(change: dict[str, Any]) -> None:
    run = json.loads(EXAMPLE.read_text(encoding="utf-8"))
    assert not contract.validator("Run").is_valid(run | change)


@pytest.mark.parametrize(("path", "method"), [(path, method) for path, method, _ in contract.operations()])
async def test_nobody_gets_in_with_a_wrong_token(jp_fetch: Any, path: str, method: str) -> None:
    with pytest.raises(HTTPClientError) as refused:
        await jp_fetch(
            f"kfp-magics/api{path.replace('{run_id}', 'r')}",
            method=method,
            body="{}" if method == "POST" else None,
            headers={"Authorization": "token wrong"},
        )
    assert refused.value.code == 403
    assert refused.value.response is not None
    contract.validator("Error").validate(json.loads(refused.value.response.body))
