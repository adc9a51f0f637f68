from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
import trustme

from kfp_magics.backends.connections import Connections, parse
from kfp_magics.backends.vertex import VertexBackend
from kfp_magics.backends.vertex.looks import Pace
from kfp_magics.model import Run
from kfp_magics.runs.store import Store
from kfp_magics.settings import Settings
from tests.vertex.server import VertexServer


@pytest.fixture
def server() -> Iterator[VertexServer]:
    made = VertexServer()
    yield made
    made.close()


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[VertexServer, Path]]:
    """The server with a certificate, and the file of the authority that other processes trust."""
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    chain = b"".join(one.bytes() for one in certificate.cert_chain_pems)
    server = VertexServer(grpc.ssl_server_credentials([(certificate.private_key_pem.bytes(), chain)]))
    path = tmp_path_factory.mktemp("authority") / "ca.pem"
    authority.cert_pem.write_to_path(path)
    yield server, path
    server.close()


@pytest.fixture
def connect(settings: Settings, store: Store, server: VertexServer) -> Callable[..., VertexBackend]:
    """Makes a backend that reaches the server, with options of ``%kfp_connect``."""

    def make(**options: object) -> VertexBackend:
        given = {"endpoint": server.endpoint, "pipeline_root": "gs://wares/runs", **options}
        Connections(settings.home_path).remember(parse("vertex:shop/europe-west4", given))
        settings.server_patience = 5.0
        return VertexBackend(settings, store, Pace(look=0.05, apart=0.0, log=0.05))

    return make


@pytest.fixture
def backend(connect: Callable[..., VertexBackend]) -> VertexBackend:
    return connect()


def ended(backend: VertexBackend, store: Store, run: Run, patience: float = 30.0) -> Run:
    """Polls a run until it has ended, as a watcher does."""
    deadline = time.monotonic() + patience
    while not run.state.final:
        assert time.monotonic() < deadline, f"{run.name} is still {run.state}: {run.stale_reason}"
        time.sleep(0.06)
        run = store.update(run, backend.poll(run))
    return run
