"""Runs that are resumed, and supervisors that die at every moment of a run."""

import os
import signal
import sys
import threading
from pathlib import Path

import pytest
from kfp import dsl

from kfp_magics.backends.base import SubmitOptions
from kfp_magics.backends.local import lock
from kfp_magics.errors import BackendError
from kfp_magics.model import State

from . import steps
from .conftest import Engine

FRESH = SubmitOptions(cache=False)


def kill_supervisor(engine: Engine, run_folder: Path) -> None:
    held = lock.holder(run_folder)
    assert held is not None
    os.kill(held[0], signal.SIGKILL)


def test_an_exit_handler_runs_again_and_what_it_does_counts(engine: Engine, tmp_path: Path) -> None:
    @dsl.pipeline(name="handled")
    def handled(flaky: str, count: str, notes: str):
        with dsl.ExitHandler(steps.refuse_second(path=notes)):
            first = steps.count(path=count)
            steps.fail_until(path=flaky, times=1).after(first)

    paths = {name: str(tmp_path / name) for name in ("flaky", "count", "notes")}
    run = engine.run(handled, FRESH, **paths)
    assert {task.id: task.state.value for task in run.tasks} == {
        "exit-handler-1": "failed",
        "exit-handler-1/count": "succeeded",
        "exit-handler-1/fail-until": "failed",
        "refuse-second": "succeeded",
    }
    before = engine.task(run, "count")
    again = engine.end(engine.backend.retry(run))
    assert again.state is State.FAILED
    assert engine.task(again, "exit-handler-1").state is State.SUCCEEDED
    assert engine.task(again, "refuse-second").state is State.FAILED
    assert (tmp_path / "count").read_text() == "x"
    kept = engine.task(again, "count")
    assert (kept.started, kept.finished, kept.attempt) == (before.started, before.finished, before.attempt)


def test_what_went_on_in_spite_of_a_failure_runs_again(engine: Engine, tmp_path: Path) -> None:
    @dsl.pipeline(name="went-on")
    def went_on(flaky: str) -> str:
        came = steps.fail_until(path=flaky, times=1)
        return steps.cope(text=came.output).ignore_upstream_failure().output

    run = engine.run(went_on, FRESH, flaky=str(tmp_path / "flaky"))
    assert run.state is State.FAILED
    assert engine.task(run, "cope").outputs == {"Output": "nothing came"}
    again = engine.end(engine.backend.retry(run))
    assert again.state is State.SUCCEEDED
    assert again.outputs == {"Output": "attempt 2"}


def test_a_loop_that_finds_fewer_items_the_second_time(engine: Engine, tmp_path: Path) -> None:
    @dsl.pipeline(name="shrinks")
    def shrinks(flaky: str):
        came = steps.fail_until(path=flaky, times=1)
        with dsl.ParallelFor(steps.words(text=came.output).ignore_upstream_failure().output) as one:
            steps.echo(text=one)

    run = engine.run(shrinks, FRESH, flaky=str(tmp_path / "flaky"))
    assert engine.task(run, "for-loop-1/2/echo").outputs == {"Output": "three"}
    again = engine.end(engine.backend.retry(run))
    assert again.state is State.SUCCEEDED, again.error
    assert engine.task(again, "for-loop-1/1/echo").outputs == {"Output": "2"}
    assert engine.task(again, "for-loop-1/2/echo").state is State.SKIPPED
    assert all(task.state.final for task in again.tasks)


def test_a_run_is_resumed_by_one_of_two(engine: Engine, tmp_path: Path) -> None:
    @dsl.pipeline(name="flaky")
    def flaky(path: str):
        steps.fail_until(path=path, times=1)

    run = engine.run(flaky, FRESH, path=str(tmp_path / "path"))
    both = threading.Barrier(2)
    refused: list[BackendError] = []

    def resume() -> None:
        other = Engine(engine.settings)
        both.wait()
        try:
            other.backend.retry(run)
        except BackendError as error:
            refused.append(error)
        other.store.close()

    threads = [threading.Thread(target=resume) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 1
    again = engine.end(engine.store.get(run.id))
    assert (again.state, again.attempt) == (State.SUCCEEDED, 2)
    assert (tmp_path / "path").read_text() == "xx"


@pytest.mark.parametrize("moment", ["waits for the next attempt", "runs an exit handler", "began an attempt untold"])
def test_a_supervisor_that_dies_while_it(engine: Engine, tmp_path: Path, moment: str) -> None:
    gate = f"while [ ! -e {tmp_path}/exit ]; do sleep 0.02; done"

    @dsl.pipeline(name="killed")
    def killed(flaky: str, once: str):
        with dsl.ExitHandler(steps.shell(script=f"echo x >> {tmp_path}/exits; {gate}")):
            first = steps.count(path=once)
            flaky_step = steps.fail_until(path=flaky, times=1).after(first)
            flaky_step.set_retry(1, backoff_duration="1s" if moment == "runs an exit handler" else "600s")

    run = engine.start(killed, FRESH, flaky=str(tmp_path / "flaky"), once=str(tmp_path / "once"))
    if moment == "runs an exit handler":
        engine.until_running(run, "shell")
    else:
        run = engine.until(run, lambda now: "attempt failed" in engine.task(now, "fail-until").reason)
    kill_supervisor(engine, engine.folder(run))
    run = engine.end(run)
    assert run.state is State.FAILED
    assert run.error is not None
    assert "gone without a word" in run.error.message
    (tmp_path / "exit").touch()
    if moment == "began an attempt untold":
        (engine.folder(run) / "tasks" / "exit-handler-1" / "fail-until" / "attempt-2").mkdir()
    again = engine.end(engine.backend.retry(run))
    assert again.state is State.SUCCEEDED, again.error
    assert (tmp_path / "once").read_text() == "x"
    assert (tmp_path / "exits").exists()


def test_a_supervisor_that_dies_while_an_environment_is_made(engine: Engine) -> None:
    @dsl.pipeline(name="needy")
    def needy():
        steps.needs_six()

    run = engine.start(needy, FRESH)
    folder = engine.settings.home_path / "envs"
    engine.until(run, lambda _: any(path.suffix == "" and path.is_dir() for path in folder.glob("*")))
    kill_supervisor(engine, engine.folder(run))
    assert engine.end(run).state is State.FAILED
    again = engine.end(engine.backend.retry(run))
    assert again.state is State.SUCCEEDED, again.error


def test_a_disk_that_refuses_fails_the_step_and_not_the_engine(engine: Engine) -> None:

    @dsl.pipeline(name="folderless")
    def folderless():
        steps.add(a=1, b=1).after(steps.shell(script="cd ../../..; mv tasks gone; touch tasks"))

    run = engine.run(folderless, FRESH)
    assert run.state is State.FAILED
    assert all(task.state.final for task in run.tasks)
    assert run.error is not None
    assert "could not carry it out" in run.error.message
    assert "Traceback" in (engine.folder(run) / "supervisor.log").read_text()


def test_cancelling_twice_ends_exit_handlers_too(engine: Engine, tmp_path: Path) -> None:
    @dsl.pipeline(name="stuck")
    def stuck(path: str, late: str):
        with dsl.ExitHandler(steps.sleep(seconds=600.0, path=late)):
            steps.sleep(seconds=600.0, path=path)

    run = engine.start(stuck, path=str(tmp_path / "path"), late=str(tmp_path / "late"))
    engine.until_running(run, "exit-handler-1/sleep-2")
    engine.backend.cancel(run)
    engine.until_running(run, "sleep")
    engine.backend.cancel(run)
    run = engine.end(run)
    assert run.state is State.CANCELLED
    assert {task.state for task in run.tasks} == {State.CANCELLED}


def test_cancelling_while_an_attempt_waits_for_the_next(engine: Engine) -> None:
    @dsl.pipeline(name="patient")
    def patient():
        steps.leave(code=3, hard=False).set_retry(3, backoff_duration="600s")

    run = engine.start(patient)
    engine.until(run, lambda now: "attempt failed: sys.exit(3)" in engine.task(now, "leave").reason)
    engine.backend.cancel(run)
    run = engine.end(run)
    assert run.state is State.CANCELLED
    assert engine.task(run, "leave").attempt == 1


def test_no_more_run_at_once_than_may(engine: Engine, tmp_path: Path) -> None:
    @dsl.pipeline(name="limited")
    def limited(folder: str) -> int:
        with dsl.ParallelFor(list(range(6)), parallelism=2):
            seen = steps.count_companions(folder=folder)
        return steps.largest(numbers=dsl.Collected(seen.output)).output

    for name in ("now", "begun", "counted"):
        (tmp_path / name).mkdir()
    run = engine.run(limited, FRESH, folder=str(tmp_path))
    assert run.outputs == {"Output": 2}


def test_killed_by_hand_is_no_riddle(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "pid"

    @dsl.pipeline(name="shot")
    def shot(path: str):
        steps.stubborn(path=path)

    run = engine.start(shot, path=str(path))
    engine.until(run, lambda _: path.exists() and path.read_text() != "")
    os.kill(int(path.read_text()), signal.SIGKILL)
    run = engine.end(run)
    assert run.error is not None
    assert "SIGKILL" in run.error.message
    assert "memory" in run.error.hint


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_dead_supervisor_takes_its_steps_along(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "pid"

    @dsl.pipeline(name="orphaned")
    def orphaned(path: str):
        steps.stubborn(path=path)

    run = engine.start(orphaned, path=str(path))
    engine.until(run, lambda _: path.exists() and path.read_text() != "")
    kill_supervisor(engine, engine.folder(run))
    engine.end(run)
    engine.until(run, lambda _: not Path("/proc", path.read_text()).exists())
