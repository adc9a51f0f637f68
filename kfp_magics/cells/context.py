"""Folders with a Dockerfile as steps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kfp_magics.cells.bash import arguments_by_flag
from kfp_magics.errors import DefinitionError

if TYPE_CHECKING:
    from kfp_magics.model import Component


def read_context(folder: str) -> tuple[Path, str]:
    """Finds a folder's Dockerfile.

    Returns:
        The folder, absolute, and the Dockerfile's text.

    Raises:
        DefinitionError: There is no such folder, or no Dockerfile in it.
    """
    path = Path(folder).expanduser().resolve()
    if not path.is_dir():
        raise DefinitionError(f"There is no folder {folder!r}.", f"It would be {path}.")
    file = next((path / name for name in ("Dockerfile", "Containerfile") if (path / name).is_file()), None)
    if file is None:
        raise DefinitionError(f"The folder {folder!r} has no Dockerfile.", f"Write {path / 'Dockerfile'} first.")
    return path, file.read_text(encoding="utf-8")


def context_arguments(component: Component) -> list[str]:
    """The container's arguments: ``--name value`` for every port, values and paths alike."""
    return list(arguments_by_flag(component))
