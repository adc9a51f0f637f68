"""Servers from version 3 on tell tasks themselves, and only to who asks for all of a run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kfp_magics import mlmd
from kfp_magics.backends.base import SubmitOptions
from kfp_magics.backends.kfp.natives import tells_all
from kfp_magics.model import Artifact, State
from tests.kfp.conftest import ended
from tests.kfp.pipelines import ir_of
from tests.kfp.test_records import TASK
from tests.kfp.workflow import Plan

NAMED = SubmitOptions(name="watched")
METRICS = Artifact(name="clean", io="output", type="system.Metrics", uri="s3://b/m", metadata={"loss": 0.5, "rmse": 2})


@pytest.fixture(autouse=True)
def native(server):
    server.links = "native"


def test_it_is_told_without_ml_metadata_which_such_a_server_has_not(server, connect, store) -> None:
    backend = connect()
    checked = backend.check(backend.service().connection)
    assert (checked.server, checked.remarks) == ("Kubeflow Pipelines 3.0.0", ())
    server.results = {"plain": [replace(TASK, artifacts=(METRICS,))]}
    run = ended(backend, store, backend.submit(ir_of("plain"), {}, NAMED))
    prepare = run.task("prepare")
    assert (prepare.inputs, prepare.outputs, prepare.artifacts) == ({"rows": 3}, {"Output": 3}, (METRICS,))
    assert [one for one in server.requests if mlmd.PATH in one] == []


def test_logs_are_asked_for_by_the_pods_that_it_names(server, backend, store) -> None:
    server.plans["watched"] = Plan(attempts={"train": 2})
    run = ended(backend, store, backend.submit(ir_of("plain"), {}, NAMED))
    server.logs = {"pod-of-prepare-0": "preparing\n", "pod-of-train-0": "broken\n", "pod-of-train-1": "training\n"}
    assert "".join(backend.logs(run, run.task("prepare"))) == "preparing\n"
    assert "".join(backend.logs(run, run.task("train"))) == "training\n"  # of the last attempt
    assert run.task("train").attempt == 2


def test_a_driver_that_fails_and_a_run_that_is_cancelled_are_told(server, backend, store) -> None:
    server.plans["watched"] = Plan(errors={"prepare": "failed to resolve inputs"})
    run = ended(backend, store, backend.submit(ir_of("plain"), {}, NAMED))
    assert {task.id: task.state for task in run.tasks} == {"prepare": State.FAILED, "train": State.SKIPPED}
    assert run.task("prepare").error.message == "failed to resolve inputs"
    server.plans["watched"] = Plan(steps=0)
    run = backend.poll(backend.submit(ir_of("plain"), {}, NAMED))
    assert run.task("prepare").state is State.RUNNING
    backend.cancel(run)
    run = ended(backend, store, run)
    assert {task.id: task.state for task in run.tasks} == {"prepare": State.CANCELLED, "train": State.CANCELLED}


@pytest.mark.parametrize(
    ("version", "told"), [("3.0.0", True), ("v3.1", True), ("10.0", True), ("2.17.0", False), ("", False), ("x", False)]
)
def test_which_servers_have_no_ml_metadata(version, told) -> None:
    assert tells_all(version) is told
