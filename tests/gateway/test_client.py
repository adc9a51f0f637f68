"""The official client, over a socket."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime

import kfp_server_api
import pytest
from kfp_server_api.exceptions import ApiException

from tests.gateway.pipelines import doubling
from tests.gateway.servers import Gateway


def ended(client, run_id: str, seconds: float = 60):
    return client.wait_for_run_completion(run_id, timeout=seconds, sleep_duration=0.1)


def until(client, run_id: str, reached):
    deadline = time.monotonic() + 60
    while not reached(run := client.get_run(run_id)):
        assert time.monotonic() < deadline, run
        time.sleep(0.05)
    return run


def details(run) -> dict:
    return {one.display_name: one for one in run.run_details.task_details}


def equals(key: str, value: str) -> str:
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": key, "string_value": value}]})


def status_of(raised: pytest.ExceptionInfo[ApiException]) -> tuple[int, int, str]:
    body = json.loads(raised.value.body)
    return raised.value.status, body["code"], body["message"]


def raw(client, path: str, **values: str) -> bytes:
    answer = client._run_api.api_client.call_api(
        path, "GET", values, header_params={"Accept": "*/*"}, auth_settings=["Bearer"], _preload_content=False
    )
    return answer.data


def test_a_function_runs_and_is_waited_for(shared_gateway: Gateway):
    client = shared_gateway.client()
    started = client.create_run_from_pipeline_func(doubling, arguments={"number": 4}, experiment_name="sums")
    run = ended(client, started.run_id)
    assert run.state == "SUCCEEDED"
    assert run.experiment_id == client.get_experiment(experiment_name="sums").experiment_id
    assert run.runtime_config.parameters == {"number": 4}
    assert [one.state for one in run.state_history] == ["PENDING", "RUNNING", "SUCCEEDED"]
    assert run.created_at <= run.finished_at <= datetime.now(UTC)
    assert run.pipeline_spec["pipelineInfo"]["name"] == "doubling"
    assert isinstance(run.run_details.task_details[0], kfp_server_api.V2beta1PipelineTaskDetail)
    step, pod = details(run)["double"], details(run)["executor"]
    assert step.state == pod.state == "SUCCEEDED"
    assert step.parent_task_id == details(run)["root"].task_id
    assert [one.task_id for one in step.child_tasks] == [pod.task_id]
    log = raw(client, "/apis/v1alpha1/runs/{run}/nodes/{node}/log", run=run.run_id, node=pod.pod_name)
    assert log.decode().strip() == "doubling 4"
    found = raw(
        client, "/apis/v2beta1/runs/{run}/nodes/{node}/artifacts/table:read", run=run.run_id, node=step.pod_name
    )
    import base64

    assert base64.b64decode(json.loads(found)["data"]) == b"twice,8\n"
