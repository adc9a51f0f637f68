"""The values that flow, and the JSON that the store, the server, the panel and the widget share."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from kfp_magics.model import MISSING, Component, Port, Run, State, Task
from kfp_magics.pods import PodOptions

EXAMPLE = Path(__file__).parent / "data" / "run.json"


def test_the_example_reads_and_writes_as_it_is() -> None:
    example = json.loads(EXAMPLE.read_text(encoding="utf-8"))
    run = Run.from_json(example)
    assert run.to_json() == example
    assert {task.kind for task in run.tasks} >= {"step", "loop", "iteration"}
    assert run.error is not None
    failed = run.task("for-loop-1/1/train") or next(task for task in run.tasks if task.error)
    assert failed.error is not None
    assert Run.from_json(json.loads(json.dumps(run.to_json()))) == run


def test_what_a_newer_version_writes_is_read() -> None:
    newer = {"id": "r", "name": "r", "state": "meditating", "colour": "blue", "tasks": [{"id": "t", "name": "t"}]}
    run = Run.from_json(newer)
    assert run.state is State.UNKNOWN
    assert not run.state.final
    assert run.tasks == (Task(id="t", name="t", state=State.UNKNOWN),)


@pytest.mark.parametrize("state", State)
def test_which_states_are_final(state: State) -> None:
    assert state.final == (state in {"succeeded", "failed", "cancelled", "skipped"})


def test_the_digest_is_of_what_enters_the_image() -> None:
    component = Component(name="a", language="python", source="def a(): ...", inputs=(Port(name="x", type="int"),))
    same = [{"cell_id": "c"}, {"notebook": "n"}, {"pod": PodOptions(cpu="2")}, {"description": "d"}]
    other = [
        {"source": "def a(): pass"},
        {"requirements": ("x==1",)},
        {"base_image": "i"},
        {"inputs": (Port(name="x", type="int", default=None),)},
        {"inputs": (Port(name="x", type="float"),)},
    ]
    assert {replace(component, **change).digest for change in same} == {component.digest}  # type: ignore[arg-type]
    assert len({component.digest, *(replace(component, **change).digest for change in other)}) == 6  # type: ignore[arg-type]


def test_ports_are_found_by_name() -> None:
    given, made = Port(name="x", type="int"), Port(name="y", type="Dataset")
    component = Component(name="a", language="python", source="", inputs=(given,), outputs=(made,))
    assert (component.port("x"), component.port("y"), component.port("z")) == (given, made, None)
    assert given.is_parameter
    assert not made.is_parameter
    assert repr(given.default) == "MISSING"
    assert given.default is MISSING
