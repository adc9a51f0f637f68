"""What a person types in a notebook to export and to rebuild."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kfp_magics.errors import DeliveryError
from tests.delivery.test_ci import commit, git
from tests.images.bases import push_description
from tests.images.registries import Server
from tests.ipython import ipython, seen

SAY = "%%kfp_component say --lang bash --in text:int\necho $text"


@pytest.fixture
def cell(registry: Server, repository: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    monkeypatch.setenv("KFP_MAGICS_REGISTRY", f"{registry.host}/{repository}")
    monkeypatch.setenv("KFP_MAGICS_BASE_IMAGE", push_description(registry, f"{repository}-base"))
    with ipython() as shell:
        yield partial(seen, shell)


def test_export_check_plan_and_run(cell: Callable[[str], str], tmp_path: Path) -> None:
    cell(SAY)
    repo = tmp_path / "repo"
    assert "wrote    steps/say/  (7 files)" in cell(f"%kfp_export {repo}")
    git(repo, "init", "-q")
    commit(repo)
    assert "agree" in cell(f"%kfp_ci check --dir {repo}")
    cell(SAY + " again")
    with pytest.raises(DeliveryError, match="The notebook differs from"):
        cell(f"%kfp_ci check --dir {repo}")
    assert "wrote    steps/say/src/step_say.sh" in cell(f"%kfp_export {repo}")  # later each file counts
    assert "rebuilt  say  src/step_say.sh" in cell(f"%kfp_ci plan --dir {repo}")
    commit(repo)
    assert "/say@sha256:" in cell(f"%kfp_ci run --since HEAD^ --dir {repo}")
    with pytest.raises(DeliveryError, match="not said since when"):
        cell(f"%kfp_ci run --dir {repo}")
    with pytest.raises(DeliveryError, match="not said what triggers listen to"):
        cell(f"%kfp_ci create --dir {repo}")
