"""The widget that draws a run with the same script as the panel."""

from __future__ import annotations

import anywidget
import traitlets

from kfp_magics.widgets.live import STATIC


class RunWidget(anywidget.AnyWidget):  # type: ignore[misc]  # anywidget is untyped
    """Draws a run; the front end only tells which task is selected."""

    _esm = STATIC / "widget.js"
    _css = STATIC / "widget.css"
    run = traitlets.Dict(help="The run as JSON.").tag(sync=True)
    tail = traitlets.Dict(help="'task' and the end of its log as 'text'.").tag(sync=True)
    selected = traitlets.Unicode(help="Id of the selected task.").tag(sync=True)
