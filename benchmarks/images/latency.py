"""A registry that is far away: every request takes 50 ms longer."""

from __future__ import annotations

import uuid

from benchmarks.harness import Row, medians
from benchmarks.images.place import Silent, place, timed
from tests.images.faulty import Faulty


def measure(rounds: int) -> list[Row]:
    """Code that changed, and nothing that did."""
    with place() as here:
        proxy = Faulty(here.host)
        path = here.path()
        builder = here.builder(path, here.cache(), proxy.host)
        specs = [here.spec(f"print({uuid.uuid4().hex!r})\n") for _ in range(2 * rounds + 1)]
        builder.build(specs.pop(), Silent())
        proxy.latency = 0.05
        built = []

        def edit() -> float:
            built.append(specs.pop())
            return timed(lambda: builder.build(built[-1], Silent()))

        taken = medians(
            rounds,
            {
                "edit": edit,
                "new machine": lambda: timed(
                    lambda: here.builder(path, here.cache(), proxy.host).build(specs.pop(), Silent())
                ),
                "same": lambda: timed(lambda: builder.build(built[-1], Silent())),
            },
        )
        proxy.close()
    return [
        Row(what="50 ms more for each request: only the code changed", ours=taken["edit"], most=0.4),
        Row(what="50 ms more for each request: on a machine that never built it", ours=taken["new machine"]),
        Row(what="50 ms more for each request: nothing changed", ours=taken["same"]),
    ]
