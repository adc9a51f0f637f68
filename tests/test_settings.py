"""Where settings come from, and what wins."""

from __future__ import annotations

from pathlib import Path

import pytest

from kfp_magics.errors import DefinitionError
from kfp_magics.settings import Settings


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    inside = tmp_path / "project" / "notebooks" / "deep"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    file = tmp_path / "project" / "pyproject.toml"
    file.write_text(
        '[tool.kfp-magics]\nbase-image = "project:1"\nparallelism = 3\ngrace = 1.5\noffline = true\n', encoding="utf-8"
    )
    return file


def test_arguments_win_over_the_environment_and_that_over_the_project(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (Settings().base_image, Settings().parallelism, Settings().offline) == ("project:1", 3, True)
    monkeypatch.setenv("KFP_MAGICS_PARALLELISM", "5")
    monkeypatch.setenv("KFP_MAGICS_OFFLINE", "false")
    assert (Settings().parallelism, Settings().offline, Settings().grace) == (5, False, 1.5)
    assert Settings(parallelism=7).parallelism == 7
    project.unlink()
    assert Settings().base_image == "python:3.11-slim"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("[tool.kfp-magics]\nparalelism = 3", "no setting 'paralelism' (from pyproject.toml)", "'parallelism'"),
        ("[tool.kfp-magics]\nparallelism = 'many'", "'parallelism' (from pyproject.toml) cannot be 'many'", "an int"),
        ("[tool.kfp-magics]\ntask-start = 'later'", "'task_start' (from pyproject.toml) cannot be 'later'", "fork"),
        ("[tool.kfp-magics]\ngrace = -1", "'grace' (from pyproject.toml) cannot be -1", ""),
        ("[tool.kfp-magics]\nbase-image = 3", "'base_image' (from pyproject.toml) cannot be 3", "unicode"),
    ],
)
def test_mistakes_say_where_they_stand(project: Path, text: str, message: str, hint: str) -> None:
    project.write_text(text, encoding="utf-8")
    with pytest.raises(DefinitionError) as caught:
        Settings()
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_a_project_file_that_does_not_parse_is_somebody_elses_trouble(project: Path) -> None:
    project.write_text("[tool.kfp-magics\n", encoding="utf-8")
    assert Settings().parallelism >= 8


@pytest.mark.parametrize("text", ["tool = 3", "[tool]\nkfp-magics = 3"])
def test_a_project_file_without_the_table(project: Path, text: str) -> None:
    project.write_text(text, encoding="utf-8")
    if "kfp-magics" not in text:
        assert Settings().parallelism >= 8
        return
    with pytest.raises(DefinitionError, match="is no table") as caught:
        Settings()
    assert "[tool.kfp-magics]" in caught.value.hint


def test_mistakes_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KFP_MAGICS_DISK_QUOTA", "lots")
    with pytest.raises(DefinitionError, match="'disk_quota' \\(from the environment\\) cannot be 'lots'"):
        Settings()


def test_home_is_private(tmp_path: Path) -> None:
    settings = Settings(home=str(tmp_path / "a" / "ü"))
    assert settings.home_path.stat().st_mode & 0o777 == 0o700
    assert settings.store_path == tmp_path / "a" / "ü" / "runs.sqlite"
