"""Following runs: every change is told once, and nothing that one viewer does disturbs the others."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kfp_magics.errors import BackendError
from kfp_magics.model import Run, State, Task
from kfp_magics.runs.store import Store
from kfp_magics.runs.watch import Watcher, refresh

RUN = Run(id="r", name="r", state=State.RUNNING, created=1.0)
DONE = replace(RUN, state=State.SUCCEEDED)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "runs.sqlite")
    made.save(RUN)
    yield made
    made.close()


@pytest.fixture
def watcher(store: Store) -> Watcher:
    return Watcher(store, lambda run: run, 0.01)


def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def watching(watcher: Watcher) -> bool:
    return watcher._thread is not None


def test_each_change_is_told_once_and_the_end_is_the_last(store: Store, watcher: Watcher) -> None:
    seen: list[Run] = []
    watcher.follow("r", seen.append)
    until(lambda: len(seen) == 1)
    running = store.save(replace(RUN, tasks=(Task(id="a", name="a"),)))
    until(lambda: len(seen) == 2)
    store.save(DONE)
    until(lambda: not watching(watcher))
    assert [one.state for one in seen] == [State.RUNNING, State.RUNNING, State.SUCCEEDED]
    assert seen[1] == running
    assert watcher.wait("r") == store.get("r")  # a thread is started anew


def test_a_viewer_that_fails_does_not_disturb_the_others(
    store: Store, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported: list[Any] = []
    monkeypatch.setattr("sys.excepthook", lambda *what: reported.append(what[0]))
    seen: list[Run] = []

    def fail(_: Run) -> None:
        raise ZeroDivisionError

    watcher.follow("r", fail)
    watcher.follow("r", seen.append)
    until(lambda: len(seen) == 1)
    store.save(DONE)
    until(lambda: len(seen) == 2)
    until(lambda: not watching(watcher))
    assert reported == [ZeroDivisionError]


def test_nobody_follows_and_the_thread_ends(watcher: Watcher) -> None:
    stop = watcher.follow("r", lambda _: None)
    assert watching(watcher)
    stop()
    until(lambda: not watching(watcher))


def test_what_the_backend_says_is_stored(store: Store) -> None:
    watcher = Watcher(store, lambda run: replace(run, state=State.FAILED), 0.01)
    assert watcher.wait("r").state is State.FAILED
    assert store.get("r").state is State.FAILED


def test_a_backend_that_cannot_be_asked_is_asked_again(store: Store) -> None:
    asked: list[float] = []

    def poll(run: Run) -> Run:
        asked.append(time.monotonic())
        if len(asked) == 1:
            raise BackendError("the network is down")
        return replace(run, state=State.SUCCEEDED)

    assert Watcher(store, poll, 0.01).wait("r").state is State.SUCCEEDED


def test_a_server_that_does_not_answer_holds_up_no_other(store: Store) -> None:
    answer = threading.Event()
    store.save(replace(RUN, id="far", backend="kfp", target="asleep"))
    store.save(replace(RUN, id="near", backend="kfp", target="awake"))

    def poll(run: Run) -> Run:
        if run.id == "far":
            assert answer.wait(60)
        return replace(run, state=State.SUCCEEDED)

    watcher = Watcher(store, poll, 0.01)
    seen: list[Run] = []
    watcher.follow("far", seen.append)
    until(lambda: len(seen) == 1)
    assert [watcher.wait(one).state for one in ("near", "r")] == [State.SUCCEEDED, State.SUCCEEDED]
    assert [one.state for one in seen] == [State.RUNNING]
    answer.set()
    assert watcher.wait("far").state is State.SUCCEEDED


def test_what_nobody_foresaw_is_shown_and_the_watching_goes_on(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    monkeypatch.setattr("sys.excepthook", lambda *what: shown.append(what[0]))

    def poll(run: Run) -> Run:
        return replace(run, state=State.SUCCEEDED if shown else State(1 / 0))

    assert Watcher(store, poll, 0.01).wait("r").state is State.SUCCEEDED
    assert shown == [ZeroDivisionError]


def test_a_store_that_is_locked_is_looked_at_again(store: Store) -> None:
    hurried = Store(store.path, patience=0.1)
    watcher = Watcher(hurried, lambda run: run, 0.01)
    seen: list[Run] = []
    watcher.follow("r", seen.append)
    with sqlite3.connect(store.path, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        time.sleep(0.5)
        other.execute("COMMIT")
    other.close()
    store.save(DONE)
    until(lambda: bool(seen) and seen[-1].state is State.SUCCEEDED)
    until(lambda: not watching(watcher))
    hurried.close()


def test_a_run_that_was_forgotten_is_no_longer_followed(store: Store, watcher: Watcher) -> None:
    watcher.follow("r", lambda _: None)
    store.delete("r")
    until(lambda: not watching(watcher))


class Backend:
    def poll(self, run: Run) -> Run:
        if run.id == "r":
            raise BackendError("out of reach")
        return replace(run, state=State.SUCCEEDED)


def test_refreshing_asks_about_all_that_has_not_ended(store: Store) -> None:
    store.save(replace(RUN, id="a"))
    store.save(replace(RUN, id="b", backend="elsewhere"))
    refresh(store, {"local": Backend()})  # type: ignore[dict-item]
    states = {run.id: run.state for run in store.list()}
    assert states == {"r": State.RUNNING, "a": State.SUCCEEDED, "b": State.RUNNING}
