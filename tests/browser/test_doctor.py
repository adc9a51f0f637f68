"""The doctor's table where people see it: it fills as it looks, in light and dark, and a reader can follow it."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from kfp_magics import __version__

from .lab import accessible, execute, keep, serve, write_notebook

CELLS = ("%load_ext kfp_magics", "%kfp_doctor author panel build", "%kfp_setup_auth ci --project shop-123")
_NAMES = ("server", "front end", "extension", "notebook", "registry")

pytestmark = pytest.mark.browser


def test_the_table_in_jupyterlab(browser: Browser, tmp_path: Path) -> None:
    with serve(tmp_path) as lab:
        write_notebook(lab, "doctor.ipynb", CELLS)
        page = lab.open(browser, "doctor.ipynb")
        execute(page, "notebook:run-all-cells")
        table = page.locator(".jp-OutputArea-output .kfpm table")
        expect(table.locator("caption")).to_contain_text("need something: ", timeout=60_000)
        cells = {name: table.locator("tr", has=page.locator(f"th[scope=row]:text-is('{name}')")) for name in _NAMES}
        expect(cells["server"]).to_contain_text(f"version {__version__} at port")
        expect(cells["front end"]).to_contain_text("✓ ok")
        expect(cells["extension"]).to_contain_text(f"kfp-magics {__version__}")
        expect(cells["notebook"]).to_contain_text("doctor.ipynb")
        expect(cells["registry"]).to_contain_text("✗ missing")
        mend = "%env KFP_MAGICS_REGISTRY=HOST/PATH\n%reload_ext kfp_magics"
        expect(cells["registry"].locator("code")).to_have_text(mend)
        expect(page.locator(".jp-OutputArea-output pre", has_text="roles/artifactregistry.writer")).to_be_visible()
        for theme in ("Light", "Dark"):
            page.evaluate(_THEME, f"JupyterLab {theme}")
            page.wait_for_selector(f"body[data-jp-theme-name='JupyterLab {theme}']", state="attached")
            accessible(page, ".jp-OutputArea-output .kfpm")
            table.scroll_into_view_if_needed()
            keep(page, tmp_path, f"doctor-{theme.lower()}")


_THEME = "theme => window.jupyterapp.commands.execute('apputils:change-theme', { theme })"
