"""A plugin with one fixture: buckets as Google keeps them, on this machine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture
def google_storage(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    from gcp_storage_emulator.server import create_server
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    server = create_server("localhost", 0, in_memory=True)
    server.start()
    host, port = server._api._httpd.server_address[:2]
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://{host}:{port}")
    client = storage.Client(project="shop", credentials=AnonymousCredentials())
    client.create_bucket("wares")
    yield client
    server.stop()
