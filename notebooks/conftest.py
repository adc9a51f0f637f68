"""Gives the notebooks a registry, a base image and an engine on this machine when they are run as tests."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.images.containers import Podman, push_base
from tests.images.registries import start

_NEEDS_IMAGES = {"02_images.ipynb", "04_cicd.ipynb"}
_LEFT = Path(__file__).parent / "build" / "cicd"  # what the web app of a notebook that failed halfway lives by
_PROGRAMS = ("docker-registry", "debootstrap", "podman", "runc")
_made = ExitStack()


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Without these programs a notebook would need the internet; CI has promised them."""
    missing = [program for program in _PROGRAMS if shutil.which(program) is None]
    if collection_path.name not in _NEEDS_IMAGES or not missing:
        return None
    if os.environ.get("CI"):
        pytest.exit(f"{', '.join(missing)} not installed: scripts/install-system-packages does it", returncode=1)
    return True


def pytest_collection_finish(session: pytest.Session) -> None:
    """What the kernels inherit, made only when the notebook that needs it is run."""
    if session.config.option.collectonly or not any(item.path.name in _NEEDS_IMAGES for item in session.items):
        return
    folder = Path(tempfile.mkdtemp(prefix="kfpm-", dir="/tmp"))
    _made.callback(shutil.rmtree, folder, ignore_errors=True)
    for name in ("registry", "podman"):
        (folder / name).mkdir()
    registry = start(folder / "registry")
    host = next(registry)
    _made.callback(registry.close)
    podman = Podman(folder / "podman")
    _made.callback(podman.close)
    os.environ |= podman.environment
    os.environ |= {"KFP_MAGICS_REGISTRY": f"{host}/notebooks", "KFP_MAGICS_BASE_IMAGE": push_base(host)}


def pytest_sessionfinish() -> None:
    """Ends what was made."""
    shutil.rmtree(_LEFT, ignore_errors=True)
    _made.close()
