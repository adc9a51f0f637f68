from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from uv import find_uv_bin

from kfp_magics.delivery.newdata.ledger import Ledger
from kfp_magics.delivery.newdata.verbs import NewData
from kfp_magics.runs.store import Store
from kfp_magics.settings import Settings
from tests.delivery.watched import Place

ROOT = Path(__file__).parents[2]


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
