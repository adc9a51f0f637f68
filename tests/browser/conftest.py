from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.browser.lab import ARGUMENTS
from tests.conftest import requires

expect.set_options(timeout=30_000)  # what comes is waited for, also where others keep the machine busy


@pytest.fixture
def browser() -> Iterator[Browser]:
    """A browser for one test: playwright keeps an event loop running in this thread while it is open."""
    chromium = requires("chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield opened
        opened.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A JupyterLab, a kernel and a browser need their time where others keep the machine busy."""
    for item in items:
        if item.get_closest_marker("browser") and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(300))
