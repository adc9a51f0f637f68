"""The embedded engine against KFP's meaning of a pipeline: fixed expectations, and kfp.local as a peer."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from kfp import compiler

from kfp_magics import ir as irs
from kfp_magics.backends.base import SubmitOptions
from kfp_magics.backends.local import LocalBackend
from kfp_magics.model import Artifact, Run, State
from kfp_magics.runs.store import Store
from kfp_magics.settings import Settings

from .case import Case, content
from .pipelines import CASES

PEER = tuple(case for case in CASES if case.peer)
_DEADLINE = 60.0
_ROOT = Path(__file__).parents[2]


class Engine:
    """The embedded engine with a home of its own.

    Args:
        folder: Where everything lies.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._settings = Settings(home=str(folder / "home"))
        self._store = Store(self._settings.store_path)
        self._backend = LocalBackend(self._settings, self._store)
        self._runs: dict[str, Run] = {}

    def close(self) -> None:
        for run in self._store.unfinished():
            self._backend.cancel(run)
            self._until_final(run)
        self._store.close()

    def scratch(self, case: Case) -> Path:
        return self._folder / "scratch" / case.name

    def ir(self, case: Case) -> str:
        return (self.scratch(case) / "pipeline.yaml").read_text("utf-8")

    def start(self, case: Case) -> None:
        if case.name not in self._runs:
            scratch = self.scratch(case)
            scratch.mkdir(parents=True)
            compiler.Compiler().compile(case.pipeline, str(scratch / "pipeline.yaml"))
            self._runs[case.name] = self._backend.submit(self.ir(case), case.given(scratch), SubmitOptions())

    def end(self, case: Case) -> Run:
        self.start(case)
        self._runs[case.name] = self._until_final(self._runs[case.name])
        return self._runs[case.name]

    def _until_final(self, run: Run) -> Run:
        deadline = time.monotonic() + _DEADLINE
        while not (now := self._backend.poll(run)).state.final:
            assert time.monotonic() < deadline, now
            time.sleep(0.02)
        return now


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    made = Engine(tmp_path_factory.mktemp("engine"))
    yield made
    made.close()


class Peer:
    """kfp.local in a process of its own, which answers case by case.

    Args:
        folder: Where its answers lie.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = (folder / "peer.log").open("w+b")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.conformance.peer", str(folder)],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            cwd=_ROOT,
        )

    def answer(self, case: Case) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{case.name}\n".encode())
        self._process.stdin.flush()
        path = self._folder / f"{case.name}.json"
        while not path.exists():
            running = self._process.poll() is None
            assert running or path.exists(), self._last_words()
            time.sleep(0.05)
        return json.loads(path.read_text("utf-8"))

    def _last_words(self) -> str:
        self._log.seek(0)
        return self._log.read().decode("utf-8", "replace")[-4000:]

    def close(self) -> None:
        self._process.communicate()
        self._log.close()


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    made = Peer(tmp_path_factory.mktemp("peer"))
    yield made
    made.close()


def artifacts_of(text: str, run: Run) -> dict[str, Any]:
    """The pipeline's output artifacts, taken from the tasks that made them."""
    ir = irs.parse(text)
    root = ir.spec["root"]
    found = {}
    for name, definition in root.get("outputDefinitions", {}).get("artifacts", {}).items():
        made = [_plain(one) for one in _made(ir, run, root, name, "")]
        found[name] = made if definition.get("isArtifactList") else made[0] if made else None
    return found


def _made(ir: irs.IR, run: Run, component: Mapping[str, Any], name: str, prefix: str) -> list[Artifact]:
    """Follows an output of a DAG to the steps behind it; of `OneOf` the branch that was taken."""
    for selector in component["dag"]["outputs"]["artifacts"][name]["artifactSelectors"]:
        key, output = selector["producerSubtask"], selector["outputArtifactKey"]
        spec = component["dag"]["tasks"][key]
        inner = ir.component(spec)
        task_id = prefix + key
        if "dag" not in inner:
            task = run.task(task_id)
            found = [one for one in task.artifacts if (one.io, one.name) == ("output", output)] if task else []
        elif "parameterIterator" in spec or "artifactIterator" in spec:
            turns = sum(task.parent == task_id for task in run.tasks)
            found = [one for turn in range(turns) for one in _made(ir, run, inner, output, f"{task_id}/{turn}/")]
        else:
            found = _made(ir, run, inner, output, f"{task_id}/")
        if found:
            return found
    return []


def _plain(one: Artifact) -> dict[str, Any]:
    return {"type": one.type, "metadata": dict(one.metadata), "content": content(one.uri)}


def strictly(value: Any) -> Any:
    """A value that is equal only to one of the same types: True is not 1, and 1 is not 1.0."""
    if isinstance(value, Mapping):
        return {key: strictly(one) for key, one in value.items()}
    if isinstance(value, list):
        return [strictly(one) for one in value]
    return (type(value).__name__, value)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_engine_does_what_kfp_means(engine: Engine, case: Case) -> None:
    run = engine.end(case)
    assert run.state is (State.FAILED if case.fails else State.SUCCEEDED), run.error
    states = {task.id: task.state.value for task in run.tasks}
    assert {name: states.get(name) for name in case.states} == case.states
    assert all(task.state.final for task in run.tasks)
    given = dict(run.outputs) if case.fails else {**run.outputs, **artifacts_of(engine.ir(case), run)}
    assert strictly(given) == strictly(case.outputs)
    assert {name: content(str(engine.scratch(case) / name)) for name in case.files} == case.files


@pytest.mark.parametrize("case", PEER, ids=lambda case: case.name)
def test_the_engine_and_kfp_local_agree(engine: Engine, peer: Peer, case: Case) -> None:
    engine.start(case)
    theirs, run = peer.answer(case), engine.end(case)
    assert run.state.value == theirs["state"]
    if not case.fails:
        # Not strictly: kfp.local knows floats only inside lists and dicts.
        assert {**run.outputs, **artifacts_of(engine.ir(case), run)} == theirs["outputs"]
    assert {name: content(str(engine.scratch(case) / name)) for name in case.files} == theirs["files"]


def test_enough_is_compared() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    assert len({id(case.pipeline) for case in CASES}) >= 48
    assert len({id(case.pipeline) for case in PEER if case.outputs and not case.fails}) >= 28
