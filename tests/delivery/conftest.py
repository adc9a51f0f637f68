from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from uv import find_uv_bin

from kfp_magics import cli
from kfp_magics.backends.connections import Connections, parse
from kfp_magics.delivery.newdata.ledger import Ledger
from kfp_magics.delivery.newdata.verbs import NewData
from kfp_magics.runs.store import Store
from kfp_magics.settings import Settings
from tests.delivery.cloud_server import CloudServer
from tests.delivery.storage_server import StorageServer
from tests.delivery.watched import Place

ROOT = Path(__file__).parents[2]
PIPELINE = """
from kfp import dsl


@dsl.component(base_image="python:3.11")
def note(data: str) -> str:
    return data


@dsl.pipeline(name="fit")
def fit(data: str, epochs: int = 3):
    note(data=data)
"""


@pytest.fixture
def place(settings: Settings, store: Store, tmp_path: Path) -> Iterator[Place]:
    folder = tmp_path / "incoming"
    folder.mkdir()
    made = Place(settings, store, folder)
    yield made
    data = NewData(settings, store)
    for watch in Ledger(store).watches():
        data.delete(watch.rule.name)


@pytest.fixture(scope="session")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with this tree's wheel, without its front end: what an index would have after a release."""
    folder = tmp_path_factory.mktemp("wheelhouse")
    command = [find_uv_bin(), "build", "--quiet", "--wheel", "--no-build-isolation", "--out-dir", folder, ROOT]
    subprocess.run(command, check=True, env=os.environ | {"HATCH_BUILD_NO_HOOKS": "true"})
    return folder


@pytest.fixture
def machine(wheelhouse: Path, tmp_path: Path) -> dict[str, str]:
    """The variables of a machine that has git, uv and Python, and nothing of this environment."""
    kept = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "UV_", "SSL_"))}
    tools, home = tmp_path / "tools", tmp_path / "machine"
    tools.mkdir()
    home.mkdir()
    (tools / "uv").symlink_to(find_uv_bin())
    found = f"{wheelhouse} {kept.get('PIP_FIND_LINKS', '')}".strip()
    cache = subprocess.run([find_uv_bin(), "cache", "dir"], capture_output=True, text=True, check=True).stdout.strip()
    return kept | {
        "PATH": f"{tools}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "PIP_FIND_LINKS": found,
        "UV_FIND_LINKS": found.replace(" ", ","),
        "UV_CACHE_DIR": cache,
        "KFP_MAGICS_HOME": str(home / "kfp-magics"),
    }


@pytest.fixture
def google(bucket: StorageServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[CloudServer]:
    made = CloudServer(bucket)
    bucket.storage.buckets["wares"]["location"] = "EUROPE-WEST4"
    monkeypatch.setenv("KFP_MAGICS_GOOGLE_PROJECT", "shop")
    monkeypatch.setenv("KFP_MAGICS_DELIVERY_ENDPOINT", made.endpoint)
    yield made
    made.close()


@pytest.fixture
def say(
    google: CloudServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """The command line, in a folder with a pipeline, connected to a server with a token."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KFP_MAGICS_BACKEND", "kfp")
    Path("fit.py").write_text(PIPELINE)
    Connections(Settings().home_path).remember(parse("https://kfp.test/pipeline", {"token_env": "KFP_TOKEN"}))

    def said(*words: str, code: int = 0) -> str:
        capsys.readouterr()
        assert cli.main(["cd", *words]) == code
        shown = capsys.readouterr()
        return shown.out + shown.err

    return said
