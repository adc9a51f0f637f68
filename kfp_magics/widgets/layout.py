"""Where the boxes of a pipeline's graph stand: columns from left to right, groups around their members."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import networkx as nx

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kfp_magics.model import Task

WIDTH, HEIGHT = 168.0, 40.0  # of a step's box, in pixels
GAP_X, GAP_Y = 44.0, 14.0
TITLE, MARGIN = 26.0, 12.0  # of a group's box


@dataclass(slots=True)
class Box:
    """A task with its place.

    Attributes:
        task: The task.
        x: Left edge in pixels, from the left of the drawing.
        y: Upper edge.
        width: In pixels.
        height: In pixels.
        members: Boxes inside, for a group.
    """

    task: Task
    x: float = 0.0
    y: float = 0.0
    width: float = WIDTH
    height: float = HEIGHT
    members: list[Box] = field(default_factory=list)

    def walk(self) -> Iterable[Box]:
        """Yields the box and everything inside, outside first."""
        yield self
        for member in self.members:
            yield from member.walk()

    def move(self, x: float, y: float) -> None:
        """Shifts the box and everything inside."""
        for box in self.walk():
            box.x += x
            box.y += y


def arrange(tasks: Sequence[Task]) -> tuple[list[Box], float, float]:
    """Arranges a graph.

    Args:
        tasks: All tasks, groups before their members.

    Returns:
        The outermost boxes, the width and the height of the drawing.
    """
    members: dict[str, list[Task]] = {}
    for task in tasks:
        members.setdefault(task.parent, []).append(task)
    return _level("", members)


def _level(parent: str, members: dict[str, list[Task]]) -> tuple[list[Box], float, float]:
    boxes = {task.id: _box(task, members) for task in members.get(parent, ())}
    graph = nx.DiGraph()
    graph.add_nodes_from(boxes)
    graph.add_edges_from((one, box.task.id) for box in boxes.values() for one in box.task.needs if one in boxes)
    x = height = 0.0
    for generation in nx.topological_generations(graph):
        column = [boxes[name] for name in generation]
        y = 0.0
        for box in column:
            box.move(x, y)
            y += box.height + GAP_Y
        height = max(height, y - GAP_Y)
        x += max(box.width for box in column) + GAP_X
    return list(boxes.values()), max(0.0, x - GAP_X), height


def _box(task: Task, members: dict[str, list[Task]]) -> Box:
    if task.id not in members:
        return Box(task)
    inside, width, height = _level(task.id, members)
    for box in inside:
        box.move(MARGIN, TITLE)
    return Box(task, width=width + 2 * MARGIN, height=height + TITLE + MARGIN, members=inside)
