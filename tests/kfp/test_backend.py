"""A Kubeflow Pipelines server as a backend: from the notebook to its API and back, over a socket."""

from __future__ import annotations

import time
import urllib.request
from dataclasses import replace

import kfp_server_api
import pytest

from kfp_magics.backends.base import StepSource, SubmitOptions
from kfp_magics.backends.connections import Connections, parse
from kfp_magics.backends.kfp import KfpBackend
from kfp_magics.backends.kfp.states import STATES, state
from kfp_magics.errors import ArgumentError, BackendError, NotFoundError
from kfp_magics.model import State
from kfp_magics.runs import actions, look, watch
from tests.kfp.conftest import ended
from tests.kfp.pipelines import ir_of
from tests.kfp.server import Fault
from tests.kfp.workflow import Plan, fnv1a

NAMED = SubmitOptions(name="watched")


def states(run) -> dict[str, State]:
    return {task.id: task.state for task in run.tasks}


def test_every_word_of_the_vendor_has_a_row() -> None:
    words = set(kfp_server_api.V2beta1RuntimeState.allowable_values)
    assert words == set(STATES)
    assert state("MEDITATING") is State.UNKNOWN
    assert state(None) is State.UNKNOWN
    assert state(["PENDING"]) is State.UNKNOWN


def test_a_run_goes_there_and_comes_back(server, backend, store) -> None:
    sources = {"train": StepSource(cell_id="cell-7")}
    options = SubmitOptions(experiment="trials", name="first", cache=False, sources=sources)
    run = backend.submit(ir_of("nested"), {"rows": 7}, options)
    assert run.target == server.url.removeprefix("http://")
    assert run.url == f"{server.url}/#/runs/details/{run.id}"
    (kept,) = server.runs.values()
    assert kept.body["runtime_config"] == {"parameters": {"rows": 7}}
    assert server.experiments[kept.body["experiment_id"]]["display_name"] == "trials"
    tasks = kept.body["pipeline_spec"]["root"]["dag"]["tasks"].values()
    assert [task["cachingOptions"] for task in tasks] == [{"enableCache": False}] * len(tasks)
    done = ended(backend, store, run)
    assert done.state is State.SUCCEEDED
    assert done.parameters == {"rows": 7, "rates": [0.1, 0.2]}
    assert {task.cell_id for task in done.tasks if task.component in {"train", "train-2"}} == {"cell-7"}
    assert {task.cell_id for task in done.tasks if task.component not in {"train", "train-2"}} == {""}
    backend.submit(ir_of("plain"), {}, options)
    assert len([line for line in server.requests if line.startswith("POST /apis/v2beta1/experiments")]) == 1


def test_options_of_the_connection_reach_the_run(server, connect) -> None:
    options = {"namespace": "team-a", "pipeline_root": "s3://bucket/root", "service_account": "runner"}
    connect(**options).submit(ir_of("plain"), {}, NAMED)
    (kept,) = server.runs.values()
    assert kept.body["service_account"] == "runner"
    assert kept.body["runtime_config"]["pipeline_root"] == "s3://bucket/root"
    assert server.experiments[kept.body["experiment_id"]]["namespace"] == "team-a"


@pytest.mark.parametrize("links", ["argo", "pods", "parents", "native"])
def test_nodes_become_nested_tasks_however_the_server_links_them(server, backend, store, links) -> None:
    server.links = links
    server.plans["watched"] = Plan(
        cached={"exit-handler-1/prepare"},
        skipped={"exit-handler-1/condition-4", "exit-handler-1/for-loop-2/0/condition-3"},
        failed={"exit-handler-1/for-loop-2/1/train"},
    )
    run = ended(backend, store, backend.submit(ir_of("nested"), {"rows": 7}, NAMED))
    assert run.state is State.FAILED
    assert states(run) == {
        "exit-handler-1": State.FAILED,
        "exit-handler-1/prepare": State.SUCCEEDED,
        "exit-handler-1/condition-4": State.SKIPPED,
        "exit-handler-1/condition-4/train-2": State.SKIPPED,
        "exit-handler-1/for-loop-2": State.FAILED,
        "exit-handler-1/for-loop-2/0": State.SUCCEEDED,
        "exit-handler-1/for-loop-2/0/train": State.SUCCEEDED,
        "exit-handler-1/for-loop-2/0/condition-3": State.SKIPPED,
        "exit-handler-1/for-loop-2/0/condition-3/report-2": State.SKIPPED,
        "exit-handler-1/for-loop-2/1": State.FAILED,
        "exit-handler-1/for-loop-2/1/train": State.FAILED,
        "exit-handler-1/for-loop-2/1/condition-3": State.SKIPPED,
        "exit-handler-1/for-loop-2/1/condition-3/report-2": State.SKIPPED,
        "report": State.SUCCEEDED,
    }
    assert [task.id for task in run.tasks if task.cached] == ["exit-handler-1/prepare"]
    assert run.task("exit-handler-1/for-loop-2/1/train").inputs == {"rate": 0.2}
    assert run.task("exit-handler-1/prepare").inputs == {"rows": 7}
    assert run.task("exit-handler-1/for-loop-2/1/train").error.message == "Error (exit code 1)"
    assert run.error.message == "task failed"
    for task in run.tasks:
        if task.state in {State.SUCCEEDED, State.FAILED}:
            assert task.started < task.finished


@pytest.mark.parametrize("links", ["argo", "pods", "native"])
def test_a_loop_over_what_a_step_gave_has_as_many_items_as_the_server_tells(server, backend, store, links) -> None:
    server.links = links
    server.plans["watched"] = Plan(items={"for-loop-1": 3}, failed={"for-loop-1/1/train"})
    run = ended(backend, store, backend.submit(ir_of("chosen"), {}, NAMED))
    told = {task.id: task.state for task in run.tasks if task.name == "train"}
    good, bad = State.SUCCEEDED, State.FAILED
    assert told == {"for-loop-1/0/train": good, "for-loop-1/1/train": bad, "for-loop-1/2/train": good}


def test_what_goes_on_is_running_and_what_is_behind_it_waits(server, backend, store) -> None:
    server.plans["watched"] = Plan(steps=1)
    run = backend.poll(backend.submit(ir_of("plain"), {}, NAMED))
    assert run.state is State.RUNNING
    assert states(run) == {"prepare": State.SUCCEEDED, "train": State.RUNNING}
    assert run.task("train").finished is None


def test_a_driver_that_fails_is_the_failure_of_its_step(server, backend, store) -> None:
    server.plans["watched"] = Plan(errors={"prepare": "failed to resolve inputs\nat driver.go:12"})
    run = ended(backend, store, backend.submit(ir_of("plain"), {}, NAMED))
    assert states(run) == {"prepare": State.FAILED, "train": State.SKIPPED}
    assert run.task("prepare").error.message == "failed to resolve inputs"
    assert run.task("prepare").error.traceback == "at driver.go:12"


@pytest.mark.parametrize("links", ["argo", "pods", "parents"])
def test_logs_are_those_of_the_pods_that_ran_the_code(server, backend, store, links) -> None:
    server.links = links
    server.plans["watched"] = Plan(attempts={"train": 2})
    run = ended(backend, store, backend.submit(ir_of("plain"), {}, NAMED))
    (told,) = backend.logs(run, run.task("prepare"))
    assert told.startswith("(the server has no log of it")
    assert run.url in told
    workflow = server.runs[run.id].workflow
    if links != "parents":  # without names of nodes nobody can tell the pod
        first = fnv1a(f"{workflow}.root.prepare.executor")
        last = fnv1a(f"{workflow}.root.train.executor(1)")
        server.logs[f"{workflow}-system-container-impl-{first}"] = "preparing\n"
        server.logs[f"{workflow}-retry-system-container-impl-{last}"] = 'training\n{"error_message": "mine", "x": 1}'
        assert "".join(backend.logs(run, run.task("prepare"), follow=True)) == "preparing\n"
        assert "".join(backend.logs(run, run.task("train"))).startswith("training\n{")
        assert run.task("train").attempt == 2
        server.artifacts["clean"] = b"a,b\n1,2\n"
        with backend.artifact(run, run.task("prepare"), "clean") as content:
            assert content.read() == b"a,b\n1,2\n"
        server.artifacts.clear()
        with pytest.raises(NotFoundError, match="does not give the content"):
            backend.artifact(run, run.task("prepare"), "clean")
    with pytest.raises(NotFoundError, match="no artifact 'dirty'"):
        backend.artifact(run, run.task("prepare"), "dirty")


def test_cancel_retry_archive_delete(server, backend, store) -> None:
    server.plans["watched"] = Plan(steps=1)
    backends = {"kfp": backend}
    run = backend.submit(ir_of("plain"), {}, NAMED)
    with pytest.raises(BackendError, match="only failed and cancelled runs resume"):
        backend.retry(run)
    backend.cancel(run)
    run = ended(backend, store, run)
    assert run.state is State.CANCELLED
    kept = server.runs[run.id]
    again = backend.retry(run)
    assert (again.attempt, again.state, again.finished) == (2, State.PENDING, None)
    assert ended(backend, store, again).state is State.SUCCEEDED
    actions.archive(store, backends, run.id)
    assert kept.archived
    assert run.id not in {one.id for one in store.list()}
    actions.archive(store, backends, run.id, archived=False)
    assert not kept.archived
    actions.delete(store, backends, run.id)
    assert server.runs == {}
    with pytest.raises(NotFoundError):
        store.get(run.id)


def test_how_a_run_ended_before_it_was_resumed_does_not_end_it_again(server, backend, store) -> None:
    server.plans["watched"] = Plan(failed={"prepare"})
    run = ended(backend, store, backend.submit(ir_of("plain"), {}, NAMED))
    kept = server.runs[run.id]
    before = (kept.ended, kept.plan, kept.began, kept.attempt)
    again = backend.retry(run)
    after = (kept.ended, kept.plan, kept.began, kept.attempt)
    kept.ended, kept.plan, kept.began, kept.attempt = before  # the server is slow to notice
    time.sleep(2.1)
    again = store.save(backend.poll(again))
    assert again.state is State.PENDING
    kept.ended, kept.plan, kept.began, kept.attempt = after
    assert ended(backend, store, again).state is State.SUCCEEDED


def test_a_run_that_somebody_resumes_on_the_servers_page_goes_on_as_a_new_attempt(server, backend, store) -> None:
    server.plans["watched"] = Plan(failed={"prepare"})
    run, other = (ended(backend, store, backend.submit(ir_of("plain"), {}, NAMED)) for _ in range(2))
    watch.refresh(store, {"kfp": backend})
    assert store.get(run.id) == run  # nobody did
    urllib.request.urlopen(urllib.request.Request(f"{server.url}/apis/v2beta1/runs/{run.id}:retry", b"{}")).close()
    server.runs[run.id].plan = Plan(steps=1)
    watch.refresh(store, {"kfp": backend})
    assert store.get(run.id) == run  # asked again only half a minute later
    fresh = KfpBackend(backend._settings, store)
    watch.refresh(store, {"kfp": fresh})
    again = store.get(run.id)
    assert (again.attempt, again.state, again.finished, again.error) == (2, State.RUNNING, None, None)
    assert states(again) == {"prepare": State.SUCCEEDED, "train": State.RUNNING}
    server.runs[run.id].plan = Plan()
    done = ended(fresh, store, again)
    assert (done.attempt, done.state) == (2, State.SUCCEEDED)
    assert store.get(other.id) == other
    asked = len(server.requests)
    for _ in range(3):
        watch.refresh(store, {"kfp": fresh})
    assert len(server.requests) == asked


def test_a_run_that_was_resumed_elsewhere_and_succeeded_meanwhile_is_told_so(server, backend, store) -> None:
    server.plans["watched"] = Plan(failed={"prepare"})
    run = ended(backend, store, backend.submit(ir_of("plain"), {}, NAMED))
    server.words = {"SUCCEEDED": "CONFUSED"}
    server.runs[run.id].plan = Plan()
    watch.refresh(store, {"kfp": KfpBackend(backend._settings, store)})
    assert store.get(run.id) == run  # a word that nobody knows opens nothing
    server.faults = [Fault("GET", status=500, times=99)]
    watch.refresh(store, {"kfp": KfpBackend(backend._settings, store)})
    assert store.get(run.id) == run
    server.words, server.faults = {}, []
    watch.refresh(store, {"kfp": KfpBackend(backend._settings, store)})
    again = store.get(run.id)
    assert (again.attempt, again.state, again.error) == (2, State.SUCCEEDED, None)
    assert set(states(again).values()) == {State.SUCCEEDED}


def test_a_run_is_cloned_to_the_server_it_came_from(server, backend, store, settings) -> None:
    run = backend.submit(ir_of("plain"), {"rows": 9}, NAMED)
    other = parse("http://localhost:9")
    Connections(settings.home_path).remember(other)  # now used last
    again = actions.clone(settings, {"kfp": backend}, run, actions.Again(name="again"))
    assert again.target == run.target
    assert server.runs[again.id].body["runtime_config"]["parameters"] == {"rows": 9}
    with pytest.raises(ArgumentError, match="--executor container means nothing"):
        actions.clone(settings, {"kfp": backend}, run, actions.Again(executor="container"))
    assert len(server.runs) == 2


def test_runs_of_others_are_listed_and_found(server, backend, store) -> None:
    first = backend.submit(ir_of("plain"), {}, NAMED)
    for number in range(450):
        body = {**server.runs[first.id].body, "run_id": f"00000000-0000-0000-0000-{number:012}"}
        body |= {"display_name": f"other {number}", "created_at": f"2026-01-01T00:00:00.{number:06}Z"}
        server.runs[body["run_id"]] = replace(server.runs[first.id], body=body)
    found = backend.recent(limit=420)
    assert [run.name for run in found[:2]] == ["watched", "other 449"]
    assert (len(found), found[-1].started_by, found[-1].pipeline) == (420, "somebody", "plain")
    assert backend.recent(search="other 44", limit=20)[0].name == "other 449"
    adopted = look.find_run(store, {"kfp": backend}, "00000000-0000-0000-0000-000000000007")
    assert (adopted.name, adopted.experiment) == ("other 7", "Default")
    assert set(states(adopted)) == {"prepare", "train"}
    assert store.get(adopted.id).name == "other 7"
    with pytest.raises(NotFoundError):
        look.find_run(store, {"kfp": backend}, "11111111-0000-0000-0000-000000000007")


def test_mistakes_are_told_before_anything_starts(server, backend) -> None:
    with pytest.raises(ArgumentError, match="takes no argument 'cols'"):
        backend.submit(ir_of("plain"), {"cols": 1}, NAMED)
    assert server.requests == []
    with pytest.raises(NotFoundError, match="No connection is called 'elsewhere'"):
        backend.submit(ir_of("plain"), {}, SubmitOptions(target="elsewhere"))


def test_two_hundred_runs_cost_two_questions_each_two_seconds(server, backend, store) -> None:
    server.lasts = 1e9
    runs = [backend.submit(ir_of("plain"), {}, SubmitOptions(name=f"run {number}")) for number in range(200)]

    def rounds(looker: KfpBackend) -> float:
        """How often it asked about all of them at once, while each was looked at three times."""
        server.requests.clear()
        for run in runs * 3:
            assert looker.poll(run).state in {State.PENDING, State.RUNNING}
        return len([line for line in server.requests if line.startswith("GET /apis/v2beta1/runs")]) / 2

    for looker in (backend, KfpBackend(backend._settings, store)):
        began = time.monotonic()
        assert 1 <= rounds(looker) <= 1 + (time.monotonic() - began) // 2
