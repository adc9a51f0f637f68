"""How long it takes until a person sees what they asked for."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from benchmarks.harness import Row, medians
from benchmarks.panel import seed
from kfp_magics.runs.store import Store
from tests.browser.lab import ARGUMENTS, Lab, serve

_SEEN = """([act, selector, count]) => new Promise(resolve => {
    const began = performance.now();
    const look = () => document.querySelectorAll(selector).length >= count
        ? requestAnimationFrame(() => resolve((performance.now() - began) / 1000)) : requestAnimationFrame(look);
    new Function(act)();
    look();
})"""
_PAN = """() => new Promise(resolve => {
    const graph = document.querySelector('.kfpm-document:not(.lm-mod-hidden) .kfpm-graph');
    const began = performance.now();
    let frames = 0;
    const step = () => {
        graph.scrollBy(20, 6);
        frames += 1;
        frames < 60 ? requestAnimationFrame(step) : resolve((performance.now() - began) / 1000 / frames);
    };
    requestAnimationFrame(step);
})"""
_CHANGE = """() => {
    window.changedAt = new Promise(resolve => {
        const box = document.querySelector('.kfpm-document:not(.lm-mod-hidden) .kfpm-box');
        const watch = new MutationObserver(() => {
            watch.disconnect();
            requestAnimationFrame(() => resolve((performance.timeOrigin + performance.now()) / 1000));
        });
        watch.observe(box, { attributeFilter: ['data-state'] });
    });
}"""


def measure(rounds: int) -> list[Row]:
    """Measures the list, the graph, the log and a change."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        store = seed.seed(Path(folder) / "home")
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        with serve(Path(folder), "JupyterLab Light") as lab:
            taken = medians(rounds, _measures(_open(browser.new_page(), lab), store))
        browser.close()
    return [
        Row(what="a list of 10,000 runs opens", ours=taken["list"], most=0.5),
        Row(what="a graph of 2,000 tasks appears", ours=taken["graph"], most=1.5),
        Row(what="a frame while it is panned", ours=taken["pan"], most=1 / 30),
        Row(what="a log of 1,000,000 lines opens at its end", ours=taken["log"], most=0.5),
        Row(what="a change of state, from the store to the page", ours=taken["change"], most=0.5),
    ]


def _open(page: Page, lab: Lab) -> Page:
    page.set_viewport_size({"width": 1500, "height": 950})
    page.goto(f"{lab.url}/lab?token={lab.token}&reset")
    page.wait_for_selector("[title='Pipeline runs']", timeout=60_000)
    page.wait_for_timeout(2000)
    return page


def _measures(page: Page, store: Store) -> dict[str, Callable[[], float]]:
    flips = 0

    def execute(command: str, arguments: str = "{}") -> str:
        return f"window.jupyterapp.commands.execute('{command}', {arguments})"

    def closed() -> None:
        page.evaluate(execute("application:close-all"))
        page.wait_for_selector(".kfpm-document", state="detached")

    def seen(act: str, selector: str, count: int = 1) -> float:
        taken = page.evaluate(_SEEN, [act, selector, count])
        assert isinstance(taken, float)
        return taken

    def opened(run: str) -> str:
        return execute("kfp-magics:open-run", f"{{ id: '{run}' }}")

    def runs() -> float:
        page.evaluate(execute("filebrowser:activate"))
        return seen(execute("kfp-magics:open-panel"), ".kfpm-list .kfpm-row[data-state]", 10)

    def graph() -> float:
        closed()
        return seen(opened(seed.BIG), ".kfpm-box[data-state]", seed.TASKS)

    def pan() -> float:
        taken = page.evaluate(_PAN)
        assert isinstance(taken, float)
        return taken

    def log() -> float:
        closed()
        seen(opened(seed.LOUD), ".kfpm-box[title='step']")
        page.locator(".kfpm-box[title='step']").click()
        page.wait_for_selector("[data-tab='log']")
        return seen("document.querySelector(\"[data-tab='log']\").click()", ".kfpm-log-line", 10)

    def change() -> float:
        nonlocal flips
        closed()
        seen(opened(seed.LIVE), ".kfpm-box[data-state]")
        page.wait_for_timeout(1000)
        page.evaluate(_CHANGE)
        began = time.time()
        seed.flip(store, flips)
        flips += 1
        arrived = page.evaluate("window.changedAt")
        assert isinstance(arrived, float)
        return arrived - began

    return {"list": runs, "graph": graph, "pan": pan, "log": log, "change": change}
