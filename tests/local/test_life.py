"""Runs over time: caching, retries, cancelling, dead supervisors, several processes at once."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl, kubernetes

from kfp_magics.backends.base import SubmitOptions
from kfp_magics.backends.local import LocalBackend, lock
from kfp_magics.errors import BackendError, NotFoundError
from kfp_magics.model import Run, State
from kfp_magics.runs.store import Store
from kfp_magics.settings import Settings

from . import steps
from .conftest import Engine, ir_of


@dsl.pipeline(name="counts")
def counts(path: str, word: str = "x"):
    with dsl.ExitHandler(steps.count(path=path, word="e")):
        steps.count(path=path, word=word)


def test_the_same_step_with_the_same_inputs_is_reused(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "count"
    first, second = engine.run(counts, path=str(path)), engine.run(counts, path=str(path))
    assert path.read_text() == "xee"  # an exit handler runs every time
    step = engine.task(second, "exit-handler-1/count-2")
    assert step.cached
    assert first.id in step.reason
    assert step.outputs == engine.task(first, "exit-handler-1/count-2").outputs
    third = engine.run(counts, path=str(path), word="y")
    assert path.read_text() == "xeeye"
    assert engine.task(first, "exit-handler-1/count-2").reason == ""
    assert engine.task(third, "exit-handler-1/count-2").reason == "changed since it last ran: word"
    engine.run(counts, SubmitOptions(cache=False), path=str(path))
    assert path.read_text() == "xeeyexe"


def test_another_image_is_another_step(engine: Engine, tmp_path: Path) -> None:
    text = ir_of(counts, tmp_path)
    engine.run(text, path=str(tmp_path / "count"))
    run = engine.run(text.replace("python:3.11", "python:3.12"), path=str(tmp_path / "count"))
    assert not engine.task(run, "exit-handler-1/count-2").cached
    assert engine.task(run, "exit-handler-1/count-2").reason == "changed since it last ran: its code or its image"


def test_attempts(engine: Engine, tmp_path: Path) -> None:
    @dsl.pipeline(name="flaky")
    def flaky(path: str):
        steps.fail_until(path=path, times=2).set_retry(2)

    run = engine.run(flaky, path=str(tmp_path / "count"))
    assert run.state is State.SUCCEEDED
    assert run.tasks[0].attempt == 3
    assert run.tasks[0].outputs == {"Output": "attempt 3"}


def test_resuming_keeps_what_succeeded(engine: Engine, tmp_path: Path) -> None:
    @dsl.pipeline(name="resumed")
    def resumed(once: str, flaky: str):
        first = steps.count(path=once)
        second = steps.fail_until(path=flaky, times=1).after(first)
        steps.count(path=once).after(second)

    once = tmp_path / "once"
    run = engine.run(resumed, SubmitOptions(cache=False), once=str(once), flaky=str(tmp_path / "flaky"))
    assert run.state is State.FAILED
    assert engine.task(run, "count-2").state is State.SKIPPED
    assert once.read_text() == "x"
    again = engine.end(engine.backend.retry(run))
    assert (again.id, again.attempt, again.state) == (run.id, 2, State.SUCCEEDED)
    assert once.read_text() == "xx"
    with pytest.raises(BackendError, match="is succeeded"):
        engine.backend.retry(again)


@dsl.pipeline(name="handled")
def handled(path: str, status: str):
    with dsl.ExitHandler(steps.tell(path=status)):
        steps.sleep(seconds=600.0, path=path)


def test_cancelling_runs_the_exit_handler(engine: Engine, tmp_path: Path) -> None:
    status = tmp_path / "status"
    run = engine.start(handled, path=str(tmp_path / "slept"), status=str(status))
    engine.until_running(run, "sleep")
    engine.backend.cancel(run)
    run = engine.end(run)
    assert run.state is State.CANCELLED
    assert engine.task(run, "sleep").state is State.CANCELLED
    assert engine.task(run, "tell").state is State.SUCCEEDED
    assert status.read_text().startswith("CANCELLED")
    assert not (tmp_path / "slept").exists()


def test_the_exit_handler_knows_the_failure(engine: Engine, tmp_path: Path) -> None:
    @dsl.pipeline(name="fails")
    def fails(status: str):
        with dsl.ExitHandler(steps.tell(path=status)):
            steps.leave(code=3, hard=False)

    run = engine.run(fails, status=str(tmp_path / "status"))
    assert run.state is State.FAILED
    assert (tmp_path / "status").read_text() == "FAILED: sys.exit(3)"


@pytest.mark.parametrize("moment", ["at once", "while a step runs", "between steps"])
def test_a_dead_supervisor_shows_as_failed_and_the_run_resumes(engine: Engine, tmp_path: Path, moment: str) -> None:
    @dsl.pipeline(name="killed")
    def killed(once: str, gate: str):
        first = steps.count(path=once)
        waiting = steps.shell(script=f"while [ ! -e {tmp_path}/gate ]; do sleep 0.05; done").after(first)
        steps.count(path=once).after(waiting)

    once, gate = tmp_path / "once", tmp_path / "gate"
    run = engine.start(killed, SubmitOptions(cache=False), once=str(once), gate=str(gate))
    if moment == "while a step runs":
        engine.until_running(run, "shell")
    elif moment == "between steps":
        engine.until(run, lambda now: engine.task(now, "count").state is State.SUCCEEDED)
    held = lock.holder(engine.folder(run))
    assert held is not None
    os.kill(held[0], signal.SIGKILL)
    run = engine.end(run)
    assert run.state is State.FAILED
    assert run.error is not None
    assert "gone without a word" in run.error.message
    assert "%kfp_retry" in run.error.hint
    assert engine.store.save(run).state is State.FAILED
    gate.touch()
    again = engine.end(engine.backend.retry(run))
    assert again.state is State.SUCCEEDED, again.error
    done_before = 1 if moment != "at once" else 0
    assert 2 <= len(once.read_text()) <= 3 - done_before


def starting(settings: Settings, text: Path, **arguments: str) -> list[str]:
    """The command of a kernel that starts a run, prints its id and ends."""
    program = f"""
from pathlib import Path
from kfp_magics.backends.base import SubmitOptions
from kfp_magics.backends.local import LocalBackend
from kfp_magics.runs.store import Store
from kfp_magics.settings import Settings
settings = Settings(home={str(settings.home_path)!r})
backend = LocalBackend(settings, Store(settings.store_path))
print(backend.submit(Path({str(text)!r}).read_text(encoding="utf-8"), {arguments!r}, SubmitOptions()).id)
"""
    return [sys.executable, "-c", program]


def test_a_run_outlives_who_started_it(engine: Engine, tmp_path: Path) -> None:
    @dsl.pipeline(name="lasting")
    def lasting(gate: str, path: str):
        steps.wait_for(gate=gate, path=path)

    text = tmp_path / "lasting.yaml"
    text.write_text(ir_of(lasting, tmp_path), encoding="utf-8")
    command = starting(engine.settings, text, gate=str(tmp_path / "gate"), path=str(tmp_path / "waited"))
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    run = engine.store.get(done.stdout.strip())
    assert not run.state.final
    (tmp_path / "gate").touch()
    assert engine.end(run).state is State.SUCCEEDED
    assert (tmp_path / "waited").read_text() == "waited"


class Watched(Store):
    """A store that somebody looks into the moment a run is in it, as a panel may."""

    settings: Settings

    def save(self, run: Run) -> Run:
        stored = super().save(run)
        super().save(LocalBackend(self.settings, self).poll(stored))
        return stored


@pytest.mark.parametrize("key", ["", "20261124-000000-abcdef"])
def test_who_sees_a_run_before_its_engine_started_does_not_take_it_for_dead(engine: Engine, key: str) -> None:
    @dsl.pipeline(name="seen")
    def seen():
        steps.echo(text="x")

    store = Watched(engine.settings.store_path)
    store.settings = engine.settings
    backend = LocalBackend(engine.settings, store)
    text = ir_of(seen, engine.settings.home_path)
    run = backend.submit(text, {}, SubmitOptions(key=key))
    assert engine.end(run).state is State.SUCCEEDED
    store.close()


def test_two_kernels_start_runs_at_once(settings: Settings, tmp_path: Path) -> None:
    """On a machine where nothing is there yet: no store, no environment."""
    text = tmp_path / "counts.yaml"
    text.write_text(ir_of(counts, tmp_path), encoding="utf-8")
    kernels = [
        subprocess.Popen(starting(settings, text, path=str(tmp_path / f"count-{number}")), stdout=-1, text=True)
        for number in range(2)
    ]
    ids = [kernel.communicate()[0].strip() for kernel in kernels]
    assert [kernel.returncode for kernel in kernels] == [0, 0]
    with Engine(settings) as engine:
        assert [engine.end(engine.store.get(one)).state for one in ids] == [State.SUCCEEDED] * 2
    environments = [path for path in (settings.home_path / "envs").iterdir() if (path / ".ready").exists()]
    assert len(environments) == 1


def test_a_store_that_is_locked_for_seconds(engine: Engine, tmp_path: Path) -> None:
    run = engine.start(counts, path=str(tmp_path / "count"))
    with sqlite3.connect(engine.settings.store_path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        time.sleep(3)
        other.execute("COMMIT")
    other.close()
    run = engine.end(run)
    assert run.state is State.SUCCEEDED
    assert all(task.state is State.SUCCEEDED for task in run.tasks)


def test_secrets_come_from_files_and_stay_there(engine: Engine, tmp_path: Path) -> None:
    @dsl.pipeline(name="secretive")
    def secretive():
        task = steps.show_environment(name="PASSWORD")
        kubernetes.use_secret_as_env(task, secret_name="db", secret_key_to_env={"password": "PASSWORD"})

    with pytest.raises(BackendError, match="secret 'db', key 'password'"):
        engine.start(secretive)
    assert engine.store.list() == []
    file = engine.settings.home_path / "secrets" / "db" / "password"
    file.parent.mkdir(parents=True)
    file.write_text("hunter-two-and-a-half\n", encoding="utf-8")
    run = engine.run(secretive)
    assert run.tasks[0].outputs == {"Output": "set"}
    written = [*engine.folder(run).rglob("*"), *engine.settings.home_path.glob("runs.sqlite*")]
    assert not [path for path in written if path.is_file() and b"hunter-two" in path.read_bytes()]


def test_volumes_that_are_not_here(engine: Engine) -> None:
    @dsl.pipeline(name="mounted")
    def mounted():
        kubernetes.mount_pvc(steps.add(a=1, b=2), pvc_name="data", mount_path="/not/on/this/machine")

    with pytest.raises(BackendError, match="'data' at /not/on/this/machine"):
        engine.start(mounted)


def test_logs_and_artifacts(engine: Engine, tmp_path: Path) -> None:
    @dsl.pipeline(name="writes")
    def writes():
        steps.größe(wert="x")
        steps.shell(script=f"echo one; while [ ! -e {tmp_path}/gate ]; do sleep 0.05; done; echo two")

    run = engine.start(writes)
    followed = engine.backend.logs(run, engine.until_running(run, "shell"), follow=True)
    assert next(followed) == "one\n"
    (tmp_path / "gate").touch()
    assert "".join(followed) == "two\n"
    run = engine.end(run)
    written = next(task for task in run.tasks if task.artifacts)
    with engine.backend.artifact(run, written, "ausgabe") as file:
        assert file.read() == b"x"
    with pytest.raises(NotFoundError, match="no artifact 'nothing'"):
        engine.backend.artifact(run, written, "nothing")


def test_folders_are_private(engine: Engine, tmp_path: Path) -> None:
    run = engine.run(counts, path=str(tmp_path / "count"))
    for path in (engine.folder(run), engine.settings.home_path / "cache", engine.settings.home_path / "envs"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_cache_key_of_its_own_is_all_that_a_result_depends_on(engine: Engine, tmp_path: Path) -> None:
    def of(own: str, name: str = "keyed") -> Any:
        @dsl.pipeline(name=name)
        def keyed(word: str):
            steps.count(path=str(tmp_path / "count"), word=word).set_caching_options(True, cache_key=own)

        return keyed

    def counted(pipeline: Any, word: str) -> tuple[bool, Any]:
        step = engine.task(engine.run(pipeline, word=word), "count")
        return step.cached, step.outputs["Output"]

    assert counted(of("a"), "x") == (False, 1)
    assert counted(of("a"), "another word") == (True, 1)
    assert counted(of("b"), "x") == (False, 2)
    assert counted(of("a", "other"), "x") == (False, 3)
