"""What CI and CD need: there, missing, broken."""

from __future__ import annotations

import json
import os
import signal

from kfp_magics.cells.options import CellOptions
from kfp_magics.delivery.newdata.making import Wanted
from kfp_magics.delivery.newdata.verbs import NewData
from kfp_magics.delivery.newdata.watchers import Watchers
from kfp_magics.options import BuildOptions, RunOptions
from kfp_magics.session import Session
from tests.delivery.auth.test_commands import write_function
from tests.delivery.test_ci import git
from tests.delivery.trigger_server import TriggerServer
from tests.doctor.conftest import says
from tests.images.bases import push_description

WANTED = frozenset(["ci", "cd"])


def test_git(look, programs, monkeypatch, tmp_path) -> None:
    assert look("ci", "git").answer.word == "ok"
    programs("git", "echo 'git: no library' >&2; exit 127")
    assert says(look("ci", "git"))[0] == "broken"
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert says(look("ci", "git"))[0] == "not needed"
    found = look("ci", "git", wanted=WANTED)
    assert (found.fails, says(found)[1]) == (True, "not on this machine")


def test_a_repository(look, tmp_path) -> None:
    folder = tmp_path / "repo"
    folder.mkdir()
    found = look("ci", "repository", folder=folder, wanted=WANTED)
    assert (found.fails, says(found)[2]) == (True, f"git init {folder}")
    git(folder, "init", "-q")
    assert says(look("ci", "repository", folder=folder))[:2] == ("ok", str(folder))


def test_an_export_that_is_in_step_and_one_that_is_not(look, settings, registry, repository, tmp_path) -> None:
    settings.registry = f"{registry.host}/{repository}"
    settings.base_image = push_description(registry, f"{repository}-base")
    session = Session(settings, {})
    say = CellOptions(name="say", lang="bash", inputs=("text:str",))
    session.component("echo $text", say)
    folder = tmp_path / "repo"
    case = {"folder": folder, "definitions": session.definitions, "notebook": "n.ipynb"}
    found = look("ci", "export", **case, wanted=WANTED)
    assert (found.fails, says(found)[2]) == (True, "kfp-magics export n.ipynb DIR")
    session.images.exported(BuildOptions()).write(folder)
    assert says(look("ci", "export", **{**case, "definitions": None}))[:2] == (
        "not needed",
        "no notebook is known to compare it with",
    )
    session.component("echo $text again", say)
    found = look("ci", "export", **{**case, "notebook": ""}, wanted=WANTED)
    assert found.fails
    assert "notebook and export differ in " in found.answer.note
    session.component("echo $text", say)
    assert says(look("ci", "export", **{**case, "notebook": ""}))[0] == "ok"


def test_triggers(look, settings, monkeypatch, tmp_path) -> None:
    assert says(look("ci", "triggers"))[:2] == ("not needed", "no Google Cloud project is set")
    settings.google_project = "shop"
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "nothing.json"))
    found = look("ci", "triggers", wanted=WANTED)
    assert (found.fails, says(found)[2]) == (True, "gcloud auth application-default login")
    server = TriggerServer()
    try:
        settings.cloudbuild_endpoint = server.endpoint
        assert says(look("ci", "triggers", wanted=WANTED))[:2] == ("ok", "Cloud Build answers; no trigger yet")
    finally:
        server.close()


def test_watchers_that_live_and_one_that_died(look, settings, store, tmp_path) -> None:
    assert says(look("cd", "watchers"))[0] == "not needed"
    assert look("cd", "watchers", wanted=WANTED).fails
    session = Session(settings, {})
    session.component("echo $data", CellOptions(name="note", lang="bash", inputs=("data:str",)))
    (tmp_path / "incoming").mkdir()
    pipeline = session.resolve("note")
    wanted = Wanted(values=("data=$uri",))
    list(NewData(settings, store).watch(str(tmp_path / "incoming"), pipeline, wanted, RunOptions()))
    watchers = Watchers(settings)
    try:
        assert says(look("cd", "watchers"))[:2] == ("ok", f"1 watched: {tmp_path / 'incoming'}")
        [name] = [path.name for path in (tmp_path / "home" / "watchers").iterdir()]
        while not (held := watchers.holder(name)) or not held[0]:
            pass
        os.kill(held[0], signal.SIGKILL)
        while watchers.holder(name):
            pass
        found = look("cd", "watchers")
        assert found.fails
        assert says(found) == ("broken", f"nobody watches {name}", "kfp-magics cd watch")
    finally:
        watchers.stop(name)


def test_functions_for_the_cloud(look, tmp_path) -> None:
    assert says(look("cd", "functions", folder=tmp_path))[:2] == ("not needed", "no function was written for the cloud")
    place = tmp_path / "functions" / "news"
    write_function(tmp_path / "functions", "news", {"kind": "vertex"})
    assert says(look("cd", "functions", folder=tmp_path))[:2] == ("ok", "news; cd list --cloud tells what is deployed")
    assert says(look("cd", "watchers", folder=tmp_path, wanted=WANTED))[0] == "not needed"
    (place / "pipeline.yaml").unlink()
    found = look("cd", "functions", folder=tmp_path)
    assert found.fails
    assert says(found)[1] == "news has no pipeline.yaml"
    (place / "pipeline.yaml").write_text("")
    (place / "target.json").write_text(json.dumps({"kind": "local"}))
    found = look("cd", "functions", folder=tmp_path)
    assert found.fails
    assert found.answer.mend.magic == "%kfp_connect https://HOST"
    (place / "rule.json").write_text("{")
    assert "cannot be read" in look("cd", "functions", folder=tmp_path).answer.note
