"""A store with much in it."""

from __future__ import annotations

import time
from pathlib import Path

from kfp_magics.model import Run, State, Task
from kfp_magics.runs.store import Store
from kfp_magics.settings import Settings

RUNS = 10_000
TASKS = 2_000
LINES = 1_000_000
BIG, LOUD, LIVE = "big", "loud", "live"


def seed(home: Path) -> Store:
    """Fills a store.

    Args:
        home: The folder of kfp-magics.

    Returns:
        The store, in which the run `LIVE` still runs.
    """
    settings = Settings(home=str(home))
    store = Store(settings.store_path)
    now = time.time()
    for number in range(RUNS - 3):
        store.save(_run(f"run-{number:05d}", now - 60 * (RUNS - number), (_task("step", State.SUCCEEDED),)))
    store.save(_run(BIG, now - 30, _layers()))
    store.save(_run(LOUD, now - 20, (_task("step", State.SUCCEEDED),)))
    log = home / "runs" / LOUD / "tasks" / "step" / "attempt-1" / "log.txt"
    log.parent.mkdir(parents=True)
    with log.open("w", encoding="utf-8") as file:
        file.writelines(f"{number:07d} epoch {number} loss {1 / (number + 1):.6f}\n" for number in range(LINES))
    store.save(_run(LIVE, now - 10, (_task("step", State.RUNNING),), State.RUNNING))
    return store


def flip(store: Store, number: int) -> None:
    """Changes the state of the one task of the run that runs."""
    store.save_tasks(LIVE, [_task("step", (State.PENDING, State.RUNNING)[number % 2])])


def _run(name: str, created: float, tasks: tuple[Task, ...], state: State = State.SUCCEEDED) -> Run:
    return Run(
        id=name,
        name=name,
        pipeline=f"pipeline-{hash(name) % 7}",
        backend="elsewhere" if name == LIVE else "local",  # nobody is asked how a run elsewhere is
        state=state,
        tasks=tasks,
        created=created,
        started=created,
        finished=created + 5 if state.final else None,
    )


def _task(name: str, state: State, needs: tuple[str, ...] = ()) -> Task:
    now = time.time()
    finished = now if state.final else None
    return Task(id=name, name=name, state=state, started=now - 4, finished=finished, attempt=1, needs=needs)


def _layers(wide: int = 50) -> tuple[Task, ...]:
    def needs(number: int) -> tuple[str, ...]:
        return (
            () if number < wide else (f"task-{number - wide}", f"task-{number - 1 if number % wide else number - wide}")
        )

    return tuple(_task(f"task-{n}", State.SUCCEEDED, tuple(dict.fromkeys(needs(n)))) for n in range(TASKS))
