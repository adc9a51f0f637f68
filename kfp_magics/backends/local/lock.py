"""Whether a run's supervisor lives: it holds a lock on a file, and the system lets go of it when the supervisor ends.

Whoever starts a supervisor takes the lock and hands it over, so that there is no moment in which nobody holds it.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_NAME = "supervisor.lock"


def take(folder: Path) -> int | None:
    """Takes the lock of a run.

    Returns:
        The open file, empty until its new holder signs it, or None when a supervisor holds it.
    """
    file = os.open(folder / _NAME, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        return None
    os.ftruncate(file, 0)  # nobody may take who held it last for who holds it now
    return file


def holder(folder: Path) -> tuple[int, str] | None:
    """Says which process on which host holds the lock of a run; None when nobody does.

    The process is 0 while a supervisor is being started and has not signed yet.
    """
    free = take(folder)
    if free is not None:
        os.close(free)
        return None
    with suppress(OSError, ValueError):
        pid, host = (folder / _NAME).read_text(encoding="utf-8").split()
        return int(pid), host
    return 0, ""
