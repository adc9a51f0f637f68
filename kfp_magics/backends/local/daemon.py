"""Becomes a process that belongs to nobody: ``python daemon.py FOLDER LOCK MODULE``, whose ``main`` gets the first two.

Run by path, so that the part which whoever starts it waits for costs no more than a bare interpreter. When it returns,
the process lives on, and the lock names it.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from pathlib import Path


def sign(file: int, pid: int) -> None:
    """Writes down who holds a lock and where."""
    os.ftruncate(file, 0)
    os.pwrite(file, f"{pid} {os.uname().nodename}\n".encode(), 0)


if __name__ == "__main__":
    # A request to end that comes before the process can act on it waits until it can.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    pid = os.fork()
    if pid:
        sign(int(sys.argv[2]), pid)
        os._exit(0)
    os.setsid()
    importlib.import_module(sys.argv[3]).main(Path(sys.argv[1]), int(sys.argv[2]))
