"""What every backend shows of a run alike, however its server tells it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kfp_magics.model import MISSING, Missing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kfp_magics.ir import IR
    from kfp_magics.model import Json, Task

_OF_THE_COMPILER = "pipelinechannel-"  # what it passes into groups for the steps inside


def group_inputs(values: Mapping[str, Json]) -> dict[str, Json]:
    """The inputs of a group that a person gave it, without those that the compiler passes through."""
    return {name: value for name, value in values.items() if not name.startswith(_OF_THE_COMPILER)}


def item_of(spec: Mapping[str, Json], values: Mapping[str, Json]) -> dict[str, Json]:
    """What an iteration of a loop was given.

    Args:
        spec: The loop, as the compiled pipeline has it.
        values: The parameters of the iteration.
    """
    name = spec.get("parameterIterator", {}).get("itemInput", "")
    return {"item": values[name]} if name in values else {}


def run_outputs(ir: IR, tasks: Mapping[str, Task]) -> dict[str, Json]:
    """The pipeline's own output parameters, from those of its steps.

    Args:
        ir: The compiled pipeline.
        tasks: Id → task, as the run ended.
    """
    root = ir.spec["root"]
    reader = _Outputs(ir, tasks)
    found = {name: reader.of_group(root, "", name) for name in root.get("outputDefinitions", {}).get("parameters", {})}
    return {name: value for name, value in found.items() if value is not MISSING}


class _Outputs:
    """Follows outputs of groups to the steps that made them."""

    def __init__(self, ir: IR, tasks: Mapping[str, Task]) -> None:
        self._ir = ir
        self._tasks = tasks

    def of_group(self, component: Mapping[str, Json], prefix: str, name: str) -> Json | Missing:
        source = component["dag"].get("outputs", {}).get("parameters", {}).get(name, {})
        told = source.get("valueFromParameter")
        for one in [told] if told else source.get("valueFromOneof", {}).get("parameterSelectors", ()):
            spec = component["dag"]["tasks"].get(one["producerSubtask"])
            found = self._of_task(spec, prefix + one["producerSubtask"], one["outputParameterKey"]) if spec else MISSING
            if found is not MISSING:
                return found
        return MISSING

    def _of_task(self, spec: Mapping[str, Json], task_id: str, name: str) -> Json | Missing:
        task = self._tasks.get(task_id)
        inner = self._ir.component(spec)
        if task is None or name in task.outputs or "dag" not in inner:
            return MISSING if task is None else task.outputs.get(name, MISSING)
        if task.kind != "loop":
            return self.of_group(inner, f"{task_id}/", name)
        found = [self.of_group(inner, f"{one}/", name) for one in self._iterations(task_id)]
        return [one for one in found if one is not MISSING]

    def _iterations(self, loop: str) -> Iterator[str]:
        number = 0
        while f"{loop}/{number}" in self._tasks:
            yield f"{loop}/{number}"
            number += 1
