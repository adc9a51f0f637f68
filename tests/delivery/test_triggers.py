"""One Cloud Build trigger for each step's folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kfp_magics import cli
from kfp_magics.delivery.triggers import Source, Triggers
from kfp_magics.errors import DeliveryError
from kfp_magics.settings import Settings
from tests.delivery.test_ci import git
from tests.delivery.trigger_server import TriggerServer

SECOND = "projects/shop/locations/global/connections/hub/repositories/House"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[TriggerServer]:
    made = TriggerServer()
    monkeypatch.setenv("KFP_MAGICS_GOOGLE_PROJECT", "shop")
    monkeypatch.setenv("KFP_MAGICS_CLOUDBUILD_ENDPOINT", made.endpoint)
    monkeypatch.setenv("KFP_MAGICS_REGISTRY", "images.test/team")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:1")  # nothing is stored
    yield made
    made.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    for name in ("fit", "fit-more"):
        (tmp_path / "ml/steps" / name).mkdir(parents=True)
        (tmp_path / "ml/steps" / name / "cloudbuild.yaml").write_text("steps: []\n")
    return tmp_path / "ml"


@pytest.mark.parametrize("repository", ["me/House", SECOND])
def test_a_push_starts_the_triggers_of_what_it_changes(server: TriggerServer, folder: Path, repository: str) -> None:
    triggers = Triggers.from_settings(Settings())
    source = Source(repository=repository, prefix="ml/", registry="images.test/team", service_account="ci@shop.iam")
    triggers.apply(triggers.changes(folder, source))
    assert server.started_by("main", ["ml/steps/fit/src/a/b.py", "README.md"]) == {"house-fit"}
    assert server.started_by("main", ["ml/steps/fit-more/x"]) == {"house-fit-more"}
    assert server.started_by("mainly", ["ml/steps/fit/x"]) == set()
    assert server.started_by("main", ["steps/fit/x", "ml/pipelines/fit.py"]) == set()
    assert {one.what for one in triggers.changes(folder, source)} == {"same"}
    made = triggers.list()[0]
    assert made.filename == "ml/steps/fit/cloudbuild.yaml"
    assert made.service_account == "projects/shop/serviceAccounts/ci@shop.iam"
    assert dict(made.substitutions)["_DIR"] == "ml/steps/fit"


def test_what_is_shown_and_done(server: TriggerServer, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said(*words: str, code: int = 0) -> str:
        assert cli.main(["ci", *words]) == code
        shown = capsys.readouterr()
        return shown.out + shown.err

    create = ["create", "--repo", "me/house", "--dir", str(folder)]
    assert "--apply does it" in said(*create)
    assert server.triggers == {}
    said(*create, "--apply")
    calls = len(server.calls)
    assert "same    house-fit\n" in said(*create, "--apply")
    assert set(server.calls[calls:]) == {"ListBuildTriggers"}
    assert "house-fit  ml/steps/fit/**\n" in said("list")  # from elsewhere, where nothing is to compare with
    listed = ["list", "--dir", str(folder)]
    assert "house-fit  ml/steps/fit/**  as exported\n" in said(*listed)

    changed = next(one for one in server.triggers.values() if one.name == "house-fit")
    changed.github.push.branch = ".*"
    assert "house-fit  ml/steps/fit/**  changed by hand\n" in said(*listed)
    shown = said(*create)
    assert "update  house-fit  (changed by hand meanwhile)" in shown
    assert '-   "branch": ".*"' in shown
    said(*create, "--apply")
    assert server.started_by("other", ["ml/steps/fit/x"]) == set()

    assert "Started: https://" in said("fire", "fit", "--branch", "main")
    assert server.fired == [("house-fit", "main")]
    assert "There is no one trigger 'nix'" in said("fire", "nix", code=2)
    (folder / "steps/fit/cloudbuild.yaml").unlink()
    (folder / "steps/new").mkdir()
    (folder / "steps/new/cloudbuild.yaml").write_text("steps: []\n")
    assert "house-fit  ml/steps/fit/**  its step is gone\n" in said(*listed)
    assert "house-new  ml/steps/new/**  missing\n" in said(*listed)
    assert "delete  house-fit\n" in said(*create, "--apply")
    assert "house-new  ml/steps/new/**  as exported\n" in said(*listed)
    git(folder, "remote", "add", "origin", "git@github.com:me/other.git")
    assert "house-new  ml/steps/new/**  as exported\n" in said(*listed)  # the only repository that has triggers
    said("create", "--repo", "me/Shop", "--dir", str(folder), "--apply")
    assert "No trigger listens to this folder" in said(*listed)
    git(folder, "remote", "set-url", "origin", "git@github.com:me/Shop.git")
    told = said(*listed)
    assert "shop-new  ml/steps/new/**  as exported\n" in told
    assert "house-new  ml/steps/new/**  another repository\n" in told
    said("delete", "shop-new", "shop-fit-more", "house-new")
    said("delete", "fit-more")
    assert server.triggers == {}


def test_a_strange_repository_is_refused(server: TriggerServer, folder: Path) -> None:
    with pytest.raises(DeliveryError, match="is no repository that Cloud Build listens to"):
        Triggers.from_settings(Settings()).changes(folder, Source(repository="house", registry="images.test/team"))
