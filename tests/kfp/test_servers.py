"""What a notebook types about servers."""

from __future__ import annotations

import pytest

from kfp_magics.errors import ArgumentError, BackendError, NotFoundError
from kfp_magics.model import State
from kfp_magics.session import Session
from tests.kfp.pipelines import ir_of
from tests.kfp.server import Fault


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
    assert repr(shell.run_line_magic("kfp_upload", "plain.yaml")).startswith(f"Pipeline 'plain' is at {server.url}/#/")
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
        ("create plain.yaml", "has a cron or an interval"),
        ("create plain.yaml --cron '* *'", "has 2 fields"),
        ("create plain.yaml --every 5", "interval cannot be '5'"),
        ("create plain.yaml --every 1h --at-once 0", "At least one run"),
        ("enable", "%kfp_schedule enable of what"),
    ],
)
def test_what_does_not_read_is_told(server, shell, line, message) -> None:
    shell.run_line_magic("kfp_connect", server.url)
    with pytest.raises(ArgumentError, match=message):
        shell.run_line_magic("kfp_schedule", line)
    assert server.recurring == {}
