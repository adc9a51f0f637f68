"""The live view where people see it: a real JupyterLab in a real browser."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import Browser, Page, expect

from .lab import execute, serve

CELLS = (
    "%load_ext kfp_magics",
    """%%kfp_component
import os, time

def slow(gate: str, data: Output[Dataset]) -> float:
    print("going to sleep")
    while not os.path.exists(gate):
        time.sleep(0.05)
    print("\\x1b[32mawake\\x1b[0m")
    return 1.0""",
    """%%kfp_component
def check(numbers: list, metrics: Output[Metrics]) -> float:
    metrics.log_metric("mean", sum(numbers) / len(numbers))
    return sum(numbers)""",
    """%%kfp_pipeline
def sleepy(gate: str):
    with dsl.ParallelFor(["/", "/tmp"]) as there:
        short = slow(gate=there)
    last = slow(gate=gate).set_display_name("the long one")
    check(numbers=dsl.Collected(short.outputs["Output"])).after(last)""",
)

pytestmark = pytest.mark.browser


def write_notebook(path: Path, cells: tuple[str, ...]) -> None:
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new_notebook(cells=[new_code_cell(one) for one in cells], metadata=kernel), path)


def watch_a_run(page: Page, gate: Path, screenshots: Path) -> None:
    execute(page, "notebook:run-all-cells")
    long = page.locator(".kfpm-box[title='slow-2']")
    expect(long).to_have_attribute("data-state", "running", timeout=60_000)
    expect(page.locator(".kfpm-run .kfpm-log")).to_contain_text("going to sleep", timeout=20_000)
    long.scroll_into_view_if_needed()
    long.focus()
    page.keyboard.press("ArrowRight")
    focused = page.evaluate("document.activeElement.title")
    assert focused == "check"
    page.keyboard.press("Enter")
    expect(page.locator(".kfpm-box[title='check']")).to_have_attribute("aria-pressed", "true")
    page.locator(".kfpm-box[title='slow-2']").click()
    expect(page.locator(".kfpm-details h4")).to_contain_text("slow-2")
    page.locator(".jp-OutputArea-output .kfpm-run").screenshot(path=screenshots / "running.png")
    gate.touch()
    # At its end the view is HTML that needs no kernel.
    ended = page.locator(".kfpm:has(label[title='check'].succeeded)")
    expect(ended).to_be_visible(timeout=60_000)
    ended.locator("label[title='check']").click()
    expect(ended.locator(".d:visible")).to_contain_text("mean")
    ended.screenshot(path=screenshots / "ended.png")
    execute(page, "docmanager:save")


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_a_run_is_seen_live_and_stays_readable(browser: Browser, tmp_path: Path, theme: str) -> None:
    with serve(tmp_path, theme) as lab:
        gate = lab.folder / "gate"
        write_notebook(lab.folder / "live.ipynb", (*CELLS, f"%kfp_run sleepy gate={gate}"))
        page = lab.open(browser, "live.ipynb")
        watch_a_run(page, gate, tmp_path)
        page.wait_for_function("document.querySelector('.jp-mod-dirty') === null", timeout=20_000)
        page.close()
        saved = nbformat.read(lab.folder / "live.ipynb", as_version=4)
        data = saved.cells[-1].outputs[-1].data
        assert "application/vnd.jupyter.widget-view+json" not in data
        assert "succeeded" in data["text/plain"]
        again = lab.open(browser, "live.ipynb")
        expect(again.locator(".kfpm label[title='check'].succeeded")).to_be_visible(timeout=30_000)
        again.close()


def test_a_kernel_restart_does_not_end_the_run(browser: Browser, tmp_path: Path) -> None:
    with serve(tmp_path, "JupyterLab Light") as lab:
        gate = lab.folder / "gate"
        write_notebook(lab.folder / "restart.ipynb", (*CELLS, f"%kfp_run sleepy gate={gate}"))
        page = lab.open(browser, "restart.ipynb")
        execute(page, "notebook:run-all-cells")
        expect(page.locator(".kfpm-box[title='slow-2']")).to_have_attribute("data-state", "running", timeout=60_000)
        page.evaluate(
            """async () => {
                const sessions = [...window.jupyterapp.serviceManager.sessions.running()];
                await window.jupyterapp.serviceManager.kernels.shutdown(sessions[0].kernel.id);
            }"""
        )
        page.close()
        gate.touch()
        write_notebook(lab.folder / "after.ipynb", ("%load_ext kfp_magics", "run = %kfp_runs last\nrun", "%kfp_runs"))
        page = lab.open(browser, "after.ipynb")
        for _ in range(60):
            execute(page, "notebook:run-all-cells")
            page.wait_for_timeout(1000)
            if page.locator("pre:has-text('succeeded')").count():
                break
        expect(page.locator("pre:has-text('succeeded')").first).to_be_visible()
        page.close()
