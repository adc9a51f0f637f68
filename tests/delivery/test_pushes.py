"""From a push to images that the repository's pipelines use: triggers as Cloud Build starts them, real builds."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from gcp_storage_emulator.server import create_server
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.cloud.devtools import cloudbuild_v1 as cb
from google.protobuf import json_format

from kfp_magics import cli
from kfp_magics.cells.options import CellOptions
from kfp_magics.options import BuildOptions
from kfp_magics.session import Session
from kfp_magics.settings import Settings
from tests.delivery.test_ci import commit, git
from tests.delivery.trigger_server import TriggerServer
from tests.images.cloudbuild_server import CloudBuildServer, problem_of, substituted
from tests.images.containers import Podman, push_base, skopeo_inspect
from tests.images.registries import Server

ACCOUNT = "builder@shop.iam.gserviceaccount.com"


class Hub:
    """A repository that Cloud Build listens to, and what it does at a push."""

    def __init__(self, triggers: TriggerServer, builds: CloudBuildServer, folder: Path) -> None:
        self._triggers = triggers
        self._builds = builds
        self.folder = folder

    def push(self, repo: Path) -> dict[str, cb.Build]:
        """Pushes main: trigger → the build that it started, ended."""
        before = git(repo, "ls-remote", str(self.folder), "refs/heads/main").partition("\t")[0]
        git(repo, "push", "-q", str(self.folder), "main")
        after = git(repo, "rev-parse", "HEAD")
        empty = git(repo, "hash-object", "-t", "tree", "/dev/null")
        changed = git(repo, "diff", "--name-only", before or empty, after).splitlines()
        started = self._triggers.started_by("main", changed)
        builds = {name: self._build(name, after) for name in sorted(started)}
        for build in builds.values():
            self._builds.start(build, "projects/shop/locations/global").result()
        return builds

    def _build(self, name: str, revision: str) -> cb.Build:
        (trigger,) = (one for one in self._triggers.triggers.values() if one.name == name)
        body = yaml.safe_load(git(self.folder, "show", f"{revision}:{trigger.filename}"))
        build = cb.Build.wrap(json_format.ParseDict(body, cb.Build.pb(cb.Build())))
        build.project_id, build.service_account = "shop", trigger.service_account
        build.options.substitution_option = cb.BuildOptions.SubstitutionOption.ALLOW_LOOSE
        build.source = cb.Source(git_source=cb.GitSource(url=self.folder.as_uri(), revision=revision))
        known = {"COMMIT_SHA": revision, "SHORT_SHA": revision[:7], "BRANCH_NAME": "main", "TRIGGER_NAME": name}
        for own, value in dict(trigger.substitutions).items():
            build.substitutions[own] = value
        for own, value in known.items():
            build.substitutions[own] = value
        for own in dict(build.substitutions):  # as dynamicSubstitutions has it
            build.substitutions[own] = substituted(build, build.substitutions[own])
        assert problem_of(build) == ""
        return build


@pytest.fixture
def base(registry: Server) -> str:
    return push_base(registry.host)


@pytest.fixture
def hub(podman: Podman, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    emulator = create_server("localhost", 0, in_memory=True)
    emulator.start()
    host, port = emulator._api._httpd.server_address[:2]
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://{host}:{port}")
    triggers = TriggerServer()
    client = storage.Client(project="shop", credentials=AnonymousCredentials())
    builds = CloudBuildServer(client, dict(os.environ), base)
    monkeypatch.setenv("KFP_MAGICS_GOOGLE_PROJECT", "shop")
    monkeypatch.setenv("KFP_MAGICS_CLOUDBUILD_ENDPOINT", triggers.endpoint)
    monkeypatch.setenv("KFP_MAGICS_CLOUDBUILD_SERVICE_ACCOUNT", ACCOUNT)
    git(tmp_path, "init", "-q", "--bare", "-b", "main", "hub.git")
    yield Hub(triggers, builds, tmp_path / "hub.git")
    builds.close()
    triggers.close()
    emulator.stop()


@pytest.fixture
def notebook(base: str, registry: Server, repository: str, tmp_path: Path) -> Callable[[str], Path]:
    """Exports a notebook of two steps: a script, and a folder with a Dockerfile of its own."""
    (tmp_path / "web").mkdir()
    (tmp_path / "web/Dockerfile").write_text(f'FROM {base}\nCOPY run.sh /\nENTRYPOINT ["sh", "/run.sh"]\n')
    (tmp_path / "web/run.sh").write_text("echo $2\n")

    def export(script: str) -> Path:
        session = Session(Settings(base_image=base, registry=f"{registry.host}/{repository}"))
        session.component(script, CellOptions(name="say", lang="bash", inputs=("text:str=x",)))
        session.component("", CellOptions(name="web", context=str(tmp_path / "web"), inputs=("n:int",)))
        session.pipeline("def both(n: int = 3):\n    say(text='a')\n    web(n=n)\n")
        session.images.exported(BuildOptions()).write(tmp_path / "repo")
        return tmp_path / "repo"

    return export


def images_of_pipeline(repo: Path, tmp_path: Path) -> dict[str, str]:
    """Step → its image, in the pipeline as the repository's own file compiles it."""
    command = [sys.executable, "-m", "pipelines.both", str(tmp_path / "both.yaml")]
    subprocess.run(command, cwd=repo, check=True, capture_output=True)
    spec = next(yaml.safe_load_all((tmp_path / "both.yaml").read_text()))
    return {
        label.removeprefix("exec-"): executor["container"]["image"]
        for label, executor in spec["deploymentSpec"]["executors"].items()
    }


def test_a_push_builds_the_images_that_the_repositorys_pipelines_name(
    hub: Hub, notebook: Callable[[str], Path], registry: Server, repository: str, podman: Podman, tmp_path: Path
) -> None:
    place = f"{registry.host}/{repository}"
    repo = notebook("echo first $text\n")
    git(repo, "init", "-qb", "main")
    first = commit(repo)
    create = ["ci", "create", "--repo", "me/house", "--dir", str(repo), "--registry", place, "--apply"]
    assert cli.main(create) == 0
    builds = hub.push(repo)
    assert {name: build.status.name for name, build in builds.items()} == {
        "house-say": "SUCCESS",
        "house-web": "SUCCESS",
    }
    images = images_of_pipeline(repo, tmp_path)
    for step in ("say", "web"):
        digest = skopeo_inspect(images[step])["Digest"]
        assert digest == skopeo_inspect(f"{place}/{step}:{first[:7]}")["Digest"]
    assert podman.run(images["web"], "--n", "7") == "7\n"

    repo = notebook("echo second $text\n")
    second = commit(repo)
    assert list(hub.push(repo)) == ["house-say"]
    after = images_of_pipeline(repo, tmp_path)
    assert after["web"] == images["web"]
    assert after["say"] != images["say"]
    assert skopeo_inspect(after["say"])["Digest"] == skopeo_inspect(f"{place}/say:{second[:7]}")["Digest"]
    assert skopeo_inspect(images["say"])["Digest"] == skopeo_inspect(f"{place}/say:{first[:7]}")["Digest"]

    (repo / "steps/say/src/step_say.sh").write_text("echo by hand\n")
    assert cli.main(["ci", "pin", "--dir", str(repo)]) == 0
    commit(repo)
    assert list(hub.push(repo)) == ["house-say"]
    by_hand = images_of_pipeline(repo, tmp_path)["say"]
    assert by_hand not in {images["say"], after["say"]}
    assert skopeo_inspect(by_hand)["Digest"] != skopeo_inspect(after["say"])["Digest"]


def test_a_registry_that_pipelines_do_not_name_is_refused(
    hub: Hub, notebook: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    repo = notebook("echo $text\n")
    git(repo, "init", "-qb", "main")
    create = ["ci", "create", "--repo", "me/house", "--dir", str(repo), "--registry", "images.test/other", "--apply"]
    assert cli.main(create) == 2
    assert "Triggers would push to 'images.test/other', and steps/say/component.yaml names" in capsys.readouterr().err
