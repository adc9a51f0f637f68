"""Eight tasks of one second that need nothing of each other."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.core.ours import Ours
from benchmarks.core.peer import Peer
from benchmarks.core.pipelines import loop, sleeps
from benchmarks.harness import Row, medians


def measure(rounds: int) -> Iterator[Row]:
    """Measures them side by side and in a ParallelFor."""
    with Ours() as ours, Peer() as peer:
        ours.run(sleeps())
        took = medians(
            min(rounds, 3),
            {
                "sleeps": lambda: ours.run(sleeps()),
                "sleeps, kfp.local as users meet it": lambda: peer.run("sleeps", check=True),
                "sleeps, kfp.local, bare": lambda: peer.run("sleeps", check=False),
                "loop": lambda: ours.run(loop()),
                "loop, kfp.local as users meet it": lambda: peer.run("loop", check=True),
                "loop, kfp.local, bare": lambda: peer.run("loop", check=False),
            },
        )
    for name, what in (("sleeps", "8 tasks of one second"), ("loop", "the same in a ParallelFor")):
        for peer_name in ("kfp.local as users meet it", "kfp.local, bare"):
            yield Row(
                what=what,
                ours=took[name],
                peer=peer_name,
                theirs=took[f"{name}, {peer_name}"],
                most=2.0,
            )
