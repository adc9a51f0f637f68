"""Starting runs: what a pipeline's backend is given of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from kfp_magics.backends.base import SubmitOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from kfp_magics.backends.base import Backend
    from kfp_magics.model import Json, Pipeline, Run, RunKind
    from kfp_magics.options import RunOptions
    from kfp_magics.planning import Plan, Planner


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """A run that could be started now.

    Attributes:
        pipeline: In its images, without what is left out.
        values: Parameter → value.
        options: How.
        plan: Says what it would do, and why.
    """

    pipeline: Pipeline
    values: Mapping[str, Json]
    options: RunOptions
    plan: Callable[[], Plan]


def prepare(planner: Planner, pipeline: Pipeline, values: Mapping[str, Json], options: RunOptions) -> Start:
    """Makes ready what is to be started: leaves out of it what an earlier run has done.

    Raises:
        ArgumentError: An argument is missing, unknown or of the wrong type.
    """
    from kfp_magics import ir as irs  # noqa: PLC0415  (reads YAML, which authoring does not)
    from kfp_magics.backends.local.checks import check_arguments  # noqa: PLC0415
    from kfp_magics.parts import placed  # noqa: PLC0415

    values = placed(pipeline, values, options.backend or planner.backend)
    check_arguments(irs.parse(pipeline.ir), values, SubmitOptions())
    part, reused, earlier = planner.part(pipeline, values, options)
    plan = partial(planner.plan, part, values, options, reused, earlier)
    return Start(pipeline=part, values=values, options=options, plan=plan)


def submit(
    backend: Backend,
    pipeline: Pipeline,
    values: Mapping[str, Json],
    options: RunOptions,
    *,
    notebook: str = "",
    kind: RunKind = "pipeline",
    input_artifacts: Mapping[str, Path] | None = None,
) -> Run:
    """Gives a pipeline to a backend, with the cells that its steps came from.

    Args:
        backend: Where it runs.
        pipeline: In images, if it is to run in some.
        values: Parameter → value.
        options: How.
        notebook: Path of the notebook.
        kind: What the run is shown as.
        input_artifacts: Pipeline input artifact → path on this machine.
    """
    from kfp_magics import compiler  # noqa: PLC0415  (imports kfp)

    sources = {name: compiler.step_source(component) for name, component in pipeline.components.items()}
    return backend.submit(
        pipeline.ir,
        values,
        SubmitOptions(
            name=options.name,
            kind=kind,
            experiment=options.experiment,
            cache=options.cache,
            notebook=notebook,
            started_by=options.started_by,
            sources=sources,
            input_artifacts=input_artifacts or {},
            executor=options.executor,
        ),
    )
