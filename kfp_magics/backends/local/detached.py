"""Processes that belong to nobody: whoever starts one may end, and it goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from kfp_magics.errors import UnavailableError

_DAEMON = Path(__file__).with_name("daemon.py")


def start(folder: Path, held: int, module: str, log: Path) -> None:
    """Starts a process, and returns when it lives on its own.

    Args:
        folder: Where it works.
        held: The lock that it takes over, open here; closed afterwards.
        module: Its ``main`` is called with the folder and the lock.
        log: File that gets what it prints.

    Raises:
        UnavailableError: It did not start; it may another time.
    """
    command = [sys.executable, "-P", str(_DAEMON), str(folder), str(held), module]
    try:
        with log.open("ab") as file:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                cwd=folder,
                env=os.environ | {"_KFP_RUNTIME": "true", "PYTHONUNBUFFERED": "1"},
                pass_fds=(held,),
                check=False,
            )
    finally:
        os.close(held)
    if done.returncode:
        raise UnavailableError(f"The engine did not start: exit code {done.returncode}.", f"Its log is {log}")
