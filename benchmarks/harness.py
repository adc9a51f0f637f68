"""What every benchmark shares: medians of interleaved rounds, rows of the table, and what they were measured on."""

from __future__ import annotations

import os
import platform
import statistics
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version

import psutil


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table.

    Attributes:
        what: What was measured.
        ours: Seconds that kfp-magics takes, or what `unit` says.
        peer: Whose seconds stand beside; empty when there is no peer.
        theirs: Seconds that the peer takes, None when there is no peer.
        most: Seconds that ours may be, None without a target.
        least: How many times faster than the peer ours must be, None without a target.
        unit: Of what is no time, as ``requests/s``; the less the better, as with seconds.
    """

    what: str
    ours: float
    peer: str = ""
    theirs: float | None = None
    most: float | None = None
    least: float | None = None
    unit: str = ""

    @property
    def ratio(self) -> float | None:
        """How many times faster ours is."""
        return None if self.theirs is None else self.theirs / self.ours

    @property
    def met(self) -> bool | None:
        """Whether the targets are met; None when there is none."""
        if self.most is None and self.least is None:
            return None
        quick = self.most is None or self.ours <= self.most
        return quick and (self.least is None or (self.ratio or 0.0) >= self.least)

    @property
    def target(self) -> str:
        """The targets as text."""
        words = [f"≤ {self.text(self.most)}"] if self.most is not None else []
        return ", ".join([*words, *([f"≥ {self.least:g}×"] if self.least is not None else [])])

    def text(self, value: float) -> str:
        """Writes a value of this row."""
        return f"{value:.2f} {self.unit}" if self.unit else seconds(value)


def medians(rounds: int, measures: Mapping[str, Callable[[], float]]) -> dict[str, float]:
    """Measures things in turns, so that what disturbs the machine disturbs all of them.

    Args:
        rounds: How often each is measured.
        measures: Name → what measures it once and gives seconds.

    Returns:
        Name → median of its rounds.
    """
    taken: dict[str, list[float]] = {name: [] for name in measures}
    for number in range(rounds):
        for name, measure in measures.items():
            taken[name].append(measure())
            print(f"    {number + 1}/{rounds} {name}: {seconds(taken[name][-1])}", file=sys.stderr, flush=True)
    return {name: statistics.median(values) for name, values in taken.items()}


def seconds(value: float) -> str:
    """Writes seconds with as many digits as they deserve."""
    return f"{value * 1000:.1f} ms" if value < 0.1 else f"{value:.2f} s" if value < 10 else f"{value:.1f} s"


def machine() -> str:
    """What the figures were measured on, in one line."""
    memory = psutil.virtual_memory().total / 2**30
    today = datetime.now(UTC).date().isoformat()
    return (
        f"{today} · {platform.system()} {platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB · "
        f"Python {platform.python_version()} · kfp {version('kfp')} · kfp-magics {version('kfp-magics')}"
    )
