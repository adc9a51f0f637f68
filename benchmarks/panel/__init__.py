"""The panel, as a person waits for it, in a real JupyterLab in a real browser."""

from __future__ import annotations

from benchmarks.panel import views

TITLE = "The panel in JupyterLab"
ABOUT = """
Headless Chromium beside a JupyterLab on the same machine. The store holds 10,000 runs; one of them has 2,000 tasks in
40 layers, one a log of 1,000,000 lines. A change is taken from the moment at which it is written to the store to the
moment at which the page has it.
"""
BENCHMARKS = (views.measure,)
