"""The built form of a pipeline: its steps run in the images that were built for them, by digest."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import yaml

from kfp_magics import ir as irs
from kfp_magics.cells.bash import bash_command
from kfp_magics.cells.context import context_command
from kfp_magics.images.context import SOURCES, source_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kfp_magics.images.base import ImageRef
    from kfp_magics.model import Component, Json, Pipeline

_Loader: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper: type[Any] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def container_of(component: Component) -> dict[str, Json]:
    """Command and arguments of a step whose code is in its image.

    Args:
        component: The step.
    """
    if component.language == "context":
        command, args = context_command(component, SOURCES)
        return {**({"command": command} if command else {}), "args": args}
    path = source_path(component)
    if component.language == "bash":
        return {"command": ["bash", "-e", path], "args": bash_command(component)[1]}
    return {
        "command": ["python3", "-m", "kfp.dsl.executor_main"],
        "args": [
            *("--component_module_path", path),
            *("--executor_input", "{{$}}"),
            *("--function_to_execute", component.entry),
        ],
    }


def with_images(pipeline: Pipeline, images: Mapping[str, ImageRef | str]) -> Pipeline:
    """Makes a pipeline's steps run in images.

    Args:
        pipeline: A compiled pipeline with the steps that it uses.
        images: Step → its image; other steps stay as they are.

    Returns:
        The pipeline, compiled anew.
    """
    if not images:
        return pipeline
    documents = [one for one in yaml.load_all(pipeline.ir, Loader=_Loader) if one is not None]
    spec = documents[0].get("pipelineSpec", documents[0])
    executors = spec.get("deploymentSpec", {}).get("executors", {})
    steps = {name: component for name, component in pipeline.components.items() if name in images}
    for key, one in spec.get("components", {}).items():
        step = irs.look_up(steps, key.removeprefix("comp-"))
        container = executors.get(one.get("executorLabel", ""), {}).get("container")
        if step is not None and container is not None:
            kept = {name: value for name, value in container.items() if name not in {"command", "args"}}
            executors[one["executorLabel"]]["container"] = {
                **kept,
                **container_of(step),
                "image": str(images[step.name]),
            }
    head = "".join(line for line in pipeline.ir.splitlines(keepends=True) if line.startswith("#"))
    text = yaml.dump_all(documents, Dumper=_Dumper, allow_unicode=True, sort_keys=True, width=1000)
    return replace(pipeline, ir=head + text)
