"""The doctor as a whole: what it says, changes nothing, shows no secret."""

from __future__ import annotations

import json
import os

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from kfp_magics.doctor.checks import CHECKS, groups
from kfp_magics.doctor.findings import GROUPS, Case, Check, Finding, examine, missing, ok, typed
from kfp_magics.errors import ArgumentError
from kfp_magics.widgets.doctor import DoctorCard


def test_every_group_has_checks_in_the_order_in_which_they_are_told() -> None:
    assert list(dict.fromkeys(check.group for check in CHECKS)) == list(GROUPS)
    names = [(check.group, check.name) for check in CHECKS]
    assert len(set(names)) == len(names)


def test_what_is_needed_and_missing_makes_the_exit_code_1_and_nothing_is_changed(tmp_path, shell) -> None:
    home = tmp_path / "untouched"
    said = shell("build", "run", "cd", KFP_MAGICS_HOME=str(home), code=1)
    assert "✗ missing     registry          none is set: steps run in their base images" in said
    assert "                export KFP_MAGICS_REGISTRY=HOST/PATH\n" in said
    assert said.splitlines()[-1].endswith("need something: registry, watchers.")
    assert not home.exists()
    assert "Author" not in said


def test_json(shell) -> None:
    found = json.loads(shell("author", "--json"))
    assert [one["name"] for one in found] == [check.name for check in CHECKS if check.group == "author"]
    assert found[0] == {
        "group": "author",
        "name": "Python",
        "state": "ok",
        "needed": True,
        "note": found[0]["note"],
        "mend": "",
    }


def test_a_group_that_is_none(shell) -> None:
    assert shell("bild", code=2).splitlines() == ["Nothing is looked at under 'bild'.", "Did you mean 'build'?"]
    with pytest.raises(ArgumentError):
        groups(["x"])


def test_no_secret_is_shown(tmp_path, basic_registry, shell, closed_port) -> None:
    """Everything that holds a secret holds poison, and everything that could repeat it is asked."""
    docker = tmp_path / "docker"
    docker.mkdir()
    login = {"username": "ada", "password": "POISON"}
    (docker / "config.json").write_text(json.dumps({"auths": {basic_registry.host: login}}))
    key = tmp_path / "key.json"
    key.write_text(json.dumps({"type": "service_account", "private_key": "POISON", "client_email": "POISON"}))
    token = tmp_path / "token"
    token.write_text("POISON")
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    address = f"http://127.0.0.1:{closed_port}/"
    server = {"pid": os.getpid(), "url": address, "port": 1, "token": "POISON", "password": "POISON"}
    (runtime / "jpserver-1.json").write_text(json.dumps(server))
    home = tmp_path / "home"
    home.mkdir()
    connection = {"name": "k", "kind": "kfp", "host": address.rstrip("/"), "token_file": str(token)}
    (home / "connections.json").write_text(json.dumps({"connections": [connection]}))
    environment = {
        "DOCKER_CONFIG": str(docker),
        "GOOGLE_APPLICATION_CREDENTIALS": str(key),
        "JUPYTER_RUNTIME_DIR": str(runtime),
        "KFP_MAGICS_HOME": str(home),
        "KFP_MAGICS_BACKEND": "kfp",
        "KFP_MAGICS_REGISTRY": f"{basic_registry.host}/team",
        "KFP_MAGICS_GOOGLE_PROJECT": "shop-123",
        "KF_TOKEN": "POISON",
    }
    said = shell(code=1, **environment) + shell("--json", code=1, **environment)
    assert "POISON" not in said
    assert "does not let the login from" in said
    assert "There are no Google credentials here" in said or "cannot" in said


def finding(name: str, answer) -> Finding:
    return Finding(group="build", name=name, answer=answer)


def test_the_card_is_text_and_a_table_that_a_reader_can_follow() -> None:
    mend = typed("docker login x", "!docker login <x>")
    card = DoctorCard([finding("a", ok("fine")), finding("b <b>", missing("<gone>", mend))], in_ipython=True)
    assert repr(card).splitlines() == [
        "Build: steps become images",
        "  ✓ ok          a                 fine",
        "  ✗ missing     b <b>             <gone>",
        "                !docker login <x>",
        "1 of 2 need something: b <b>.",
    ]
    page = card._repr_html_()
    assert "<caption>1 of 2 need something: b &lt;b&gt;.</caption>" in page
    assert "<th scope='row'>b &lt;b&gt;</th><td>&lt;gone&gt;</td><td><code>!docker login &lt;x&gt;</code></td>" in page
    assert "Looking …" in DoctorCard([], going_on=True)._repr_html_()
    assert repr(DoctorCard([], going_on=True)) == "Looking …"
    assert repr(DoctorCard([finding("a", ok("fine"))])).splitlines()[-1] == "Everything that is needed is there."


def test_a_check_that_fails_by_a_mistake_of_ours_keeps_its_stack(settings) -> None:
    def look(case: Case):
        return case.settings.no_such_thing

    with pytest.raises(AttributeError, match="no_such_thing"):
        list(examine(Case(settings=settings), [Check(group="run", name="x", look=look)]))


def test_in_a_terminal_lines_come_one_by_one(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    InteractiveShell.clear_instance()
    shell_ = InteractiveShell.instance()
    shell_.run_line_magic("load_ext", "kfp_magics")
    with capture_output() as captured:
        shell_.run_line_magic("kfp_doctor", "author")
    assert "✓ ok          extension" in captured.stdout
    assert captured.stdout.splitlines()[0] == "Author: cells become steps"
    with capture_output() as captured:
        shell_.run_line_magic("kfp_doctor", "build")
    assert "%reload_ext kfp_magics" in captured.stdout  # as it is typed here
    with pytest.raises(ArgumentError):
        shell_.run_line_magic("kfp_doctor", "bild")
    monkeypatch.setenv("KFP_MAGICS_REGISTRY", f"oci:{tmp_path}/images")
    shell_.run_line_magic("reload_ext", "kfp_magics")
    with capture_output() as captured:
        shell_.run_line_magic("kfp_doctor", "build")
    assert f"images go into the folder {tmp_path}/images" in captured.stdout
    InteractiveShell.clear_instance()
