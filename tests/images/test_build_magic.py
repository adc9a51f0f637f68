"""What a person types to build images, in a real IPython and in a shell."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from kfp_magics.errors import BuildError, DefinitionError, RunFailedError
from kfp_magics.model import State
from kfp_magics.session import Session
from tests.images.bases import push_description
from tests.images.registries import Server
from tests.ipython import execute, ipython

TRAIN = "%%kfp_component\ndef train(n: int) -> int:\n    return n + 1"
SAY = "%%kfp_component say --lang bash --in text:int\necho $text"
BOTH = "%%kfp_pipeline\ndef both(n: int):\n    say(text=train(n=n).output)"


@pytest.fixture
def target(registry: Server, repository: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("KFP_MAGICS_REGISTRY", f"{registry.host}/{repository}")
    monkeypatch.setenv("KFP_MAGICS_BASE_IMAGE", push_description(registry, f"{repository}-base"))
    return f"{registry.host}/{repository}"


@pytest.fixture
def cell(target: str) -> Iterator[Callable[[str], Any]]:
    with ipython() as shell:
        session: Session = shell._kfp_magics_session
        session.settings.poll_interval = 0.05

        def run(text: str) -> Any:
            result, printed = execute(shell, text)
            return result if result is not None else printed

        run.session = session  # type: ignore[attr-defined]
        for text in (TRAIN, SAY, BOTH):
            run(text)
        yield run
        session.store.close()


def test_build_look_and_run(cell: Any, target: str) -> None:
    shown = repr(cell("%kfp_build both --wait"))
    assert "✓ train" in shown
    assert "everything" in shown
    assert "sha256:" in shown
    again = cell("%kfp_build train --wait")
    assert "unchanged" in repr(again)
    assert "unchanged ·" in again._bundle()["text/html"]
    cell(TRAIN.replace("+ 1", "+ 2"))
    assert "code ·" in repr(cell("%kfp_build --wait"))
    assert "train:c-" in cell("%kfp_logs last train")
    assert "build" in repr(cell("%kfp_runs"))


def test_dry_run_shows_the_folder(cell: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = repr(cell("%kfp_build train --dry-run"))
    assert "step train → kfp-build/train" in shown
    assert "python   3.11" in shown
    assert "kfp==" in shown
    assert "src/step_train.py" in shown
    assert (tmp_path / "kfp-build" / "train" / "Dockerfile").is_file()
    assert cell.session.runs() == []


def test_mistakes_are_told_in_two_lines(cell: Any) -> None:
    cell("%%kfp_component bad --packages six==99\ndef bad() -> int:\n    return 1")
    with pytest.raises(RunFailedError, match="six==99") as caught:
        cell("%kfp_build bad --wait")
    assert "%kfp_build builds what is missing" in str(caught.value)
    assert caught.value.run.state is State.FAILED
    cell("%%kfp_component\nfrom kfp import dsl\n@dsl.component(base_image='x')\ndef own() -> int:\n    return 1")
    with pytest.raises(BuildError, match="'own' is kfp's own"):
        cell("%kfp_build own")
    with pytest.raises(DefinitionError, match="invalid choice: 'apend'"):
        cell("%kfp_build --builder apend")
    cell("import os; del os.environ['KFP_MAGICS_REGISTRY']")
    cell.session.settings.registry = ""
    with pytest.raises(BuildError, match="not said where images go"):
        cell("%kfp_build train")
    with pytest.raises(BuildError, match="not said where images go"):
        cell("%kfp_run both n=1 --build")


def test_the_command_line_builds_too(target: str, tmp_path: Path) -> None:
    path = tmp_path / "notebook.ipynb"
    cells = [nbformat.v4.new_code_cell(one) for one in ("%load_ext kfp_magics", TRAIN, SAY, BOTH)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)

    def shell(*words: object, code: int = 0) -> str:
        command = [sys.executable, "-m", "kfp_magics.cli", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    assert "✓ train" in shell("build", path)
    shell("compile", path, "--build", "-o", tmp_path / "both.yaml")
    assert f"{target}/train@sha256:" in (tmp_path / "both.yaml").read_text()
