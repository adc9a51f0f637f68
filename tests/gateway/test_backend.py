"""Our own backend for Kubeflow Pipelines, with the official client in between, against the door to the local engine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import kfp_magics
from kfp_magics.backends.base import Schedule, SubmitOptions
from kfp_magics.backends.connections import Connections, parse
from kfp_magics.backends.kfp import KfpBackend
from kfp_magics.errors import LoginError
from kfp_magics.model import Run, State
from kfp_magics.runs.store import Store
from kfp_magics.settings import Settings
from tests.gateway.pipelines import doubling, failing, looping, resting
from tests.gateway.servers import Gateway
from tests.local.conftest import Engine, ir_of


@pytest.fixture
def store(shared_gateway: Gateway) -> Iterator[Store]:
    """The store that the gateway has as well: both rows of a run stand in it."""
    made = Store(Settings(home=str(shared_gateway.home)).store_path)
    yield made
    made.close()


@pytest.fixture
def backend(shared_gateway: Gateway, store: Store, monkeypatch: pytest.MonkeyPatch) -> KfpBackend:
    monkeypatch.setenv("DOOR_TOKEN", shared_gateway.token)
    settings = Settings(home=str(shared_gateway.home))
    Connections(settings.home_path).remember(parse(shared_gateway.url, {"token_env": "DOOR_TOKEN"}))
    return KfpBackend(settings, store)


def until(backend: KfpBackend, store: Store, run: Run, reached) -> Run:
    deadline = time.monotonic() + 60
    while not reached(run):
        assert time.monotonic() < deadline, run
        time.sleep(0.2)
        run = store.update(run, backend.poll(run))
    return run


def shown(run: Run) -> set[tuple]:
    return {(task.id, task.name, task.kind, task.parent, task.needs, task.state) for task in run.tasks}


@pytest.mark.parametrize("pipeline", [doubling, looping, failing], ids=lambda one: one.name)
def test_a_run_looks_the_same_through_the_door(backend, store, shared_gateway, tmp_path: Path, pipeline):
    ir = ir_of(pipeline, tmp_path)
    values = {"mark": str(tmp_path / "seen")} if pipeline is looping else {}
    run = backend.submit(ir, values, SubmitOptions(experiment="door"))
    run = until(backend, store, run, lambda now: now.state.final)
    ours = store.get(run.id.removeprefix("local-"))
    assert ours.id != run.id
    assert (ours.backend, ours.started_by, run.backend) == ("local", "kfp", "kfp")
    assert (run.state, run.parameters, run.experiment) == (ours.state, ours.parameters, "door")
    assert shown(run) == shown(ours)
    assert {task.id for task in run.tasks if task.cached} == {task.id for task in ours.tasks if task.cached}
    assert [task.attempt for task in run.tasks if task.name == "unsteady"] == [2] * (pipeline is looping)
    assert run.outputs == ours.outputs
    for task in run.tasks:
        same = ours.task(task.id)
        assert (task.inputs, task.outputs, task.artifacts) == (same.inputs, same.outputs, same.artifacts), task.id
        assert bool(task.error) == bool(ours.task(task.id).error)
        if task.has_log and not task.cached:
            with Engine(Settings(home=str(shared_gateway.home))) as engine:
                assert "".join(backend.logs(run, task)) == "".join(engine.backend.logs(ours, ours.task(task.id)))


def test_an_artifact_comes_through_the_door(backend, store, tmp_path: Path):
    ir = ir_of(doubling, tmp_path)
    run = until(backend, store, backend.submit(ir, {"number": 9}, SubmitOptions()), lambda now: now.state.final)
    with backend.artifact(run, run.task("double"), "table") as file:
        assert file.read() == b"twice,18\n"


def test_a_run_is_cancelled_and_resumed_through_the_door(backend, store, tmp_path: Path):
    run = backend.submit(ir_of(resting, tmp_path), {}, SubmitOptions())
    until(backend, store, run, lambda now: now.task("rest").state is State.RUNNING)
    backend.cancel(run)
    ended = until(backend, store, store.get(run.id), lambda now: now.state.final)
    assert (ended.state, ended.task("rest").state) == (State.CANCELLED, State.CANCELLED)
    again = store.save(backend.retry(ended))
    assert again.attempt == 2
    until(backend, store, again, lambda now: now.task("rest").state is State.RUNNING)
    backend.cancel(again)
    assert until(backend, store, again, lambda now: now.state.final).state is State.CANCELLED


def test_a_pipeline_is_uploaded_and_scheduled_through_the_door(backend, store, tmp_path: Path):
    ir = ir_of(doubling, tmp_path)
    assert backend.upload(ir, "through the door").startswith("the new pipeline 'through the door' with version ")
    assert backend.upload(ir, "through the door").startswith("version ")
    made = backend.schedule(Schedule(id="", name="hourly", interval=3600), ir, {"number": 2}, SubmitOptions())
    assert [one.id for one in backend.schedules()] == [made.id]
    backend.switch(made, enabled=False)
    assert [one.enabled for one in backend.schedules()] == [False]
    backend.unschedule(made)
    assert backend.schedules() == []


def test_the_list_of_runs_names_their_pipelines_as_a_cluster_does(backend, store, shared_gateway, tmp_path: Path):
    client = shared_gateway.client()
    sent = backend.submit(ir_of(doubling, tmp_path), {}, SubmitOptions(name="sent"))
    pipeline = client.upload_pipeline_from_pipeline_func(resting, pipeline_name="kept under another name")
    version = client.list_pipeline_versions(pipeline.pipeline_id).pipeline_versions[0]
    experiment = client.create_experiment("door").experiment_id
    kept = client.run_pipeline(
        experiment, "kept", pipeline_id=pipeline.pipeline_id, version_id=version.pipeline_version_id,
        params={"seconds": 0.0},
    )  # fmt: skip
    named = {one.id: one.pipeline for one in backend.recent()}
    assert (named[sent.id], named[kept.run_id]) == ("doubling", "resting")
    rows = {one.run_id: one for one in client.list_runs(page_size=100, sort_by="created_at desc").runs}
    assert rows[sent.id].pipeline_spec == client.get_run(sent.id).pipeline_spec
    assert rows[sent.id].pipeline_version_reference is None
    assert rows[kept.run_id].pipeline_version_reference.pipeline_version_id == version.pipeline_version_id
    assert rows[kept.run_id].pipeline_spec is None  # one or the other: a version is asked for once, not with each run
    for one in (sent.id, kept.run_id):
        until(backend, store, store.save(backend.find(one)), lambda now: now.state.final)
    again = KfpBackend(Settings(home=str(shared_gateway.home)), store)
    client.delete_pipeline_version(pipeline.pipeline_id, version.pipeline_version_id)
    assert {one.id: one.pipeline for one in again.recent()}[kept.run_id] == ""  # a version that is gone hides no run
    client.delete_pipeline(pipeline.pipeline_id)
    (shared_gateway.home / "runs" / sent.id.removeprefix("local-") / "pipeline.yaml").write_text("[")
    assert {one.id: one.pipeline for one in backend.recent()}[sent.id] == ""  # nor does one that cannot be read


def test_the_door_says_who_it_is_and_refuses_another_token(backend, monkeypatch: pytest.MonkeyPatch):
    (connection,) = [one for one in backend.connections.all().values() if one.kind == "kfp"]
    assert backend.check(connection).server == f"Kubeflow Pipelines kfp-magics {kfp_magics.__version__}"
    monkeypatch.setenv("DOOR_TOKEN", "another-token-of-somebody")
    with pytest.raises(LoginError):
        backend.check(connection)
