"""From a new file to a run that has been submitted."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kfp import compiler

from benchmarks.clusters.submitting import server
from benchmarks.delivery.pipeline import train
from benchmarks.harness import Row, medians
from kfp_magics.runs.store import Store
from kfp_magics.settings import Settings

_LOOP = """
import sys, time, warnings
warnings.simplefilter("ignore")
import kfp, watchfiles
host, folder, pipeline = sys.argv[1:]
client = kfp.Client(host=host)
print("ready", flush=True)
for changes in watchfiles.watch(folder):
    for kind, path in changes:
        if kind == watchfiles.Change.added:
            client.create_run_from_pipeline_package(pipeline, {"data": path}, experiment_name="new data")
            print("at", time.time(), flush=True)
"""
_PATIENCE = 60.0
_SETTLING = 1.0  # seconds after which nothing of the file before goes on


def measure(rounds: int) -> list[Row]:
    """Drops files into a watched folder, and into one that a plain loop watches."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        pipeline = Path(folder) / "train.yaml"
        compiler.Compiler().compile(train, str(pipeline))
        with server() as url, _loop(Path(folder) / "theirs", pipeline, url) as theirs, _watch(Path(folder)) as ours:
            taken = medians(rounds, {"kfp-magics": ours.drop, "a loop": theirs.drop})
    peer = "watchfiles and kfp.Client"
    what = "a new file is a submitted run on this machine"
    return [Row(what=what, ours=taken["kfp-magics"], peer=peer, theirs=taken["a loop"], most=1.0)]


def _drop(folder: Path) -> float:
    """Puts a file there at one stroke, and gives the moment."""
    time.sleep(_SETTLING)
    name = f"{time.time_ns()}.csv"
    draft = folder.parent / name
    draft.write_text("1,2\n")
    draft.rename(folder / name)
    return time.time()


class _Watched:
    def __init__(self, folder: Path, store: Store) -> None:
        self._folder, self._store = folder, store

    def drop(self) -> float:
        """Seconds from a file to its run."""
        before = len(self._store.list())
        began = _drop(self._folder)
        while len(self._store.list()) == before:
            assert time.time() - began < _PATIENCE, "no run came of the file"
            time.sleep(0.002)
        return time.time() - began


class _Looped:
    def __init__(self, folder: Path, process: subprocess.Popen[str]) -> None:
        self._folder, self._process = folder, process

    def drop(self) -> float:
        """Seconds from a file to the server's answer."""
        began = _drop(self._folder)
        assert self._process.stdout is not None
        answered = next(line for line in self._process.stdout if line.startswith("at "))  # the client prints, too
        return float(answered.split()[1]) - began


@contextmanager
def _watch(folder: Path) -> Iterator[_Watched]:
    incoming, home = folder / "ours", folder / "home"
    incoming.mkdir()
    environment = os.environ | {"KFP_MAGICS_HOME": str(home)}
    program = str(Path(sys.executable).with_name("kfp-magics"))
    words = ["cd", "watch", str(incoming), "data=$uri", "--run", str(folder / "train.yaml"), "--name", "bench"]
    process = subprocess.Popen([program, *words], env=environment, stdout=subprocess.DEVNULL)
    store = Store(Settings(home=str(home)).store_path)
    try:
        watched = _Watched(incoming, store)
        time.sleep(5)  # until it watches
        watched.drop()  # the first one imports what is imported late
        yield watched
    finally:
        subprocess.run([program, "cd", "delete", "bench"], env=environment, stdout=subprocess.DEVNULL, check=False)
        process.terminate()
        process.wait()
        store.close()


@contextmanager
def _loop(folder: Path, pipeline: Path, url: str) -> Iterator[_Looped]:
    folder.mkdir()
    command = [sys.executable, "-c", _LOOP, url, str(folder), str(pipeline)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        looped = _Looped(folder, process)
        looped.drop()
        yield looped
    finally:
        process.terminate()
        process.wait()
