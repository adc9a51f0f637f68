"""A pipeline as a Python file that anybody with kfp can import: its cell, and what the cell had around it."""

from __future__ import annotations

import pprint
from dataclasses import fields
from typing import TYPE_CHECKING

from kfp_magics import compiler
from kfp_magics.cells.include import include
from kfp_magics.cells.names import unavailable
from kfp_magics.images.context import image_name
from kfp_magics.pods import PodOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kfp_magics.handles import ComposedPipeline
    from kfp_magics.model import Component

_HEAD = '''\
"""The pipeline {name}, as the notebook has it; exported, so change it there.

``python -m pipelines.{function} FILE.yaml`` compiles it with its steps in the images of ``steps/``.
"""

# ruff: noqa
import inspect
import os
import sys
from pathlib import Path
from typing import *

import kfp
from kfp import compiler, dsl
from kfp.components import load_component_from_text
from kfp.dsl import *
{imports}
_STEPS = Path(__file__).resolve().parents[1] / "steps"


def _step(folder):
    text = (_STEPS / folder / "component.yaml").read_text(encoding="utf-8")
    registry = os.environ.get("KFP_MAGICS_REGISTRY", "").rstrip("/")
    if registry:  # an export that was told none names images by their last part
        text = text.replace(f"image: {{folder}}:", f"image: {{registry}}/{{folder}}:")
    return load_component_from_text(text)

'''
_PODS = """
def _on_machine(step, pod):
    def add(*args, **kwargs):
        task = step(*args, **kwargs)
        apply_pod_options(task, pod)
        return task

    return add

"""
_TAIL = """

if inspect.isfunction({function}):
    {function} = dsl.pipeline(name={name!r})({function})

if __name__ == "__main__":
    compiler.Compiler().compile({function}, sys.argv[1])
"""


_PART = '''\
"""The pipeline {name}, a part of {of}, as the notebook has it; exported, so change it there.

``python -m pipelines.{function} FILE.yaml`` compiles it with its steps in the images of ``steps/``.
"""

# ruff: noqa
import sys

from kfp import compiler
from kfp_magics.compiler_parts import part_of

from pipelines.{of} import {of}

{function} = part_of({of}, name={name!r}, start={start!r}, taken={taken})

if __name__ == "__main__":
    compiler.Compiler().compile({function}, sys.argv[1])
'''


def pipeline_module(
    function: str,
    composed: ComposedPipeline,
    *,
    steps: Mapping[str, Component],
    taken: Mapping[str, Component],
    pipelines: Mapping[str, ComposedPipeline],
    namespace: Mapping[str, object],
) -> bytes:
    """Writes the file of a pipeline.

    Args:
        function: The pipeline's function.
        composed: The pipeline.
        steps: The steps of the notebook.
        taken: The steps that kfp's own decorators made.
        pipelines: The pipelines of the notebook, by function.
        namespace: The names of the notebook, for helpers that the cell calls.

    Raises:
        DefinitionError: The cell reads something that cannot be written down.
    """
    pipeline = composed.pipeline
    if composed.cut is not None:
        cut = composed.cut
        results = pprint.pformat(cut.taken, width=110)
        return _PART.format(name=pipeline.name, of=cut.of, function=function, start=cut.start, taken=results).encode()
    body = pipeline.source.removeprefix("\n")
    known = compiler.pipeline_names()
    read = [name for name in unavailable(body) if name not in known]
    mine = [name for name in read if name in steps]
    nested = [name for name in read if name in pipelines and name not in mine]
    foreign = [name for name in read if name in taken and name not in {*mine, *nested}]
    rest = [name for name in read if name not in {*mine, *nested, *foreign} and name in namespace]
    demanding = any(steps[name].pod != PodOptions() for name in mine)
    imports = [f"\nfrom pipelines.{name} import {name}\n" for name in nested]
    if demanding:
        imports.append("\nfrom kfp_magics.compiler_pods import apply_pod_options\n")
        imports.append("from kfp_magics.pods import PodOptions, Toleration\n")
    parts = [_HEAD.format(name=pipeline.name, function=function, imports="".join(imports))]
    parts += [_PODS] if demanding else []
    parts += ["\n", *(_loaded(steps[name]) for name in mine)]
    parts += [f"\n\n{source.strip()}\n" for source in dict.fromkeys(taken[name].source for name in foreign)]
    parts += ["\n\n", include(body, rest, namespace, f"pipeline {function!r}").strip(), "\n"]
    parts.append(_TAIL.format(function=function, name=pipeline.name))
    return "".join(parts).encode()


def _loaded(component: Component) -> str:
    load = f"_step({image_name(component)!r})"
    if component.pod == PodOptions():
        return f"{component.name} = {load}\n"
    usual = PodOptions()
    given = {one.name: getattr(component.pod, one.name) for one in fields(PodOptions)}
    words = ", ".join(f"{name}={value!r}" for name, value in given.items() if value != getattr(usual, name))
    return f"{component.name} = _on_machine({load}, PodOptions({words}))\n"
