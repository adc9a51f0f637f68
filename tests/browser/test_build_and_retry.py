"""Images that are built from a notebook, and a run that goes on where it failed, as people see both in the panel."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from kfp_magics.runs.store import Store
from tests.images.registries import Server

from .lab import document, execute, look_at, rows, serve, tab, write_notebook

CELLS = (
    "%load_ext kfp_magics",
    """%%kfp_component
def count(words: str) -> int:
    import os
    print("counting in process", os.getpid())
    return len(words.split())""",
    """%%kfp_component
def look(path: str, least: int) -> int:
    with open(path) as file:
        found = len(file.read().split())
    print("found", found)
    return max(found, least)""",
    """%%kfp_pipeline
def words(path: str):
    counted = count(words="one two three")
    look(path=path, least=counted.output)""",
)

pytestmark = pytest.mark.browser


def test_images_are_built_and_a_failed_run_is_resumed(
    browser: Browser,
    tmp_path: Path,
    registry: Server,
    base_image: str,
    repository: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target, lacking = f"{registry.host}/{repository}", tmp_path / "there later.txt"
    monkeypatch.setenv("KFP_MAGICS_REGISTRY", target)
    monkeypatch.setenv("KFP_MAGICS_BASE_IMAGE", base_image)
    with serve(tmp_path) as lab:
        cells = (*CELLS, "%kfp_build words --builder append", f"%kfp_run words path='{lacking}'")
        write_notebook(lab, "words.ipynb", cells)
        page = lab.open(browser, "words.ipynb")
        page.set_viewport_size({"width": 1500, "height": 950})
        execute(page, "kfp-magics:open-panel")
        execute(page, "notebook:run-all-cells")
        store = Store(tmp_path / "home" / "runs.sqlite")
        see_the_images(page, tmp_path, target)
        resume_the_run(page, tmp_path, store, lacking)
        page.close()
        store.close()


def see_the_images(page: Page, folder: Path, target: str) -> None:
    build = page.locator(".kfpm-row[data-kind='build'][data-state='succeeded']")
    build.click(timeout=90_000)
    for step in ("count", "look"):
        expect(document(page).locator(f".kfpm-box[title='{step}']")).to_have_attribute("data-state", "succeeded")
    images = document(page).locator(".kfpm-values", has_text="Images").locator("tr")
    expect(images).to_contain_text([f"{target}/count@sha256:", f"{target}/look@sha256:"])
    look_at(page, folder, "build")
    document(page).locator(".kfpm-box[title='look']").click()
    expect(document(page).locator(".kfpm-pane [role=tab]:visible")).to_have_text(["Overview", "Log"])
    look_at(page, folder, "build-image")
    tab(document(page), "Log").click()
    expect(document(page).locator(".kfpm-log-line").first).to_contain_text("by append")
    look_at(page, folder, "build-log")


def resume_the_run(page: Page, folder: Path, store: Store, lacking: Path) -> None:
    rows(page, "failed").click(timeout=60_000)
    opened = document(page)
    expect(opened.locator(".kfpm-error")).to_contain_text("there later.txt")
    look_at(page, folder, "lacking")
    before = store.find("last")
    lacking.write_text("a b c d")
    opened.get_by_role("button", name="Retry").click()
    look = opened.locator(".kfpm-box[title='look']")
    expect(look).to_have_attribute("data-state", "succeeded", timeout=30_000)
    expect(rows(page, "succeeded")).to_have_count(2)
    expect(page.locator(".kfpm-status")).not_to_contain_text("running")
    look.click()
    expect(opened.locator(".kfpm-pane > header")).to_contain_text("attempt 2")
    expect(opened.locator(".kfpm-pane .kfpm-values", has_text="Outputs")).to_contain_text("4")
    look_at(page, folder, "resumed")
    after = store.get(before.id)
    # What had succeeded is as it was: no second attempt, no second process.
    assert [(one.name, one.attempt) for one in after.tasks] == [("count", 1), ("look", 2)]
    assert after.tasks[0] == before.tasks[0]
    assert os.listdir(folder / "home" / "runs" / before.id / "tasks" / "count") == ["attempt-1"]
