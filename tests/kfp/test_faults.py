"""What goes wrong between here and a server, and what becomes of it."""

from __future__ import annotations

import time
import uuid

import pytest

from kfp_magics.backends.base import SubmitOptions
from kfp_magics.backends.connections import Connections, parse
from kfp_magics.backends.kfp import KfpBackend
from kfp_magics.errors import BackendError, LoginError, UnavailableError
from kfp_magics.model import State
from kfp_magics.runs.store import Store
from kfp_magics.runs.watch import Watcher
from tests.kfp.conftest import ended
from tests.kfp.pipelines import ir_of
from tests.kfp.server import LOGIN_PAGE, Fault, Kept

NAMED = SubmitOptions(name="watched")
CREATE = "POST /apis/v2beta1/runs"


@pytest.mark.parametrize(
    "fault",
    [
        Fault(CREATE, lose=True),
        Fault(CREATE, cut=True),
        Fault(CREATE, status=500, body=b'{"message": "boom"}', times=2),
        Fault(CREATE, status=503, body=b"upstream connect error", kind="text/plain"),
        Fault(CREATE, status=429, body=b"slow down"),
        Fault("POST /apis/v2beta1/experiments", lose=True),
        Fault("GET /apis/v2beta1/experiments", status=502, body=b"<html>bad gateway</html>", kind="text/html"),
    ],
    ids=["lost", "cut", "500", "503", "429", "experiment lost", "bad gateway"],
)
def test_a_lost_answer_does_not_start_a_run_twice(server, backend, fault) -> None:
    server.faults.append(fault)
    run = backend.submit(ir_of("plain"), {}, NAMED)
    assert list(server.runs) == [run.id]
    assert len(server.experiments) == 1


def test_a_request_that_takes_effect_late_leaves_one_run(server, backend, settings) -> None:
    server.faults.append(Fault(CREATE, delay=2.0))
    settings.server_timeout = 0.8
    run = backend.submit(ir_of("plain"), {}, NAMED)
    time.sleep(2.0)
    going_on = [key for key, kept in dict(server.runs).items() if not kept.ended]
    assert run.id in server.runs
    # What took effect after the run was found once more is the same request, which no client can take back.
    assert len(going_on) <= 2


def test_a_run_that_a_process_started_before_it_died_is_found(server, backend, settings, tmp_path) -> None:
    keyed = SubmitOptions(name="watched", experiment="trials", key="20260102-030405-abcdef")
    run = backend.submit(ir_of("plain"), {}, keyed)
    fresh = Store(tmp_path / "another.sqlite")  # which the first process did not come to write to
    again = KfpBackend(settings, fresh).submit(ir_of("plain"), {}, keyed)
    assert (list(server.runs), again.id) == ([run.id], run.id)
    assert fresh.get(run.id).name == "watched"
    fresh.close()


ALL = {"match": "", "times": 10**6}


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (None, "cannot be reached"),
        (Fault(**ALL, status=500, body=b"{}"), "fails (500)"),
        (Fault(**ALL, lag=1.5), "did not answer in time"),
        (Fault(**ALL, cut=True), "cut the connection"),
        (Fault(**ALL, status=200, body=LOGIN_PAGE, kind="text/html"), "answered with a login page"),
        (Fault(**ALL, status=401, body=b"{}"), "does not know who asks (401)"),
        (Fault(**ALL, status=403, body=b"{}"), "lets nobody in without a login (403)"),
        (Fault(**ALL, status=200, body=b"hello", kind="text/plain"), "no JSON"),
    ],
    ids=["down", "500", "slow", "cut", "login page", "401", "403", "no JSON"],
)
def test_a_server_that_is_away_makes_a_run_stale_and_never_ends_its_watching(
    server, connect, store, settings, trouble, reason
) -> None:
    settings.server_timeout = 0.9
    backend = connect()
    server.lasts = 1e9
    run = backend.submit(ir_of("plain"), {}, NAMED)
    run = store.save(backend.poll(run))
    server.stop() if trouble is None else server.faults.append(trouble)
    watcher = Watcher(store, backend.poll, 0.05)
    seen: list = []
    watcher.follow(run.id, seen.append)
    deadline = time.monotonic() + 30
    while not (seen and reason in seen[-1].stale_reason):
        assert time.monotonic() < deadline, seen
        time.sleep(0.1)
    assert run.created <= seen[-1].stale <= time.time()
    assert seen[-1].state is run.state
    assert seen[-1].tasks == run.tasks
    server.faults.clear()
    server.lasts = 0
    if trouble is None:
        server.restart()
    ended_run = watcher.wait(run.id)
    assert (ended_run.state, ended_run.stale, ended_run.stale_reason) == (State.SUCCEEDED, None, "")


def test_a_token_that_is_exchanged_in_the_middle_is_read_again(server, connect, store, tmp_path) -> None:
    token = tmp_path / "token"
    token.write_text("first\n", encoding="utf-8")
    server.tokens = {"first"}
    server.lasts = 1e9
    backend = connect(token_file=str(token))
    run = backend.submit(ir_of("plain"), {}, NAMED)
    server.tokens = {"second"}
    token.write_text("second\n", encoding="utf-8")
    server.lasts = 0
    assert ended(backend, store, run).state is State.SUCCEEDED
    assert server.seen_tokens[-1] == "second"


def test_a_login_that_is_refused_for_good_is_told_and_not_repeated(server, connect, monkeypatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "wrong-but-secret")
    server.tokens = {"right"}
    backend = connect(token_env="MY_TOKEN")
    with pytest.raises(LoginError, match="does not know who asks") as caught:
        backend.submit(ir_of("plain"), {}, NAMED)
    assert "wrong-but-secret" not in str(caught.value)
    assert len(server.requests) == 2  # asked once more with the token as it is now
    monkeypatch.delenv("MY_TOKEN")
    with pytest.raises(LoginError, match="MY_TOKEN of --token-env is not set here"):
        backend.submit(ir_of("plain"), {}, NAMED)


def test_one_namespace_that_is_closed_does_not_close_the_other(server, connect) -> None:
    server.multi_user, server.namespaces = True, {"mine"}
    assert connect(namespace="mine").submit(ir_of("plain"), {}, NAMED).id in server.runs
    with pytest.raises(LoginError, match=r"does not let this login do that in namespace 'theirs' \(403\): User is"):
        connect(namespace="theirs").submit(ir_of("plain"), {}, NAMED)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault("", times=99, status=200, body=LOGIN_PAGE, kind="text/html"), "answered with a login page"),
        (
            Fault("", times=99, status=302, headers={"Location": "https://idp.example/x"}),
            "answered with a login page",
        ),
        (Fault("", times=99, status=404, body=LOGIN_PAGE, kind="text/html"), "no Kubeflow Pipelines API at"),
        (Fault("", times=99, status=200, body=b"hello", kind="text/plain"), "no JSON"),
        (Fault("", times=99, status=200, body=b"[]"), "no object"),
        (Fault("", times=99, status=400, body=b'{"message": "Invalid\\n input"}'), r"refuses \(400\): Invalid input"),
    ],
)
def test_what_is_no_answer_of_kfp_is_told_as_it_is(server, backend, fault, message) -> None:
    server.faults.append(fault)
    with pytest.raises(BackendError, match=message):
        backend.submit(ir_of("plain"), {}, NAMED)
    assert server.runs == {}


def test_a_server_that_has_moved_is_followed_by_the_user_not_by_us(server, backend) -> None:
    there = {"Location": "https://new.example/apis/v2beta1/experiments"}
    server.faults.append(Fault("", times=9, status=301, headers=there))
    with pytest.raises(BackendError) as caught:
        backend.submit(ir_of("plain"), {}, NAMED)
    assert isinstance(caught.value, LoginError)  # another host is asked nothing: it may be a login page
    server.faults.clear()
    here = server.url.replace("http://", "https://")
    server.faults.append(Fault("", times=9, status=301, headers={"Location": f"{here}/apis/v2beta1/experiments"}))
    with pytest.raises(BackendError, match="has moved to https://localhost"):
        backend.submit(ir_of("plain"), {}, NAMED)


def test_a_host_that_is_not_there(settings, store, closed_port) -> None:
    settings.server_patience = 0.3
    nobody = f"http://localhost:{closed_port}"
    for host, message in ((nobody, "cannot be reached"), ("http://nobody.invalid", "no host")):
        Connections(settings.home_path).remember(parse(host))
        with pytest.raises(UnavailableError, match=message):
            KfpBackend(settings, store).submit(ir_of("plain"), {}, NAMED)


def test_connections_that_a_proxy_drops_while_idle_are_made_anew(server, backend) -> None:
    service = backend.service()
    service.experiment("Default")
    for drop in (Fault("GET", lose=True), Fault("GET", drop=True)):  # while it is asked, and before the next question
        server.faults.append(drop)
        assert service.health()["tag_name"] == "2.5.0"
        run = backend.submit(ir_of("plain"), {}, NAMED)
        assert list(server.runs)[-1] == run.id
    assert len(server.runs) == 2


def test_twenty_thousand_runs_of_others_cost_no_more_than_few(server, backend) -> None:
    first = backend.submit(ir_of("plain"), {}, NAMED)
    others = {key: one for key, one in server.runs[first.id].body.items() if key != "pipeline_spec"}
    for number in range(20_000):
        body = {**others, "run_id": str(uuid.UUID(int=number)), "display_name": f"other {number}"}
        body |= {"created_at": f"2026-01-01T00:00:00.{number:06}Z", "description": ""}
        server.runs[body["run_id"]] = Kept(body=body)
    server.requests.clear()
    assert [run.name for run in backend.recent(limit=3)] == ["watched", "other 19999", "other 19998"]
    assert [run.name for run in backend.recent(limit=2, search="other 77")] == ["other 7799", "other 7798"]
    assert backend.poll(first).id == first.id
    server.faults.append(Fault(CREATE, lose=True))
    second = backend.submit(ir_of("plain"), {}, NAMED)
    assert backend.find(str(uuid.UUID(int=12_345))).name == "other 12345"
    assert len(backend.recent(limit=450)) == 450
    assert second.id in server.runs
    assert len(server.runs) == 20_002
    asked = [line for line in server.requests if "/apis/" in line]
    assert len(asked) <= 12
    assert len(server.requests) - len(asked) <= 8  # what its steps gave, of each of the two that have ended


@pytest.mark.parametrize(
    "missing",
    [{"filter by run_id"}, {"run_details"}, {"finished_at", "state_history"}, {"pipeline_spec"}, {"created_at"}],
    ids=lambda names: ", ".join(sorted(names)),
)
def test_an_older_server_without_a_field(server, backend, store, missing) -> None:
    server.without = missing
    run = ended(backend, store, backend.submit(ir_of("plain"), {"rows": 4}, NAMED))
    assert run.state is State.SUCCEEDED
    found = {task.id: task.state for task in run.tasks}
    nothing = State.UNKNOWN if "run_details" in missing else State.SUCCEEDED
    assert found == {"prepare": nothing, "train": nothing}
    assert run.parameters == {"rows": 4}


def test_a_word_that_nobody_knows_is_no_end(server, backend, store) -> None:
    server.words = {"SUCCEEDED": "TRANSCENDED"}
    run = backend.submit(ir_of("plain"), {}, NAMED)
    time.sleep(0.5)
    run = store.save(backend.poll(run))
    assert run.state is State.UNKNOWN
    server.words = {}
    assert ended(backend, store, run).state is State.SUCCEEDED


@pytest.mark.parametrize("skew", [7200.0, -7200.0], ids=["ahead", "behind"])
def test_a_clock_that_is_wrong_changes_no_order_and_no_end(server, backend, store, skew) -> None:
    server.skew = skew
    run = ended(backend, store, backend.submit(ir_of("plain"), {}, NAMED))
    assert run.state is State.SUCCEEDED
    assert all(task.finished > task.started for task in run.tasks)


def test_a_run_that_somebody_deleted_has_ended(server, backend, store) -> None:
    server.lasts = 1e9
    run, other = (backend.submit(ir_of("plain"), {}, SubmitOptions(name=name)) for name in ("gone", "here"))
    assert not store.save(backend.poll(run)).state.final
    del server.runs[run.id]
    gone = ended(backend, store, run)
    assert (gone.state, "somebody deleted it" in gone.error.message) == (State.CANCELLED, True)
    assert backend.poll(other).state in {State.PENDING, State.RUNNING}


def test_a_server_that_cannot_be_asked_for_many_is_asked_for_each_in_turn(server, backend) -> None:
    server.without = {"filter by run_id"}
    server.lasts = 0.0
    runs = [backend.submit(ir_of("plain"), {}, SubmitOptions(name=f"run {number}")) for number in range(12)]
    server.requests.clear()
    began = time.monotonic()
    seen: set[str] = set()
    while len(seen) < 5:
        seen |= {run.id for run in map(backend.poll, runs) if run.state is State.SUCCEEDED}
        time.sleep(0.05)
    asked = [line.rpartition("/")[2] for line in server.requests if "/apis/" in line]
    together, *single = asked
    assert together.startswith("runs?")
    assert len(single) == len(set(single))
    assert len(single) <= 3 + (time.monotonic() - began) + 1  # a second apart, but for the first ones
