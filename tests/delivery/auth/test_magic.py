"""What a person types to set rights up, in a notebook and in a shell."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial

import nbformat
import pytest

from kfp_magics.errors import ArgumentError, DefinitionError
from tests.delivery.auth.cloud import Cloud
from tests.ipython import ipython, seen

STEP = "%%kfp_component\nimport vertexai\ndef tune() -> int:\n    return 1"


@pytest.fixture
def cell(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with ipython() as shell:
        yield partial(seen, shell)


def test_shown_written_and_done(cell, tmp_path, monkeypatch) -> None:
    cloud = Cloud(tmp_path / "cloud")
    monkeypatch.setenv("PATH", cloud.path)
    cell(STEP)
    shown = cell("%kfp_setup_auth steps --project shop-123")
    assert "roles/aiplatform.user  project shop-123  ← step tune, line 2: import vertexai" in shown
    assert "%kfp_setup_auth steps --project shop-123 --apply runs these commands" in shown
    assert cloud.calls == []
    assert "Wrote main.tf" in cell("%kfp_setup_auth steps --project shop-123 --terraform main.tf")
    assert (tmp_path / "main.tf").read_text() in cell("%kfp_setup_auth steps --project shop-123 --terraform") + "\n"
    assert cloud.calls == []
    done = cell("%kfp_setup_auth steps --project shop-123 --apply --secret user-gcp-sa")
    assert "roles/aiplatform.user on project shop-123" in done
    assert "%kfp_connect https://HOST --gcp-secret user-gcp-sa" in done
    assert "POISON" not in done
    assert cloud.members("project shop-123", "roles/aiplatform.user")
    assert list(cloud.state["secrets"]) == ["kubeflow"]


def test_mistakes_take_two_lines(cell) -> None:
    with pytest.raises(ArgumentError, match="No Google Cloud project is known"):
        cell("%kfp_setup_auth")
    with pytest.raises(ArgumentError, match="not for 'step'") as caught:
        cell("%kfp_setup_auth step --project shop-123")
    assert caught.value.hint == "Did you mean 'steps'?"
    with pytest.raises(ArgumentError, match="Terraform applies its files itself"):
        cell("%kfp_setup_auth --project shop-123 --terraform --apply")
    with pytest.raises(ArgumentError, match="cannot be written"):
        cell("%kfp_setup_auth --project shop-123 --terraform nowhere/main.tf")
    with pytest.raises(DefinitionError, match="unrecognized"):
        cell("%kfp_setup_auth --projcet x")


def test_the_same_in_a_shell(tmp_path) -> None:
    cloud = Cloud(tmp_path / "cloud")
    notebook = tmp_path / "n.ipynb"
    cells = [nbformat.v4.new_code_cell(text) for text in ("%load_ext kfp_magics", STEP)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), notebook)

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "kfp_magics.cli", "setup-auth", str(notebook), *words]
        environment = os.environ | {"PATH": cloud.path}
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, cwd=tmp_path)

    shown = run("steps", "--project", "shop-123")
    assert shown.returncode == 0, shown.stderr
    assert cloud.calls == []
    assert cloud.bash(shown.stdout).returncode == 0
    assert cloud.members("project shop-123", "roles/aiplatform.user")
    again = run("steps", "--project", "shop-123", "--apply")
    assert "Account kfp-steps@shop-123.iam.gserviceaccount.com, for steps of pipelines: there already" in again.stdout
    wrong = run()
    assert wrong.returncode == 2
    assert wrong.stderr.splitlines()[0] == "No Google Cloud project is known."
    assert wrong.stderr.splitlines()[1].startswith(f"Name it: kfp-magics setup-auth {notebook} --project PROJECT")
