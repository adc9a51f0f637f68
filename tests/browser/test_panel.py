"""The panel where people use it: a real JupyterLab, real runs, the keyboard, and faults."""

from __future__ import annotations

import gzip
import time
from pathlib import Path

import pytest
from kfp import compiler
from playwright.sync_api import Browser, expect

import kfp_magics
from kfp_magics.model import Artifact, Failure, Run, State, Task
from kfp_magics.runs.store import Store
from tests.conformance.pipelines.steps import number

from .lab import accessible, document, execute, keep, rows, serve, tab, write_notebook

CELLS = (
    "%load_ext kfp_magics",
    """%%kfp_component
def prepare(rows: int, table: Output[Dataset]) -> int:
    with open(table.path, "w") as file:
        file.write("age,weight\\n" + "31,7.5\\n" * rows)
    return rows""",
    """%%kfp_component
import os, time

def train(table: Input[Dataset], rate: float, metrics: Output[Metrics], report: Output[HTML]) -> float:
    print("\\x1b[32mtraining\\x1b[0m", rate)
    while not os.path.exists("GATE"):
        time.sleep(0.05)
    if rate > 0.25:
        raise ValueError(f"rate {rate} is too high")
    metrics.log_metric("accuracy", 0.9 + rate / 10)
    with open(report.path, "w") as file:
        file.write("<h1>Fine</h1><script>parent.document.title = 'reached'</script>")
    return rate""",
    """%%kfp_pipeline
def births(rows: int = 20, rates: list = [0.1, 0.3]):
    data = prepare(rows=rows)
    with dsl.ParallelFor(rates) as rate:
        train(table=data.outputs["table"], rate=rate)""",
    "%kfp_run births\nimport os, time\nwhile not os.path.exists('GATE'):\n    time.sleep(0.05)",
)
HOSTILE = "<img src=x onerror=\"document.title='reached'\"> \x1b[31m\x07\u202eevil\u2066 " + "wide" * 500

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_a_failed_step_is_found_mended_and_compared(browser: Browser, tmp_path: Path, theme: str) -> None:
    with serve(tmp_path, f"JupyterLab {theme}") as lab:
        gate = lab.folder / "gate"
        write_notebook(lab, "births.ipynb", tuple(one.replace("GATE", str(gate)) for one in CELLS))
        page = lab.open(browser, "births.ipynb")
        page.set_viewport_size({"width": 1500, "height": 950})
        execute(page, "kfp-magics:open-panel")
        execute(page, "notebook:run-all-cells")
        # The kernel sleeps, the panel does not.
        rows(page, "running").click(timeout=60_000)
        busy = document(page).locator(".kfpm-box[title='for-loop-1/1/train']")
        expect(busy).to_have_attribute("data-state", "running", timeout=20_000)
        assert page.evaluate("window.jupyterapp.serviceManager.sessions.running().next().value.kernel.execution_state")
        expect(page.locator(".jp-InputPrompt", has_text="[*]")).to_be_visible()
        keep(page, tmp_path, f"running-{theme}")
        # The log is followed: what it says at the end was not there when it was opened.
        tab(document(page), "Log").click()
        expect(document(page).locator(".kfpm-log-bar")).to_contain_text("live")
        gate.touch()
        expect(document(page).locator(".kfpm-log-line").last).to_contain_text("ValueError", timeout=20_000)
        tab(document(page), "Overview").click()
        expect(busy).to_have_attribute("data-state", "failed", timeout=30_000)
        expect(page.locator(".kfpm-status")).to_contain_text("1 failed")
        expect(document(page).locator(".kfpm-error")).to_contain_text("rate 0.3 is too high")
        accessible(page, ".kfpm-panel", ".kfpm-document")
        tab(document(page), "Log").click()
        expect(document(page).locator(".kfpm-log-line .kfpm-ansi-green")).to_have_text("training")
        accessible(page, ".kfpm-document")
        keep(page, tmp_path, f"failed-{theme}")
        # To its cell, where the line is marked.
        tab(document(page), "Overview").click()
        document(page).get_by_role("button", name="Show cell").click()
        expect(page.locator(".jp-mod-active .kfpm-failed-line")).to_contain_text("raise ValueError")
        expect(page.locator(".jp-mod-active .kfpm-badge")).to_have_attribute("data-state", "failed")
        keep(page, tmp_path, f"cell-{theme}")
        # As it ran, it fails again; mended, it succeeds.
        document(page).get_by_role("button", name="Retry").click()
        expect(document(page).locator(".kfpm-pane > header")).to_contain_text("attempt 2", timeout=30_000)
        expect(busy).to_have_attribute("data-state", "failed", timeout=30_000)
        page.evaluate(
            """() => {
                const widgets = [...window.jupyterapp.shell.widgets('main')];
                const cell = widgets.find(one => one.content?.activeCell).content.activeCell;
                const source = cell.model.sharedModel.getSource();
                cell.model.sharedModel.setSource(source.replace('rate > 0.25', 'rate > 0.5'));
            }"""
        )
        expect(page.locator(".jp-mod-active .kfpm-badge .kfpm-old")).to_be_visible()
        page.locator(".jp-Notebook .jp-mod-active .cm-content").click()
        expect(page.locator(".jp-InputPrompt", has_text="[*]")).to_have_count(0, timeout=30_000)
        execute(page, "notebook:run-all-cells")
        rows(page, "succeeded").click(timeout=60_000)
        tab(document(page), "Timeline").click()
        document(page).locator(".kfpm-task-row", has_text="train").last.click()
        tab(document(page), "Artifacts").click()
        expect(document(page).locator(".kfpm-tile")).to_contain_text("accuracy")
        # Its script does not run: the frame has no rights at all.
        expect(document(page).locator("iframe.kfpm-report")).to_have_attribute("sandbox", "")
        page.wait_for_timeout(500)
        assert page.title() != "reached"
        accessible(page, ".kfpm-document")
        keep(page, tmp_path, f"artifacts-{theme}")
        for sign in rows(page).locator(".kfpm-row-sign").all():
            sign.click()
        page.locator(".kfpm-foot").get_by_role("button", name="Compare").click()
        expect(document(page).locator(".kfpm-diff-added")).to_contain_text("rate > 0.5")
        expect(document(page).locator(".kfpm-compare-table")).to_contain_text("accuracy")
        accessible(page, ".kfpm-document", ".kfpm-panel")
        keep(page, tmp_path, f"compare-{theme}")
        page.close()


def test_everything_is_reached_with_the_keyboard(browser: Browser, tmp_path: Path) -> None:
    with serve(tmp_path) as lab:
        store = Store(tmp_path / "home" / "runs.sqlite")
        for number in range(300):
            store.save(ended(f"run-{number:03d}", number))
        page = lab.open_launcher(browser)
        execute(page, "kfp-magics:open-panel")
        expect(page.locator(".kfpm-list")).to_be_focused()
        expect(rows(page).first).to_have_attribute("aria-setsize", "300")
        for key in ("End", "Home", "ArrowDown", " ", "ArrowDown", " "):
            page.keyboard.press(key)
        expect(page.locator(".kfpm-row[aria-selected='true']")).to_have_count(2)
        page.keyboard.press("End")
        active = page.locator(".kfpm-active")
        expect(active).to_have_attribute("data-kfpm-run", "run-000")
        page.keyboard.press("Enter")
        expect(document(page).locator("h2")).to_have_text("run-000", timeout=20_000)
        page.evaluate("window.jupyterapp.shell.currentWidget.activate()")
        expect(document(page).locator(".kfpm-box[title='first']")).to_be_focused()
        page.keyboard.press("ArrowRight")
        expect(document(page).locator(".kfpm-box[title='second']")).to_be_focused()
        page.keyboard.press("Enter")
        expect(document(page).locator(".kfpm-pane h3")).to_have_text("second")
        page.keyboard.press("-")
        expect(document(page).locator(".kfpm-zoom-level")).not_to_have_text("100%")
        tab(document(page), "Overview").focus()
        page.keyboard.press("ArrowRight")
        expect(tab(document(page), "Artifacts")).to_have_attribute("aria-selected", "true")
        page.keyboard.press("Escape")
        expect(document(page).locator(".kfpm-box[title='second']")).to_be_focused()
        # Groups open and close, the search finds.
        page.locator(".kfpm-select[title='Group by']").select_option("pipeline")
        group = page.locator(".kfpm-row-group")
        expect(group.first).to_have_attribute("aria-expanded", "true")
        page.locator(".kfpm-list").focus()
        page.keyboard.press("Home")
        page.keyboard.press("ArrowLeft")
        expect(group.first).to_have_attribute("aria-expanded", "false")
        expect(group).to_have_count(3)
        page.get_by_label("Search runs").fill("run-123")
        page.locator(".kfpm-select[title='Group by']").select_option("none")
        expect(rows(page)).to_have_count(1)
        accessible(page, ".kfpm-panel", ".kfpm-document")
        page.close()


def test_what_comes_from_runs_stays_text(browser: Browser, tmp_path: Path) -> None:
    with serve(tmp_path) as lab:
        store = Store(tmp_path / "home" / "runs.sqlite")
        store.save(hostile())
        log = tmp_path / "home" / "runs" / "hostile" / "tasks" / "step" / "attempt-1" / "log.txt"
        log.parent.mkdir(parents=True)
        log.write_text(f"{HOSTILE}\n" + "x" * 10_000_000 + f"\nlast <b>line</b> {HOSTILE}\n", encoding="utf-8")
        page = lab.open_launcher(browser)
        execute(page, "kfp-magics:open-panel")
        rows(page).click()
        expect(document(page).locator(".kfpm-box")).to_be_visible(timeout=20_000)
        document(page).locator(".kfpm-box").click()
        for name in ("Overview", "Artifacts", "Log", "Timeline", "Table"):
            tab(document(page), name).click()
            page.wait_for_timeout(300)
        tab(document(page), "Log").click()
        expect(document(page).locator(".kfpm-log-line", has_text="last <b>line</b>")).to_be_visible()
        keep(page, tmp_path, "hostile")
        assert page.title() != "reached"
        assert page.locator(".kfpm-panel img, .kfpm-document img, .kfpm-document b").count() == 0
        widths = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        assert widths[0] <= widths[1]
        page.close()


def test_a_long_log_is_read_from_its_end_searched_and_read_back(browser: Browser, tmp_path: Path) -> None:
    with serve(tmp_path) as lab:
        store = Store(tmp_path / "home" / "runs.sqlite")
        store.save(ended("long", 1))
        log = tmp_path / "home" / "runs" / "long" / "tasks" / "first" / "attempt-1" / "log.txt"
        log.parent.mkdir(parents=True)
        with log.open("w", encoding="utf-8") as file:
            file.writelines(f"ü line {number} of many\n" for number in range(1_000_000))
        page = lab.open_launcher(browser)
        execute(page, "kfp-magics:open-panel")
        rows(page).click()
        document(page).locator(".kfpm-box[title='first']").click(timeout=20_000)
        tab(document(page), "Log").click()
        lines = document(page).locator(".kfpm-log-line")
        expect(lines.last).to_have_text("ü line 999999 of many")
        # Up, over the seam of the pieces that are read: no line is missing or cut.
        seen = [1_000_000]
        while max(seen) >= 990_000:
            document(page).locator(".kfpm-log-lines").evaluate("node => node.scrollTo(0, 0)")
            page.wait_for_timeout(400)
            seen = [int(text.split()[2]) for text in lines.all_inner_texts()]
            assert sorted(seen) == list(range(min(seen), min(seen) + len(seen)))
        search = document(page).get_by_label("Search the log")
        search.fill("LINE 123456 ")
        search.press("Enter")
        expect(document(page).locator(".kfpm-log-line.kfpm-marked")).to_have_text("ü line 123456 of many")
        expect(document(page).locator(".kfpm-log-search [role=status]")).to_have_text("1/1")
        search.fill("no such thing")
        search.press("Enter")
        expect(document(page).locator(".kfpm-log-search [role=status]")).to_have_text("none")
        document(page).get_by_role("button", name="Beginning").click()
        expect(lines.filter(has_text="line 0 of")).to_be_visible()
        document(page).get_by_role("button", name="End", exact=True).click()
        expect(lines.filter(has_text="line 999999 of")).to_be_visible()
        page.close()


def test_a_store_that_is_damaged_is_told_with_what_to_do(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "runs.sqlite").write_bytes(b"this is no database" * 100)
    with serve(tmp_path) as lab:
        page = lab.open_launcher(browser)
        execute(page, "kfp-magics:open-panel")
        notice = page.locator(".kfpm-panel .kfpm-notice")
        expect(notice).to_contain_text("runs.sqlite")
        expect(notice).to_contain_text("KFP_MAGICS_HOME")
        (tmp_path / "home" / "runs.sqlite").unlink()
        notice.get_by_role("button", name="Try again").click()
        expect(notice).to_contain_text("No runs yet.")
        page.close()


def test_reload_two_tabs_and_a_server_that_goes_and_comes_back(browser: Browser, tmp_path: Path) -> None:
    with serve(tmp_path) as lab:
        store = Store(tmp_path / "home" / "runs.sqlite")
        store.save(going(State.RUNNING))
        page = lab.open_launcher(browser)
        execute(page, "kfp-magics:open-panel")
        rows(page, "running").click()
        expect(document(page).locator(".kfpm-box[data-state='running']")).to_be_visible(timeout=20_000)
        other = lab.open_launcher(browser, workspace="other")
        execute(other, "kfp-magics:open-panel")
        expect(rows(other, "running")).to_be_visible()
        saved = tmp_path / "workspaces"
        while not any("kfp-magics" in one.read_text() and "going" in one.read_text() for one in saved.glob("default*")):
            page.wait_for_timeout(100)  # the layout is not saved yet
        page.reload()
        expect(document(page).locator(".kfpm-box[data-state='running']")).to_be_visible(timeout=60_000)
        lab.stop()
        store.save(going(State.FAILED))
        lab.start()
        for one in (page, other):
            # JupyterLab's own about the connection, whenever it comes.
            one.add_locator_handler(one.locator(".jp-Dialog"), lambda dialog: dialog.press("Escape"))
            one.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
            expect(rows(one, "failed")).to_be_visible(timeout=40_000)
        expect(document(page).locator(".kfpm-box[data-state='failed']")).to_be_visible(timeout=40_000)
        # Events flow again: an action in one tab is seen in the other.
        rows(other).click(button="right")
        other.locator(".lm-Menu-item", has_text="Archive").click()
        expect(rows(page)).to_have_count(0, timeout=20_000)
        page.close()
        other.close()


def test_the_notebook_s_buttons_write_visible_cells(browser: Browser, tmp_path: Path) -> None:
    with serve(tmp_path, notifyAfter=0) as lab:
        step = "def double(number: int) -> int:\n    return 2 * number"
        pipeline = "%%kfp_pipeline\ndef twice(number: int = 2):\n    double(number=number)"
        write_notebook(lab, "buttons.ipynb", ("%load_ext kfp_magics", step, pipeline))
        page = lab.open(browser, "buttons.ipynb")
        cell = page.locator(".jp-Notebook .jp-Cell", has_text="def double")
        cell.locator(".cm-content").click(button="right")
        page.locator(".lm-Menu-item", has_text="Make This Cell a Pipeline Step").click()
        expect(cell.locator(".cm-line").first).to_have_text("%%kfp_component")
        execute(page, "notebook:run-all-cells")
        expect(page.locator(".jp-OutputArea-output", has_text="twice")).to_be_visible(timeout=60_000)
        page.locator(".jp-NotebookPanel-toolbar [data-command='kfp-magics:run-pipeline']").click()
        expect(page.locator(".jp-Notebook .jp-Cell").nth(3).locator(".cm-content")).to_have_text("%kfp_run twice")
        # Its end is told, and the form starts it again with another number.
        told = page.locator(".Toastify__toast", has_text="succeeded")
        expect(told).to_be_visible(timeout=60_000)
        told.get_by_text("Open").click()
        expect(document(page).locator(".kfpm-pane")).to_contain_text("number", timeout=20_000)
        document(page).get_by_role("button", name="Run again…").click()
        field = page.locator(".kfpm-form").get_by_label("number")
        field.fill("two")
        page.locator(".jp-Dialog").get_by_role("button", name="Run", exact=True).click()
        expect(page.locator(".kfpm-problem")).to_have_text("This is no whole number.")
        accessible(page, ".kfpm-form")
        field.fill("21")
        page.locator(".jp-Dialog").get_by_role("button", name="Run", exact=True).click()
        expect(document(page).locator(".kfpm-values", has_text="Parameters")).to_contain_text("21", timeout=20_000)
        expect(document(page).locator(".kfpm-box[title='double'][data-state='succeeded']")).to_be_visible(
            timeout=30_000
        )
        document(page).locator(".kfpm-box[title='double']").click()
        expect(document(page).locator(".kfpm-values", has_text="Outputs")).to_contain_text("42")
        page.close()


def test_a_compiled_pipeline_is_run_from_its_file(browser: Browser, tmp_path: Path) -> None:
    with serve(tmp_path) as lab:
        compiler.Compiler().compile(number, str(lab.folder / "a b.yaml"))
        page = lab.open_launcher(browser)
        page.locator(".jp-DirListing-item", has_text="a b.yaml").click(button="right")
        page.locator(".lm-Menu-item", has_text="Run as pipeline").click()
        page.locator(".jp-Dialog").get_by_role("button", name="Run", exact=True).click(timeout=20_000)
        expect(page.locator(".kfpm-problem").first).to_have_text("A value is needed.")
        page.locator(".kfpm-form").get_by_label("value").fill("3")
        page.locator(".jp-Dialog").get_by_role("button", name="Run", exact=True).click()
        expect(document(page).locator("h2")).to_contain_text("number", timeout=30_000)
        (run,) = Store(tmp_path / "home" / "runs.sqlite").list()
        assert run.parameters == {"value": 3}
        page.close()


def test_a_panel_that_is_hidden_asks_for_nothing_and_little_is_loaded_with_it(browser: Browser, tmp_path: Path) -> None:
    with serve(tmp_path, pollInterval=2) as lab:
        Store(tmp_path / "home" / "runs.sqlite").save(ended("one", 1))
        page = lab.open_launcher(browser)
        execute(page, "kfp-magics:open-panel")
        expect(rows(page)).to_have_count(1)
        scripts = page.evaluate("performance.getEntriesByType('resource').map(one => one.name)")
        built = Path(kfp_magics.__file__).parent / "_labextension" / "static"
        names = {one.split("/")[-1].split("?")[0] for one in scripts if "/extensions/kfp-magics/" in one}
        sizes = [len(gzip.compress((built / name).read_bytes())) for name in names]
        assert names
        assert sum(sizes) < 150_000
        with page.expect_request("**/kfp-magics/api/runs?*", timeout=30_000):
            pass  # shown, it looks again every two seconds
        execute(page, "filebrowser:activate")
        expect(page.locator(".kfpm-panel")).to_be_hidden()
        page.wait_for_timeout(500)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url) if "/kfp-magics/" in request.url else None)
        page.wait_for_timeout(5000)
        assert asked == []
        page.close()


def ended(name: str, number: int) -> Run:
    now = time.time() - 3600 + number
    first = Task(id="first", name="first", state=State.SUCCEEDED, started=now, finished=now + 1, attempt=1)
    second = Task(
        id="second", name="second", state=State.SUCCEEDED, started=now + 1, finished=now + 2, needs=("first",)
    )
    return Run(
        id=name,
        name=name,
        pipeline=f"pipeline {number % 3}",
        state=State.SUCCEEDED,
        created=now,
        started=now,
        finished=now + 2,
        tasks=(first, second),
    )


def going(state: State) -> Run:
    now = time.time()
    finished = now if state.final else None
    error = Failure(message="lost") if state.final else None
    task = Task(id="step", name="step", state=state, started=now - 5, finished=finished, attempt=1, error=error)
    run = Run(id="going", name="going", pipeline="p", backend="elsewhere", state=state, created=now - 5, tasks=(task,))
    return run if not state.final else Run.from_json(run.to_json() | {"started": now - 5, "finished": now})


def hostile() -> Run:
    now = time.time()
    artifact = Artifact(
        name=HOSTILE[:60], io="output", type=HOSTILE[:60], uri=HOSTILE, metadata={HOSTILE[:60]: HOSTILE}
    )
    error = Failure(message=HOSTILE, hint=HOSTILE, cell_id="c", line=1, text=HOSTILE, traceback=HOSTILE)
    task = Task(
        id="step",
        name=HOSTILE,
        state=State.FAILED,
        started=now - 5,
        finished=now,
        attempt=1,
        inputs={HOSTILE[:60]: HOSTILE, "large": "x" * 10_000_000},
        outputs={"large": ["<script>document.title='reached'</script>"] * 1000},
        artifacts=(artifact,),
        error=error,
        reason=HOSTILE,
        image=HOSTILE,
    )
    return Run(
        id="hostile",
        name=HOSTILE,
        pipeline=HOSTILE,
        experiment=HOSTILE,
        notebook=HOSTILE,
        started_by=HOSTILE,
        url="javascript:document.title='reached'",
        state=State.FAILED,
        created=now - 5,
        started=now - 5,
        finished=now,
        tasks=(task,),
        parameters={HOSTILE[:60]: HOSTILE},
        error=error,
    )
