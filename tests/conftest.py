from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from kfp_magics.runs.store import Store
from kfp_magics.settings import Settings

pytest_plugins = [
    "tests.ports",
    "tests.images.registries",
    "tests.images.containers",
    "tests.gateway.servers",
    "tests.delivery.served",
    "tests.buckets",
]


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes what belongs to the person who runs it."""
    monkeypatch.setenv("KFP_MAGICS_HOME", str(tmp_path / "home"))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=str(tmp_path / "home"), grace=0.5)


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    made = Store(settings.store_path)
    yield made
    made.close()


def pytest_configure() -> None:
    """Has interrupts interrupt: a shell that starts something behind it tells it to ignore them."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out second opinions of tools that nobody has to have: ``where_present("terraform", "tofu")``."""
    absent = [
        item
        for item in items
        if (mark := item.get_closest_marker("where_present")) and not any(map(shutil.which, mark.args))
    ]
    if absent:
        config.hook.pytest_deselected(items=absent)
        items[:] = [item for item in items if item not in absent]


def requires(program: str) -> str:
    """The path of a program; without it the test skips, or fails where CI has promised it."""
    found = shutil.which(program)
    if found is None:
        message = f"{program} is not installed: scripts/install-system-packages does it"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return found
