"""The official client, over a socket."""

from __future__ import annotations

import base64
import json
import threading
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import httpx
import kfp_server_api
import pytest
from kfp_server_api.exceptions import ApiException

from kfp_magics.backends.kfp.states import STATES
from kfp_magics.model import State
from kfp_magics.settings import Settings
from tests.gateway.pipelines import doubling, failing, looping, resting
from tests.gateway.servers import Gateway
from tests.local.conftest import Engine, ir_of


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
    assert base64.b64decode(json.loads(found)["data"]) == b"twice,8\n"


def test_a_run_is_terminated_and_resumed(shared_gateway: Gateway):
    client = shared_gateway.client()
    run_id = client.create_run_from_pipeline_func(resting, run_name="long").run_id
    until(client, run_id, lambda run: details(run)["rest"].state == "RUNNING")
    with pytest.raises(ApiException) as raised:
        client._run_api.run_service_retry_run(run_id)
    assert status_of(raised)[:2] == (400, 9)
    client.terminate_run(run_id)
    run = until(client, run_id, lambda run: run.state == "CANCELED")  # its own waiting does not know the word
    assert [one.state for one in run.state_history] == ["PENDING", "RUNNING", "CANCELING", "CANCELED"]
    with pytest.raises(ApiException) as raised:
        client.terminate_run(run_id)
    assert status_of(raised) == (400, 9, "The run 'long' has ended: it is cancelled.")
    client._run_api.run_service_retry_run(run_id)
    assert client.get_run(run_id).state in {"PENDING", "RUNNING"}
    client.terminate_run(run_id)
    until(client, run_id, lambda run: run.state == "CANCELED")


def test_a_failure_says_why(shared_gateway: Gateway):
    client = shared_gateway.client()
    run = ended(client, client.create_run_from_pipeline_func(failing).run_id)
    step = details(run)["broken"]
    assert (run.state, step.state) == ("FAILED", "FAILED")
    assert run.error.message == "broken: ValueError: no luck"
    assert step.error.message == "ValueError: no luck"
    raw_run = json.loads(raw(client, "/apis/v2beta1/runs/{run}", run=run.run_id))
    assert any("no luck" in line for one in raw_run["error"]["details"] for line in one.get("stack_entries", ()))


def test_runs_are_filtered_sorted_archived_and_deleted(gateway: Gateway):
    client = gateway.client()
    ids = {}
    for name in ("b", "a", "c"):
        ids[name] = client.create_run_from_pipeline_func(
            doubling, run_name=name, experiment_name=f"of {name}", arguments={"number": 1}
        ).run_id
        assert ended(client, ids[name]).state == "SUCCEEDED"

    def names(**asked):
        return [run.display_name for run in client.list_runs(**asked).runs or ()]

    def filtered(operation, key, **value):
        return names(filter=json.dumps({"predicates": [{"operation": operation, "key": key, **value}]}))

    assert names() == ["b", "a", "c"]
    assert names(sort_by="created_at desc") == ["c", "a", "b"]
    assert names(sort_by="display_name asc") == ["a", "b", "c"]
    first = client.list_runs(sort_by="display_name desc", page_size=2)
    assert first.total_size == 3
    assert names(page_token=first.next_page_token, page_size=2) == ["a"]
    of_a = client.get_experiment(experiment_name="of a").experiment_id
    assert names(experiment_id=of_a) == ["a"]
    assert filtered("EQUALS", "name", stringValue="a") == ["a"]
    assert filtered(1, "display_name", string_value="c") == ["c"]
    assert filtered("NOT_EQUALS", "display_name", string_value="c") == ["b", "a"]
    assert filtered("IN", "run_id", string_values={"values": [ids["a"], ids["c"]]}) == ["a", "c"]
    assert filtered("IS_SUBSTRING", "display_name", string_value="B") == ["b"]
    assert filtered("EQUALS", "state", string_value="SUCCEEDED") == ["b", "a", "c"]
    assert filtered("EQUALS", "state", string_value="FAILED") == []
    past = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    assert filtered("LESS_THAN", "created_at", timestamp_value=past) == []
    assert filtered("GREATER_THAN_EQUALS", "finished_at", timestampValue=past) == ["b", "a", "c"]

    client.archive_run(ids["b"])
    assert client.get_run(ids["b"]).storage_state == "ARCHIVED"
    assert filtered("EQUALS", "storage_state", string_value="AVAILABLE") == ["a", "c"]
    client.unarchive_run(ids["b"])
    assert filtered("EQUALS", "storage_state", string_value="ARCHIVED") == []
    client.delete_run(ids["b"])
    with pytest.raises(ApiException) as raised:
        client.get_run(ids["b"])
    assert status_of(raised)[:2] == (404, 5)

    client.archive_experiment(of_a)
    assert client.get_run(ids["a"]).storage_state == "ARCHIVED"
    assert client.get_experiment(of_a).storage_state == "ARCHIVED"
    client.delete_experiment(of_a)
    assert "of a" not in {one.display_name for one in client.list_experiments(page_size=100).experiments}
    assert client.get_run(ids["a"]).experiment_id == of_a
    assert client.create_experiment("of a").experiment_id != of_a


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"filter": "no json"}, "The filter is no JSON."),
        ({"filter": "[]"}, "The filter has no list of predicates."),
        ({"filter": equals("colour", "x")}, "There is no field 'colour' to filter or sort by."),
        (
            {"filter": json.dumps({"predicates": [{"operation": "LIKE", "key": "name", "string_value": "x"}]})},
            "There is no operation 'LIKE'.",
        ),
        (
            {"filter": json.dumps({"predicates": [{"operation": "EQUALS", "key": "name"}]})},
            "The predicate about 'name' needs one value, and has 0.",
        ),
        (
            {"filter": json.dumps({"predicates": [{"operation": "IN", "key": "name", "string_value": "x"}]})},
            "The predicate about 'name' needs a list of values.",
        ),
        ({"filter": equals("created_at", "yesterday")}, "The field 'created_at' is no time: 'yesterday'."),
        ({"sort_by": "name upwards"}, "'name upwards' is no order."),
        ({"sort_by": "1; DROP TABLE runs"}, "'1; DROP TABLE runs' is no order."),
        ({"page_token": "x"}, "The page token is none of ours."),
        ({"page_size": -1}, "The page size '-1' is no whole number."),
    ],
)
def test_a_list_that_cannot_be_read_says_why(shared_gateway: Gateway, asked, said):
    with pytest.raises(ApiException) as raised:
        shared_gateway.client().list_runs(**asked)
    assert status_of(raised) == (400, 3, said)


def test_what_cannot_be_started_says_why(shared_gateway: Gateway):
    client = shared_gateway.client()
    with pytest.raises(ApiException) as raised:
        client.create_run_from_pipeline_func(doubling, arguments={"number": "many"})
    assert status_of(raised)[:2] == (400, 3)
    assert "number" in status_of(raised)[2]
    create = client._run_api.run_service_create_run
    with pytest.raises(ApiException) as raised:
        create({"display_name": "x"})
    assert status_of(raised) == (400, 3, "A run needs either a pipeline_spec or a pipeline_version_reference.")
    with pytest.raises(ApiException) as raised:
        create({"display_name": "x", "pipeline_version_reference": {"pipeline_id": "gone"}})
    assert status_of(raised)[:2] == (404, 5)
    with pytest.raises(ApiException) as raised:
        create({"display_name": "x", "pipeline_spec": {"root": {}}})
    assert status_of(raised)[:2] == (400, 3)
    with pytest.raises(ApiException) as raised:
        create({"display_name": "x", "experiment_id": "gone", "pipeline_spec": {"root": {"dag": {}}}})
    assert status_of(raised)[:2] == (404, 5)


def test_pipelines_have_versions(shared_gateway: Gateway, tmp_path: Path):
    client = shared_gateway.client()
    made = client.upload_pipeline_from_pipeline_func(doubling, pipeline_name="versioned", description="first")
    assert (made.name, made.display_name, made.description) == ("versioned", "versioned", "first")
    with pytest.raises(ApiException) as raised:
        client.upload_pipeline_from_pipeline_func(doubling, pipeline_name="versioned")
    assert status_of(raised) == (409, 6, "There is a pipeline 'versioned' already.")
    second = client.upload_pipeline_version_from_pipeline_func(
        resting, pipeline_version_name="second", pipeline_name="versioned"
    )
    versions = client.list_pipeline_versions(made.pipeline_id, sort_by="created_at desc").pipeline_versions
    assert [one.display_name for one in versions] == ["second", "versioned"]
    assert client.get_pipeline_id("versioned") == made.pipeline_id
    assert client._pipelines_api.pipeline_service_get_pipeline_by_name("versioned") == client.get_pipeline(
        made.pipeline_id
    )
    got = client.get_pipeline_version(made.pipeline_id, versions[1].pipeline_version_id)
    assert got.pipeline_spec["pipelineInfo"]["name"] == "doubling"
    experiment = client.create_experiment("Default").experiment_id
    run = client.run_pipeline(
        experiment, "by version", pipeline_id=made.pipeline_id, version_id=got.pipeline_version_id, params={"number": 3}
    )
    assert run.pipeline_version_reference.pipeline_version_id == got.pipeline_version_id
    assert ended(client, run.run_id).state == "SUCCEEDED"
    with pytest.raises(ApiException) as raised:
        client.delete_pipeline(made.pipeline_id)
    assert status_of(raised)[:2] == (400, 9)
    client.delete_pipeline_version(made.pipeline_id, second.pipeline_version_id)
    client.delete_pipeline_version(made.pipeline_id, got.pipeline_version_id)
    client.delete_pipeline(made.pipeline_id)
    assert client.get_pipeline_id("versioned") is None


def archive_of(kind: str, content: bytes) -> bytes:
    import io
    import tarfile
    import zipfile

    file = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(file, "w") as made:
            made.writestr("pipeline.yaml", content)
    else:
        with tarfile.open(fileobj=file, mode="w:gz") as made:
            member = tarfile.TarInfo("inside/pipeline.yaml")
            member.size = len(content)
            made.addfile(member, io.BytesIO(content))
    return file.getvalue()


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_archives_are_uploaded(shared_gateway: Gateway, tmp_path: Path, kind: str):
    client = shared_gateway.client()
    package = tmp_path / f"package.{kind}"
    package.write_bytes(archive_of(kind, ir_of(doubling, tmp_path).encode()))
    made = client.upload_pipeline(str(package), pipeline_name=f"in {kind}")
    (version,) = client.list_pipeline_versions(made.pipeline_id).pipeline_versions
    assert version.pipeline_spec["pipelineInfo"]["name"] == "doubling"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"just a text",
        b"apiVersion: v1\nkind: Pod\n",
        b"\x89PNG\r\n\xff\xfe",
        b"PK\x03\x04 no zip",
        b"\x1f\x8b no gzip",
        archive_of("zip", b"root: {}"),
        archive_of("tar.gz", b"a" * (33 << 20)),
    ],
    ids=["empty", "text", "kubernetes", "picture", "bad zip", "bad gzip", "zip of something", "too large"],
)
def test_an_upload_that_is_no_pipeline_is_refused(shared_gateway: Gateway, tmp_path: Path, content: bytes):
    client = shared_gateway.client()
    file = tmp_path / "it.yaml"
    file.write_bytes(content)
    with pytest.raises(ApiException) as raised:
        client._upload_api.upload_pipeline(str(file), name="nothing")
    assert status_of(raised)[:2] == (400, 3)
    assert client.get_pipeline_id("nothing") is None


@pytest.mark.parametrize("token", ["another-token-of-somebody", None])
def test_a_wrong_token_sees_nothing(shared_gateway: Gateway, token):
    client = shared_gateway.client(existing_token=token)
    assert client.get_kfp_healthz().multi_user is False
    retry = partial(client._run_api.run_service_retry_run, "x")
    for ask in (client.list_runs, client.list_pipelines, retry):
        with pytest.raises(ApiException) as raised:
            ask()
        assert status_of(raised) == (401, 16, "The token is missing or wrong.")


def test_what_is_not_there_is_said_in_the_same_words(shared_gateway: Gateway):
    client = shared_gateway.client()
    for path, code in (("/apis/v2beta1/nothing", 5), ("/apis/v2beta1/runs/x/nodes/y/artifacts/z:read", 5)):
        with pytest.raises(ApiException) as raised:
            raw(client, path)
        assert status_of(raised)[:2] == (404, code)
    with pytest.raises(ApiException) as raised:
        client._pipelines_api.api_client.call_api("/apis/v2beta1/healthz", "PATCH", auth_settings=["Bearer"])
    assert status_of(raised)[:2] == (501, 12)


def test_pipelines_and_versions_are_shown_otherwise_and_tagged(shared_gateway: Gateway):
    client = shared_gateway.client()
    api = client._pipelines_api
    made = client.upload_pipeline_from_pipeline_func(doubling, pipeline_name="renamed")
    changed = api.pipeline_service_update_pipeline(made.pipeline_id, {"display_name": "new", "tags": {"team": "a"}})
    assert (changed.name, changed.display_name, changed.tags) == ("renamed", "new", {"team": "a"})
    (version,) = client.list_pipeline_versions(made.pipeline_id).pipeline_versions
    where = made.pipeline_id, version.pipeline_version_id
    assert api.pipeline_service_update_pipeline_version(*where, {"tags": {"stage": "x"}}).tags == {"stage": "x"}
    cleared = api.pipeline_service_update_pipeline_version(*where, {"display_name": "v", "tags": {}})
    assert (cleared.name, cleared.display_name, cleared.tags) == ("renamed", "v", None)
    assert client.get_pipeline(made.pipeline_id).tags == {"team": "a"}
    for tags in ({"a.b": "x"}, {"": "x"}, {"a": "x" * 64}, {str(n): "" for n in range(21)}, {"a": 1}):
        with pytest.raises(ApiException) as raised:
            api.pipeline_service_update_pipeline(made.pipeline_id, {"tags": tags})
        assert status_of(raised)[:2] == (400, 3)
    with pytest.raises(ApiException) as raised:
        api.pipeline_service_update_pipeline("x", {"display_name": "y"})
    assert status_of(raised) == (404, 5, "There is no pipeline 'x'.")


def test_a_run_of_an_archived_experiment_stays_archived(shared_gateway: Gateway):
    client = shared_gateway.client()
    run_id = client.create_run_from_pipeline_func(doubling, run_name="kept", experiment_name="put away").run_id
    ended(client, run_id)
    experiment = client.get_experiment(experiment_name="put away").experiment_id
    client.archive_experiment(experiment)
    with pytest.raises(ApiException) as raised:
        client.unarchive_run(run_id)
    assert status_of(raised) == (400, 9, "The experiment 'put away' of the run 'kept' is archived.")
    client.unarchive_experiment(experiment)
    client.unarchive_run(run_id)
    assert client.get_run(run_id).storage_state == "AVAILABLE"


def test_a_page_of_another_site_reaches_nothing(shared_gateway: Gateway):
    """Nothing that a browser adds by itself opens the door, and no answer lets a script of elsewhere read it."""
    elsewhere = {"Host": "evil.example:8888", "Origin": "http://evil.example:8888", "Cookie": shared_gateway.token}
    with httpx.Client(base_url=shared_gateway.url, headers=elsewhere, timeout=60) as browser:
        asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        for answer in (
            browser.get("/apis/v2beta1/runs"),
            browser.get("/apis/v2beta1/runs", params={"token": shared_gateway.token}),
            browser.post("/apis/v2beta1/experiments", content=b"{}", headers={"Content-Type": "text/plain"}),
            browser.options("/apis/v2beta1/runs", headers=asked),
        ):
            assert answer.status_code == 401
            assert not [name for name in answer.headers if name.startswith("access-control-")]
        front = browser.get("/")
        assert (front.status_code, front.headers["content-type"]) == (200, "text/plain; charset=utf-8")
        assert "kfp-magics runs" in front.text
        assert shared_gateway.token not in front.text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[" * 100_000, "The request is nested too deeply."),
        (b'{"display_name":', "The request is no JSON: "),
        (b"[1]", "The request is no JSON object."),
        (b'{"display_name": "\xff"}', "The request is no JSON: "),
    ],
    ids=["deep", "cut", "list", "no text"],
)
def test_a_body_that_cannot_be_read_is_refused(shared_gateway: Gateway, content: bytes, said: str):
    headers = {"Authorization": f"Bearer {shared_gateway.token}"}
    answer = httpx.post(f"{shared_gateway.url}/apis/v2beta1/experiments", content=content, headers=headers, timeout=60)
    assert (answer.status_code, answer.json()["code"]) == (400, 3)
    assert answer.json()["message"].startswith(said)


def test_queries_are_read_in_both_spellings_and_empty_answers_say_nothing(shared_gateway: Gateway):
    headers = {"Authorization": f"Bearer {shared_gateway.token}"}
    client = shared_gateway.client()
    for name in ("spelt one", "spelt two"):
        client.create_experiment(name)
    with httpx.Client(base_url=shared_gateway.url, headers=headers, timeout=60) as browser:
        said = {"pageSize": 1, "sortBy": "display_name desc"}
        assert len(browser.get("/apis/v2beta1/experiments", params=said).json()["experiments"]) == 1
        none = {"filter": equals("display_name", "nobody's")}
        assert browser.get("/apis/v2beta1/runs", params=none).json() == {}


def test_two_clients_at_once_do_not_mix(shared_gateway: Gateway):
    found: dict[str, list] = {}
    clients = {name: shared_gateway.client() for name in ("one", "two")}
    clients["one"].create_experiment("crowded")

    def work(name: str) -> None:
        client = clients[name]
        runs = [
            client.create_run_from_pipeline_func(
                doubling, run_name=f"{name} {number}", experiment_name="crowded", arguments={"number": number}
            ).run_id
            for number in range(3)
        ]
        found[name] = [ended(client, run_id) for run_id in runs]

    threads = [threading.Thread(target=work, args=(name,)) for name in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, runs in found.items():
        assert [run.display_name for run in runs] == [f"{name} {number}" for number in range(3)]
        assert [run.runtime_config.parameters for run in runs] == [{"number": number} for number in range(3)]
        assert {run.state for run in runs} == {"SUCCEEDED"}
    experiments = shared_gateway.client().list_experiments(filter=equals("display_name", "crowded"))
    assert experiments.total_size == 1


def test_the_rows_are_those_of_everybody(shared_gateway: Gateway, tmp_path: Path):
    client = shared_gateway.client()
    theirs = client.create_run_from_pipeline_func(doubling, run_name="theirs", experiment_name="shared").run_id
    with_settings = Settings(home=str(shared_gateway.home), grace=0.5)
    engine = Engine(with_settings)
    ours = engine.run(ir_of(looping, tmp_path))
    assert ours.state is State.SUCCEEDED
    seen = engine.store.get(theirs.removeprefix("local-"))
    assert (seen.name, seen.experiment, seen.started_by) == ("theirs", "shared", "kfp")
    listed = {run.run_id: run for run in client.list_runs(page_size=200).runs}
    assert listed[theirs].display_name == "theirs"
    mine = listed[f"local-{ours.id}"]
    assert mine.experiment_id == client.get_experiment(experiment_name="Default").experiment_id
    names = [one.display_name for one in mine.run_details.task_details]
    assert names.count("iteration-item") == 5
    assert client.get_run(ours.id) == client.get_run(f"local-{ours.id}")
    ended(client, theirs)
    engine.store.close()


def test_every_state_has_its_word():
    from kfp_magics.gateway.words import STATES as WORDS

    assert set(WORDS) == set(State)
    assert {STATES[word] for word in WORDS.values()} == set(State)
    assert all(word in kfp_server_api.V2beta1RuntimeState.allowable_values for word in WORDS.values())
