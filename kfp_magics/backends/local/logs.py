"""Logs of tasks as files that grow."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def read_piece(path: Path, position: int, size: int) -> bytes:
    """Reads what a log holds behind a position; nothing when the task has not begun to write it.

    Args:
        path: The file.
        position: Bytes before what is wanted.
        size: Bytes at most.
    """
    try:
        with path.open("rb") as file:
            file.seek(position)
            return file.read(size)
    except FileNotFoundError:
        return b""
