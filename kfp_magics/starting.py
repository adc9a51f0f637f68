"""Starting runs: what a pipeline's backend is given of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from kfp_magics.backends.base import Refuses, SubmitOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from kfp_magics.backends.base import Backend
    from kfp_magics.building.plan import Looked
    from kfp_magics.model import Json, Pipeline, Run, RunKind
    from kfp_magics.options import RunOptions
    from kfp_magics.planning import Plan, Planner


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """A run that could be started now.

    Attributes:
        looked: The pipeline without what is left out, in those of its images that exist.
        values: Parameter → value.
        options: How.
        plan: Says what it would do, and why.
    """

    looked: Looked
    values: Mapping[str, Json]
    options: RunOptions
    plan: Callable[[], Plan]


def prepare(
    planner: Planner,
    backend: Backend,
    pipeline: Pipeline,
    values: Mapping[str, Json],
    options: RunOptions,
    *,
    look: Callable[[Pipeline, RunOptions], Looked],
) -> Start:
    """Makes ready what is to be started: leaves out of it what an earlier run has done. Nothing is built yet.

    Args:
        planner: Plans it.
        backend: Where it is to run.
        pipeline: The whole pipeline.
        values: Parameter → value.
        options: How.
        look: Looks which images it would run in.

    Raises:
        ArgumentError: An argument is missing, unknown or of the wrong type, or an option means nothing there.
        BackendError: A step asks for something that the backend cannot do.
    """
    from kfp_magics import ir as irs  # noqa: PLC0415  (reads YAML, which authoring does not)
    from kfp_magics.backends.local.checks import check_arguments  # noqa: PLC0415
    from kfp_magics.parts import placed  # noqa: PLC0415

    values = placed(pipeline, values, options.backend or planner.backend)
    check_arguments(irs.parse(pipeline.ir), values, SubmitOptions())
    looked = look(pipeline, options)
    part, reused, earlier = planner.part(looked.pipeline, values, options)
    refuse(backend, part, options)
    missing = {component.name: component for component in looked.missing}
    used = [irs.look_up(missing, name.removeprefix("comp-")) for name in irs.parse(part.ir).spec["components"]]
    unbuilt = {component.name: component for component in used if component is not None}
    plan = partial(planner.plan, part, values, options, reused, earlier, unbuilt=unbuilt)
    looked = replace(looked, pipeline=part, missing=tuple(unbuilt.values()))
    return Start(looked=looked, values=values, options=options, plan=plan)


def refuse(backend: Backend, pipeline: Pipeline, options: RunOptions) -> None:
    """Asks a backend whether it would run a pipeline, before anything is built for it.

    Raises:
        ArgumentError: An option means nothing there.
        BackendError: A step asks for something that the backend cannot do.
    """
    from kfp_magics.backends.allowed import check_executor  # noqa: PLC0415  (not needed to author)

    check_executor(options.executor, backend.name)
    if isinstance(backend, Refuses):
        backend.refuse(pipeline.ir, SubmitOptions(executor=options.executor))


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
