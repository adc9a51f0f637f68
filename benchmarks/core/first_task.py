"""The first task that needs packages: its environment is made, from what uv and pip keep on this machine."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.core.ours import Ours
from benchmarks.core.peer import Peer
from benchmarks.core.pipelines import LARGE, SMALL, requires
from benchmarks.harness import Row, medians


def measure(rounds: int) -> Iterator[Row]:
    """Measures a task with a small requirement and one with pandas, in a new environment each time."""
    with Ours() as ours, Peer() as peer:

        def first(package: str) -> float:
            ours.forget_environments()
            return ours.run(requires(package))

        for package in (SMALL, LARGE):
            first(package)  # fills uv's cache
            peer.run("requires", package=package, venv=True)  # and pip's
        took = medians(
            min(rounds, 3),
            {
                "small": lambda: first(SMALL),
                "small, kfp.local": lambda: peer.run("requires", package=SMALL, venv=True),
                "large": lambda: first(LARGE),
                "large, kfp.local": lambda: peer.run("requires", package=LARGE, venv=True),
            },
        )
    for name, what in (("small", "first task with a requirement"), ("large", "first task that needs pandas")):
        yield Row(
            what=what,
            ours=took[name],
            peer="kfp.local with a venv",
            theirs=took[f"{name}, kfp.local"],
            most=1.5 if name == "small" else None,
            least=4,
        )
