"""What every backend shows of a run alike, however its server tells it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kfp_magics import ir as irs
from kfp_magics.backends.local import request as requests
from kfp_magics.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kfp_magics.model import Json, Task
    from kfp_magics.settings import Settings

_KEPT = 500  # runs whose cells are kept in memory
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


class Cells:
    """Which cell a task came from, so that its badge and its error find it.

    Args:
        settings: Where it was written down when the run started.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._known: dict[str, Mapping[str, str]] = {}

    def put(self, run_id: str, tasks: tuple[Task, ...]) -> tuple[Task, ...]:
        """Puts the cell to each task that came from one."""
        if run_id not in self._known:
            try:
                sources = requests.read(requests.folder_of(self._settings, run_id)).options.sources
            except NotFoundError:  # somebody else started it
                sources = {}
            self._known[run_id] = {name: source.cell_id for name, source in sources.items()}
            for old in list(self._known)[:-_KEPT]:
                self._known.pop(old, None)
        cells = self._known[run_id]
        return tuple(replace(task, cell_id=irs.look_up(cells, task.component) or "") for task in tasks)
