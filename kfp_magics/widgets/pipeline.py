"""The graph of a pipeline that has not run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kfp_magics.runs.text import task_lines

if TYPE_CHECKING:
    from kfp_magics.model import Task


@dataclass(frozen=True, repr=False)
class PipelineView:
    """A pipeline's graph, as ``%%kfp_pipeline`` shows it.

    Attributes:
        name: The pipeline.
        tasks: Its tasks, groups before their members; loops as one iteration.
    """

    name: str
    tasks: tuple[Task, ...]

    def __repr__(self) -> str:
        return "\n".join([f"pipeline {self.name}", *task_lines(self.tasks)])

    def _repr_html_(self) -> str:
        from kfp_magics.widgets.html import pipeline_html  # noqa: PLC0415  (networkx only when something is drawn)

        return pipeline_html(self.name, self.tasks)
