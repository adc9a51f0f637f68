"""What authoring and the panel need: there, missing, broken."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import nbformat
import pytest
import uv

import kfp_magics
from kfp_magics import __version__
from kfp_magics.errors import DefinitionError
from kfp_magics.session import Session
from tests.doctor.conftest import says

SITE = Path(uv.__file__).parents[1]
ROOT = Path(kfp_magics.__file__).parents[1]


def distribution(folder: Path, name: str, version: str, *requires: str) -> None:
    """Has a distribution say something else than it does."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    lines = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}", *(f"Requires-Dist: {one}" for one in requires)]
    (info / "METADATA").write_text("\n".join(lines) + "\n")


def test_here_everything_for_authoring_is_there(look) -> None:
    for name in ("Python", "IPython", "kfp", "packages", "uv"):
        assert look("author", name).answer.word == "ok", name
    assert sys.executable in look("author", "Python").answer.note


def test_packages_that_are_too_old_or_missing(look, tmp_path, monkeypatch) -> None:
    distribution(tmp_path, "kfp", "1.8.22")
    distribution(tmp_path, "httpx", "0.1")
    monkeypatch.syspath_prepend(tmp_path)
    assert says(look("author", "kfp")) == (
        "broken",
        "1.8.22 is here, <3,>=2.16 is wanted",
        "pip install --upgrade 'kfp<3,>=2.16'",
    )
    assert says(look("author", "packages")) == (
        "broken",
        "httpx (0.1 is here, >=0.27 is wanted)",
        "pip install --upgrade 'httpx>=0.27'",
    )
    distribution(tmp_path / "more", "kfp-magics", __version__, "kfp", "ipython", "no-such-thing>=1", "other-thing>=2")
    monkeypatch.syspath_prepend(tmp_path / "more")
    found = look("author", "packages")
    assert says(found)[2] == "pip install --upgrade 'no-such-thing>=1' 'other-thing>=2'"
    assert found.fails


def test_an_interpreter_whose_environment_was_removed(tmp_path) -> None:
    python = tmp_path / "python"
    python.symlink_to(sys.executable)
    program = """
import os, sys
from kfp_magics.doctor.author import CHECKS
from kfp_magics.doctor.findings import Case, examine
from kfp_magics.settings import Settings
os.unlink(sys.executable)
print([one.answer.note for one in examine(Case(settings=Settings()), CHECKS[:1])])
"""
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{SITE}"}
    done = subprocess.run([python, "-c", program], capture_output=True, text=True, env=environment, check=True)
    assert f"the interpreter {python} is gone" in done.stdout


def test_another_interpreter_without_uv_and_without_the_extension_of_the_server(tmp_path) -> None:
    """The base interpreter sees all packages, and none of the files that an installation puts beside them."""
    base = Path(sys.base_prefix) / "bin" / "python3"
    fake = tmp_path / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    shutil.copytree(Path(uv.__file__).parent, fake / "uv")
    environment = {
        "PYTHONPATH": f"{fake}{os.pathsep}{ROOT}{os.pathsep}{SITE}",
        "HOME": str(tmp_path),
        "PATH": os.environ["PATH"],
    }

    def look() -> dict[str, dict]:
        command = [str(base), "-m", "kfp_magics.cli", "doctor", "author", "panel", "--json"]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == 1, done.stderr
        return {one["name"]: one for one in json.loads(done.stdout)}

    found = look()
    assert (found["uv"]["state"], found["uv"]["mend"]) == ("missing", "pip install --force-reinstall uv")
    extension = found["server extension"]
    assert (extension["state"], extension["mend"]) == ("missing", "jupyter server extension enable kfp_magics")
    assert found["front end"]["state"] == "missing"
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "uv").write_text("#!/bin/sh\necho no such library >&2\nexit 127\n")
    (tmp_path / "bin" / "uv").chmod(0o755)
    assert (look()["uv"]["state"], look()["uv"]["note"].partition(": ")[2]) == ("broken", "no such library")


def test_the_extension_counts_in_notebooks_and_must_be_the_installed_one(look, tmp_path, monkeypatch) -> None:
    assert says(look("author", "extension"))[0] == "not needed"
    assert says(look("author", "extension", in_ipython=True))[:2] == ("ok", f"kfp-magics {__version__}")
    distribution(tmp_path, "kfp-magics", "99.0", "kfp", "ipython")
    monkeypatch.syspath_prepend(tmp_path)
    found = look("author", "extension", in_ipython=True)
    assert says(found)[:2] == ("broken", f"{__version__} is loaded, 99.0 is installed: restart the kernel")


def test_the_notebook(look, settings, tmp_path, shell) -> None:
    assert says(look("author", "notebook"))[0] == "not needed"
    session = Session(settings)
    found = look("author", "notebook", notebook="/x/a.ipynb", definitions=session.definitions)
    assert says(found)[:2] == ("ok", "a.ipynb: 0 steps, 0 pipelines")
    found = look("author", "notebook", trouble=DefinitionError("It is no notebook.", "Give one."))
    assert says(found) == ("broken", "It is no notebook. Give one.", "")
    found = look("author", "notebook", trouble=DefinitionError("It is old.", "%kfp_export DIR, or %env A=1"))
    assert says(found) == ("broken", "It is old.", "kfp-magics export DIR, or export A=1")
    path = tmp_path / "broken.ipynb"
    path.write_text("{")
    assert "is no notebook" in shell("author", "--notebook", path, code=1)
    cells = [nbformat.v4.new_code_cell("%%kfp_component\ndef f() -> int:\n    return 1")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    assert "broken.ipynb: 1 steps, 0 pipelines" in shell("author", "--notebook", path)


# The panel


@pytest.fixture
def jupyter(tmp_path, monkeypatch) -> Path:
    """Folders of Jupyter's that come before all others."""
    for name in ("CONFIG_PATH", "PATH", "RUNTIME_DIR"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(f"JUPYTER_{name}", str(tmp_path / name))
    return tmp_path


def test_jupyterlab_has_to_be_one_that_fits(look, tmp_path, monkeypatch) -> None:
    assert look("panel", "JupyterLab").answer.word == "ok"
    distribution(tmp_path, "jupyterlab", "3.6.0")
    monkeypatch.syspath_prepend(tmp_path)
    assert says(look("panel", "JupyterLab", wanted=frozenset(["panel"])))[:2] == (
        "broken",
        "3.6.0 is here, <5,>=4.2 is wanted",
    )


def test_the_extension_of_the_server(look, jupyter) -> None:
    assert says(look("panel", "server extension"))[:2] == ("ok", "enabled")
    path = jupyter / "CONFIG_PATH" / "jupyter_server_config.json"
    path.write_text(json.dumps({"ServerApp": {"jpserver_extensions": {"kfp_magics": False}}}))
    found = look("panel", "server extension", in_notebook=True)
    assert says(found) == ("broken", f"switched off in {path}", "jupyter server extension enable kfp_magics")
    assert found.fails


def test_the_front_end(look, jupyter) -> None:
    package = jupyter / "PATH" / "labextensions" / "kfp-magics" / "package.json"
    package.parent.mkdir(parents=True)
    package.write_text(json.dumps({"version": __version__}))
    assert says(look("panel", "front end"))[:2] == ("ok", f"{__version__}, in {package.parent}")
    package.write_text(json.dumps({"version": "0.0.1"}))
    found = look("panel", "front end", wanted=frozenset(["panel"]))
    assert says(found)[:2] == ("broken", f"0.0.1 is in {package.parent}, {__version__} is wanted")
    assert "labextension" in says(found)[2]


def server_file(jupyter: Path, url: str, pid: int = 0) -> None:
    port = int(url.rpartition(":")[2].strip("/"))
    what = {"pid": pid or os.getpid(), "url": url, "port": port, "token": "POISON"}
    (jupyter / "RUNTIME_DIR" / f"jpserver-{port}.json").write_text(json.dumps(what))


def test_a_server_that_was_killed_is_none(look, jupyter) -> None:
    """One that runs is looked at in a browser's test, where there is one."""
    assert says(look("panel", "server", in_notebook=True)) == ("missing", "no Jupyter Server runs here", "jupyter lab")
    with subprocess.Popen(["sleep", "600"]) as ended:
        ended.kill()
    server_file(jupyter, "http://127.0.0.1:1/", ended.pid)  # it had no time to tidy up
    assert says(look("panel", "server", in_notebook=True))[1] == "no Jupyter Server runs here"


def test_servers_of_other_versions_without_the_extension_and_silent_ones(look, jupyter) -> None:
    answers = {"status": 200, "version": "0.0.1"}
    tokens = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            tokens.append(self.headers["Authorization"])
            self.send_response(answers["status"])
            self.end_headers()
            self.wfile.write(json.dumps({"version": answers["version"]}).encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        server_file(jupyter, f"http://127.0.0.1:{server.server_port}/")
        found = look("panel", "server")
        assert found.answer.note.endswith(f"has 0.0.1, {__version__} is installed")
        assert says(found)[2] == f"jupyter server stop {server.server_port} && jupyter lab"
        answers["version"] = __version__
        assert says(look("panel", "server"))[:2] == ("ok", f"version {__version__} at port {server.server_port}")
        answers["status"] = 404
        assert look("panel", "server").answer.note.endswith("does not have the extension")
        answers["status"] = 403
        found = look("panel", "server")
        assert found.answer.note.endswith("answers 403")
        assert tokens == ["token POISON"] * 4
        assert "POISON" not in str(found)
        server.shutdown()
    assert look("panel", "server").answer.note.endswith("does not answer (ConnectError)")
