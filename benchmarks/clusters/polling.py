"""What 200 runs that go on cost a server each second, counted there from the first question on."""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Mapping

from benchmarks.harness import Row
from kfp_magics.backends.base import Backend, SubmitOptions
from kfp_magics.backends.connections import Connections, parse
from kfp_magics.backends.kfp import KfpBackend
from kfp_magics.backends.vertex import VertexBackend
from kfp_magics.runs.store import Store
from kfp_magics.runs.watch import refresh
from kfp_magics.settings import Settings
from tests.kfp.pipelines import ir_of
from tests.kfp.server import KfpServer
from tests.vertex.server import VertexServer

RUNS = 200
SECONDS = 30.0
_PAUSE = 1.0  # seconds between two looks, as in a Jupyter server
_MOST = 2.0  # requests a second


def measure(rounds: int) -> list[Row]:
    """Counts the requests of our polling for KFP and Vertex AI, and those of KFP's client."""
    kfp = KfpServer()
    kfp.lasts = 1e9
    vertex = VertexServer()
    vertex.plan.lasts = 1e9
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(home=f"{folder}/home")
        store = Store(settings.store_path)
        connections = Connections(settings.home_path)
        connections.remember(parse(kfp.url))
        connections.remember(
            parse("vertex:shop/europe-west4", {"endpoint": vertex.endpoint, "pipeline_root": "gs://wares/runs"})
        )
        _submit(KfpBackend(settings, store))
        ours = _count(lambda: _polled(store, {"kfp": KfpBackend(settings, store)}), lambda: len(kfp.requests))
        theirs = _count(lambda: _waited(kfp), lambda: len(kfp.requests))
        _submit(VertexBackend(settings, store))
        google = _count(lambda: _polled(store, {"vertex": VertexBackend(settings, store)}), lambda: len(vertex.calls))
        store.close()
    kfp.close()
    vertex.close()
    peer = "wait_for_run_completion"
    unit = "requests/s"
    return [
        Row(what=f"{RUNS} runs go on, KFP", ours=ours, peer=peer, theirs=theirs, most=_MOST, unit=unit),
        Row(what=f"{RUNS} runs go on, Vertex AI", ours=google, most=_MOST, unit=unit),
    ]


def _submit(backend: Backend) -> None:
    plain = ir_of("plain")
    for number in range(RUNS):
        backend.submit(plain, {}, SubmitOptions(name=f"run {number}"))


def _count(act: Callable[[], None], requests: Callable[[], int]) -> float:
    before = requests()
    act()
    return (requests() - before) / SECONDS


def _polled(store: Store, backends: Mapping[str, Backend]) -> None:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        refresh(store, backends)
        time.sleep(_PAUSE)


def _waited(server: KfpServer) -> None:
    """Waits for every run with KFP's client, which looks at each every five seconds."""
    import kfp

    def wait(run_id: str) -> None:
        with contextlib.suppress(TimeoutError):
            client.wait_for_run_completion(run_id, timeout=SECONDS)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        client = kfp.Client(host=server.url)
    threads = [threading.Thread(target=wait, args=(run_id,)) for run_id in server.runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
