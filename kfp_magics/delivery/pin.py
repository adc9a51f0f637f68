"""Naming in a step's folder the image that its content gives, after somebody changed it by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kfp_magics.delivery.config import named_tag, pinned
from kfp_magics.delivery.steps import COMPONENT, CONFIG, STEPS, folder_spec
from kfp_magics.errors import DeliveryError

if TYPE_CHECKING:
    from pathlib import Path


def strays(folder: Path) -> dict[str, str]:
    """Finds the steps whose component.yaml names another image than their folder gives: name → what it should name.

    Args:
        folder: The exported folder.

    Raises:
        DeliveryError: There is no step in it, or the folder of one does not read.
        BuildError: As above.
    """
    places = sorted(one.parent for one in (folder / STEPS).glob(f"*/{COMPONENT}"))
    if not places:
        raise DeliveryError(f"There is no step in {str(folder)!r}.", "Name an exported folder: --dir DIR")
    found = {}
    for place in places:
        named, tag = named_tag((place / COMPONENT).read_bytes()), folder_spec(place).tag
        if named not in {"", tag}:
            found[place.name] = tag
    return found


def pin(folder: Path) -> dict[str, str]:
    """Has every component.yaml and cloudbuild.yaml name what its folder gives; errors as `strays`.

    Args:
        folder: The exported folder.

    Returns:
        Step → what it names now, for those that named something else.
    """
    found = strays(folder)
    for name, tag in found.items():
        for path in (folder / STEPS / name / COMPONENT, folder / STEPS / name / CONFIG):
            if path.is_file():
                path.write_bytes(pinned(path.read_bytes(), tag))
    return found
