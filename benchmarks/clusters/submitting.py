"""How long it takes until a server has a run."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.harness import Row, medians
from kfp_magics.options import RunOptions
from kfp_magics.session import Session
from kfp_magics.settings import Settings
from kfp_magics.widgets.plan import PlanCard
from tests.kfp.pipelines import ir_of

_SERVER = """
import sys
from tests.kfp.server import KfpServer
print(KfpServer().url, flush=True)
sys.stdin.read()
"""
_TIMES = 10  # runs that one measurement starts, one after the other


def measure(rounds: int) -> list[Row]:
    """Submits with %kfp_run's verb and with KFP's client, in turns."""
    import kfp

    with tempfile.TemporaryDirectory() as folder, server() as url, warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        path = Path(folder) / "plain.yaml"
        path.write_text(ir_of("plain"), encoding="utf-8")
        session = Session(Settings(home=f"{folder}/home"))
        session.servers.connect(url, {})
        client = kfp.Client(host=url)

        def submit() -> None:  # what the magic does
            ready = session.prepare(str(path), {"rows": 4}, RunOptions(experiment="benchmark"))
            repr(PlanCard(ready.plan()))
            session.start(ready)

        def ours() -> float:
            return _each(submit)

        def theirs() -> float:
            return _each(
                lambda: client.create_run_from_pipeline_package(str(path), {"rows": 4}, experiment_name="benchmark")
            )

        _ = ours(), theirs()  # makes the experiment, and imports what is imported late
        taken = medians(rounds, {"%kfp_run": ours, "kfp.Client": theirs})
    added = max(0.0, taken["%kfp_run"] - taken["kfp.Client"])
    return [
        Row(what="a run is submitted", ours=taken["%kfp_run"], peer="kfp.Client", theirs=taken["kfp.Client"]),
        Row(what="what we add to it", ours=added, most=0.2),
    ]


def _each(submit: Callable[[], object]) -> float:
    started = time.perf_counter()
    for _ in range(_TIMES):
        submit()
    return (time.perf_counter() - started) / _TIMES


@contextmanager
def server() -> Iterator[str]:
    """A KFP server of the tests in a process of its own; gives its address."""
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.communicate()  # it ends when its input does
