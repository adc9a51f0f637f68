"""What steps took and gave, as the door tells it: by number in KFP's API, and whole in ML Metadata's."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from kfp_magics import mlmd
from tests.gateway.pipelines import looping
from tests.gateway.servers import Gateway
from tests.local.conftest import ir_of


def post(door: Gateway, method: str, body: bytes, token: str = "") -> bytes:
    headers = {"Content-Type": mlmd.CONTENT_TYPE, "Authorization": f"Bearer {token or door.token}"}
    request = urllib.request.Request(f"{door.url}{mlmd.PATH}{method}", data=body, headers=headers, method="POST")
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.headers["Content-Type"] == mlmd.CONTENT_TYPE
        return answer.read()


def ask(door: Gateway, method: str, **fields: Any) -> Any:
    asked = mlmd.message(f"{method}Request", **fields)
    data, end = mlmd.unframe(post(door, method, mlmd.frame(asked.SerializeToString())))
    assert end["grpc-status"] == "0", end
    return mlmd.parse(f"{method}Response", data)


def test_the_numbers_of_the_api_lead_to_what_steps_gave(shared_gateway: Gateway, tmp_path: Path) -> None:
    ir_of(looping, tmp_path)
    client = shared_gateway.client()
    (tmp_path / "mark").touch()
    run = client.create_run_from_pipeline_package(
        str(tmp_path / "compiled.yaml"), arguments={"mark": str(tmp_path / "mark")}
    )
    ended = run.wait_for_run_completion(timeout=60)
    details = {one.task_id: one for one in ended.run_details.task_details}
    (step, *_) = [one for one in details.values() if one.display_name == "double-2"]
    (number,) = step.outputs["table"].artifact_ids
    (artifact,) = ask(shared_gateway, "GetArtifactsByID", artifact_ids=[int(number)]).artifacts
    assert Path(artifact.uri).read_text().startswith("twice,")
    assert artifact.type == "system.Dataset"
    context = ask(
        shared_gateway, "GetContextByTypeAndName", type_name=mlmd.RUN_CONTEXT, context_name=run.run_id
    ).context
    found, token = [], ""
    while True:
        options = mlmd.message("Options", max_result_size=4, next_page_token=token)
        page = ask(shared_gateway, "GetExecutionsByContext", context_id=context.id, options=options)
        assert len(page.executions) <= 4
        found += page.executions
        if not (token := page.next_page_token):
            break
    by_number = {one.id: one for one in found}
    assert len(by_number) == len(found) > 15
    execution = by_number[int(step.execution_id)]
    assert set(mlmd.fields(execution.custom_properties["outputs"])) == {"Output"}
    parents = {
        one.custom_properties["parent_dag_id"].int_value for one in found if "parent_dag_id" in one.custom_properties
    }
    assert parents <= by_number.keys()
    (event,) = ask(shared_gateway, "GetEventsByExecutionIDs", execution_ids=[execution.id]).events
    assert (event.artifact_id, event.type, event.path.steps[0].key) == (int(number), mlmd.OUTPUT, "table")


def test_questions_that_cannot_be_answered(shared_gateway: Gateway) -> None:
    nobody = ask(shared_gateway, "GetContextByTypeAndName", type_name=mlmd.RUN_CONTEXT, context_name="none")
    assert not nobody.HasField("context")
    asked = mlmd.frame(mlmd.message("GetExecutionsByContextRequest", context_id=10**9).SerializeToString())
    codes = {
        ("GetExecutionsByContext", asked): "5",
        ("PutExecution", b""): "12",
        ("GetArtifactsByID", b"\0\0\0\0\x09\xff\xff"): "3",
        ("GetArtifactsByID", mlmd.frame(b"\xff\xff")): "3",
    }
    for (method, body), code in codes.items():
        assert mlmd.unframe(post(shared_gateway, method, body))[1]["grpc-status"] == code, method
    with pytest.raises(urllib.error.HTTPError, match="401"):
        post(shared_gateway, "GetArtifactsByID", mlmd.frame(b""), token="a-token-of-somebody-else")
