"""The command line, as processes."""

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from tests.kfp.pipelines import ir_of
from tests.kfp.server import KfpServer

CELLS = (
    "%load_ext kfp_magics",
    "import time\nLIMIT = 3",
    "time.sleep(600)  # exploration: the command line must not execute it",
    "%%kfp_component --include LIMIT\ndef add(a: int, b: int = 1) -> int:\n    print('adding')\n    assert a < 90\n"
    "    return min(a + b, LIMIT)",
    "%%kfp_pipeline\ndef sums(a: int) -> int:\n    return add(a=a).output",
    "%kfp_run sums a=1",
)


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    path = tmp_path / "nötebook.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(one) for one in CELLS]), path)
    return path


def kfp_magics(*words: object, code: int = 0) -> str:
    command = [sys.executable, "-m", "kfp_magics.cli", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_run_look_and_compile(notebook: Path, tmp_path: Path) -> None:
    assert "✓ add" in kfp_magics("run", notebook, "--pipeline", "sums", "a=1")
    [run] = json.loads(kfp_magics("runs", "--json"))
    assert (run["state"], run["started_by"], run["outputs"]) == ("succeeded", "cli", {"Output": 2})
    assert run["id"] in kfp_magics("runs")
    assert "✓ add" in kfp_magics("runs", "last")
    assert "adding" in kfp_magics("logs", "last", "add")
    assert "Wrote" in kfp_magics("compile", notebook, "--pipeline", "sums", "-o", tmp_path / "sums.yaml")
    assert "✓ add" in kfp_magics("run", tmp_path / "sums.yaml", "a=2")
    failed = kfp_magics("run", notebook, "a=99", code=1)
    assert "line 4 of its cell: assert a < 90" in failed
    assert "kfp-magics retry" in failed


def test_cancel(notebook: Path, tmp_path: Path) -> None:
    saved = nbformat.read(notebook, as_version=4)
    saved.cells[3].source = "%%kfp_component\nimport time\ndef add(a: int) -> int:\n    time.sleep(600)\n    return a"
    nbformat.write(saved, notebook)
    kfp_magics("run", notebook, "a=1", "--detach")
    kfp_magics("cancel")
    assert "adding" not in kfp_magics("logs", "--follow")
    [run] = json.loads(kfp_magics("runs", "--json"))
    assert run["state"] == "cancelled"


def test_mistakes(notebook: Path, tmp_path: Path) -> None:
    assert "There is no file" in kfp_magics("run", tmp_path / "no.ipynb", code=2)
    (tmp_path / "notes.txt").write_text("x")
    assert "neither a notebook" in kfp_magics("run", tmp_path / "notes.txt", code=2)
    assert "has no function with @dsl.pipeline" in kfp_magics("run", tmp_path.parent / __file__, code=2)
    needed = kfp_magics("run", notebook, code=2)
    assert needed.splitlines() == [
        "The pipeline 'sums' also needs a.",
        f"kfp-magics run {notebook} --pipeline sums a=…",
    ]
    assert "Did you mean '--pipeline'?" in kfp_magics("run", notebook, "--piepline", "sums", code=2)
    assert "No runs yet: kfp-magics run" in kfp_magics("runs")
    assert "no pipeline or step 'smus'" in kfp_magics("run", notebook, "--pipeline", "smus", code=2)
    assert "no such run" in kfp_magics("logs", code=2)
    assert "No runs yet" in kfp_magics("runs")
    (tmp_path / "bad.ipynb").write_text("{")
    assert "is no notebook" in kfp_magics("run", tmp_path / "bad.ipynb", code=2)
    assert "invalid choice" in kfp_magics("rnu", code=2)


def test_a_server_is_reached_from_a_shell_as_from_a_notebook(tmp_path: Path) -> None:
    file, server = tmp_path / "plain.yaml", KfpServer()
    file.write_text(ir_of("plain"), encoding="utf-8")
    try:
        assert "makes one known" in kfp_magics("experiments", code=2)
        assert "kfp-magics run FILE --connect mine" in kfp_magics("connect", server.url, "--name", "mine")
        assert "mine" in kfp_magics("connect")
        assert "✓ prepare" in kfp_magics("run", file, "rows=2", "--connect", "mine", "--experiment", "e1")
        assert "e1" in kfp_magics("experiments")
        assert "version 'v1'" in kfp_magics("upload", file, "--version", "v1")
        assert "v1" in kfp_magics("pipelines", "plain", "--connect", "mine")
        assert "0 6 * * *" in kfp_magics("schedule", "create", file, "rows=4", "--cron", "0 6 * * *")
        assert "--replace" in kfp_magics("schedule", "create", file, "--every", "1h", code=2)
        assert "disabled" in kfp_magics("schedule", "disable", "plain")
        assert "No schedules" in kfp_magics("schedule", "delete", "plain")
        [run] = json.loads(kfp_magics("runs", "--server", "--state", "succeeded", "--json").partition("\nAt ")[0])
        assert run["target"] == "mine"
        assert "rows" in kfp_magics("clone", "rows=5") + kfp_magics("diff")
        assert "No artifacts." in kfp_magics("artifacts", "last", "train")
        assert "kfp-magics clone" in kfp_magics("retry", "last", code=2)
        assert "Archived" in kfp_magics("archive", "last")
        assert "Deleted" in kfp_magics("delete", run["id"])
        assert "No runs are like that: kfp-magics runs" in kfp_magics("runs", "--search", "zzz")
    finally:
        server.close()
