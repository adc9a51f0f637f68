from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser.lab import ARGUMENTS
from tests.conftest import requires


@pytest.fixture
def browser() -> Iterator[Browser]:
    """A browser for one test: playwright keeps an event loop running in this thread while it is open."""
    chromium = requires("chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield opened
        opened.close()
