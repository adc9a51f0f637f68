"""What would run and why, told before anything starts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from kfp_magics import cutting, estimating, reusing
from kfp_magics import ir as irs
from kfp_magics.backends.abilities import Ignored, ignored
from kfp_magics.backends.local import request_of
from kfp_magics.backends.local.forecast import Forecast, Forecaster
from kfp_magics.backends.local.values import typed
from kfp_magics.errors import ArgumentError, KfpMagicsError, NotFoundError
from kfp_magics.model import MISSING, State
from kfp_magics.reusing import STANDING_IN
from kfp_magics.runs.look import run_of
from kfp_magics.runs.text import value_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kfp_magics.ir import IR
    from kfp_magics.model import Json, Pipeline, Run, StandIn, Task
    from kfp_magics.options import RunOptions
    from kfp_magics.runs.store import Store
    from kfp_magics.settings import Settings

_LOOKED_AT = 20  # earlier runs, of which one gives results


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedStep:
    """A step before it runs.

    Attributes:
        task: As it is known before the run.
        forecast: Whether its result is reused, and why.
        machine: What it asks of its machine, in a few words.
        seconds: How long it took in earlier runs; None when it has not run.
        unbuilt: Whether its image is built first.
    """

    task: Task
    forecast: Forecast
    machine: str = ""
    seconds: float | None = None
    unbuilt: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a run would do.

    Attributes:
        pipeline: Its name.
        where: Backend and server.
        steps: The steps that are known before the run.
        reused: Tasks whose results come from an earlier run.
        earlier: That run.
        instead: Of a part of a pipeline: what stands for the steps that it leaves out, and where it comes from.
        again: Task → why it runs although its result was to be reused.
        ignored: What this backend does not do.
        seconds: How long it takes when everything goes as before; None when no step has run before.
        unknown: The steps that have not run before, whose time is not in it.
    """

    pipeline: str
    where: str
    steps: tuple[PlannedStep, ...]
    reused: tuple[str, ...] = ()
    earlier: str = ""
    instead: tuple[tuple[StandIn, str], ...] = ()
    again: Mapping[str, str]
    ignored: tuple[Ignored, ...] = ()
    seconds: float | None = None
    unknown: tuple[str, ...] = ()


class Planner:
    """Plans runs.

    Args:
        settings: Where runs go.
        store: Where earlier runs are remembered.
        find: Finds a run by what a user types.
    """

    def __init__(self, settings: Settings, store: Store, find: Callable[[str], Run]) -> None:
        self._settings = settings
        self._store = store
        self._find = find

    @property
    def backend(self) -> str:
        """Where runs go that name no backend."""
        return self._settings.backend

    def part(
        self, pipeline: Pipeline, values: Mapping[str, Json], options: RunOptions
    ) -> tuple[Pipeline, reusing.Reused | None, str]:
        """Leaves out of a pipeline what an earlier run has done.

        Returns:
            The pipeline that is to run, what was reused, and the earlier run's id.

        Raises:
            ArgumentError: There is no such step.
            NotFoundError: There is no such run.
        """
        if not (options.start_from or options.reuse or options.only_changed):
            return pipeline, None, ""
        if options.reuse and not (options.start_from or options.only_changed):
            raise ArgumentError("Which part is to run again?", "Add --from STEP, or --only-changed.")
        ir = irs.parse(pipeline.ir)
        start, kind = cutting.path_of(ir, options.start_from) if options.start_from else ("", "")
        run = self._earlier(pipeline, options)
        top = set(ir.spec["root"]["dag"]["tasks"])
        wanted, whole = top, {}
        if options.start_from:
            wanted = cutting.before(ir, [start])
            whole = {start: f"{options.start_from!r} is in it, and a {kind} runs whole"} if kind else {}
        if options.only_changed:
            earlier = irs.parse(request_of(self._settings, run).ir)
            given = {**_defaults(ir), **values}
            same = reusing.unchanged(ir, earlier, given, {**_defaults(earlier), **run.parameters})
            wanted = cutting.both(wanted, same)
        backend = options.backend or self._settings.backend
        same_server = (run.backend, run.target) == (backend, self._settings.connection)
        found = reusing.with_results(ir, run, wanted, is_here=backend == "local" or same_server)
        if wanted and not found.tasks and not {one.id for one in run.tasks} & wanted:
            raise ArgumentError(
                f"Run {run.name!r} has none of the steps that would be left out: {', '.join(sorted(wanted))}.",
                f"It is of {run.pipeline!r}; %kfp_runs shows those of {pipeline.name!r}.",
            )
        if top <= {*found.tasks}:
            raise ArgumentError(f"Nothing changed since run {run.name!r}.", f"%kfp_runs {run.id} shows its results.")
        return replace(pipeline, ir=found.ir), replace(found, again={**whole, **found.again}), run.id

    def _earlier(self, pipeline: Pipeline, options: RunOptions) -> Run:
        if options.reuse:
            return run_of(self._store, self._find, pipeline.name, options.reuse)
        listed = self._store.list(pipeline=pipeline.name, states=[State.SUCCEEDED], kind="pipeline", limit=_LOOKED_AT)
        if not listed:
            raise NotFoundError(
                f"No run of {pipeline.name!r} has succeeded yet.", "Name one: --reuse RUN, or run it whole first."
            )
        known = {task.id for task in irs.static_tasks(irs.parse(pipeline.ir))}
        runs = (self._store.get(run.id) for run in listed)
        return max(runs, key=lambda run: len(known & {task.id for task in run.tasks}))  # parts have less; newest first

    def plan(
        self,
        pipeline: Pipeline,
        values: Mapping[str, Json],
        options: RunOptions,
        reused: reusing.Reused | None = None,
        earlier: str = "",
        *,
        unbuilt: Mapping[str, object] = MappingProxyType({}),
    ) -> Plan:
        """Says what a run would do.

        Args:
            pipeline: The pipeline that is to run: in those of its images that exist, without what is left out.
            values: Parameter → value.
            options: How.
            reused: What was left out.
            earlier: The run that its results come from.
            unbuilt: The steps whose images are built first, by name.
        """
        ir = irs.parse(pipeline.ir)
        backend = options.backend or self._settings.backend
        executor = (options.executor or self._settings.executor) if backend == "local" else ""
        forecasts = self._forecasts(ir, values, options, unbuilt) if backend == "local" else {}
        times = estimating.times(self._store, pipeline.name, backend)
        steps = tuple(
            PlannedStep(
                task=task,
                forecast=forecasts.get(task.id) or _elsewhere(ir, task, cache=options.cache),
                machine=_machine(ir, task),
                seconds=times.took.get(task.component),
                unbuilt=irs.look_up(unbuilt, task.component) is not None,
            )
            for task in irs.static_tasks(ir, templates=True)
            if task.kind in {"step", "importer"} and not task.id.startswith(STANDING_IN)
        )
        runs = [step for step in steps if not (step.forecast.cached or step.forecast.skipped)]
        known = {step.task.id: step.seconds for step in runs if step.seconds is not None}
        at_once = self._settings.parallelism if backend == "local" else 0
        return Plan(
            pipeline=pipeline.name,
            where=f"{backend} {self._settings.connection if backend != 'local' else executor}".strip(),
            steps=steps,
            reused=reused.tasks if reused else (),
            earlier=earlier,
            instead=tuple((one, _origin(one, values)) for one in pipeline.stand_ins),
            again=reused.again if reused else {},
            ignored=tuple(ignored(ir, backend, executor)),
            seconds=estimating.estimate(ir, known, times.items, at_once) if known else None,
            unknown=tuple(step.task.id for step in runs if step.seconds is None and step.task.kind == "step"),
        )

    def _forecasts(
        self, ir: IR, values: Mapping[str, Json], options: RunOptions, unbuilt: Mapping[str, object]
    ) -> dict[str, Forecast]:
        declared = ir.spec["root"].get("inputDefinitions", {}).get("parameters", {})
        given = {name: value for name, value in {**_defaults(ir), **values}.items() if name in declared}
        try:
            complete = {name: typed(one, declared[name].get("parameterType", ""), name) for name, one in given.items()}
        except KfpMagicsError:  # told when the run is started
            return {}
        folder = self._settings.home_path / "cache"
        return Forecaster(ir, folder, cache=options.cache, unbuilt=unbuilt).forecast(complete)


def _origin(one: StandIn, values: Mapping[str, Json]) -> str:
    if one.name in values:
        return f"given: {value_text(values[one.name], 60)}"
    return f"from run {one.run}"


def _defaults(ir: IR) -> dict[str, Json]:
    return {port.name: port.default for port in irs.parameters(ir) if port.default is not MISSING}


def _elsewhere(ir: IR, task: Task, *, cache: bool) -> Forecast:
    """What can be said of a step on a backend that does not show its cache."""
    if task.kind == "importer":
        return Forecast(cached=False, why="imports an artifact")
    *group, key = task.id.split("/")
    component = ir.spec["root"]
    for name in (name for name in group if name != "*"):
        component = ir.component(component["dag"]["tasks"][name])
    enabled = component["dag"]["tasks"][key].get("cachingOptions", {}).get("enableCache", False)
    if not (enabled and cache):
        return Forecast(cached=False, why="its results are not reused")
    return Forecast(cached=None, why="an earlier result may be reused")


def _machine(ir: IR, task: Task) -> str:
    component = ir.spec["components"].get(f"comp-{task.component}", {})
    resources = ir.executor(component).get("container", {}).get("resources", {})
    accelerator = resources.get("accelerator", {})
    kind = accelerator.get("resourceType") or accelerator.get("type", "")
    count = accelerator.get("resourceCount") or accelerator.get("count", "")
    words = {
        "cpu": resources.get("resourceCpuLimit") or resources.get("cpuLimit"),
        "memory": resources.get("resourceMemoryLimit") or resources.get("memoryLimit"),
        "gpu": f"{count} × {kind}" if count else "",
    }
    return ", ".join(f"{name} {word}" for name, word in words.items() if word)
