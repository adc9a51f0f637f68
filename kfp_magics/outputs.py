"""What groups of steps and whole pipelines give: the compiled pipeline tells which step made it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kfp_magics.model import MISSING, Missing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kfp_magics.ir import IR
    from kfp_magics.model import Artifact, Json, Task


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


def with_outputs(ir: IR, task: Task, tasks: Mapping[str, Task]) -> Task:
    """A task with what it gives, also when it is a group; of loops only values, in lists.

    Args:
        ir: The compiled pipeline.
        task: The task, in no loop.
        tasks: Id → task, as the run ended.
    """
    spec = ir.task(task.id)
    component = ir.component(spec) if spec else {}
    if spec is None or "dag" not in component:
        return task
    reader = _Outputs(ir, tasks)
    names = component.get("outputDefinitions", {})
    found = {name: reader.of_task(spec, task.id, name) for name in names.get("parameters", {})}
    made = {name: reader.artifact(spec, task.id, name) for name in names.get("artifacts", {})}
    return replace(
        task,
        outputs={name: value for name, value in found.items() if value is not MISSING},
        artifacts=(*task.artifacts, *(replace(one, name=name) for name, one in made.items() if one is not None)),
    )


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
            found = self.of_task(spec, prefix + one["producerSubtask"], one["outputParameterKey"]) if spec else MISSING
            if found is not MISSING:
                return found
        return MISSING

    def of_task(self, spec: Mapping[str, Json], task_id: str, name: str) -> Json | Missing:
        task = self._tasks.get(task_id)
        inner = self._ir.component(spec)
        if task is None or name in task.outputs or "dag" not in inner:
            return MISSING if task is None else task.outputs.get(name, MISSING)
        if task.kind != "loop":
            return self.of_group(inner, f"{task_id}/", name)
        found = [self.of_group(inner, f"{one}/", name) for one in self._iterations(task_id)]
        return [one for one in found if one is not MISSING]

    def artifact(self, spec: Mapping[str, Json], task_id: str, name: str) -> Artifact | None:
        task, inner = self._tasks.get(task_id), self._ir.component(spec)
        if task is None or task.kind == "loop":
            return None
        if "dag" not in inner:
            made = [one for one in task.artifacts if one.io == "output" and one.name == name]
            return made[0] if len(made) == 1 else None
        for one in inner["dag"].get("outputs", {}).get("artifacts", {}).get(name, {}).get("artifactSelectors", ()):
            made_by = inner["dag"]["tasks"].get(one["producerSubtask"])
            key = one["outputArtifactKey"]
            found = self.artifact(made_by, f"{task_id}/{one['producerSubtask']}", key) if made_by else None
            if found is not None:
                return found
        return None

    def _iterations(self, loop: str) -> Iterator[str]:
        number = 0
        while f"{loop}/{number}" in self._tasks:
            yield f"{loop}/{number}"
            number += 1
