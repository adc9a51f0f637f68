from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

# The plugin would make a server's surroundings for every test of the project; here only those in this folder get them.
from pytest_jupyter.jupyter_server import *  # noqa: F403
from tornado.httpclient import HTTPClientError

from kfp_magics.backends.base import StepSource, SubmitOptions
from kfp_magics.server.base import SERVICE
from kfp_magics.server.events import SCHEMA_ID
from kfp_magics.server.service import Service
from kfp_magics.settings import Settings
from tests.local.conftest import Engine, ir_of
from tests.server import contract


@dataclass
class Answer:
    """What the server said."""

    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Ask = Callable[..., Awaitable[Answer]]
Next = Callable[[], Awaitable[dict[str, Any]]]


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("KFP_MAGICS_GRACE", "0.5")
    return Settings()


@pytest.fixture
def jp_server_config(settings: Settings) -> dict[str, Any]:
    return {"ServerApp": {"jpserver_extensions": {"kfp_magics": True}}}


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    with Engine(settings) as made:
        yield made


@pytest.fixture
def service(jp_serverapp: Any) -> Service:
    found: Service = jp_serverapp.web_app.settings[SERVICE]
    return found


@pytest.fixture
def ask(jp_fetch: Any) -> Ask:
    """Asks, and checks the answer against the API description."""

    async def fetch(method: str, path: str, body: Any = None, /, **params: Any) -> Answer:
        headers = params.pop("headers", {})
        data = None if body is None and method == "GET" else json.dumps(body) if body is not None else ""
        query = [(key, one) for key, value in params.items() for one in (value if isinstance(value, list) else [value])]
        if method == "DELETE":
            data = None
        try:
            got = await jp_fetch(
                f"kfp-magics/api{path}", method=method, body=data, params=query, headers=headers, request_timeout=60
            )
        except HTTPClientError as error:
            got = error.response
        answer = Answer(got.code, got.headers, got.body)
        contract.check(method, path, answer.status, answer.headers, answer.body)
        return answer

    return fetch


@pytest.fixture
def listen(jp_ws_fetch: Any, ask: Ask) -> Any:
    """Listens as a tab does: snapshot first, then what comes."""

    @asynccontextmanager
    async def open_stream() -> AsyncIterator[Next]:
        socket = await jp_ws_fetch("api", "events", "subscribe")
        await ask("GET", "/status")

        async def receive() -> dict[str, Any]:
            while True:
                message = await asyncio.wait_for(socket.read_message(), 60)
                assert message is not None, "the socket was closed"
                event = json.loads(message)
                if event.pop("schema_id") == SCHEMA_ID:
                    contract.validator("RunEvent").validate(event)
                    return event  # type: ignore[no-any-return]

        yield receive
        socket.close()

    return open_stream


@pytest.fixture(scope="session")
def ir(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A compiled pipeline of two steps."""
    from tests.server.pipeline import shown

    return ir_of(shown, tmp_path_factory.mktemp("pipeline"))


def options(**changes: Any) -> SubmitOptions:
    """How a notebook would start it."""
    sources = {
        "make": StepSource(cell_id="c-make", source="\ndef make(): ...\n", label="cell 'make'"),
        "wait": StepSource(cell_id="c-wait", source="\ndef wait(): ...\n", label="cell 'wait'"),
    }
    return SubmitOptions(**{"sources": sources, **changes})


async def until(reached: Callable[[], Awaitable[Any]], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := await reached()):
        assert time.monotonic() < deadline, "it never came so far"
        await asyncio.sleep(0.05)
    return found
