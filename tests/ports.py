"""Ports of this machine."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest


def free_port() -> int:
    """A port that somebody may listen at; it is free until somebody else takes it."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port where nobody listens, kept so that nobody else begins to."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        yield int(one.getsockname()[1])
