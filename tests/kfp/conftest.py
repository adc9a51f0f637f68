from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from kfp_magics.backends.connections import Connections, parse
from kfp_magics.backends.kfp import KfpBackend
from kfp_magics.model import Run
from kfp_magics.runs.store import Store
from kfp_magics.settings import Settings
from tests.kfp.server import KfpServer


@pytest.fixture
def server() -> Iterator[KfpServer]:
    made = KfpServer()
    yield made
    made.close()


@pytest.fixture
def connect(settings: Settings, store: Store, server: KfpServer) -> Callable[..., KfpBackend]:
    """Makes a backend that reaches the server, with options of ``%kfp_connect``."""

    def make(**options: object) -> KfpBackend:
        Connections(settings.home_path).remember(parse(server.url, options))
        settings.server_patience = 10.0
        return KfpBackend(settings, store)

    return make


@pytest.fixture
def backend(connect: Callable[..., KfpBackend]) -> KfpBackend:
    return connect()


def ended(backend: KfpBackend, store: Store, run: Run, patience: float = 30.0) -> Run:
    """Polls a run until it has ended, as a watcher does."""
    deadline = time.monotonic() + patience
    while not run.state.final:
        assert time.monotonic() < deadline, f"{run.name} is still {run.state}: {run.stale_reason}"
        time.sleep(0.1)
        run = store.update(run, backend.poll(run))
    return run
