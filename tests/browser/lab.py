"""A JupyterLab of its own to look at with a browser."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import Browser, Locator, Page, expect

from tests.ports import free_port

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
_IDLE = "window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
_AXE = Path(__file__).parents[2] / "labextension" / "node_modules" / "axe-core" / "axe.min.js"
_SERIOUS = """async where => {
    const shown = [...document.querySelectorAll(where.join(','))].filter(one => one.offsetParent !== null);
    const { violations } = await axe.run(shown, { runOnly: ['wcag2a', 'wcag2aa'] });
    const bad = violations.filter(one => ['serious', 'critical'].includes(one.impact));
    return bad.map(one => `${one.id}: ${one.help}: ${one.nodes.map(node => node.html.slice(0, 200)).join(' | ')}`);
}"""


class Lab:
    """A JupyterLab of its own: address, token, the folder it serves; it can stop and start again."""

    def __init__(self, home: Path, theme: str, settings: dict[str, object], python: str = sys.executable) -> None:
        self.url = ""
        self.token = secrets.token_hex(16)
        self.folder = home / "work"
        self._log = home / "server.log"
        self._environment = os.environ | {
            "JUPYTER_CONFIG_DIR": str(home / "config"),
            "JUPYTER_DATA_DIR": str(home / "data"),
            "IPYTHONDIR": str(home / "ipython"),
            "KFP_MAGICS_HOME": str(home / "home"),
        }
        self._command = [python, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.port_retries=0"]
        self._command += [
            "--ip=127.0.0.1",
            f"--IdentityProvider.token={self.token}",
            f"--ServerApp.root_dir={self.folder}",
            f"--LabApp.app_settings_dir={home / 'settings'}",
            f"--LabApp.workspaces_dir={home / 'workspaces'}",
            "--LabApp.expose_app_in_browser=True",
        ]
        for part in ("work", "config", "data", "settings"):
            (home / part).mkdir()
        (home / "settings" / "overrides.json").write_text(
            json.dumps(_overrides(theme) | {"kfp-magics:plugin": settings})
        )

    def start(self) -> None:
        """Starts it; where it was, if it has been somewhere."""
        for _ in range(1 if self.url else 5):
            url = self.url or f"http://127.0.0.1:{free_port()}"
            with self._log.open("ab") as log:
                command = [*self._command, f"--port={url.rsplit(':', 1)[1]}"]
                self._server = subprocess.Popen(command, stdout=log, stderr=log, env=self._environment, cwd=self.folder)
            if self._answers(url):
                self.url = url
                return
        raise AssertionError(self._log.read_text())

    def _answers(self, url: str) -> bool:
        """Whether it begins to answer; it ends at once where somebody else has taken the port meanwhile."""
        deadline = time.monotonic() + 100
        while self._server.poll() is None:
            with suppress(OSError), urllib.request.urlopen(f"{url}/api?token={self.token}", timeout=5):
                return True
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.2)
        return False

    def stop(self) -> None:
        self._server.terminate()
        self._server.wait(60)

    def open(self, browser: Browser, notebook: str) -> Page:
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.goto(f"{self.url}/lab/tree/{notebook}?token={self.token}&reset")
        page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
        page.wait_for_function(_IDLE, timeout=60_000)
        return page

    def open_launcher(self, browser: Browser, workspace: str = "default") -> Page:
        page = browser.new_page(viewport={"width": 1500, "height": 950})
        page.goto(f"{self.url}/lab/workspaces/{workspace}?token={self.token}&reset")
        page.wait_for_selector(".jp-Launcher-body", timeout=60_000)
        return page


def execute(page: Page, command: str) -> None:
    page.evaluate("command => { window.jupyterapp.commands.execute(command); }", command)


def accessible(page: Page, *where: str) -> None:
    """Fails when axe finds something serious there."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(_AXE.read_text(encoding="utf-8"))
    found = page.evaluate(_SERIOUS, list(where))
    assert found == [], "\n".join(found)


def write_notebook(lab: Lab, name: str, cells: tuple[str, ...]) -> None:
    nbformat.write(new_notebook(cells=[new_code_cell(one) for one in cells], metadata=KERNEL), lab.folder / name)


def rows(page: Page, state: str = "") -> Locator:
    return page.locator(f".kfpm-row[data-state='{state}']" if state else ".kfpm-row")


def document(page: Page) -> Locator:
    return page.locator(".kfpm-document:visible")


def tab(where: Locator, name: str) -> Locator:
    return where.locator("[role=tab]", has_text=name).first


def keep(page: Page, folder: Path, name: str) -> None:
    """Keeps a picture, to be looked at; where, `KFP_MAGICS_SCREENSHOTS` may say."""
    page.mouse.move(0, 0)
    page.screenshot(path=Path(os.environ.get("KFP_MAGICS_SCREENSHOTS", folder)) / f"{name}.png")


def look_at(page: Page, folder: Path, name: str) -> None:
    """Takes a picture of a run in both themes, where axe finds nothing serious."""
    for theme in ("Dark", "Light"):
        chosen = f"JupyterLab {theme}"
        page.evaluate("theme => window.jupyterapp.commands.execute('apputils:change-theme', { theme })", chosen)
        expect(page.locator("body")).to_have_attribute("data-jp-theme-name", chosen)
        accessible(page, ".kfpm-panel", ".kfpm-document")
        keep(page, folder, f"{name}-{theme}")


@contextmanager
def serve(
    folder: Path, theme: str = "JupyterLab Light", python: str = sys.executable, **settings: object
) -> Iterator[Lab]:
    """Starts a JupyterLab, with settings of the panel."""
    lab = Lab(folder, theme, settings, python)
    lab.start()
    try:
        yield lab
    finally:
        lab.stop()


def _overrides(theme: str) -> dict[str, object]:
    return {
        "@jupyterlab/apputils-extension:themes": {"theme": theme, "adaptive-theme": False},
        # Cells out of sight are drawn as well, so that tests find them.
        "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
        "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    }
