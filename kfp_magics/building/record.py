"""A build as a run: one task for each image, with its state, progress and log, for the same readers as any run."""

from __future__ import annotations

import os
import secrets
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from kfp_magics.backends.base import StepSource, SubmitOptions
from kfp_magics.backends.local import lock
from kfp_magics.backends.local import request as requests
from kfp_magics.backends.local.daemon import sign
from kfp_magics.errors import BuildCancelledError, KfpMagicsError
from kfp_magics.model import Failure, Run, State, Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from typing import TextIO

    from kfp_magics.images.base import ImageRef
    from kfp_magics.model import Component, Json
    from kfp_magics.runs.store import Store
    from kfp_magics.settings import Settings

_OFTEN = 0.2  # seconds between two writes of a build's progress


class Record:
    """One build, written down while it goes on.

    It has a folder and a lock as a run of the local engine has them, so that whoever looks at runs sees whether the
    process that builds still lives, reads the logs and can ask for the end.

    Args:
        store: Where it is remembered.
        folder: The folder of the run.
        run: The build as it starts.
        held: The lock, open.
        tell: Also told what the builders say, a line at a time.
    """

    def __init__(
        self, store: Store, folder: Path, run: Run, held: int, tell: Callable[[str], None] | None = None
    ) -> None:
        self.folder = folder
        self.run = run
        self.held = held
        self.tell = tell
        self._store = store
        self._guard = threading.Lock()

    @classmethod
    def begin(
        cls,
        settings: Settings,
        store: Store,
        components: Sequence[Component],
        *,
        target: str,
        notebook: str = "",
        started_by: str = "notebook",
        tell: Callable[[str], None] | None = None,
    ) -> Record:
        """Writes down that a build begins in this process.

        Args:
            settings: Where it is kept.
            store: Where it is remembered.
            components: A task for each.
            target: Where the images go.
            notebook: Path of the notebook.
            started_by: ``notebook`` or ``cli``.
            tell: Also told what the builders say.
        """
        now = time.time()
        run_id = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now))}-{secrets.token_hex(3)}"
        folder = requests.folder_of(settings, run_id)
        names = [component.name for component in components]
        what = ", ".join(names) if len(names) <= 3 else f"{len(names)} images"
        run = Run(
            id=run_id,
            name=f"build {what} {time.strftime('%H:%M:%S', time.localtime(now))}",
            kind="build",
            target=target,
            state=State.RUNNING,
            tasks=tuple(
                Task(id=one.name, name=one.name, kind="image", component=one.name, cell_id=one.cell_id)
                for one in components
            ),
            created=now,
            started=now,
            notebook=notebook,
            started_by=started_by,
        )
        sources = {
            one.name: StepSource(cell_id=one.cell_id, source=one.source, label=f"cell {one.name!r}")
            for one in components
        }
        options = SubmitOptions(kind="build", notebook=notebook, started_by=started_by, sources=sources)
        request = requests.Request(
            run_id=run_id, ir="", arguments={}, options=options, settings=requests.engine_settings(settings)
        )
        requests.write(folder, request)
        held = lock.take(folder)
        assert held is not None, "the folder is new"
        sign(held, os.getpid())
        return cls(store, folder, store.save(run), held, tell)

    def ask_to_end(self) -> None:
        """Asks for the end of the build."""
        requests.ask_to_end(self.folder)

    @property
    def is_to_end(self) -> bool:
        """Whether somebody, in whatever process, asked for the end."""
        return requests.asked_to_end(self.folder)

    @contextmanager
    def task(self, name: str) -> Iterator[TaskLog]:
        """Writes down what becomes of one image.

        What the user can mend ends the task and not the others; anything else goes on up as well.

        Args:
            name: The step.

        Yields:
            The log; tell it the image with `TaskLog.built`.
        """
        place = self.folder / "tasks" / name / "attempt-1" / "log.txt"
        place.parent.mkdir(parents=True)
        with place.open("w", encoding="utf-8") as file:
            log = TaskLog(self, name, file)
            try:
                log.check()
                self.change(name, state=State.RUNNING, started=time.time(), attempt=1)
                yield log
            except BuildCancelledError:
                self.change(name, state=State.CANCELLED, finished=time.time(), reason="cancelled")
            except KfpMagicsError as error:
                log.write(f"{error}\n")
                self.change(
                    name,
                    state=State.FAILED,
                    finished=time.time(),
                    reason="",
                    error=Failure(message=error.message, hint=error.hint, cell_id=self._task(name).cell_id),
                )
            except BaseException as error:
                failure = Failure(message=f"{type(error).__name__}: {error}", hint="This is a mistake of kfp-magics.")
                self.change(name, state=State.FAILED, finished=time.time(), reason="", error=failure)
                raise

    def change(self, name: str, **values: Json) -> None:
        """Writes what is new about a task."""
        with self._guard:
            tasks = [replace(task, **values) if task.id == name else task for task in self.run.tasks]
            self.run = replace(self.run, tasks=tuple(tasks))
            self._store.save_tasks(self.run.id, [task for task in tasks if task.id == name])

    def _task(self, name: str) -> Task:
        return next(task for task in self.run.tasks if task.id == name)

    def close(self) -> Run:
        """Writes how the build ended, and lets go of its lock."""
        with self._guard:
            states = [task.state for task in self.run.tasks]
            failed = [task for task in self.run.tasks if task.state is State.FAILED]
            state = State.FAILED if failed else State.CANCELLED if State.CANCELLED in states else State.SUCCEEDED
            error = None
            if failed:
                error = replace(failed[0].error or Failure(message="unknown"), hint="")
                error = replace(error, message=f"{failed[0].name}: {error.message}")
            self.run = self._store.save(replace(self.run, state=state, finished=time.time(), error=error))
            os.close(self.held)
            return self.run


class TaskLog:
    """Where the build of one image says what it does; see `Log`."""

    def __init__(self, record: Record, name: str, file: TextIO) -> None:
        self._record = record
        self._name = name
        self._file = file
        self._written = 0.0
        self._guard = threading.Lock()
        self.facts: dict[str, str | float] = {}

    def write(self, text: str) -> None:
        """Adds text to the log."""
        self._keep(text)
        if self._record.tell is not None:
            for line in text.splitlines():
                self._record.tell(f"{self._name}: {line}")

    def _keep(self, text: str) -> None:
        with self._guard:
            self._file.write(text)
            self._file.flush()

    def step(self, what: str, done: float | None = None) -> None:
        """Names what is being done now."""
        self._keep(f"{what}\n")
        with self._guard:
            now = time.monotonic()
            if now - self._written < _OFTEN:
                return
            self._written = now
        self._record.change(self._name, reason=what if done is None else f"{what} · {done:.0%}")

    def fact(self, name: str, value: str | float) -> None:
        """Keeps what came of the build."""
        self.facts[name] = value

    def check(self) -> None:
        """Ends the build if somebody asked for its end."""
        if self._record.is_to_end:
            raise BuildCancelledError("The build was cancelled.", "%kfp_build starts it again.")

    def built(self, ref: ImageRef, reason: str) -> None:
        """Ends the task well.

        Args:
            ref: The image.
            reason: What was done, in a few words.
        """
        self._record.change(
            self._name,
            state=State.SUCCEEDED,
            finished=time.time(),
            image=str(ref),
            outputs={"digest": ref.digest, "tag": ref.tag, **self.facts},
            reason=reason,
        )
