"""Connecting to Vertex AI, what others started there, and what runs there again and again."""

from __future__ import annotations

import grpc
import pytest

from kfp_magics.backends.base import Schedule, SubmitOptions
from kfp_magics.errors import ArgumentError, BackendError, LoginError
from kfp_magics.runs import look
from kfp_magics.servers import Servers
from tests.kfp.pipelines import ir_of
from tests.vertex.conftest import ended
from tests.vertex.server import Fault

OPTIONS = SubmitOptions()


def test_connecting_asks_whether_runs_are_taken(server, backend, settings, google_storage) -> None:
    servers = Servers(settings, {"vertex": backend})
    given = {"endpoint": server.endpoint, "pipeline_root": "gs://wares/runs", "service_account": "a@shop"}
    checked = servers.connect("vertex:shop/europe-west4", given)
    assert checked.server == "Vertex AI in europe-west4, project shop"
    assert checked.remarks == ()
    assert (settings.backend, settings.connection) == ("vertex", "vertex:shop/europe-west4")
    server.faults["ListLogEntries"] = Fault(grpc.StatusCode.PERMISSION_DENIED)
    checked = servers.connect("vertex:shop/europe-west4", {**given, "pipeline_root": "gs://nowhere/runs"})
    assert any("gs://nowhere/runs" in remark for remark in checked.remarks)
    assert any("roles/logging.viewer" in remark for remark in checked.remarks)


def test_connecting_says_what_is_missing_and_changes_nothing(server, backend, settings) -> None:
    before = settings.backend
    server.faults["ListPipelineJobs"] = Fault(grpc.StatusCode.PERMISSION_DENIED, message="aiplatform.pipelineJobs.list")
    with pytest.raises(LoginError, match="may not list the runs of the project shop") as caught:
        Servers(settings, {"vertex": backend}).connect("vertex:shop/europe-west4", {"endpoint": server.endpoint})
    assert "roles/aiplatform.user" in caught.value.hint
    assert settings.backend == before


def test_runs_that_others_started_are_listed_and_found(server, backend, store) -> None:
    made = [backend.submit(ir_of("plain"), {}, SubmitOptions(name=f"run {number}")) for number in range(5)]
    ended(backend, store, made[-1])
    assert [run.name for run in backend.recent(limit=3)] == ["run 4", "run 3", "run 2"]
    (one,) = backend.recent(search="run 2")
    assert (one.id, one.started_by, one.pipeline, one.tasks[0].id) == (made[2].id, "somebody", "plain", "prepare")
    found = backend.find(made[4].id)
    assert [task.state for task in found.tasks] == [task.state for task in store.get(made[4].id).tasks]
    assert backend.find("unknown-run") is None
    with store.writing() as connection:  # as on another machine, where nobody heard of it
        connection.execute("DELETE FROM runs WHERE id = ?", (made[4].id,))
    assert look.find_run(store, {"vertex": backend}, made[4].id).name == "run 4"


def test_schedules_are_made_once_switched_and_removed(server, backend) -> None:
    server.faults["CreateSchedule"] = Fault(grpc.StatusCode.UNAVAILABLE, after=True)
    made = backend.schedule(
        Schedule(name="nightly", cron="30 2 * * *", at_once=2), ir_of("plain"), {"rows": 9}, OPTIONS
    )
    assert (made.cron, made.enabled, made.at_once, made.pipeline) == ("30 2 * * *", True, 2, "plain")
    assert made.parameters == {"rows": 9}
    assert backend.schedules() == [made]
    backend.switch(made, enabled=False)
    assert not backend.schedules()[0].enabled
    backend.switch(made, enabled=True)
    assert backend.schedules()[0].enabled
    backend.unschedule(made)
    backend.unschedule(made)  # again is no mistake
    assert backend.schedules() == []
    rests = backend.schedule(Schedule(name="rests", interval=900, enabled=False), ir_of("plain"), {}, OPTIONS)
    assert (rests.cron, rests.enabled) == ("*/15 * * * *", False)


@pytest.mark.parametrize(
    ("wanted", "cron"),
    [
        (Schedule(name="s", cron="0 30 2 * * 1"), "30 2 * * 1"),
        (Schedule(name="s", cron="TZ=Europe/Berlin 30 2 * * 1"), "TZ=Europe/Berlin 30 2 * * 1"),
        (Schedule(name="s", interval=6 * 3600), "0 */6 * * *"),
        (Schedule(name="s", interval=3600), "0 */1 * * *"),
        (Schedule(name="s", interval=86_400), "0 0 * * *"),
        (Schedule(name="s", interval=90), None),
        (Schedule(name="s", interval=7 * 60), None),
        (Schedule(name="s", cron="15 30 2 * * 1"), None),
        (Schedule(name="s", cron="@daily"), None),
        (Schedule(name="s", cron="0 0 * * *", catch_up=True), None),
    ],
)
def test_times_are_those_of_the_clock(server, backend, wanted, cron) -> None:
    if cron is None:
        with pytest.raises(ArgumentError):
            backend.schedule(wanted, ir_of("plain"), {}, OPTIONS)
        assert server.schedules == {}
    else:
        assert backend.schedule(wanted, ir_of("plain"), {}, OPTIONS).cron == cron


def test_uploading_says_where_pipelines_are_kept(backend) -> None:
    with pytest.raises(BackendError, match="Artifact Registry"):
        backend.upload(ir_of("plain"), "plain")
