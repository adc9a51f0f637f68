"""The generated function, served as Google serves it, with real events, a real ledger and real runs."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from kfp import compiler, dsl

from kfp_magics.delivery.cloud.folder import function_files, rule_in
from kfp_magics.delivery.cloud.target import Target
from kfp_magics.delivery.cloud.trial import event_of
from kfp_magics.delivery.newdata.claims import BucketClaims, FolderClaims, open_claims
from kfp_magics.delivery.newdata.rules import NewObject, Rule
from kfp_magics.session import Session
from kfp_magics.settings import Settings
from tests.delivery.served import Between, Relay, Served, put
from tests.delivery.storage_server import StorageServer
from tests.gateway.servers import Gateway

DECLINES = "def parameters(event):\n    return {'data': event.uri} if event.size > 2 else None\n"


@dsl.component(base_image="python:3.11")
def note(data: str) -> str:
    return data


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> str:
    @dsl.pipeline(name="fit")
    def fit(data: str):
        note(data=data)

    path = tmp_path_factory.mktemp("pipeline") / "fit.yaml"
    compiler.Compiler().compile(fit, str(path))
    return path.read_text()


@pytest.fixture
def function(serve: Callable[..., Served], pipeline: str, between: Between) -> Callable[..., Served]:
    """Serves a function that starts runs on the gateway, through what may hold or lose them."""

    def make(name: str, **words: Any) -> Served:
        given = {"name": name, "on": f"gs://wares/{name}/*", "pipeline": "fit", "templates": {"data": "$uri"}}
        target = Target(facts={"kind": "kfp", "host": between.url, "token_env": "TOKEN", "experiment": name})
        return serve(function_files(Rule(**(given | words)), pipeline, target), TOKEN="a-token-for-these-tests")

    return make


def started(gateway: Gateway, name: str) -> Counter[str]:
    """What the runs of an experiment were given."""
    session = Session(Settings(home=str(gateway.home)))
    runs = session.store.list(limit=200)
    session.store.close()
    return Counter(run.parameters["data"] for run in runs if run.experiment == name)


@pytest.mark.parametrize("kind", ["bucket", "folder"])
def test_claims_are_written_by_one_of_many(kind: str, bucket: StorageServer, tmp_path: Path) -> None:
    claims = open_claims("gs://wares/.claims/fit" if kind == "bucket" else str(tmp_path / "claims"))
    assert isinstance(claims, BucketClaims if kind == "bucket" else FolderClaims)
    assert claims.read("objects/a") is None
    won: list[int] = []
    barrier = threading.Barrier(8)

    def write(number: int) -> None:
        mine = open_claims("gs://wares/.claims/fit" if kind == "bucket" else str(tmp_path / "claims"))
        barrier.wait()
        if mine.write("objects/a", {"owner": str(number)}, 0) is not None:
            won.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [winner] = won
    entry = claims.read("objects/a")
    assert entry is not None
    assert entry.facts == {"owner": str(winner)}
    assert abs(entry.changed - time.time()) < 60
    assert claims.write("objects/a", {"owner": "x"}, entry.version - 1) is None
    version = claims.write("objects/a", {"owner": "ü/#?"}, entry.version)
    assert version
    assert not claims.remove("objects/a", entry.version)
    claims.write("waiting/b c", {"owner": "b"}, 0)
    assert claims.keys("objects/") == ["objects/a"]
    assert claims.keys("waiting/") == ["waiting/b c"]
    assert claims.remove("objects/a", version)
    assert claims.read("objects/a") is None


def test_a_claim_whose_answer_was_lost_is_known_as_ones_own(bucket: StorageServer) -> None:
    lost = []

    def lose(meta: dict) -> None:
        if not lost:
            lost.append(meta)
            raise ConnectionResetError

    claims = open_claims("gs://wares/.claims/fit")
    bucket.finalized = lose
    version = claims.write("objects/a", {"owner": "me"}, 0)
    entry = claims.read("objects/a")
    assert lost
    assert entry is not None
    assert entry.version == version


def test_new_objects_start_one_run_each_and_others_none(
    function: Callable[..., Served], relayed: Callable[[Served], Relay], shared_gateway: Gateway, bucket: StorageServer
) -> None:
    served = function("each")
    relay = relayed(served)
    put("each/one.csv")
    put("each/zwei drei?#%ü.csv")
    put("elsewhere/one.csv")
    put("each/one.csv.part")
    relay.settle()
    uris = ["gs://wares/each/one.csv", "gs://wares/each/zwei drei?#%ü.csv"]
    assert started(shared_gateway, "each") == Counter(uris)
    for _ in range(3):
        assert served.deliver(bucket.meta("wares", "each/one.csv")) == 200
    assert started(shared_gateway, "each") == Counter(uris)
    put("each/one.csv", "new content")
    relay.settle()
    assert started(shared_gateway, "each")["gs://wares/each/one.csv"] == 2
    assert [name for name, _ in relay.answers if name.startswith(".kfp-magics/")]  # the claims' own events came, too
    session = Session(Settings(home=str(shared_gateway.home)))
    run = next(one for one in session.store.list() if one.experiment == "each")
    session.store.close()
    assert run.started_by == "trigger: gs://wares/each/one.csv"
    assert run.name == "fit · gs://wares/each/one.csv"


def test_three_deliveries_at_once_start_one_run(
    function: Callable[..., Served], shared_gateway: Gateway, bucket: StorageServer
) -> None:
    served = function("thrice")
    put("thrice/a")
    meta = bucket.meta("wares", "thrice/a")
    answers: list[int] = []
    threads = [threading.Thread(target=lambda: answers.append(served.deliver(meta))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 3 or served.deliver(meta) == 200
    assert started(shared_gateway, "thrice") == {"gs://wares/thrice/a": 1}


def test_killed_after_submitting_and_before_answering(
    function: Callable[..., Served],
    between: Between,
    shared_gateway: Gateway,
    bucket: StorageServer,
) -> None:
    served = function("killed")
    put("killed/a")
    meta = bucket.meta("wares", "killed/a")

    def kill(method: str, path: str) -> None:
        if method == "POST" and path.endswith("/runs"):
            served.kill()

    between.passed = kill
    assert served.deliver(meta) == 0
    assert started(shared_gateway, "killed") == {"gs://wares/killed/a": 1}
    served.start()
    # The claim of the dead is respected until it is old; here its age is made, not waited for.
    [claim] = bucket.names("wares", ".kfp-magics/killed/objects/")
    bucket.storage.get_file_obj("wares", claim)["updated"] = "2026-01-01T00:00:00.000000Z"
    assert served.deliver(meta) == 200
    assert served.lines()[-1]["kfp_magics"]["what"] == "before"
    assert started(shared_gateway, "killed") == {"gs://wares/killed/a": 1}


def test_a_server_that_is_down_has_the_event_delivered_again(
    function: Callable[..., Served],
    relayed: Callable[[Served], Relay],
    between: Between,
    shared_gateway: Gateway,
) -> None:
    served = function("down")
    relay = relayed(served)
    between.down = True
    for number in range(3):
        put(f"down/{number}")
    while len([one for one, status in relay.answers if one.startswith("down/") and status == 500]) < 6:
        time.sleep(0.05)
    assert started(shared_gateway, "down") == {}
    between.down = False
    relay.settle()
    assert started(shared_gateway, "down") == {f"gs://wares/down/{number}": 1 for number in range(3)}
    assert any(one["severity"] == "ERROR" and "does not answer" in one["message"] for one in served.lines())


def test_a_burst_is_gathered_into_one_run(
    function: Callable[..., Served], relayed: Callable[[Served], Relay], shared_gateway: Gateway
) -> None:
    relay = relayed(function("burst", gather=2.0, templates={"data": "$uris"}))
    for number in range(5):
        put(f"burst/{number}")
    relay.settle()
    uris = ", ".join(f'"gs://wares/burst/{number}"' for number in range(5))
    assert started(shared_gateway, "burst") == {f"[{uris}]": 1}


def test_what_the_pipeline_itself_writes_starts_nothing(pipeline: str) -> None:
    target = Target(facts={"kind": "kfp", "host": "https://kfp.test", "pipeline_root": "gs://wares/in/runs"})
    files = function_files(Rule(name="own", on="gs://wares/in/**", pipeline="fit"), pipeline, target)
    rule = rule_in(files)
    assert rule.matches(NewObject(bucket="wares", name="in/a/b.csv", generation="1"))
    assert not rule.matches(NewObject(bucket="wares", name="in/runs/1/model", generation="1"))
    assert not rule.matches(NewObject(bucket="wares", name=".kfp-magics/own/objects/1", generation="1"))


def test_the_users_function_gives_parameters_or_declines(
    function: Callable[..., Served], relayed: Callable[[Served], Relay], shared_gateway: Gateway
) -> None:
    served = function("cell", function=DECLINES)
    relay = relayed(served)
    put("cell/small", "1")
    put("cell/large", "123")
    relay.settle()
    assert started(shared_gateway, "cell") == {"gs://wares/cell/large": 1}
    assert any("gives no parameters for gs://wares/cell/small" in one["message"] for one in served.lines())


def test_events_about_what_cannot_be_are_declined_once_and_for_all(
    function: Callable[..., Served], shared_gateway: Gateway, bucket: StorageServer
) -> None:
    served = function("hostile", on="gs://wares/hostile/**")
    for change in (
        {"name": "hostile/\n../x"},
        {"name": "hostile/../../etc/passwd"},
        {"name": ""},
        {"name": None},
        {"name": "hostile/" + "x" * 5000},
        {"generation": "1; DROP TABLE"},
        {"generation": ""},
        {"bucket": "other"},
    ):
        meta = {"bucket": "wares", "name": "hostile/a", "generation": "1", "size": "1", **change}
        attributes, data = event_of("gs://wares/", "gs://wares/hostile", meta)
        headers = {f"ce-{name}": value for name, value in attributes.items() if name != "subject"}
        assert httpx.post(served.url, json=data, headers=headers, timeout=60).status_code == 200, change
    assert started(shared_gateway, "hostile") == {}


def test_the_same_rule_gives_the_same_folder_without_secrets(pipeline: str) -> None:
    target = Target(facts={"kind": "kfp", "host": "https://kfp.test", "token_env": "TOKEN"}, token_env="TOKEN")
    rule = Rule(name="same", on="gs://wares/in/*", pipeline="fit", function=DECLINES)
    files = function_files(rule, pipeline, target)
    assert files == function_files(rule, pipeline, target)
    assert files["parameters.py"].decode() == DECLINES
    assert not any(b"kfp_magics." in content for path, content in files.items() if path.endswith("main.py"))
    assert not any(b"import kfp_magics" in one or b"from kfp_magics" in one for one in files.values())
    assert not any(b"a-token" in one for one in files.values())
    assert all("==" in line for line in files["requirements.txt"].decode().split())
