"""Connecting to Vertex AI, what others started there, and what runs there again and again."""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from google.cloud import aiplatform_v1

from kfp_magics.backends.base import Schedule, SubmitOptions
from kfp_magics.backends.connections import Connections, parse
from kfp_magics.backends.vertex.check import REGIONS
from kfp_magics.errors import ArgumentError, BackendError, KfpMagicsError, LoginError, UnavailableError
from kfp_magics.runs import look
from kfp_magics.servers import Servers
from tests.kfp.pipelines import ir_of
from tests.vertex.conftest import ended
from tests.vertex.server import Fault

OPTIONS = SubmitOptions()


@pytest.fixture
def google_login(tmp_path, monkeypatch) -> None:
    """A login of Google's that reads; nobody is asked whether it is right."""
    credentials = {
        "type": "authorized_user",
        "client_id": "somebody",
        "client_secret": "nothing",
        "refresh_token": "nothing",
    }
    (tmp_path / "login.json").write_text(json.dumps(credentials))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "login.json"))


def test_connecting_asks_whether_runs_are_taken(server, backend, settings, google_storage) -> None:
    servers = Servers(settings, {"vertex": backend})
    given = {"endpoint": server.endpoint, "pipeline_root": "gs://wares/runs", "service_account": "a@shop"}
    checked = servers.connect("vertex:shop/europe-west4", given)
    assert checked.server == "Vertex AI in europe-west4, project shop"
    assert checked.remarks == ()
    assert (settings.backend, settings.connection) == ("vertex", "vertex:shop/europe-west4")
    server.faults["ListLogEntries"] = Fault(grpc.StatusCode.PERMISSION_DENIED)
    checked = servers.connect("vertex:shop/europe-west4", {**given, "pipeline_root": "gs://nowhere/runs"})
    assert any("gcloud storage buckets create gs://nowhere --location europe-west4" in one for one in checked.remarks)
    assert any("roles/logging.viewer" in remark for remark in checked.remarks)
    server.faults["ListLogEntries"] = Fault(grpc.StatusCode.UNAVAILABLE, message="logs rest")
    assert any("logs rest" in remark for remark in servers.connect("vertex:shop/europe-west4", given).remarks)


def test_a_storage_that_does_not_answer_is_told_soon(server, backend, settings, monkeypatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    settings.server_patience = 0.1
    given = {"endpoint": server.endpoint, "pipeline_root": "gs://wares/runs"}
    checked = Servers(settings, {"vertex": backend}).connect("vertex:shop/europe-west4", given)
    (remark,) = (one for one in checked.remarks if "gs://wares" in one)
    assert "does not answer" in remark
    assert len(remark) < 300


@pytest.mark.parametrize(
    ("options", "said", "hint"),
    [
        ({"pipeline_root": "gs:///runs"}, "'gs:///runs' is none", "gs://BUCKET/FOLDER"),
        ({"pipeline_root": "wares/runs"}, "'wares/runs' is none", "gs://BUCKET/FOLDER"),
        ({"network": "default"}, "'default' is no network", "projects/NUMBER/global/networks/NAME"),
        ({"network": "projects/shop/global/networks/default"}, "is no network", "gcloud projects describe"),
        ({"service_account": "me"}, "'me' is no address", "me@shop.iam.gserviceaccount.com"),
    ],
)
def test_what_google_would_refuse_later_is_said_at_once(server, backend, settings, options, said, hint) -> None:
    with pytest.raises(KfpMagicsError, match=re.escape(said)) as caught:
        Servers(settings, {"vertex": backend}).connect(
            "vertex:shop/europe-west4", {"endpoint": server.endpoint, **options}
        )
    assert hint in caught.value.hint
    assert server.calls == []
    assert settings.backend == "local"


@pytest.mark.parametrize(
    ("word", "options", "said", "hint"),
    [
        ("vertex", {}, "There is no Vertex AI at 'vertex'", "vertex:project/region"),
        ("vertex:shop", {}, "There is no Vertex AI at 'vertex:shop'", "vertex:project/region"),
        ("vertex/shop/europe-west4", {}, "There is no Vertex AI", "vertex:project/region"),
        ("vertex://shop/europe-west4", {}, "There is no Vertex AI", "vertex:project/region"),
        ("vertex:My_Shop/europe-west4", {}, "'My_Shop' is no id of a project", "gcloud projects list"),
        ("vertex:shop/Europe_West4", {}, "'Europe_West4' is no region", "Did you mean 'europe-west4'?"),
        ("vertex:shop/europe", {}, "'europe' is no region", "europe-west4"),
        ("vertex:shop/europe-west4", {"endpoint": "$EP"}, "'$EP' is no address", "--endpoint https://HOST"),
        ("vertex:shop/europe-west4", {"namespace": "me"}, "--namespace means nothing for Vertex AI", "--network"),
        ("vertex:shop/europe-west4", {"token_env": "T"}, "--token-env means nothing for Vertex AI", "--label"),
        ("https://kfp.example.org", {"network": "n"}, "--network means nothing", "--namespace"),
        ("https://kfp.example.org", {"label": ["a=b"]}, "--label means nothing", "--namespace"),
        ("local", {"pipeline_root": "gs://wares"}, "--pipeline-root means nothing for this machine", "no options"),
        ("vertex:shop/europe-west4", {"label": ["Team=A"]}, "'Team=A' is no label", "--label team=research"),
        ("vertex:shop/europe-west4", {"label": ["team"]}, "'team' is no label", "--label team=research"),
        ("vertex:shop/europe-west4", {"label": ["experiment=x"]}, "written by kfp-magics itself", "another name"),
    ],
)
def test_what_does_not_read_or_means_nothing_is_said(word, options, said, hint) -> None:
    with pytest.raises(ArgumentError, match=re.escape(said)) as caught:
        parse(word, options)
    assert hint in caught.value.hint


def test_a_project_may_be_named_by_its_number(server, connect, settings, backend, store) -> None:
    given = {"endpoint": server.endpoint, "pipeline_root": "gs://wares/runs"}
    Connections(settings.home_path).remember(parse("vertex:123456789/europe-west4", given))
    settings.connection = "vertex:123456789/europe-west4"
    run = ended(backend, store, backend.submit(ir_of("plain"), {}, OPTIONS))
    assert "project=123456789" in run.url
    server.print(server.job_of(run.id, "prepare"), "a line")
    assert list(backend.logs(run, run.task("prepare"))) == ["a line\n"]


def test_a_region_that_is_not_there_is_said_with_the_one_that_is_meant(backend, settings, google_login) -> None:
    settings.server_patience = 0.0
    connection = parse("vertex:shop/europe-west44", {"endpoint": "https://vertex.invalid"})
    with pytest.raises(UnavailableError, match="is not to be found in 'europe-west44'") as caught:
        backend.check(connection)
    assert "'europe-west4'" in caught.value.hint


def test_the_regions_are_googles() -> None:
    constants = Path(aiplatform_v1.__file__).parents[1] / "aiplatform" / "constants" / "base.py"
    supported = runpy.run_path(str(constants))["SUPPORTED_REGIONS"]  # without the package, which takes seconds
    assert set(REGIONS) == supported - {"global"}  # where no pipelines run


def test_labels_are_those_of_all_runs_and_schedules(server, connect) -> None:
    backend = connect(label=["team=research", "cost-center=4711"])
    backend.submit(ir_of("plain"), {}, SubmitOptions(experiment="trial"))
    (job,) = server.jobs.values()
    ours = {"started-with": "kfp-magics", "started-by": "notebook", "experiment": "trial"}
    assert dict(job.labels) == {"team": "research", "cost-center": "4711", **ours}
    backend.schedule(Schedule(name="s", cron="0 6 * * *"), ir_of("plain"), {}, SubmitOptions())
    (made,) = server.schedules.values()
    assert made.create_pipeline_job_request.pipeline_job.labels["team"] == "research"


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


_WITHOUT = """
import sys

class Without:
    def find_spec(self, name, *_):
        if name == sys.argv[1]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Without())
from kfp_magics.cli import main
sys.exit(main(["connect", "vertex:shop/europe-west4"]))
"""


@pytest.mark.parametrize("package", ["google.cloud.aiplatform_v1", "google.cloud.logging_v2", "google.api_core"])
def test_without_the_extra_it_is_said_what_to_install(tmp_path, package) -> None:
    asked = subprocess.run(
        [sys.executable, "-c", _WITHOUT, package],
        env=os.environ | {"KFP_MAGICS_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert asked.returncode != 0
    assert asked.stderr.splitlines() == [
        "Vertex AI needs Google's clients, which are not installed.",
        "pip install 'kfp-magics[vertex]'",
    ]
