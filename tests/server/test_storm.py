"""A panel whose runs are on a server that fails half of the time: nothing starts twice, is lost, or is a lie."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kfp_magics.backends.base import SubmitOptions
from kfp_magics.backends.connections import Connections, parse
from kfp_magics.backends.kfp import KfpBackend
from kfp_magics.model import Run
from kfp_magics.runs.store import Store
from kfp_magics.settings import Settings
from tests.kfp.pipelines import ir_of
from tests.kfp.server import Fault, KfpServer
from tests.kfp.workflow import Plan
from tests.server.conftest import Ask, Next

NAMES = [f"run {number}" for number in range(50)]
MINUTE = 60.0  # seconds of the storm before a run may end
Rows = dict[str, dict[str, Any]]


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The same for the kernel and the Jupyter server; an answer that takes longer than this counts as none."""
    monkeypatch.setenv("KFP_MAGICS_SERVER_TIMEOUT", "1.5")
    return Settings()


@pytest.fixture
def server(settings: Settings) -> Iterator[KfpServer]:
    made = KfpServer()
    made.slow = 2.0
    made.plans = {name: Plan(steps=0) for name in NAMES}
    Connections(settings.home_path).remember(parse(made.url))
    yield made
    made.close()


class Panel:
    """What a tab knows: a page, and what it is told from then on."""

    def __init__(self, ask: Ask, tab: Next) -> None:
        self._ask = ask
        self._tab = tab
        self.rows: Rows = {}

    async def until(self, reached: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
        """Follows what it is told until its rows have come so far."""
        async with asyncio.timeout(90):
            while not reached(list(self.rows.values())):
                event = await self._tab()
                if event["kind"] == "reset":
                    page = (await self._ask("GET", "/runs", limit=200)).json
                    self.rows = {row["id"]: row for row in page["runs"]}
                else:
                    self.rows[event["run_id"]] = event["row"]
        return list(self.rows.values())


def start_all(settings: Settings, store: Store) -> None:
    """Starts the runs as ten cells do."""
    backend = KfpBackend(settings, store)
    plain = ir_of("plain")

    def start(names: list[str]) -> None:
        for name in names:
            backend.submit(plain, {}, SubmitOptions(name=name, experiment="storm"))

    threads = [threading.Thread(target=start, args=(NAMES[number::10],)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


async def test_fifty_runs_start_once_and_end_in_the_panel_though_half_of_all_answers_fail(
    listen: Any, ask: Ask, settings: Settings, store: Store, server: KfpServer
) -> None:
    """Half of all answers fail, are cut or late, for a minute and then until the last run has ended."""
    server.flaky, calm = 0.5, time.monotonic() + MINUTE
    async with listen() as tab:
        panel = Panel(ask, tab)
        starting = asyncio.create_task(asyncio.to_thread(start_all, settings, store))
        await panel.until(lambda rows: len(rows) == 50 and {row["state"] for row in rows} == {"running"})
        await starting
        assert sorted(kept.body["display_name"] for kept in server.runs.values()) == sorted(NAMES)
        assert len(server.experiments) == 1
        asked, failed = len(server.requests), server.failed

        silence = Fault("", times=10**6, status=502, body=b"<html>bad gateway</html>", kind="text/html")
        server.faults = [silence]
        rows = await panel.until(lambda rows: all(row["stale"] for row in rows))
        assert {row["state"] for row in rows} == {"running"}  # as it was seen last, and said to be old
        assert {row["stale_reason"].rpartition(" fails ")[2] for row in rows} == {"(502)"}
        assert all(row["created"] - 1 < row["stale"] for row in rows)

        server.faults = []
        await asyncio.sleep(calm - time.monotonic())
        rows = await panel.until(lambda rows: not any(row["stale"] for row in rows))
        assert {row["state"] for row in rows} == {"running"}
        for number, kept in enumerate(server.runs.values()):
            kept.plan = Plan(failed={"train"}) if number % 5 == 0 else Plan()
        rows = await panel.until(lambda rows: all(row["finished"] for row in rows))
    assert sorted(row["state"] for row in rows) == ["failed"] * 10 + ["succeeded"] * 40
    assert {row["stale"] for row in rows} == {None}
    assert {row["progress"]["done"] for row in rows} == {2}
    page = (await ask("GET", "/runs", limit=200)).json  # a tab that is opened now sees the same
    assert {row["id"]: row["state"] for row in page["runs"]} == {row["id"]: row["state"] for row in rows}
    assert set(server.runs) == {row["id"] for row in rows}
    assert 0.4 < failed / asked < 0.6


@pytest.fixture
def resumed(settings: Settings, store: Store, server: KfpServer) -> Run:
    """A run that failed, and that somebody resumed on the server's own page while no Jupyter was there."""
    server.lasts, server.plans = 0.0, {"night": Plan(failed={"train"})}
    backend = KfpBackend(settings, store)
    run = store.save(backend.poll(backend.submit(ir_of("plain"), {}, SubmitOptions(name="night"))))
    assert run.state.final
    server.runs[run.id].plan = Plan(steps=1)
    return run


async def test_a_run_that_was_resumed_on_its_servers_page_goes_on_in_the_panel(
    resumed: Run, listen: Any, ask: Ask, server: KfpServer
) -> None:
    async with listen() as tab:
        panel = Panel(ask, tab)
        (row,) = await panel.until(bool)
        assert (row["state"], row["attempt"], row["error"], row["progress"]["done"]) == ("running", 2, "", 1)
        server.runs[resumed.id].plan = Plan()
        (row,) = await panel.until(lambda rows: rows[0]["state"] == "succeeded")
        assert row["attempt"] == 2
