from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import pytest
from kfp import compiler

from kfp_magics.backends.base import SubmitOptions
from kfp_magics.backends.local import LocalBackend
from kfp_magics.errors import BackendError
from kfp_magics.model import Run, State, Task
from kfp_magics.runs.store import Store
from kfp_magics.settings import Settings


class Engine:
    """The embedded engine with a home of its own."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store = Store(settings.store_path)
        self.backend = LocalBackend(settings, self.store)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for run in self.store.unfinished():
            with suppress(BackendError):  # it has just ended by itself
                self.backend.cancel(run)
            self.end(run)
        self.store.close()

    def start(self, pipeline: Any, options: SubmitOptions | None = None, **arguments: Any) -> Run:
        text = pipeline if isinstance(pipeline, str) else ir_of(pipeline, self.settings.home_path)
        return self.backend.submit(text, arguments, options or SubmitOptions())

    def run(self, pipeline: Any, options: SubmitOptions | None = None, **arguments: Any) -> Run:
        return self.end(self.start(pipeline, options, **arguments))

    def end(self, run: Run) -> Run:
        return self.until(run, lambda now: now.state.final)

    def until(self, run: Run, reached: Callable[[Run], bool]) -> Run:
        deadline = time.monotonic() + 90
        while not reached(run):
            assert time.monotonic() < deadline, run
            time.sleep(0.02)
            run = self.backend.poll(run)
        return run

    def until_running(self, run: Run, name: str) -> Task:
        run = self.until(run, lambda now: self.task(now, name).state is State.RUNNING)
        return self.task(run, name)

    @staticmethod
    def task(run: Run, name: str) -> Task:
        return next(task for task in run.tasks if name in {task.id, task.name})

    def folder(self, run: Run) -> Path:
        return self.settings.home_path / "runs" / run.id

    def log(self, run: Run, name: str) -> str:
        return "".join(self.backend.logs(run, self.task(run, name)))


def ir_of(pipeline: Any, folder: Path) -> str:
    path = folder / "compiled.yaml"
    compiler.Compiler().compile(pipeline, str(path))
    return path.read_text(encoding="utf-8")


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    with Engine(settings) as made:
        yield made
