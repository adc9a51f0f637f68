"""The same pipeline on this machine and on a server, side by side in the panel."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from kfp_magics.backends.base import SubmitOptions
from kfp_magics.backends.connections import Connections, parse
from kfp_magics.backends.kfp import KfpBackend
from kfp_magics.model import Run, State
from kfp_magics.settings import Settings
from tests.gateway.pipelines import looping
from tests.gateway.servers import Gateway
from tests.local.conftest import Engine, ir_of

from .lab import accessible, execute, keep, rows, serve, tab

pytestmark = pytest.mark.browser

_SPLIT = """() => {
    const { shell } = window.jupyterapp;
    const [runs, others] = [true, false].map(wanted =>
        [...shell.widgets('main')].filter(one => Boolean(one.node.querySelector('.kfpm-document')) === wanted));
    others.forEach(one => one.close());
    shell.add(runs[1], 'main', { mode: 'split-right', ref: runs[0].id });
    shell.collapseLeft();
}"""
_DRAWN = """node => ({
    boxes: [...node.querySelectorAll('.kfpm-box')].map(one => {
        return [one.title, one.dataset.state, one.textContent.replace(/[0-9.]+ m?s/g, ''), one.getAttribute('style')];
    }).sort(),
    edges: [...node.querySelectorAll('.kfpm-graph svg path')].map(one => one.getAttribute('d')).sort(),
})"""


def carry_out(settings: Settings, door: Gateway, folder: Path) -> dict[str, Run]:
    """The pipeline with everything that nests, here and through the door, both remembered here."""
    Connections(settings.home_path).remember(parse(door.url, {"token_env": "DOOR_TOKEN", "name": "door"}))
    ir = ir_of(looping, folder)
    with Engine(settings) as engine:
        away = KfpBackend(settings, engine.store)
        there = away.submit(ir, {"mark": str(folder / "mark")}, SubmitOptions(name="on the server", experiment="trial"))
        here = engine.run(ir, SubmitOptions(name="on this machine", experiment="trial"), mark=str(folder / "mark"))
        deadline = time.monotonic() + 60
        while not there.state.final:
            assert time.monotonic() < deadline, there
            time.sleep(0.2)
            there = engine.store.update(there, away.poll(there))
    assert (here.state, there.state) == (State.SUCCEEDED, State.SUCCEEDED)
    return {"here": here, "there": there}


def opened(page: Page, run: Run) -> Locator:
    """Opens a run from the list."""
    rows(page).filter(has_text=run.name).click()
    found = page.locator(".kfpm-document", has=page.locator("h2", has_text=run.name))
    expect(found.locator(".kfpm-box").first).to_be_visible(timeout=20_000)
    return found


def test_a_run_on_a_server_looks_like_the_same_run_here(
    browser: Browser, tmp_path: Path, shared_gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOOR_TOKEN", shared_gateway.token)
    (tmp_path / "home").mkdir()
    (tmp_path / "mark").touch()  # so that nothing has to be tried twice
    runs = carry_out(Settings(home=str(tmp_path / "home"), grace=0.5), shared_gateway, tmp_path)
    with serve(tmp_path) as lab:
        page = lab.open_launcher(browser)
        execute(page, "kfp-magics:open-panel")
        expect(rows(page, "succeeded")).to_have_count(2)
        documents = {name: opened(page, run) for name, run in runs.items()}
        page.evaluate(_SPLIT)
        drawn: dict[str, Any] = {}
        for name, one in documents.items():
            expect(one).to_be_visible()
            one.get_by_role("button", name="Show all").click()
            drawn[name] = one.evaluate(_DRAWN)
        keep(page, tmp_path, "two-places-graph")
        assert len(drawn["here"]["boxes"]) > 15
        assert drawn["there"]["boxes"] == drawn["here"]["boxes"]
        assert drawn["there"]["edges"] == drawn["here"]["edges"]
        for one in documents.values():
            one.locator(".kfpm-box[title='exit-handler-1/for-loop-2/1/double-2']").click()
            expect(one.locator(".kfpm-pane .kfpm-values", has_text="Outputs")).to_contain_text("2")
            tab(one, "Artifacts").click()
            one.get_by_role("button", name="Preview").first.click()
            expect(one.locator(".kfpm-card-body").first).to_contain_text("twice")
        keep(page, tmp_path, "two-places-artifact")
        accessible(page, ".kfpm-document")
        page.close()
