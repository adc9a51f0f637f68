"""Large pipelines: what a task costs among hundreds, with its process and without one."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from benchmarks.core.ours import Ours
from benchmarks.core.peer import Peer
from benchmarks.core.pipelines import wide
from benchmarks.harness import Row, medians

_SIZES = (75, 150, 300)


def measure(rounds: int) -> Iterator[Row]:
    """Measures pipelines of independent tasks; when every result is reused, only scheduling is left."""
    with Ours() as ours, Peer() as peer:
        for size in _SIZES:
            ours.run(wide(size, cache=True), cache=True)  # keeps the results that are reused below
        took = medians(
            min(rounds, 3),
            {
                **{f"{size}": lambda size=size: ours.run(wide(size)) for size in _SIZES},
                **{f"{size} reused": lambda size=size: ours.run(wide(size, cache=True), cache=True) for size in _SIZES},
                "kfp.local, bare": lambda: peer.run("wide", length=_SIZES[-1], check=False),
            },
        )
    last = _SIZES[-1]
    yield Row(
        what=f"a pipeline of {last} empty tasks, each",
        ours=took[f"{last}"] / last,
        peer="kfp.local, bare",
        theirs=took["kfp.local, bare"] / last,
        least=1,
    )
    for smaller, larger in pairwise(_SIZES):
        yield Row(
            what=f"one more task, from {smaller} to {larger}",
            ours=(took[f"{larger}"] - took[f"{smaller}"]) / (larger - smaller),
        )
        yield Row(
            what=f"scheduling alone of one more task, from {smaller} to {larger}",
            ours=(took[f"{larger} reused"] - took[f"{smaller} reused"]) / (larger - smaller),
            most=0.02,
        )
