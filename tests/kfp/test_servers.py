"""What a notebook types about servers."""

from __future__ import annotations

import pytest

from kfp_magics.errors import ArgumentError, BackendError, NotFoundError, RunFailedError
from kfp_magics.model import State
from kfp_magics.session import Session
from tests.kfp.pipelines import ir_of
from tests.kfp.server import Fault
from tests.kfp.workflow import Plan


@pytest.fixture
def shell(monkeypatch, tmp_path):
    from IPython.core.interactiveshell import InteractiveShell

    from kfp_magics.magics import register

    InteractiveShell.clear_instance()
    made = InteractiveShell.instance()
    register(made)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plain.yaml").write_text(ir_of("plain"), encoding="utf-8")
    yield made
    InteractiveShell.clear_instance()


def test_one_line_takes_a_notebook_to_a_server_and_back(server, shell) -> None:
    card = shell.run_line_magic("kfp_connect", f"{server.url} --name mine --namespace team-a")
    assert repr(card).splitlines()[:2] == [
        "Runs go to mine.",
        f"  server     Kubeflow Pipelines 2.5.0 at {server.url}",
    ]
    live = shell.run_line_magic("kfp_run", "plain.yaml rows=5 --wait")
    assert (live.run.state, live.run.target) == (State.SUCCEEDED, "mine")
    table = shell.run_line_magic("kfp_connect", "")
    assert [line.split()[:2] for line in repr(table).splitlines()[1:]] == [["local", "this"], ["→", "mine"]]
    assert repr(shell.run_line_magic("kfp_connect", "local")) == "Runs go to this machine."
    shell.run_line_magic("kfp_connect", "mine")  # by its name
    assert "mine" not in repr(shell.run_line_magic("kfp_connect", "mine --forget"))


def test_a_pipeline_is_uploaded_and_gets_versions(server, shell) -> None:
    with pytest.raises(BackendError, match="keeps no pipelines"):
        shell.run_line_magic("kfp_upload", "plain.yaml")
    shell.run_line_magic("kfp_connect", server.url)
    said = repr(shell.run_line_magic("kfp_upload", "plain.yaml --version v1"))
    assert said.startswith(f"The new pipeline 'plain' with version 'v1' is at {server.url}/#/")
    assert repr(shell.run_line_magic("kfp_upload", "plain.yaml --version v2")).startswith("Version 'v2' of pipeline")
    assert len(server.pipelines) == 1
    assert {one["pipeline_spec"]["pipelineInfo"]["name"] for one in server.versions.values()} == {"plain"}
    version = next(one for one in server.versions.values() if one.get("display_name") == "v2")
    session = Session()
    backend = session.backend("kfp")
    body = {"display_name": "by version", "experiment_id": backend.service().experiment("x")}
    body["pipeline_version_reference"] = {key: version[key] for key in ("pipeline_id", "pipeline_version_id")}
    started = backend.service().create_run(body)  # as somebody else may, without a copy of the pipeline
    assert {task.id for task in session.find(started["run_id"]).tasks} == {"prepare", "train"}


def test_a_pipeline_runs_again_and_again(server, shell) -> None:
    shell.run_line_magic("kfp_connect", server.url)
    server.faults.append(Fault("POST /apis/v2beta1/recurringruns$", lose=True))
    line = "create plain.yaml rows=9 --name nightly --cron '0 6 * * *' --at-once 2"
    assert "nightly" in repr(shell.run_line_magic("kfp_schedule", line))
    (kept,) = server.recurring.values()
    assert kept["trigger"] == {"cron_schedule": {"cron": "0 0 6 * * *"}}  # six fields: the server wants seconds
    assert (kept["mode"], kept["max_concurrency"], kept["no_catchup"]) == ("ENABLE", "2", True)
    assert kept["runtime_config"]["parameters"] == {"rows": 9}
    shell.run_line_magic("kfp_schedule", "create plain.yaml --every 1h --name hourly --disabled --catch-up")
    found = {one.name: one for one in shell.run_line_magic("kfp_schedule", "list").schedules}
    assert (found["hourly"].interval, found["hourly"].enabled, found["hourly"].pipeline) == (3600, False, "plain")
    (switched,) = shell.run_line_magic("kfp_schedule", "enable hourly").schedules
    assert switched.enabled
    (switched,) = shell.run_line_magic("kfp_schedule", f"disable {switched.id[:8]}").schedules
    assert not switched.enabled
    assert [one.name for one in shell.run_line_magic("kfp_schedule", "delete nightly").schedules] == ["hourly"]
    with pytest.raises(NotFoundError, match="no schedule 'nightly'"):
        shell.run_line_magic("kfp_schedule", "delete nightly")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("create", "Write %kfp_schedule create PIPELINE"),
        ("create plain.yaml", "has a cron or an interval"),
        ("create plain.yaml --cron '* *'", "has 2 fields"),
        ("create plain.yaml --every 5", "interval cannot be '5'"),
        ("create plain.yaml --every 1h --at-once 0", "At least one run"),
        ("enable", "%kfp_schedule enable of what"),
    ],
)
def test_what_does_not_read_is_told(server, shell, line, message) -> None:
    shell.run_line_magic("kfp_connect", server.url)
    with pytest.raises(ArgumentError) as raised:
        shell.run_line_magic("kfp_schedule", line)
    assert message in str(raised.value)
    assert server.recurring == {}


def test_a_lost_answer_makes_no_second_pipeline_and_no_second_version(server, shell) -> None:
    shell.run_line_magic("kfp_connect", server.url)
    server.faults.append(Fault("POST /apis/v2beta1/pipelines$", lose=True))
    server.faults.append(Fault("POST /apis/v2beta1/pipelines/upload_version", lose=True))
    shell.run_line_magic("kfp_upload", "plain.yaml --version v1")
    assert [len(server.pipelines), len(server.versions)] == [1, 1]
    with pytest.raises(ArgumentError, match="has a version 'v1' already"):
        shell.run_line_magic("kfp_upload", "plain.yaml --version v1")


def test_a_pipeline_whose_first_version_is_refused_is_not_left_behind(server, shell) -> None:
    shell.run_line_magic("kfp_connect", server.url)
    said = b'{"code": 3, "message": "Failed to read the spec"}'
    server.faults.append(Fault("POST /apis/v2beta1/pipelines/upload_version", status=400, body=said))
    with pytest.raises(BackendError, match="Failed to read the spec"):
        shell.run_line_magic("kfp_upload", "plain.yaml")
    assert server.pipelines == {}


def test_what_the_server_keeps_is_listed(server, shell) -> None:
    with pytest.raises(BackendError, match="This machine keeps no experiments"):
        shell.run_line_magic("kfp_experiments", "")
    shell.run_line_magic("kfp_connect", server.url)
    assert "%kfp_run PIPELINE --experiment NAME" in repr(shell.run_line_magic("kfp_experiments", ""))
    shell.run_line_magic("kfp_run", "plain.yaml --experiment mine")
    shell.run_line_magic("kfp_upload", "plain.yaml --version v1")
    assert [one.name for one in shell.run_line_magic("kfp_experiments", "").kept] == ["mine"]
    table = shell.run_line_magic("kfp_pipelines", "")
    assert repr(table).splitlines()[1].split()[0] == "plain"
    assert [one.name for one in shell.run_line_magic("kfp_pipelines", table.kept[0].id[:9]).kept] == ["v1"]
    with pytest.raises(NotFoundError, match="Did you mean 'plain'"):
        shell.run_line_magic("kfp_pipelines", "plane")


def test_a_cell_that_schedules_can_be_executed_again(server, shell) -> None:
    shell.run_line_magic("kfp_connect", server.url)
    shell.run_line_magic("kfp_schedule", "create plain.yaml --cron '0 6 * * *'")
    with pytest.raises(ArgumentError, match="a schedule 'plain' already"):
        shell.run_line_magic("kfp_schedule", "create plain.yaml --cron '0 7 * * *'")
    shell.run_line_magic("kfp_schedule", "create plain.yaml --cron '0 7 * * *' --replace")
    table = shell.run_line_magic("kfp_schedule", "")
    assert [one.cron for one in table.schedules] == ["0 7 * * *"]  # as it was typed, without the server's seconds


def test_runs_of_the_server_are_chosen_by_state(server, shell) -> None:
    shell.run_line_magic("kfp_connect", server.url)
    server.plans["bad"] = Plan(failed={"train"})
    shell.run_line_magic("kfp_run", "plain.yaml --name good --wait")
    with pytest.raises(RunFailedError):
        shell.run_line_magic("kfp_run", "plain.yaml --name bad --wait")
    [failed] = shell.run_line_magic("kfp_runs", "--server --state failed --state cancelled").runs
    assert (failed.name, failed.pipeline) == ("bad", "plain")
    assert repr(shell.run_line_magic("kfp_runs", "--server --state cancelled")).startswith("No runs are like that")
    with pytest.raises(ArgumentError, match="by --pipeline"):
        shell.run_line_magic("kfp_runs", "--server --pipeline plain")


def test_runs_are_put_away_and_deleted_there_as_well(server, shell) -> None:
    shell.run_line_magic("kfp_connect", server.url)
    shell.run_line_magic("kfp_run", "plain.yaml --name old --wait")
    shell.run_line_magic("kfp_run", "plain.yaml --name new --wait")
    with pytest.raises(BackendError, match="has ended: it is succeeded"):
        shell.run_line_magic("kfp_cancel", "new")
    assert repr(shell.run_line_magic("kfp_archive", "new")) == "Archived: new."
    kept = {one.body["display_name"]: one for one in server.runs.values()}
    assert (kept["old"].archived, kept["new"].archived) == (False, True)
    assert [run.name for run in shell.run_line_magic("kfp_runs", "").runs] == ["old"]
    assert [run.name for run in shell.run_line_magic("kfp_runs", "--archived").runs] == ["new", "old"]
    assert shell.run_line_magic("kfp_runs", "last").run.name == "old"  # nobody who puts a run away means it by 'last'
    shell.run_line_magic("kfp_archive", "new --undo")
    assert not kept["new"].archived
    shell.run_line_magic("kfp_delete", "old new")
    assert server.runs == {}
    assert "No runs yet" in repr(shell.run_line_magic("kfp_runs", ""))
    shell.run_line_magic("kfp_run", "plain.yaml --name long")
    with pytest.raises(BackendError, match="Cancel it first: %kfp_cancel"):
        shell.run_line_magic("kfp_delete", "long")
    assert f"{server.url}/#/runs/details/" in repr(shell.run_line_magic("kfp_cancel", "long"))
    assert shell.run_line_magic("kfp_runs", "long").run.state is State.CANCELLED
