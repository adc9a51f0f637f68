"""What outlives the server, what starts by itself, and how the server begins."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kfp_server_api.exceptions import ApiException

from kfp_magics.errors import ArgumentError
from kfp_magics.gateway.app import Gateway as Inside
from kfp_magics.gateway.jobs import Job
from kfp_magics.gateway.lists import Asked
from kfp_magics.gateway.pipelines import Naming
from kfp_magics.gateway.runs import Tick
from kfp_magics.gateway.words import timestamp
from kfp_magics.runs.store import Store
from kfp_magics.settings import Settings
from tests.gateway.pipelines import doubling, resting
from tests.gateway.servers import Gateway
from tests.local.conftest import Engine, ir_of

RECENT = 1_790_000_000.0


@pytest.fixture
def inside(settings: Settings) -> Iterator[Inside]:
    """What answers, without the socket and without its clock."""
    made = Inside(settings)
    yield made
    made.store.close()
    with Engine(settings):
        pass


def scheduled(inside: Inside, spec: dict | None, **fields) -> str:
    body = {
        "display_name": "nightly",
        "pipeline_spec": spec,
        "max_concurrency": "10",
        "trigger": {"periodic_schedule": {"interval_second": "60", "start_time": timestamp(RECENT)}},
    }
    return inside.schedules.create(body | fields)["recurring_run_id"]


def started(inside: Inside) -> list[tuple[str, str]]:
    runs = inside.runs.list(Asked(sort_by="scheduled_at"), "").get("runs", [])
    return [(run["display_name"].split(" (")[0], run["scheduled_at"]) for run in runs]


@pytest.fixture
def spec(tmp_path: Path) -> dict:
    import yaml

    return yaml.safe_load(ir_of(doubling, tmp_path))


def test_a_run_goes_on_while_the_server_is_killed_and_restarted(gateway: Gateway):
    client = gateway.client()
    run_id = client.create_run_from_pipeline_func(resting, arguments={"seconds": 2.0}).run_id
    gateway.stop(signal.SIGKILL)
    gateway.restart()
    run = gateway.client().wait_for_run_completion(run_id, timeout=60, sleep_duration=0.1)
    assert run.state == "SUCCEEDED"


def test_a_log_is_followed_until_the_step_has_ended(gateway: Gateway):
    client = gateway.client()
    run_id = client.create_run_from_pipeline_func(resting, arguments={"seconds": 1.0}).run_id
    path = f"/apis/v1alpha1/runs/{run_id}/nodes/rest/log?follow=true"
    answer = client._run_api.api_client.call_api(path, "GET", auth_settings=["Bearer"], _preload_content=False)
    assert answer.data.decode().strip() == "resting"
    assert client.get_run(run_id).run_details.task_details[2].state == "SUCCEEDED"


def test_what_was_missed_is_made_up_for(inside: Inside, spec: dict):
    scheduled(inside, spec)
    inside.scheduler.look(RECENT + 59)
    assert started(inside) == []
    inside.scheduler.look(RECENT + 200)
    moments = [timestamp(RECENT + 60 * number) for number in (1, 2, 3)]
    assert started(inside) == [(f"nightly {moment}", moment) for moment in moments]
    inside.scheduler.look(RECENT + 200)
    assert len(started(inside)) == 3


def test_without_catching_up_only_the_last_one_counts(inside: Inside, spec: dict):
    scheduled(inside, spec, no_catchup=True)
    inside.scheduler.look(RECENT + 200)
    assert [moment for _, moment in started(inside)] == [timestamp(RECENT + 180)]


def test_no_more_are_started_than_may_go_on_at_once(inside: Inside, tmp_path: Path):
    import yaml

    scheduled(inside, yaml.safe_load(ir_of(resting, tmp_path)), max_concurrency="2")
    inside.scheduler.look(RECENT + 600)
    inside.scheduler.look(RECENT + 600)
    assert len(started(inside)) == 2


def test_disabled_and_ended_ones_start_nothing(inside: Inside, spec: dict):
    schedule_id = scheduled(inside, spec, mode="DISABLE")
    trigger = {"interval_second": "60", "start_time": timestamp(RECENT), "end_time": timestamp(RECENT + 90)}
    scheduled(inside, spec, display_name="short", trigger={"periodic_schedule": trigger})
    inside.scheduler.look(RECENT + 600)
    assert [name for name, _ in started(inside)] == [f"short {timestamp(RECENT + 60)}"]
    inside.schedules.enable(schedule_id, enabled=True)
    inside.scheduler.look(RECENT + 60)
    assert len(started(inside)) == 2
    inside.schedules.delete(schedule_id)
    inside.scheduler.look(RECENT + 600)
    assert len(started(inside)) == 2


def test_a_moment_that_was_dealt_with_before_the_server_was_killed_is_not_dealt_with_again(inside: Inside, spec: dict):
    schedule_id = scheduled(inside, spec)
    due = RECENT + 60
    name = f"nightly {timestamp(due)} ({schedule_id[:8]})"
    # As far as a server comes that is killed before it can write that it did so.
    job = Job(display_name="nightly", experiment="Default", ir=json.dumps(spec))
    inside.runs.start(job, Tick(schedule_id=schedule_id, scheduled=due, run_name=name))
    with inside.store.writing() as connection:
        connection.execute("DELETE FROM run_facts")
    inside.scheduler.look(due)
    (run,) = inside.runs.list(Asked(), "")["runs"]
    assert (run["display_name"], run["recurring_run_id"]) == (name, schedule_id)


def test_what_cannot_be_started_is_told_and_does_not_stop_the_others(inside: Inside, spec: dict):
    made, version_id = inside.pipelines.create(Naming(name="gone soon"), json.dumps(spec))
    reference = {"pipeline_id": made["pipeline_id"], "pipeline_version_id": version_id}
    broken = scheduled(inside, None, display_name="broken", pipeline_version_reference=reference)
    inside.pipelines.delete(made["pipeline_id"], cascade=True)
    scheduled(inside, spec, display_name="sound", runtime_config={"parameters": {"number": "[[Index]]"}})
    inside.scheduler.look(RECENT + 60)
    assert [name.split()[0] for name, _ in started(inside)] == ["sound"]
    assert inside.runs.list(Asked(), "")["runs"][0]["runtime_config"]["parameters"] == {"number": 1}
    assert "has no version" in inside.schedules.get(broken)["error"]["message"]


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"number": "[[Index]] apples"}, "The parameter 'number' wants int, and '1 apples' is none."),
        ({"amount": 1}, "The pipeline 'doubling' takes no argument 'amount'."),
    ],
)
def test_what_no_moment_could_be_started_with_is_refused_at_once(inside: Inside, spec: dict, parameters, said):
    with pytest.raises(ArgumentError) as raised:
        scheduled(inside, spec, runtime_config={"parameters": parameters})
    assert raised.value.message == said
    assert inside.schedules.list(Asked(), "") == {}


def test_of_two_servers_one_starts_what_is_due(gateway: Gateway, tmp_path: Path):
    other = Gateway(gateway.home)
    other.start()
    try:
        client = other.client()
        ir_of(doubling, tmp_path)
        experiment = client.create_experiment("Default").experiment_id
        package = str(tmp_path / "compiled.yaml")
        client.create_recurring_run(
            experiment, "twice", interval_second=1, pipeline_package_path=package, max_concurrency=10
        )
        deadline = time.monotonic() + 60
        while not (client.list_runs().total_size or 0) >= 3:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        scheduled_at = [run.scheduled_at for run in client.list_runs().runs]
        assert len(scheduled_at) == len(set(scheduled_at))
        store = Store(Settings(home=str(gateway.home)).store_path)
        assert {run.started_by for run in store.list()} == {"schedule"}
        store.close()
    finally:
        other.stop()


def test_a_new_token_is_told_once_and_one_of_a_file_never(tmp_path: Path):
    made = Gateway(tmp_path / "home")
    made.start(KFP_MAGICS_SERVE_TOKEN="")
    made.token = made.said.splitlines()[1].removeprefix("Token: ")
    assert made.client().list_runs().total_size in {None, 0}
    assert made.stop(signal.SIGINT) == 0
    file = tmp_path / "token"
    file.write_text("the-token-of-a-file\n")
    made.token = "the-token-of-a-file"
    made.start("--port", "0", "--token-file", str(file))
    assert made.token not in made.said
    assert made.client().list_runs().total_size in {None, 0}
    made.end()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--host", "0.0.0.0"], "'0.0.0.0' can be reached from other machines"),
        (["--host", "no.such.host.invalid"], "The host 'no.such.host.invalid' has no address"),
        (["--token-file", "/nowhere"], "The token cannot be read from the file '/nowhere'"),
        (["--port", "99999"], "There is no port 99999."),
        (["--port", "-1"], "There is no port -1."),
    ],
)
def test_what_would_be_unsafe_or_cannot_be_is_refused(words: list[str], said: str, tmp_path: Path):
    command = [sys.executable, "-m", "kfp_magics.cli", "serve", "--port", "0", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith(said)
    assert len(done.stderr.splitlines()) == 2
    assert not done.stdout


def test_a_port_that_is_taken_is_said(shared_gateway: Gateway):
    port = shared_gateway.url.rsplit(":", 1)[1]
    command = [sys.executable, "-m", "kfp_magics.cli", "serve", "--port", port]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr.splitlines()[1]) == (2, "Take another port: --port 0 chooses a free one.")


def test_a_damaged_store_is_told_and_the_server_stays(gateway: Gateway):
    client = gateway.client()
    gateway.stop()
    path = Settings(home=str(gateway.home)).store_path
    path.write_bytes(b"no database at all" * 100)
    gateway.restart()
    with pytest.raises(ApiException) as raised:
        client.list_runs()
    said = json.loads(raised.value.body)
    assert (raised.value.status, said["code"]) == (503, 14)
    assert said["message"].startswith(f"The store {str(path)!r} is damaged")
    path.unlink()
    assert client.list_runs().total_size in {None, 0}
