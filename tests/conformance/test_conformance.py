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
_AT_ONCE = 3
_ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.xdist_group("conformance")


class Engine:
    """The embedded engine, with a few runs on their way while a test waits for its own.

    Args:
        folder: Where everything lies.
        expected: The cases whose runs will be asked for, in that order.
    """

    def __init__(self, folder: Path, expected: list[Case]) -> None:
        self._folder = folder
        self._settings = Settings(home=str(folder / "home"))
        self._store = Store(self._settings.store_path)
        self._backend = LocalBackend(self._settings, self._store)
        self._waiting = expected
        self._running: dict[str, tuple[Run, float]] = {}
        self._ended: dict[str, Run] = {}

    def close(self) -> None:
        for run, _ in self._running.values():
            self._backend.cancel(run)
        deadline = time.monotonic() + 20
        while self._running and time.monotonic() < deadline:
            self._look()
            time.sleep(0.02)
        self._store.close()

    def scratch(self, case: Case) -> Path:
        return self._folder / "scratch" / case.name

    def ir(self, case: Case) -> str:
        return (self.scratch(case) / "pipeline.yaml").read_text("utf-8")

    def end(self, case: Case) -> Run:
        if case.name not in self._ended and case.name not in self._running:
            self._start(case)
        while case.name not in self._ended:
            while self._waiting and len(self._running) < _AT_ONCE:
                self._start(self._waiting[0])
            _, deadline = self._running[case.name]
            late = time.monotonic() > deadline  # before the look: nobody may have looked for as long
            self._look()
            assert case.name in self._ended or not late, self._running[case.name]
            time.sleep(0.02)
        return self._ended[case.name]

    def _start(self, case: Case) -> None:
        if case in self._waiting:
            self._waiting.remove(case)
        scratch = self.scratch(case)
        scratch.mkdir(parents=True)
        compiler.Compiler().compile(case.pipeline, str(scratch / "pipeline.yaml"))
        run = self._backend.submit(self.ir(case), case.given(scratch), SubmitOptions())
        self._running[case.name] = run, time.monotonic() + _DEADLINE

    def _look(self) -> None:
        for name, (run, _) in list(self._running.items()):
            now = self._backend.poll(run)
            if now.state.final:
                self._ended[name] = now
                del self._running[name]


@pytest.fixture(scope="module")
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    made = Engine(tmp_path_factory.mktemp("engine"), _selected(request))
    yield made
    made.close()


class Peer:
    """kfp.local in a process of its own, which answers case by case.

    Args:
        folder: Where its answers lie.
        cases: What it runs.
    """

    def __init__(self, folder: Path, cases: list[Case]) -> None:
        self._folder = folder
        self._log = (folder / "peer.log").open("w+b")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.conformance.peer", str(folder), *(case.name for case in cases)],
            stdout=self._log,
            stderr=self._log,
            cwd=_ROOT,
        )

    def answer(self, case: Case) -> dict[str, Any]:
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
        self._process.terminate()
        self._process.wait()
        self._log.close()


@pytest.fixture(scope="module")
def peer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    made = Peer(tmp_path_factory.mktemp("peer"), [case for case in _selected(request) if case.peer])
    yield made
    made.close()


def _selected(request: pytest.FixtureRequest) -> list[Case]:
    found = (
        item.callspec.params["case"]
        for item in request.session.items
        if item.path == request.path and isinstance(item, pytest.Function) and hasattr(item, "callspec")
    )
    return list({case.name: case for case in found}.values())


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
