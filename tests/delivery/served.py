"""A plugin for tests of the function in the cloud: it is served as Google serves it, beside a Cloud Storage that tells
of new objects, a relay that delivers what it tells as Eventarc does, and a server for runs."""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from kfp_magics.delivery.cloud.trial import environment, event_of
from kfp_magics.settings import Settings
from tests.delivery.storage_server import StorageServer
from tests.ports import free_port
from tests.serving import Serving


@dataclass
class Served:
    """functions-framework with a generated function, in a process of its own."""

    python: Path
    folder: Path
    variables: dict[str, str]
    url: str = ""
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        port = free_port()
        words = ["--source", "main.py", "--target", "on_finalized", "--signature-type", "cloudevent"]
        command = [str(self.python), "-m", "functions_framework", *words, "--host", "127.0.0.1", "--port", str(port)]
        env = {**os.environ, **self.variables, "PYTHONDONTWRITEBYTECODE": "1"}
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self.folder, env=env, stdout=log, stderr=log, start_new_session=True
            )
        self.url = f"http://127.0.0.1:{port}/"
        deadline = time.monotonic() + 90
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return
            assert time.monotonic() < deadline, self.log()
            assert self._process.poll() is None, self.log()
            time.sleep(0.05)

    def kill(self) -> None:
        """As the cloud ends an instance that is out of memory: at once, and all of it."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log().splitlines() if line.startswith('{"severity"')]

    def deliver(self, meta: dict[str, Any], on: str = "gs://wares/") -> int:
        """Sends the event of an object; the status of the answer, 0 when there was none."""
        attributes, data = event_of(on, f"gs://{meta['bucket']}/{meta['name']}", meta)
        headers = {f"ce-{name}": value.encode() for name, value in attributes.items() if value.isascii()}
        try:
            return httpx.post(self.url, json=data, headers=headers, timeout=60).status_code
        except httpx.TransportError:
            return 0


@dataclass
class Relay:
    """Delivers the event of each object that appears in a bucket, again until it is answered with success."""

    store: StorageServer
    served: Served
    pause: float = 0.3
    answers: list[tuple[str, int]] = field(default_factory=list)
    _left: queue.Queue[Any] = field(default_factory=queue.Queue)
    _threads: list[threading.Thread] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def begin(self) -> None:
        self.store.finalized = self._left.put
        for _ in range(4):
            self._threads.append(threading.Thread(target=self._carry))
            self._threads[-1].start()

    def _carry(self) -> None:
        while not self._over.is_set():
            with suppress(queue.Empty):
                meta = self._left.get(timeout=0.05)
                status = self.served.deliver(meta)
                self.answers.append((meta["name"], status))
                if status != 200:
                    self._over.wait(self.pause)
                    self._left.put(meta)
                self._left.task_done()

    def settle(self, seconds: float = 90.0) -> None:
        """Waits until every event was answered with success."""
        deadline = time.monotonic() + seconds
        while self._left.unfinished_tasks:
            assert time.monotonic() < deadline, self.answers[-20:]
            time.sleep(0.05)

    def end(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


class Between(Serving):
    """Stands between the function and the server of its runs, and may hold or lose what passes.

    Attributes:
        passed: Called with method and path when the server has answered, before the answer is passed on.
        down: Whether nobody answers.
    """

    def __init__(self, server: str) -> None:
        self.passed: Callable[[str, str], None] = lambda method, path: None
        self.down = False
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def _pass(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if owner.down:
                    self.close_connection = True
                    return
                headers = {
                    name: self.headers[name] for name in ("Authorization", "Content-Type") if name in self.headers
                }
                answer = httpx.request(self.command, f"{server}{self.path}", content=body, headers=headers, timeout=30)
                owner.passed(self.command, self.path)
                with suppress(OSError):
                    self.send_response(answer.status_code)
                    self.send_header("Content-Length", str(len(answer.content)))
                    self.end_headers()
                    self.wfile.write(answer.content)

            do_GET = do_POST = _pass  # noqa: N815  (the base class's)

            def log_message(self, *words: Any) -> None:
                """Says nothing."""

        listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        listening.daemon_threads = True
        super().__init__(listening)


@pytest.fixture(scope="module")
def function_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter with what the generated requirements.txt asks for, and nothing else."""
    from kfp_magics.delivery.cloud.folder import REQUIREMENTS

    return environment(Settings(home=str(tmp_path_factory.mktemp("functions"))), "\n".join(REQUIREMENTS))


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[StorageServer]:
    """Cloud Storage with the bucket ``wares``."""
    made = StorageServer()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", made.url)
    storage.Client(project="shop", credentials=AnonymousCredentials()).create_bucket("wares")
    yield made
    made.close()


def put(name: str, content: str = "1", bucket: str = "wares") -> None:
    """Uploads an object, as anybody does."""
    client = storage.Client(project="shop", credentials=AnonymousCredentials())
    client.bucket(bucket).blob(name).upload_from_string(content)


@pytest.fixture
def serve(function_python: Path, tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Serves the files of a function."""
    made: list[Served] = []

    def start(files: dict[str, bytes], **variables: str) -> Served:
        folder = tmp_path / f"function-{len(made)}"
        for path, content in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        made.append(Served(function_python, folder, variables))
        made[-1].start()
        return made[-1]

    yield start
    for one in made:
        one.kill()


@pytest.fixture
def relayed(bucket: StorageServer) -> Iterator[Callable[[Served], Relay]]:
    """Delivers the events of the bucket to a function."""
    made: list[Relay] = []

    def begin(served: Served) -> Relay:
        made.append(Relay(bucket, served))
        made[-1].begin()
        return made[-1]

    yield begin
    for one in made:
        one.end()


@pytest.fixture
def between(shared_gateway: Any) -> Iterator[Between]:
    made = Between(shared_gateway.url)
    yield made
    made.close()
