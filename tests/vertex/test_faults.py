"""What Google refuses, answers late or not at all."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import grpc
import pytest

from kfp_magics.backends.base import SubmitOptions
from kfp_magics.backends.connections import parse
from kfp_magics.backends.vertex import VertexBackend
from kfp_magics.backends.vertex.looks import Pace
from kfp_magics.errors import ArgumentError, BackendError, LoginError, NotFoundError, UnavailableError
from kfp_magics.model import State
from kfp_magics.runs.store import Store
from kfp_magics.runs.watch import refresh
from tests.kfp.pipelines import ir_of
from tests.kfp.test_connecting import commanded
from tests.vertex.conftest import ended
from tests.vertex.server import Fault, Plan

Code = grpc.StatusCode
OPTIONS = SubmitOptions(name="once")


@pytest.mark.parametrize("code", [Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.INTERNAL, Code.RESOURCE_EXHAUSTED])
@pytest.mark.parametrize("after", [True, False], ids=["answer lost", "not done"])
def test_a_run_starts_once(server, backend, code, after) -> None:
    server.faults["CreatePipelineJob"] = Fault(code, after=after)
    run = backend.submit(ir_of("plain"), {}, OPTIONS)
    assert list(server.jobs) == [run.id]
    assert server.calls.count("CreatePipelineJob") == 2


def test_a_run_that_a_process_started_before_it_died_is_found(server, backend, settings, tmp_path) -> None:
    keyed = SubmitOptions(name="once", key="20260102-030405-abcdef")
    run = backend.submit(ir_of("plain"), {}, keyed)
    fresh = Store(tmp_path / "another.sqlite")  # which the first process did not come to write to
    again = VertexBackend(settings, fresh).submit(ir_of("plain"), {}, keyed)
    assert (list(server.jobs), again.id) == ([run.id], run.id)
    assert fresh.get(run.id).name == "once"
    fresh.close()


def test_what_goes_on_failing_is_said(server, settings, backend) -> None:
    settings.server_patience = 0.0
    server.faults["CreatePipelineJob"] = Fault(Code.RESOURCE_EXHAUSTED, times=9, message="quota of pipelines")
    with pytest.raises(
        UnavailableError, match=r"cannot start a run in the project shop in europe-west4 now: .*quota"
    ) as caught:
        backend.submit(ir_of("plain"), {}, OPTIONS)
    assert "quota is used up" in caught.value.hint


@pytest.mark.parametrize(
    ("code", "error", "hint"),
    [
        (Code.PERMISSION_DENIED, LoginError, "roles/aiplatform.user"),
        (Code.UNAUTHENTICATED, LoginError, "gcloud auth application-default login"),
        (Code.INVALID_ARGUMENT, BackendError, "Mend what it names"),
        (Code.FAILED_PRECONDITION, BackendError, "Mend what it names"),
        (Code.NOT_FOUND, NotFoundError, "Mend what it names"),
    ],
)
def test_what_is_refused_is_said_at_once(server, backend, store, code, error, hint) -> None:
    server.faults["CreatePipelineJob"] = Fault(code, message="because\nof this")
    with pytest.raises(error, match="because") as caught:
        backend.submit(ir_of("plain"), {}, OPTIONS)
    assert hint in caught.value.hint
    assert server.calls == ["CreatePipelineJob"]
    assert list(store.list()) == []


_OFF = (
    "Vertex AI API has not been used in project 4711 before or it is disabled. Enable it by visiting"
    " https://console.developers.google.com/apis/api/aiplatform.googleapis.com/overview?project=4711 then retry."
    " If you enabled this API recently, wait a few minutes for the action to propagate to our systems and retry."
)
_NO_QUOTA_PROJECT = (
    "Your application is authenticating by using local Application Default Credentials. The aiplatform.googleapis.com"
    " API requires a quota project, which is not set by default. To learn how to set your quota project, see"
    " https://cloud.google.com/docs/authentication/adc-troubleshooting/user-creds ."
)
_NO_SUCH_ACCOUNT = (
    "List of found errors:\t1.Field: pipeline_job.service_account; Message: The service account"
    " runner@shop.iam.gserviceaccount.com does not exist.\t "
)
_LIST = "List of found errors:\n1.Field: pipeline_job.network; Message: no such network\n2.Field: more; Message: bad"
_NO_BILLING = (
    "This API method requires billing to be enabled. Please enable billing on project #4711 by visiting"
    " https://console.developers.google.com/billing/enable?project=4711 then retry."
)


@pytest.mark.parametrize(
    ("fault", "said", "hint"),
    [
        (
            Fault(Code.PERMISSION_DENIED, message=_OFF),
            "is disabled",
            "gcloud services enable aiplatform.googleapis.com",
        ),
        (
            Fault(
                Code.PERMISSION_DENIED,
                message="Off.",
                reason="SERVICE_DISABLED",
                facts={"service": "aiplatform.googleapis.com", "consumer": "projects/4711"},
            ),
            "Off.",
            "gcloud services enable aiplatform.googleapis.com --project 4711",
        ),
        (
            Fault(
                Code.PERMISSION_DENIED,
                message=_NO_QUOTA_PROJECT,
                reason="SERVICE_DISABLED",
                facts={"service": "aiplatform.googleapis.com", "consumer": "projects/764086051850"},
            ),
            "requires a quota project",
            "gcloud auth application-default set-quota-project PROJECT",
        ),
        (
            Fault(
                Code.PERMISSION_DENIED,
                message="You do not have permission to act as service_account: runner@shop.iam.gserviceaccount.com."
                " (or it may not exist).",
            ),
            "act as service_account",
            "roles/iam.serviceAccountUser",
        ),
        (
            Fault(
                Code.PERMISSION_DENIED,
                message="Permission 'aiplatform.pipelineJobs.create' denied on resource"
                " '//aiplatform.googleapis.com/projects/shop/locations/europe-west4' (or it may not exist).",
                reason="IAM_PERMISSION_DENIED",
            ),
            "You may not start a run in the project shop in europe-west4: Permission 'aiplatform.pipelineJobs.create'",
            "roles/aiplatform.user",
        ),
        (Fault(Code.PERMISSION_DENIED, message=_NO_BILLING, reason="BILLING_DISABLED"), "billing", "billing account"),
        (Fault(Code.INVALID_ARGUMENT, message=_NO_SUCH_ACCOUNT), "errors: 1.Field: pipeline_job", "Mend what it names"),
        (Fault(Code.INVALID_ARGUMENT, message=_LIST), "no such network 2.Field: more", "Mend what it names"),
    ],
    ids=["off", "off in details", "quota project", "act as", "permission", "billing", "account", "list"],
)
def test_what_google_says_is_told_with_what_mends_it(server, backend, fault, said, hint) -> None:
    server.faults["CreatePipelineJob"] = fault
    with pytest.raises(BackendError) as caught:
        backend.submit(ir_of("plain"), {}, OPTIONS)
    assert said in caught.value.message
    assert hint in caught.value.hint
    assert len(str(caught.value).splitlines()) == 2


def test_a_watcher_outlives_what_it_is_answered(server, backend, store) -> None:
    run = backend.submit(ir_of("plain"), {}, OPTIONS)
    for code in (
        Code.UNAVAILABLE,
        Code.UNAUTHENTICATED,
        Code.PERMISSION_DENIED,
        Code.RESOURCE_EXHAUSTED,
        Code.INTERNAL,
    ):
        fault = server.faults["GetPipelineJob"] = Fault(code)
        while fault.times:
            assert not backend.poll(run).state.final
    server.word = 77  # nobody has heard of it
    while backend.poll(run).state is not State.UNKNOWN:
        pass
    server.word = None
    assert ended(backend, store, run).state is State.SUCCEEDED


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault(Code.UNAVAILABLE, times=10_000, message="gone fishing"), "gone fishing"),
        (Fault(Code.UNAUTHENTICATED, times=10_000, message="the token has expired"), "the token has expired"),
        (Fault(Code.PERMISSION_DENIED, times=10_000, message="pipelineJobs.get denied"), "pipelineJobs.get denied"),
        (Fault(times=10_000, slow=0.5), "Deadline Exceeded"),
    ],
    ids=["down", "401", "403", "slow"],
)
def test_without_answers_a_run_says_since_when_and_why(server, settings, connect, store, fault, reason) -> None:
    settings.server_timeout = 0.3
    backend = connect()
    run = backend.submit(ir_of("plain"), {}, OPTIONS)
    server.faults["GetPipelineJob"] = fault
    while reason not in (seen := backend.poll(run)).stale_reason:
        assert seen.state is run.state
    assert seen.state is run.state
    assert backend.poll(seen).stale == seen.stale
    server.faults.clear()
    done = ended(backend, store, seen)
    assert (done.state, done.stale) == (State.SUCCEEDED, None)


def test_a_shell_that_is_opened_while_google_is_away_does_not_call_runs_alive(server, settings, connect, store) -> None:
    settings.server_timeout = 0.9
    server.plan.lasts = 1e9
    begun = [connect().submit(ir_of("plain"), {}, OPTIONS) for _ in range(5)]
    runs = [store.save(replace(run, state=State.RUNNING)) for run in begun]
    time.sleep(0.4)  # more than a moment ago
    server.faults["GetPipelineJob"] = Fault(Code.UNAVAILABLE, times=10_000, message="gone fishing")
    # Its own pace: not each run has its turn at the first look.
    fresh = VertexBackend(settings, store, Pace(look=0.05, apart=60.0, at_once=2))
    for run in runs:
        seen = fresh.poll(run)
        assert seen.state is State.RUNNING
        assert seen.stale == max(one for one in (run.created, run.started) if one)
        assert "gone fishing" in seen.stale_reason
    lines = commanded("runs", KFP_MAGICS_SERVER_TIMEOUT="0.9")
    assert sum("(stale)" in line for line in lines) == len(runs), lines
    server.faults.clear()
    assert connect().poll(runs[0]).stale is None


def test_half_of_all_calls_fail_and_twenty_runs_start_once_and_end(server, settings, backend, store) -> None:
    settings.server_patience = 60.0
    server.flaky = 0.5
    runs: list = []

    def start(numbers: range) -> None:
        runs.extend(backend.submit(ir_of("plain"), {}, SubmitOptions(name=f"run {number}")) for number in numbers)

    threads = [threading.Thread(target=start, args=(range(first, 20, 5),)) for first in range(5)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 60
    while any(thread.is_alive() for thread in threads) or store.unfinished():
        assert time.monotonic() < deadline, [run.name for run in store.unfinished()]
        refresh(store, {"vertex": backend})
        time.sleep(0.05)
    assert sorted(job.display_name for job in server.jobs.values()) == sorted(f"run {number}" for number in range(20))
    assert {store.get(run.id).state for run in runs} == {State.SUCCEEDED}
    assert len(runs) == 20
    assert server.failed > len(server.calls) / 3


def test_a_run_that_somebody_deleted_ends(server, backend) -> None:
    run = backend.submit(ir_of("plain"), {}, OPTIONS)
    del server.jobs[run.id]
    gone = backend.poll(run)
    assert gone.state is State.CANCELLED
    assert "somebody deleted it" in gone.error.message
    backend.delete(run)


def test_a_run_that_ended_is_deleted_there(server, backend, store) -> None:
    run = ended(backend, store, backend.submit(ir_of("plain"), {}, OPTIONS))
    backend.delete(run)
    assert server.jobs == {}
    backend.delete(run)  # again is no mistake


def test_arguments_are_looked_at_before_anything_is_sent(server, backend) -> None:
    with pytest.raises(ArgumentError, match="takes no argument 'row'"):
        backend.submit(ir_of("plain"), {"row": 1}, OPTIONS)
    assert server.calls == []


def test_an_address_elsewhere_must_be_encrypted(backend) -> None:
    connection = parse("vertex:shop/europe-west4", {"endpoint": "http://vertex.example.com"})
    with pytest.raises(BackendError, match="is not encrypted"):
        backend.check(connection)


def test_without_credentials_the_next_command_is_said(backend, monkeypatch, tmp_path) -> None:
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    with pytest.raises(LoginError, match="no Google credentials here for Vertex AI") as caught:
        backend.check(parse("vertex:shop/europe-west4"))
    assert caught.value.hint == "gcloud auth application-default login"


def test_a_storage_that_refuses_is_said(server, backend, store, google_storage) -> None:
    server.plan.artifacts = {"prepare": {"clean": "gs://no-such-bucket/clean"}}
    run = ended(backend, store, backend.submit(ir_of("plain"), {}, OPTIONS))
    with pytest.raises(NotFoundError, match="no-such-bucket"):
        backend.artifact(run, run.task("prepare"), "clean")


def test_a_log_that_may_not_be_read_is_said(server, backend, store) -> None:
    run = ended(backend, store, backend.submit(ir_of("plain"), {}, OPTIONS))
    server.faults["ListLogEntries"] = Fault(Code.PERMISSION_DENIED, message="logging.logEntries.list denied")
    with pytest.raises(LoginError, match="may not read the log of the run") as caught:
        list(backend.logs(run, run.task("prepare")))
    assert "roles/logging.viewer" in caught.value.hint


def test_many_runs_are_asked_for_slowly(server, connect, settings, store) -> None:
    backend = VertexBackend(settings, store, Pace(look=0.0, apart=60.0, at_once=3, changes=1e9))
    connect()
    runs = [backend.submit(ir_of("plain"), {}, OPTIONS) for _ in range(8)]
    for _ in range(3):
        for run in runs:
            assert backend.poll(run).id == run.id
    assert server.calls.count("GetPipelineJob") == 3
    assert server.calls.count("ListPipelineJobs") == 0


def test_of_many_runs_those_that_changed_are_asked_for_first(server, connect, settings, store) -> None:
    backend = VertexBackend(settings, store, Pace(look=3600.0, apart=0.0, at_once=50, changes=0.0))
    connect()
    server.plan = Plan(lasts=1e9, waits=0.0)  # each has begun before it is seen, so that nothing changes by itself
    runs = [backend.submit(ir_of("plain"), {}, OPTIONS) for _ in range(30)]
    for run in runs:
        assert backend.poll(run).state is State.RUNNING
    server.calls.clear()
    backend.cancel(runs[17])
    for run in runs:
        backend.poll(run)  # none is due for an hour
    assert backend.poll(runs[17]).state is State.CANCELLED
    assert server.calls.count("GetPipelineJob") == 1
    server.faults["ListPipelineJobs"] = Fault(Code.INVALID_ARGUMENT, times=99, message="invalid filter")
    server.calls.clear()
    for run in runs * 2:
        backend.poll(run)
    assert server.calls.count("ListPipelineJobs") == 1  # refused once, never asked again


def test_a_change_is_asked_for_first_though_others_are_told_of_since(server, connect, settings, store) -> None:
    backend = VertexBackend(settings, store, Pace(look=3600.0, apart=0.0, at_once=50, changes=0.0))
    connect()
    server.plan = Plan(lasts=1e9, waits=0.0)
    bystander, one, other = runs = [backend.submit(ir_of("plain"), {}, OPTIONS) for _ in range(3)]
    for run in runs:
        backend.poll(run)
    for run in (one, other):
        backend.cancel(run)
        backend.poll(bystander)
    backend.poll(bystander)  # the last question tells of the last change only
    assert [backend.poll(run).state for run in (one, other)] == [State.CANCELLED, State.CANCELLED]
    assert backend.poll(bystander).state is State.RUNNING
