"""The graph of a pipeline that has not run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kfp_magics.runs.text import task_lines

if TYPE_CHECKING:
    from kfp_magics.model import StandIn, Task


@dataclass(frozen=True, repr=False)
class PipelineView:
    """A pipeline's graph, as ``%%kfp_pipeline`` shows it.

    Attributes:
        name: The pipeline.
        tasks: Its tasks, groups before their members; loops as one iteration.
        description: What it is, if it is a part of another.
        stand_ins: What stands in it for steps of the other that it leaves out.
    """

    name: str
    tasks: tuple[Task, ...]
    description: str = ""
    stand_ins: tuple[StandIn, ...] = ()

    def __repr__(self) -> str:
        return "\n".join([f"pipeline {self.name}", *self._notes(), *task_lines(self.tasks)])

    def _notes(self) -> list[str]:
        return [self.description, *map(_said, self.stand_ins)] if self.description else []

    def _repr_html_(self) -> str:
        from kfp_magics.widgets.html import pipeline_html  # noqa: PLC0415  (networkx only when something is drawn)

        return pipeline_html(self.name, self.tasks, self._notes())


def _said(one: StandIn) -> str:
    if one.uri:
        return f"  {one.name}: {one.type} of {one.step} in run {one.run}"
    how = (
        f"the URI of a {one.type}, as {one.step} writes it"
        if one.is_artifact
        else f"{one.type}, as {one.step} gives it"
    )
    return f"  {one.name}=…: {how}" + (f"; else that of run {one.run}" if one.run else "")
