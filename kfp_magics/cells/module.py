"""The module that a Python step is, as it travels: KFP's own imports, then the cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kfp_magics.model import Component

MODULE_HEADER = "\nimport kfp\nfrom kfp import dsl\nfrom kfp.dsl import *\nfrom typing import *\n\n"
MODULE_HEADER_LINES = MODULE_HEADER.count("\n")


def step_module(component: Component) -> str:
    """Writes the module of a step.

    Args:
        component: A step made of Python, or of a notebook.
    """
    if component.language == "notebook":
        from kfp_magics.cells.notebook import notebook_module  # noqa: PLC0415  (notebooks are rare)

        return MODULE_HEADER + notebook_module(component)
    return MODULE_HEADER + component.source
