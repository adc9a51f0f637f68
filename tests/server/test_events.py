"""Changes as they arrive over Jupyter's own websocket."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from kfp_magics.backends.local import lock
from kfp_magics.model import Run, State, Task
from kfp_magics.runs.store import Store
from tests.local.conftest import Engine
from tests.server import contract
from tests.server.conftest import Ask, Next, options


async def told(tab: Next, save: Callable[[], object], run_id: str) -> dict[str, Any]:
    """Saves until it is told: what the watch finds when it sees a store for the first time, it tells nobody."""
    while True:
        save()
        with suppress(TimeoutError):
            while (event := await asyncio.wait_for(tab(), 5)).get("run_id") != run_id:
                pass
            return event


async def test_two_tabs_see_a_run_that_a_kernel_started_proceed(listen: Any, ask: Ask, ir: str, engine: Engine) -> None:
    async with listen() as tab, listen() as other:
        run = await asyncio.to_thread(engine.start, ir, options())
        tasks: dict[str, list[str]] = {"make": [], "wait": []}
        revisions, rows = [], []
        while not rows or not State(rows[-1]["state"]).final:
            event = await tab()
            assert await other() == event
            assert (event["kind"], event["run_id"], event["complete"]) == ("changed", run.id, True)
            revisions.append(event["revision"])
            rows.append(event["row"])
            for task in event["tasks"]:
                tasks[task["id"]].append(task["state"])
        assert revisions == sorted(set(revisions))
        assert rows[-1]["state"] == "succeeded", rows[-1]
        assert [states[-1] for states in tasks.values()] == ["succeeded", "succeeded"]
        assert rows[-1]["progress"]["done"] == 2
        page = (await ask("GET", "/runs")).json
        assert page["change"] == revisions[-1]
        assert (await ask("DELETE", f"/runs/{run.id}")).status == 204
        gone = await tab()
        assert (gone["kind"], gone["run_id"]) == ("deleted", run.id)


async def test_a_supervisor_that_is_killed_shows_as_a_failure_without_anybody_asking(
    listen: Any, ir: str, engine: Engine
) -> None:
    async with listen() as tab:
        run = await asyncio.to_thread(engine.start, ir, options(), seconds=60.0)
        await asyncio.to_thread(engine.until_running, run, "wait")
        held = lock.holder(engine.folder(run))
        assert held is not None
        os.kill(held[0], signal.SIGKILL)
        while (event := await tab())["row"]["state"] != "failed":
            pass
        assert event["row"]["error"].startswith("The engine of this run is gone")


async def test_much_at_once_is_told_in_short(listen: Any, store: Store) -> None:
    many = tuple(Task(id=f"t{number}", name="t") for number in range(300))
    store.save(Run(id="wide", name="x", tasks=many))
    async with listen() as tab:
        await told(tab, lambda: store.save(Run(id="wide", name=f"x{store.change()}", tasks=many)), "wide")
        store.save_tasks("wide", [Task(id=one.id, name="t", state=State.RUNNING) for one in many])
        event = await tab()
        while not event["tasks"]:
            event = await tab()
        assert (len(event["tasks"]), event["complete"]) == (200, False)
        with store._transactions.writing() as (connection, revision):
            from kfp_magics.runs import database

            for number in range(60):
                run = Run(id=f"r{number}", name="x")
                connection.execute(database.SAVE_RUN, database.run_row(run, revision))
        event = await tab()
        assert (event["kind"], event["revision"], "row" in event) == ("reset", store.change(), False)


async def test_a_clock_that_jumps_back_changes_no_order(listen: Any, ask: Ask, store: Store) -> None:
    run = Run(id="r", name="x", created=2000.0, started=2000.0, state=State.RUNNING, backend="elsewhere")
    store.save(run)
    async with listen() as tab:
        await told(tab, lambda: store.save(Run(id="other", name=f"x{store.change()}", backend="elsewhere")), "other")
        store.save(replace(run, state=State.FAILED, finished=1000.0))
        while (event := await tab())["run_id"] != "r":
            pass
    assert (event["row"]["state"], event["row"]["finished"]) == ("failed", 2000.0)
    assert event["revision"] == (await ask("GET", "/runs/r")).json["revision"] == store.change()


async def test_a_store_that_is_locked_damaged_removed_or_exchanged(
    listen: Any, ask: Ask, store: Store, service: Any, tmp_path: Path
) -> None:
    store.save(Run(id="r", name="x", state=State.FAILED))
    assert (await ask("GET", "/runs/r")).status == 200
    service.store._transactions._patience = 0.1
    service.store.close()
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("VACUUM INTO ?", (str(tmp_path / "copy"),))
    with sqlite3.connect(tmp_path / "copy") as copy:
        copy.execute("UPDATE change SET store = 'another'")
    copy.close()
    other.execute("BEGIN IMMEDIATE")
    answer = await ask("POST", "/runs/r/archive")
    assert answer.status == 503
    assert "locked" in answer.json["message"]
    other.execute("ROLLBACK")
    other.close()

    def exchange(content: bytes | None) -> None:
        """What a person does who moves it away: SQLite promises nothing to those who use it at that moment."""
        store.close()
        with service.store._transactions._guard:  # without it nobody opens a connection
            for one in service.store._transactions._opened:
                one.close()
            for suffix in ("", "-wal", "-shm"):
                Path(f"{store.path}{suffix}").unlink(missing_ok=True)
            if content is not None:
                store.path.write_bytes(content)

    exchange(b"no database at all" * 1000)
    for path in ("/runs", "/status", "/facets", "/runs/r"):
        answer = await ask("GET", path)
        assert answer.status == 503, path
        assert "damaged" in answer.json["message"]
        assert answer.json["hint"]
        assert "ETag" not in answer.headers
    exchange(None)
    async with listen() as tab:
        assert (await ask("GET", "/runs")).json["runs"] == []
        exchange((tmp_path / "copy").read_bytes())
        assert (await ask("GET", "/runs/r")).status == 200
        assert (await tab())["kind"] == "reset"
        await told(tab, lambda: store.save(Run(id="new", name=f"x{store.change()}", backend="elsewhere")), "new")


async def test_a_folder_that_cannot_be_written_is_said_and_the_server_lives(
    ask: Ask, service: Any, tmp_path: Path
) -> None:
    service.store.close()
    (tmp_path / "file").write_text("")
    service.store._transactions.path = tmp_path / "file" / "runs.sqlite"
    answer = await ask("GET", "/runs")
    assert answer.status == 503
    assert "cannot be opened" in answer.json["message"]


SERVER = """
import sys
from jupyter_server.serverapp import ServerApp
token, root = "--IdentityProvider.token=t", f"--ServerApp.root_dir={sys.argv[1]}"
ServerApp.launch_instance(["--port=0", "--no-browser", "--allow-root", token, root])
"""


def test_a_run_outlives_the_server_and_the_next_server_goes_on_telling(ir: str, engine: Engine, tmp_path: Path) -> None:
    """A real server, found by nothing but the installed package, ended in the middle of a run and started again."""
    run = engine.start(ir, options(), seconds=60.0)
    engine.until_running(run, "wait")
    with RealServer(tmp_path) as server:
        assert server.ask("GET", f"runs/{run.id}")["state"] == "running"
    with RealServer(tmp_path) as server:
        assert server.ask("GET", f"runs/{run.id}")["state"] == "running"
        server.ask("POST", f"runs/{run.id}/cancel")
        assert engine.end(run).state is State.CANCELLED
        contract.validator("RunDetail").validate(server.ask("GET", f"runs/{run.id}"))


class RealServer:
    def __init__(self, folder: Path) -> None:
        environment = os.environ | {"JUPYTER_RUNTIME_DIR": str(folder / "runtime"), "JUPYTER_CONFIG_DIR": str(folder)}
        command = [sys.executable, "-c", SERVER, str(folder)]
        self._process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        self._runtime = folder / "runtime"

    def __enter__(self) -> Self:
        deadline = time.monotonic() + 100
        while time.monotonic() < deadline:
            assert self._process.poll() is None, self._process.communicate()[1]
            # The file is there a moment before the server listens, and empty a moment before it is written.
            with suppress(OSError, ValueError):
                about = (self._runtime / f"jpserver-{self._process.pid}.json").read_text()
                self._url = json.loads(about)["url"]
                self.ask("GET", "status")
                return self
            time.sleep(0.05)
        raise AssertionError("the server did not start")

    def ask(self, method: str, path: str) -> Any:
        headers = {"Authorization": "token t"}
        data = b"" if method == "POST" else None
        request = urllib.request.Request(f"{self._url}kfp-magics/api/{path}", data, headers, method=method)
        with urllib.request.urlopen(request) as answer:
            return json.loads(answer.read())

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        errors = self._process.communicate(timeout=30)[1]
        assert "Traceback" not in errors, errors
