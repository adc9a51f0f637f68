from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell

from kfp_magics import cli
from kfp_magics.doctor.checks import CHECKS
from kfp_magics.doctor.findings import Case, Finding, examine
from kfp_magics.settings import Settings

Look = Callable[..., Finding]


@pytest.fixture
def look(settings: Settings) -> Look:
    """Looks at one thing: ``look("build", "registry", in_notebook=True)``."""

    def one(group: str, name: str, **case: object) -> Finding:
        [check] = [check for check in CHECKS if (check.group, check.name) == (group, name)]
        [finding] = examine(Case(**{"settings": settings, **case}), [check])
        return finding

    return one


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Puts a program of bash before all others: ``programs("podman", "exit 1")``."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def make(name: str, body: str) -> Path:
        program = folder / name
        program.write_text(f"#!/usr/bin/env bash\n{body}\n")
        program.chmod(0o755)
        return program

    return make


def says(finding: Finding) -> tuple[str, str, str]:
    """How it stands, what is found, and what mends it in a shell."""
    answer = finding.answer
    return str(answer.word), answer.note, answer.mend.command if answer.mend else ""


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """What ``kfp-magics doctor`` prints."""

    def run(*words: object, code: int = 0, **environment: str) -> str:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        capsys.readouterr()
        found = cli.main(["doctor", *map(str, words)])
        said = capsys.readouterr()
        assert found == code, said
        return said.out + said.err

    yield run
    InteractiveShell.clear_instance()
