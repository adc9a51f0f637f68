"""When ``%kfp_run`` gives the cell back, in a real kernel: from sending the cell until the kernel is idle again."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from benchmarks.core.peer import Peer
from benchmarks.harness import Row, medians

_CELLS = (
    "%load_ext kfp_magics",
    "%%kfp_component\nimport time\ndef rest(seconds: float):\n    time.sleep(seconds)\n",
    "%%kfp_pipeline\ndef resting():\n    rest(seconds=0.01)\n",  # imports kfp
)
_RUN = "%kfp_run resting --no-cache"


def measure(rounds: int) -> Iterator[Row]:
    """Measures the first run of a kernel and the next; kfp.local gives the cell back when all is done."""
    with tempfile.TemporaryDirectory() as home, Peer() as peer:
        taken: dict[str, list[float]] = {"first": [], "next": []}

        def kernel() -> float:
            first, second = _in_a_new_kernel(home)
            taken["next"].append(second)
            return first

        kernel()  # makes the environment
        taken["next"].clear()
        took = medians(rounds, {"first": kernel, "kfp.local": lambda: peer.run("chain", length=1, check=True)})
        took["next"] = sorted(taken["next"])[len(taken["next"]) // 2]
    for name, what in (("first", "%kfp_run gives the cell back, first of a kernel"), ("next", "the next one")):
        yield Row(what=what, ours=took[name], peer="kfp.local, one task", theirs=took["kfp.local"], most=0.3)


def _in_a_new_kernel(home: str) -> tuple[float, float]:
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(env=os.environ | {"KFP_MAGICS_HOME": home}, stderr=subprocess.DEVNULL)
    client = manager.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        for cell in _CELLS:
            _execute(client, cell)
        first = _execute(client, _RUN)
        time.sleep(1)  # the first run ends
        return first, _execute(client, _RUN)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def _execute(client: BlockingKernelClient, cell: str) -> float:
    start = time.perf_counter()
    reply = client.execute_interactive(cell, output_hook=lambda _: None, timeout=60)
    taken = time.perf_counter() - start
    if reply["content"]["status"] != "ok":
        raise RuntimeError("\n".join(reply["content"]["traceback"]))
    return taken
