"""Which steps would be taken from the cache, told before a run starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kfp_magics import ir as irs
from kfp_magics.backends.local import conditions
from kfp_magics.backends.local.cache import Cache, key, parts
from kfp_magics.backends.local.inputs import MissingInputError, task_inputs
from kfp_magics.backends.local.nodes import Result, Scope
from kfp_magics.backends.local.placeholders import Constants
from kfp_magics.backends.local.values import Values, with_defaults
from kfp_magics.errors import KfpMagicsError
from kfp_magics.model import State

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from kfp_magics.ir import IR
    from kfp_magics.model import Json


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """What would become of a step.

    Attributes:
        cached: Whether its result would be reused; None when that shows only while the run goes on.
        why: Why, in a few words.
        skipped: Whether it would not run at all.
    """

    cached: bool | None
    why: str
    skipped: bool = False


_NEVER = "its results are not reused"


class Forecaster:
    """Follows a pipeline through the cache, as far as results are known.

    Args:
        ir: The compiled pipeline.
        folder: Where results are kept.
        cache: Whether the run may reuse any.
        unbuilt: The steps whose images are built first, by name: what their results are kept under is not known yet.
    """

    def __init__(self, ir: IR, folder: Path, *, cache: bool, unbuilt: Mapping[str, object]) -> None:
        self._unbuilt = unbuilt
        self._ir = ir
        self._cache = Cache(folder)
        self._may = cache
        self._found: dict[str, Forecast] = {}

    def forecast(self, parameters: Mapping[str, Json]) -> dict[str, Forecast]:
        """Gives task → forecast, for the steps that are known before the run.

        Args:
            parameters: What the run is given, typed and complete.
        """
        root = self._ir.spec["root"]
        self._dag(root, "", with_defaults(Values(parameters=dict(parameters)), root.get("inputDefinitions", {})))
        return self._found

    def _dag(self, component: Mapping[str, Json], prefix: str, inputs: Values) -> None:
        tasks = component["dag"].get("tasks", {})
        scope = Scope(
            prefix=prefix,
            inputs=inputs,
            declared=component.get("inputDefinitions", {}),
            done={},
            outputs={name: self._ir.component(task).get("outputDefinitions", {}) for name, task in tasks.items()},
        )
        done: dict[str, Result] = {}
        for name in irs.in_order(tasks):
            result = self._task(f"{prefix}{name}", tasks[name], scope, done)
            if result is not None:
                done[name] = result

    def _task(self, task_id: str, spec: Mapping[str, Json], scope: Scope, done: Mapping[str, Result]) -> Result | None:
        component = self._ir.component(spec)
        unknown = [one for one in irs.needs(spec) if one not in done]
        if unknown:
            self._note(task_id, spec, Forecast(cached=None, why=f"waits for {', '.join(unknown)}"))
            return None
        upstream = {one: done[one] for one in irs.needs(spec)}
        try:
            given = task_inputs(spec, scope, upstream, Constants(names={}), component)
            condition = spec.get("triggerPolicy", {}).get("condition")
            if condition and not conditions.holds(condition, given.parameters):
                self._note(task_id, spec, Forecast(cached=False, why="its condition is false", skipped=True))
                return None
        except (KfpMagicsError, MissingInputError, KeyError):  # what only the run itself can tell
            self._note(task_id, spec, Forecast(cached=None, why="its inputs show during the run"))
            return None
        inputs = with_defaults(given, component.get("inputDefinitions", {}))
        if irs.is_loop(spec):
            self._note(task_id, spec, Forecast(cached=None, why="its items are looked at one by one"))
            return None
        if "dag" in component:
            self._dag(component, f"{task_id}/", inputs)
            return None
        return self._step(task_id, spec, component, inputs)

    def _step(
        self, task_id: str, spec: Mapping[str, Json], component: Mapping[str, Json], inputs: Values
    ) -> Result | None:
        executor = self._ir.executor(component)
        if "importer" in executor:
            return _imported(executor["importer"], component, inputs)
        container = executor.get("container")
        if container is None:
            return None
        if not self._reuses(component, spec):
            self._note(task_id, spec, Forecast(cached=False, why=_NEVER))
            return None
        if irs.look_up(self._unbuilt, spec["componentRef"]["name"].removeprefix("comp-")) is not None:
            self._note(task_id, spec, Forecast(cached=None, why="its image is built first"))
            return None
        what = parts(irs.name(self._ir), spec, container, component, inputs)
        hit = self._cache.find(key(what))
        if hit is None:
            why = self._cache.why(f"{irs.name(self._ir)} {task_id}", what) or "it has not run with these inputs"
            self._found[task_id] = Forecast(cached=False, why=why)
            return None
        self._found[task_id] = Forecast(cached=True, why=f"the same result as in run {hit.run_id}")
        return Result(state=State.SUCCEEDED, outputs=hit.outputs)

    def _reuses(self, component: Mapping[str, Json], spec: Mapping[str, Json]) -> bool:
        return "dag" in component or (self._may and bool(spec.get("cachingOptions", {}).get("enableCache", False)))

    def _note(self, task_id: str, spec: Mapping[str, Json], forecast: Forecast) -> None:
        """Says the same of a task and of everything in it that may be reused; the rest runs if the task does."""
        component = self._ir.component(spec)
        if "dag" not in component:
            runs = not forecast.skipped and not self._reuses(component, spec)
            self._found[task_id] = Forecast(cached=False, why=_NEVER) if runs else forecast
            return
        item = "/*" if irs.is_loop(spec) else ""
        for name, inner in component["dag"].get("tasks", {}).items():
            self._note(f"{task_id}{item}/{name}", inner, forecast)


def _imported(importer: Mapping[str, Json], component: Mapping[str, Json], inputs: Values) -> Result | None:
    place = importer["artifactUri"]
    uri = place["constant"] if "constant" in place else inputs.parameters.get(place.get("runtimeParameter", ""))
    if uri is None or "{{$" in str(importer.get("metadata", "")):
        return None
    (name, _), *_ = component["outputDefinitions"]["artifacts"].items()
    artifact = {"uri": str(uri).removeprefix("file://"), "metadata": importer.get("metadata", {})}
    return Result(state=State.SUCCEEDED, outputs=Values(artifacts={name: [artifact]}))
