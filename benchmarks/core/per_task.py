"""What one more task costs when its environment is there: a chain of empty tasks beside a single one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from benchmarks.core.ours import Ours
from benchmarks.core.peer import Peer
from benchmarks.core.pipelines import chain
from benchmarks.harness import Row, medians

_LENGTH = 21


def measure(rounds: int) -> Iterator[Row]:
    """Measures the overhead of a task, and a whole run of one task."""
    with Ours() as ours, Peer() as peer:
        ours.run(chain(1))

        def us(length: int) -> Callable[[], float]:
            return lambda: ours.run(chain(length))

        def them(length: int, *, check: bool) -> Callable[[], float]:
            return lambda: peer.run("chain", length=length, check=check)

        took = medians(
            rounds,
            {
                "one": us(1),
                "one, as users meet it": them(1, check=True),
                "one, bare": them(1, check=False),
                "many": us(_LENGTH),
                "many, as users meet it": them(_LENGTH, check=True),
                "many, bare": them(_LENGTH, check=False),
            },
        )

    def more(kind: str) -> float:
        return (took[f"many{kind}"] - took[f"one{kind}"]) / (_LENGTH - 1)

    what = "overhead of a task"
    yield Row(
        what=what,
        ours=more(""),
        peer="kfp.local as users meet it",
        theirs=more(", as users meet it"),
        most=0.03,
        least=10,
    )
    yield Row(what=what, ours=more(""), peer="kfp.local, bare", theirs=more(", bare"), least=1)
    what = "a run of one empty task"
    yield Row(what=what, ours=took["one"], peer="kfp.local as users meet it", theirs=took["one, as users meet it"])
    yield Row(what=what, ours=took["one"], peer="kfp.local, bare", theirs=took["one, bare"])
