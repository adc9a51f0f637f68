"""How attempts end, however they were carried out: in words for the person who waits."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from kfp_magics.model import Failure

if TYPE_CHECKING:
    from kfp_magics.backends.local.executor import Launch

_HINTS = {
    "SIGKILL": "Often the machine ran out of memory: give the step less data, or run fewer tasks at once.",
    "SIGSEGV": "A library of the step crashed; its last output is in the log.",
    "SIGXFSZ": "The step wrote more than its disk quota allows (setting disk_quota).",
}


def ended_by_signal(number: int, launch: Launch) -> Failure:
    """A failure of an attempt that a signal ended."""
    name = signal.Signals(number).name if number in signal.valid_signals() else f"signal {number}"
    return Failure(message=f"It was ended by {name}.", hint=_HINTS.get(name, ""), cell_id=cell_of(launch))


def ended_with_code(code: int, launch: Launch) -> Failure:
    """A failure of an attempt that ended by itself, with the last line that it printed."""
    last = last_line(launch.log)
    return Failure(message=f"It ended with exit code {code}" + (f": {last}" if last else "."), cell_id=cell_of(launch))


def over_quota(quota: int) -> Failure:
    """A failure of an attempt that wrote too much."""
    return Failure(
        message=f"It wrote more than its disk quota of {quota / 1e6:.0f} MB.",
        hint="Write less, or raise the setting disk_quota (bytes; 0 for no limit).",
    )


def cell_of(launch: Launch) -> str:
    """The notebook cell that an attempt's step came from; empty when nobody knows."""
    return launch.source.cell_id if launch.source else ""


def tail(log: Path, size: int = 4096) -> str:
    """The end of a log, at most so many bytes."""
    with suppress(OSError), log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - size))
        return file.read().decode("utf-8", "replace")
    return ""


def last_line(log: Path) -> str:
    """The last line of a log that is not blank."""
    return next((line.strip()[:200] for line in reversed(tail(log).split("\n")) if line.strip()), "")


def size_of(folder: Path) -> int:
    """Bytes in a folder and all below it."""
    total = 0
    for place, _, files in os.walk(folder):
        for name in files:
            with suppress(OSError):
                total += Path(place, name).lstat().st_size
    return total
