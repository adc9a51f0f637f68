"""The embedded engine as a backend: starts supervisors, and tells what became of them."""

from __future__ import annotations

import codecs
import os
import secrets
import shutil
import signal
import tarfile
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from kfp_magics import ir as irs
from kfp_magics.backends.base import has_ended
from kfp_magics.backends.local import checks, detached, lock
from kfp_magics.backends.local import request as requests
from kfp_magics.backends.local.executors import clean_up, executor_for
from kfp_magics.backends.local.journal import ended
from kfp_magics.backends.local.logs import read_piece
from kfp_magics.backends.local.resume import resumption
from kfp_magics.errors import BackendError, NotFoundError, did_you_mean
from kfp_magics.model import Failure, Run, State, Task

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kfp_magics.backends.base import SubmitOptions
    from kfp_magics.model import Json
    from kfp_magics.runs.store import Store
    from kfp_magics.settings import Settings

_SUPERVISOR = "kfp_magics.backends.local.supervisor"
_HANDOVER = 10.0  # seconds that a supervisor may still need after the end of its run is written
_PIECE = 1 << 16  # bytes of a log that are read at once


class LocalBackend:
    """Runs compiled pipelines on this machine.

    Args:
        settings: Where things are kept and how they run.
        store: Where supervisors and this process meet.
    """

    name = "local"

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store

    def submit(self, ir: str, arguments: Mapping[str, Json], options: SubmitOptions) -> Run:
        """Starts a run and returns at once; see `Backend.submit`."""
        pipeline = irs.parse(ir)
        values = checks.check_arguments(pipeline, arguments, options)
        folder = requests.folder_of(self._settings, options.key or _new_id())
        if options.key and (begun := self._begun(folder)):
            return begun
        options = replace(options, executor=options.executor or self._settings.executor)
        executor = executor_for(options.executor, self._settings, folder)
        checks.check_steps(pipeline, executor, self._settings.home_path / "secrets")
        now = time.time()
        run = Run(
            id=folder.name,
            name=options.name or f"{irs.name(pipeline)} {time.strftime('%H:%M:%S', time.localtime(now))}",
            kind=options.kind,
            pipeline=irs.name(pipeline),
            backend=self.name,
            tasks=irs.static_tasks(pipeline),
            parameters=values.parameters,
            created=now,
            experiment=options.experiment,
            notebook=options.notebook,
            started_by=options.started_by,
        )
        request = requests.Request(
            run_id=run.id,
            ir=ir,
            arguments=values.parameters,
            options=options,
            settings=requests.engine_settings(self._settings),
        )
        requests.write(folder, request)
        held = self._take_lock(folder)  # before anybody can see the run, and take it for one whose engine is gone
        try:
            stored = self._store.save(run)
        except BaseException:
            os.close(held)
            raise
        self._start(folder, held)
        return stored

    def refuse(self, ir: str, options: SubmitOptions) -> None:
        """Looks whether this machine can run each step; see `Refuses.refuse`."""
        executor = executor_for(options.executor or self._settings.executor, self._settings, self._settings.home_path)
        checks.check_steps(irs.parse(ir), executor, self._settings.home_path / "secrets")

    def _begun(self, folder: Path) -> Run | None:
        """The run that an earlier submission began; one whose supervisor never came is given one."""
        stored = self._store.known(folder.name)
        if stored is None:
            return None
        if stored.started is not None or not folder.is_dir() or lock.holder(folder) is not None:
            return stored
        held = self._take_lock(folder)
        stored = self._store.get(folder.name)  # now that nobody can take its engine for gone any more
        if not stored.state.final:
            self._start(folder, held)
            return stored
        os.close(held)
        return self.retry(stored) if stored.state is State.FAILED else stored

    @staticmethod
    def _take_lock(folder: Path) -> int:
        deadline = time.monotonic() + _HANDOVER
        while (held := lock.take(folder)) is None:
            if time.monotonic() > deadline:
                raise BackendError(f"The run {folder.name!r} is running already.", f"%kfp_runs {folder.name} shows it.")
            time.sleep(0.02)
        return held

    @staticmethod
    def _start(folder: Path, held: int) -> None:
        detached.start(folder, held, _SUPERVISOR, folder / "supervisor.log")

    def poll(self, run: Run) -> Run:
        """Looks where a run stands; a supervisor that is gone shows as a failure."""
        folder = requests.folder_of(self._settings, run.id)
        while True:
            alive = folder.is_dir() and lock.holder(folder) is not None
            stored = self._store.get(run.id)  # after the look at the lock: the supervisor writes before it lets go
            if stored.state.final or alive:
                return stored
            # Somebody may have resumed it between the two looks: then it is another attempt, which nobody has seen die.
            alive = folder.is_dir() and lock.holder(folder) is not None
            now = self._store.get(run.id)
            if not alive and (now.attempt, now.state) == (stored.attempt, stored.state):
                break
        if folder.is_dir():
            clean_up(requests.read(folder).options.executor, self._settings, run.id)
        return ended(stored, State.FAILED, _gone(stored, folder / "supervisor.log"))

    def cancel(self, run: Run) -> None:
        """Asks for the end of a run; asked again, ends its exit handlers too; see `Backend.cancel`."""
        stored = self._store.get(run.id)
        if stored.state.final:
            raise has_ended(stored)
        folder = requests.folder_of(self._settings, run.id)
        held = lock.holder(folder) if folder.is_dir() else None
        if held is not None and run.kind == "build":
            requests.ask_to_end(folder)
            return
        held = self._signed(folder, held)
        if held is None:
            self._store.save(ended(stored, State.CANCELLED, None))
            return
        pid, host = held
        if host != os.uname().nodename:
            raise BackendError(
                f"The run {run.name!r} runs on {host!r}.", f"Cancel it there: kfp-magics cancel {run.id}"
            )
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)

    @staticmethod
    def _signed(folder: Path, held: tuple[int, str] | None) -> tuple[int, str] | None:
        deadline = time.monotonic() + _HANDOVER
        while held is not None and not held[0] and time.monotonic() < deadline:
            time.sleep(0.02)
            held = lock.holder(folder)
        return held

    def retry(self, run: Run) -> Run:
        """Resumes a failed or cancelled run; see `Backend.retry`."""
        current = self.poll(run)
        if run.kind == "build":
            raise BackendError("A build is not resumed.", "%kfp_build builds what is missing; what is built is kept.")
        if current.state not in {State.FAILED, State.CANCELLED}:
            raise BackendError(
                f"The run {current.name!r} is {current.state}; only failed and cancelled runs resume.",
                f"%kfp_clone {current.id} starts it anew.",
            )
        folder = requests.folder_of(self._settings, run.id)
        requests.read(folder)
        held = self._take_lock(folder)
        if self._store.get(run.id).attempt != current.attempt:
            os.close(held)
            raise BackendError(f"The run {current.name!r} was resumed already.", f"%kfp_runs {current.id} shows it.")
        stored = self._store.save(resumption(current))
        self._start(folder, held)
        return stored

    def logs(self, run: Run, task: Task, *, follow: bool = False) -> Iterator[str]:
        """Yields the log of a task's last attempt; see `Backend.logs`."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        position, path = 0, self.log_file(run, task, task.attempt)
        while True:
            current = self._store.get(run.id).task(task.id) if follow else None
            over = current is None or current.state.final or self.poll(run).state.final
            if current is not None and (newer := self.log_file(run, current, current.attempt)) != path:
                position, path = 0, newer
            while piece := read_piece(path, position, _PIECE):
                position += len(piece)
                yield decoder.decode(piece)
            if over:
                return
            time.sleep(self._settings.poll_interval)

    def log_file(self, run: Run, task: Task, attempt: int) -> Path:
        """Where an attempt of a task writes its log; see `KeepsFiles.log_file`."""
        folder = requests.folder_of(self._settings, run.id)
        return folder / "tasks" / task.id / f"attempt-{attempt}" / "log.txt"

    def forget(self, run: Run) -> None:
        """Removes the folder of a run that has ended; see `KeepsFiles.forget`."""
        folder = requests.folder_of(self._settings, run.id)
        if not folder.is_dir():
            return
        held = self._take_lock(folder)  # a supervisor that has just written the end may still be leaving
        try:
            gone = folder.with_name(f".deleted-{folder.name}")  # at once for everybody, however long the removal takes
            folder.rename(gone)
            shutil.rmtree(gone)
        except OSError as error:
            raise BackendError(
                f"The folder of run {run.name!r} cannot be removed: {error.strerror}.", f"Look at {error.filename}"
            ) from error
        finally:
            os.close(held)

    def artifact(self, run: Run, task: Task, name: str) -> BinaryIO:  # noqa: ARG002  (others need the run)
        """Opens what an artifact holds; a folder comes as a tar archive; see `Backend.artifact`."""
        found = next((one for one in task.artifacts if one.name == name), None)
        if found is None:
            known = {one.name for one in task.artifacts}
            raise NotFoundError(f"The step {task.name!r} has no artifact {name!r}.", did_you_mean(name, known))
        path = Path(found.uri)
        if path.is_dir():
            archive = tempfile.TemporaryFile()  # noqa: SIM115  (closed by whoever reads it)
            with tarfile.open(fileobj=archive, mode="w") as tar:
                tar.add(path, arcname=path.name)
            archive.seek(0)
            return archive
        try:
            return path.open("rb")
        except OSError as error:
            raise NotFoundError(
                f"The content of {name!r} of step {task.name!r} is not on this machine: {found.uri}",
                "Metrics live in the metadata; other artifacts where their URI says.",
            ) from error


def _new_id() -> str:
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"


def _gone(run: Run, log: Path) -> Failure:
    if run.kind == "build":
        return Failure(
            message="The process that built these images is gone: the kernel was restarted or killed.",
            hint="%kfp_build builds what is missing; what is built is kept.",
        )
    last = read_piece(log, 0, _PIECE).decode("utf-8", "replace").strip().rpartition("\n")[2]
    return Failure(
        message=f"The engine of this run is gone; its last words were {last!r}."
        if last
        else "The engine of this run is gone without a word: it was killed, or the machine restarted.",
        hint=f"%kfp_retry {run.id} resumes the run; what succeeded is kept.",
    )
