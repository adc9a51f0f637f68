"""What every backend must do, whatever runs behind it: to be run against each of them.

A test module makes a `Place` for each backend in a fixture called ``place``, and imports the tests of this module.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from kfp_magics.backends.base import Backend, SubmitOptions
from kfp_magics.errors import ArgumentError, BackendError, DefinitionError, NotFoundError
from kfp_magics.model import Run, State
from kfp_magics.runs.store import Store
from kfp_magics.runs.watch import Watcher
from tests.backends.pipelines import ir_of

PATIENCE = 90.0


@dataclass
class Place:
    """A backend, and what its tests need besides.

    Attributes:
        backend: The backend under test.
        store: Where its runs are remembered.
        hold: Has the next run of this name go on until it is cancelled.
        fail: Has the next run of this name fail at its first step.
        print: Has the first step of a run have printed something; what real engines do by themselves.
        resumes: Whether runs that did not succeed can be resumed there.
    """

    backend: Backend
    store: Store
    hold: Callable[[str], None] = lambda name: None
    fail: Callable[[str], None] = lambda name: None
    print: Callable[[Run, str], None] = lambda run, text: None
    resumes: bool = True

    def start(self, name: str, pipeline: str = "add", **arguments: object) -> Run:
        return self.backend.submit(ir_of(pipeline), arguments, SubmitOptions(name=name, experiment="contract"))

    def until(self, run: Run, reached: Callable[[Run], bool]) -> Run:
        deadline = time.monotonic() + PATIENCE
        while not reached(run):
            assert time.monotonic() < deadline, run
            time.sleep(0.1)
            run = self.store.update(run, self.backend.poll(run))
        return run

    def end(self, run: Run) -> Run:
        return self.until(run, lambda now: now.state.final)


def test_a_run_begins_with_its_tasks_and_ends(place: Place) -> None:
    run = place.start("whole", first=3)
    assert (run.name, run.pipeline, run.backend) == ("whole", "add", place.backend.name)
    assert run.experiment == "contract"
    assert {task.id for task in run.tasks} == {"one", "two"}
    assert not run.state.final
    assert place.store.get(run.id).name == "whole"
    ended = place.end(run)
    assert ended.state is State.SUCCEEDED
    assert {task.id: task.state for task in ended.tasks} == {"one": State.SUCCEEDED, "two": State.SUCCEEDED}
    assert ended.task("two").needs == ("one",)
    assert ended.parameters == {"first": 3}
    assert ended.finished >= ended.created - 1
    assert place.backend.poll(ended).state is State.SUCCEEDED  # and looking again changes nothing


def test_asked_for_twice_with_one_key_it_is_one_run(place: Place) -> None:
    options = SubmitOptions(name="keyed", experiment="contract", key="20260102-030405-abcdef")
    first = place.backend.submit(ir_of("add"), {"first": 3}, options)
    assert place.backend.submit(ir_of("add"), {"first": 3}, options).id == first.id
    ended = place.end(first)
    assert place.backend.submit(ir_of("add"), {"first": 3}, options) == ended
    assert [run.id for run in place.store.list()] == [first.id]
    other = place.backend.submit(ir_of("add"), {"first": 3}, replace(options, key="20260102-030405-fedcba"))
    assert other.id != first.id
    place.end(other)


def test_mistakes_start_nothing(place: Place) -> None:
    before = len(place.store.list())
    with pytest.raises(ArgumentError, match="takes no argument 'frist'"):
        place.start("wrong", frist=3)
    with pytest.raises(ArgumentError, match="also needs first"):
        place.start("wrong")
    with pytest.raises(DefinitionError):
        place.backend.submit("a: [", {}, SubmitOptions())
    assert len(place.store.list()) == before


def test_a_run_is_cancelled_and_resumed(place: Place) -> None:
    place.hold("held")
    run = place.start("held", "hold", seconds=600)
    run = place.until(run, lambda now: any(task.state is State.RUNNING for task in now.tasks))
    refused = "only failed and cancelled runs resume" if place.resumes else "resumes no run"
    with pytest.raises(BackendError, match=refused) as caught:
        place.backend.retry(run)
    assert f"%kfp_clone {run.id}" in caught.value.hint
    place.backend.cancel(run)
    ended = place.end(run)
    assert ended.state is State.CANCELLED
    assert all(task.state.final for task in ended.tasks)
    if not place.resumes:
        with pytest.raises(BackendError, match=refused):
            place.backend.retry(ended)
        assert place.store.get(run.id) == ended
        return
    again = place.backend.retry(ended)
    assert again.attempt == ended.attempt + 1
    assert not again.state.final
    again = place.until(again, lambda now: now.state is not State.PENDING)
    if not again.state.final:  # where nothing holds it any more, it has ended by now
        place.backend.cancel(again)
    place.end(again)


def test_a_run_that_has_ended_is_not_cancelled(place: Place) -> None:
    ended = place.end(place.start("quick", "add", first=3))
    with pytest.raises(BackendError, match="'quick' has ended: it is succeeded"):
        place.backend.cancel(ended)
    assert place.store.get(ended.id) == ended


def test_a_failure_names_its_step_and_what_is_behind_it_is_skipped(place: Place) -> None:
    place.fail("failing")
    ended = place.end(place.start("failing", "fail"))
    assert ended.state is State.FAILED
    assert {task.id: task.state for task in ended.tasks} == {"broken": State.FAILED, "one": State.SKIPPED}
    assert ended.task("broken").error.message


def test_logs_are_read_whole_and_followed(place: Place) -> None:
    run = place.end(place.start("logged", first=4))
    place.print(run, "adding 4\n")
    task = run.task("one")
    assert "adding 4" in "".join(place.backend.logs(run, task))
    assert "adding 4" in "".join(place.backend.logs(run, task, follow=True))


def test_an_artifact_that_is_not_there(place: Place) -> None:
    run = place.end(place.start("plain", first=5))
    with pytest.raises(NotFoundError, match="'nothing'"):
        place.backend.artifact(run, run.task("one"), "nothing")


def test_a_watcher_hears_of_the_end(place: Place) -> None:
    run = place.start("watched", first=6)
    assert Watcher(place.store, place.backend.poll, 0.05).wait(run.id).state is State.SUCCEEDED
