from __future__ import annotations

from typing import Any

from kfp_magics.cells import component_from_cell
from kfp_magics.cells.options import CellOptions
from kfp_magics.model import Component, Port


def make(body: str, namespace: dict[str, object] | None = None, **options: Any) -> Component:
    """The step that a cell makes; the magic's own line is line 1."""
    return make_with_remarks(body, namespace, **options)[0]


def make_with_remarks(
    body: str, namespace: dict[str, object] | None = None, **options: Any
) -> tuple[Component, tuple[str, ...]]:
    return component_from_cell(body, CellOptions(**options), namespace or {}, taken={})


def ports(signature: str, before: str = "") -> tuple[tuple[Port, ...], tuple[Port, ...]]:
    """Inputs and outputs of ``def step`` with what stands behind its name."""
    component = make(f"{before}\ndef step{signature}:\n    pass\n", infer=False)
    return component.inputs, component.outputs
