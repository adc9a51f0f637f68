"""What every backend shows of a run alike, however its server tells it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kfp_magics.model import Json

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
