"""Many steps at once that share their requirements: nothing of them is made or sent twice."""

from __future__ import annotations

import re
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from benchmarks.harness import Row, medians
from benchmarks.images.place import Silent, place, timed
from tests.images.faulty import Faulty

_STEPS = 30


def measure(rounds: int) -> list[Row]:
    """Thirty first builds, and thirty after a change."""
    with place() as here:
        proxy = Faulty(here.host)

        def build(path: str) -> float:
            builder = here.builder(path, here.cache(), proxy.host)
            specs = [here.spec(f"print({uuid.uuid4().hex!r})\n", name=f"step-{n}") for n in range(_STEPS)]
            proxy.passed.clear()
            with ThreadPoolExecutor(8) as pool:
                taken = timed(lambda: list(pool.map(lambda spec: builder.build(spec, Silent()), specs)))
            sent = Counter(re.findall(r"digest=([^&]+)", " ".join(proxy.lines("PUT .*kfpm-layers/blobs/uploads"))))
            assert not sent or set(sent.values()) == {1}, sent
            return taken

        known = here.path()
        build(known)
        taken = medians(rounds, {"first": lambda: build(here.path()), "edit": lambda: build(known)})
        proxy.close()
    return [
        Row(what=f"{_STEPS} steps at once for the first time, each layer made and sent once", ours=taken["first"]),
        Row(what=f"{_STEPS} steps at once, only their code changed", ours=taken["edit"]),
    ]
