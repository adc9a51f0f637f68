"""A real Jupyter kernel, and what becomes of runs when it goes."""

import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest
from jupyter_client.manager import KernelManager

from tests.delivery.conftest import place as place  # a fixture
from tests.delivery.test_watch import PIPELINE, STEP
from tests.delivery.watched import Place

GATED = """%%kfp_component
def gated(gate: str) -> str:
    import os, time
    while not os.path.exists(gate):
        time.sleep(0.05)
    return "through"
"""
FAILS = "%%kfp_component\ndef fails(x: int = 0) -> float:\n    return 1 / x\n"


class Kernel:
    """A kernel as JupyterLab starts one, and what its cells show."""

    def __init__(self, home: Path) -> None:
        self.manager = KernelManager(kernel_name="python3")
        environment = os.environ | {"KFP_MAGICS_HOME": str(home)}
        self.manager.start_kernel(env=environment, stderr=subprocess.DEVNULL)
        self._connect()

    def _connect(self) -> None:
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def run(self, cell: str) -> tuple[str, list[dict[str, Any]]]:
        """Executes a cell; gives the reply's status and the messages that it showed."""
        shown: list[dict[str, Any]] = []
        reply = self.client.execute_interactive(cell, output_hook=shown.append, timeout=60)
        return reply["content"]["status"], [message for message in shown if message["msg_type"] != "status"]

    def text(self, cell: str) -> str:
        """What a cell shows, as a terminal would."""
        _, shown = self.run(cell)
        contents = [message["content"] for message in shown]
        return "\n".join(one.get("text") or one.get("data", {}).get("text/plain") or "" for one in contents)

    def restart(self) -> None:
        self.client.stop_channels()
        self.manager.restart_kernel(now=True)  # SIGKILL to the whole process group
        self._connect()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    with Kernel(tmp_path / "home") as made:
        made.run("%load_ext kfp_magics")
        yield made


def until(kernel: Kernel, pattern: str) -> None:
    """Looks at the runs until they are seen so."""
    deadline = time.monotonic() + 60
    while not re.search(pattern, seen := kernel.text("%kfp_runs")):
        assert time.monotonic() < deadline, seen
        time.sleep(0.1)


def test_files_that_come_when_the_kernel_is_gone_start_runs(kernel: Kernel, place: Place) -> None:
    kernel.run(STEP)
    kernel.run(PIPELINE)
    assert "Watching" in kernel.text(f"%kfp_cd watch {place.folder} --run train data=$uri")
    kernel.restart()
    path = place.drop("night.csv")
    [run] = place.runs(1)
    assert run.parameters["data"] == str(path)
    kernel.run("%load_ext kfp_magics")
    assert "train night.csv" in kernel.text("%kfp_runs")
    assert "watching" in kernel.text("%kfp_cd list")


def test_a_run_outlives_its_kernel(kernel: Kernel, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    kernel.run(GATED)
    status, shown = kernel.run(f"%kfp_run gated gate={gate}")
    assert status == "ok"
    (display,) = [one["content"] for one in shown if one["msg_type"] == "display_data"]
    assert "gated" in display["data"]["text/html"]
    kernel.restart()
    assert "not found" in kernel.text("%kfp_runs")  # nothing is loaded: it is a new kernel
    kernel.run("%load_ext kfp_magics")
    until(kernel, r"▶ running .* gated")
    gate.touch()
    until(kernel, "✓ succeeded")
    assert "✓ gated" in kernel.text("%kfp_runs last")
    assert "gate" in kernel.text("%kfp_replay last gated")  # what the step was is remembered too
    assert kernel.text("gate").strip() == repr(str(gate))


def test_a_run_is_shown_again_where_it_is_asked_for(kernel: Kernel) -> None:
    kernel.run("%%kfp_component\ndef quick() -> int:\n    return 1\n")
    _, shown = kernel.run("live = %kfp_run quick --wait")
    assert [one["msg_type"] for one in shown].count("display_data") == 1  # it changes in its place
    for cell in ("live", "live"):
        assert "✓ quick" in kernel.text(cell)
    assert kernel.text("live.outputs, live.run.state.value").strip() == "({}, 'succeeded')"


def test_mistakes_and_failures_are_shown_without_a_stack(kernel: Kernel) -> None:
    status, shown = kernel.run("%kfp_run nothing")
    assert status == "error"
    (error,) = [one["content"] for one in shown if one["msg_type"] == "error"]
    assert error["ename"] == "NotFoundError"
    assert error["traceback"] == [
        "There is no pipeline or step 'nothing'.",
        "Define one with %%kfp_pipeline, or give a file: pipeline.py, pipeline.yaml.",
    ]
    kernel.run(FAILS)
    status, shown = kernel.run("%kfp_run fails --wait")
    assert status == "error"
    (error,) = [one["content"] for one in shown if one["msg_type"] == "error"]
    assert error["ename"] == "RunFailedError"
    assert "(line 3 of its cell: return 1 / x): ZeroDivisionError" in error["traceback"][0]
    assert not any("kfp_magics/" in line for line in error["traceback"])
    # What stays in the notebook is the end of the run, as HTML that needs no kernel.
    last = [one["content"] for one in shown if one["msg_type"] in {"display_data", "update_display_data"}][-1]
    assert set(last["data"]) == {"text/plain", "text/html"}
    assert "ZeroDivisionError" in last["data"]["text/html"]
