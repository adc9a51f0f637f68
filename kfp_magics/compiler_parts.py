"""Parts of pipelines as KFP's own components, in a notebook and in what was exported from it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kfp.components import load_component_from_text

from kfp_magics import ir as irs
from kfp_magics import parts
from kfp_magics.compiler import compile_pipeline

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from kfp_magics.model import Json, Pipeline


def part_of(whole: Any, *, name: str, start: Collection[str], taken: Mapping[str, Mapping[str, Json]]) -> Any:  # noqa: ANN401  (kfp's own components)
    """Makes a pipeline of the last steps of another.

    Args:
        whole: The other one, as KFP's component.
        name: KFP name of the part.
        start: The steps that it starts with.
        taken: What comes from an earlier run: parameter → ``run`` and ``value``, or ``uri`` and ``metadata``.

    Returns:
        KFP's component, to be compiled, run or nested.

    Raises:
        ArgumentError: The pipeline cannot be cut there.
    """
    ir = irs.parse(compile_pipeline(whole, name=name).ir)
    return load_component_from_text(parts.cut(ir, name=name, start=start, taken=taken)[0])


def compile_part(
    whole: Pipeline, *, name: str, start: Collection[str], taken: Mapping[str, Mapping[str, Json]], cell_id: str = ""
) -> tuple[Pipeline, Any]:
    """Compiles a part of a pipeline of the notebook.

    Args:
        whole: The pipeline.
        name: KFP name of the part.
        start: The steps that it starts with.
        taken: What comes from an earlier run.
        cell_id: The notebook cell.

    Returns:
        The part, and KFP's component of it.

    Raises:
        ArgumentError: The pipeline cannot be cut there.
    """
    text, stand_ins = parts.cut(irs.parse(whole.ir), name=name, start=start, taken=taken)
    component = load_component_from_text(text)
    made = compile_pipeline(
        component,
        name=name,
        components=whole.components,
        source=whole.source,
        cell_id=cell_id,
        notebook=whole.notebook,
    )
    described = f"The part of {whole.name} from {', '.join(start)} on."
    return replace(made, stand_ins=stand_ins, description=described), component
