"""``%load_ext kfp_magics``, in a fresh IPython each time."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator

from benchmarks.harness import Row, medians

_LOAD = """
import time
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
start = time.perf_counter()
shell.run_line_magic("load_ext", "kfp_magics")
print(time.perf_counter() - start)
"""
_IMPORT = """
import time
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
start = time.perf_counter()
from kfp import dsl, local
print(time.perf_counter() - start)
"""


def measure(rounds: int) -> Iterator[Row]:
    """Measures what loading costs beyond IPython itself."""
    took = medians(2 * rounds + 1, {"load_ext": _program(_LOAD), "import kfp": _program(_IMPORT)})
    yield Row(
        what="%load_ext kfp_magics",
        ours=took["load_ext"],
        peer="from kfp import dsl, local",
        theirs=took["import kfp"],
        most=0.1,
    )


def _program(text: str) -> Callable[[], float]:
    def run() -> float:
        done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
        return float(done.stdout.split()[-1])

    return run
