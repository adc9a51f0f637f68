"""What a user installs: a wheel, an empty environment, and JupyterLab with nothing else done."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.conftest import requires

from .lab import execute, serve

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.mark.timeout(300)
def test_an_installed_wheel_shows_the_panel(browser: Browser, tmp_path: Path) -> None:
    requires("npm")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path / "dist"), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    uv = str(Path(sys.executable).parent / "uv")
    python = str(tmp_path / "env" / "bin" / "python")
    subprocess.run([uv, "venv", "--quiet", str(tmp_path / "env"), "--python", sys.executable], check=True)
    subprocess.run([uv, "pip", "install", "--quiet", "--python", python, f"{wheel}[lab]"], check=True)
    with serve(tmp_path, python=python) as lab:
        page = lab.open_launcher(browser)
        execute(page, "kfp-magics:open-panel")
        expect(page.locator(".kfpm-panel")).to_contain_text("No runs yet.", timeout=20_000)
        page.close()
