"""Reading runs for a person: one of their tasks by name, what tasks printed, and why a run did not succeed."""

from __future__ import annotations

import re
import time
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kfp_magics.backends.base import KeepsRuns
from kfp_magics.errors import (
    BackendError,
    KfpMagicsError,
    NotFoundError,
    RunFailedError,
    WaitInterrupted,
    did_you_mean,
)
from kfp_magics.model import State
from kfp_magics.runs.watch import ask, poll_by

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from kfp_magics.backends.base import Backend
    from kfp_magics.model import Run, Task
    from kfp_magics.runs.store import Store

_SERVERS_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|local-.+|.+-[0-9]{14}(-[0-9a-f]{8})?")
"""How Kubeflow Pipelines, `kfp-magics serve` and Vertex AI call their runs."""


def find_run(store: Store, backends: Mapping[str, Backend], text: str) -> Run:
    """Finds a run as it stands now, here or, by its whole id, on a server that is known.

    Raises:
        NotFoundError: There is none.
    """
    try:
        run = store.find(text)
    except NotFoundError:
        if not _SERVERS_ID.fullmatch(text):
            raise
        found = next((one for name in backends if (one := _elsewhere(backends, name, text)) is not None), None)
        if found is None:
            raise
        return store.save(found)
    return run if run.state.final else ask(store, run, poll_by(backends))


def run_of(store: Store, find: Callable[[str], Run], pipeline: str, text: str) -> Run:
    """Finds a run whose results are wanted; ``last`` is the last one of the pipeline, however it ended.

    Raises:
        NotFoundError: There is none.
    """
    if text != "last":
        return find(text)
    for run in store.list(pipeline=pipeline, kind="pipeline", limit=1):
        return find(run.id)
    raise NotFoundError(f"The pipeline {pipeline!r} has not run yet.", f"Run it first: %kfp_run {pipeline}")


def _elsewhere(backends: Mapping[str, Backend], name: str, run_id: str) -> Run | None:
    try:
        backend = backends[name]
    except BackendError:  # it is not installed: it has no run of ours
        return None
    return backend.find(run_id) if isinstance(backend, KeepsRuns) else None


def find_task(run: Run, text: str) -> Task:
    """Finds a task of a run by id, name, or component; of several, the one that failed or started last.

    Raises:
        NotFoundError: There is none.
    """
    found = [task for task in run.tasks if text == task.id]
    found = found or [task for task in run.tasks if text in {task.name, task.component, task.id.split("/")[-1]}]
    if not found:
        known = [task.id for task in run.tasks]
        raise NotFoundError(f"Run {run.name!r} has no step {text!r}.", did_you_mean(text, known))
    return max(found, key=lambda task: (task.state is State.FAILED, task.started or 0.0))


def all_logs(
    run: Run, backend: Backend, look_again: Callable[[str], Run], *, follow: bool, interval: float
) -> Iterator[str]:
    """Yields the logs of all steps one after the other, under their names.

    Args:
        run: The run.
        backend: Where it runs.
        look_again: Gives the run of an id as it stands now.
        follow: Goes on until the run has ended.
        interval: Seconds between two looks.
    """
    shown: set[str] = set()
    while True:
        ready = [task for task in run.tasks if task.has_log and task.started and task.id not in shown]
        for task in sorted(ready, key=lambda task: task.started or 0.0):
            shown.add(task.id)
            yield f"── {task.id} ──\n"
            yield from backend.logs(run, task, follow=follow)
        if not ready:
            if not follow or run.state.final:
                return
            time.sleep(interval)
        run = look_again(run.id)


@contextmanager
def waiting(run: Run) -> Iterator[None]:
    """Says to whoever stops waiting for a run that it goes on.

    Raises:
        WaitInterrupted: There was an interrupt.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise WaitInterrupted(
            f"Interrupted; the run {run.name!r} goes on.", f"%kfp_runs {run.id} shows it; %kfp_cancel {run.id} ends it."
        ) from None


def followed(run: Run, pieces: Iterator[str]) -> Iterator[str]:
    """The pieces of a log that grows, with `waiting` around."""
    with waiting(run):
        yield from pieces


def log_tail(run: Run, task: Task, backend: Backend, lines: int) -> str:
    """The last lines of a task's log."""
    last: deque[str] = deque(maxlen=lines)
    rest = ""
    for piece in backend.logs(run, task):
        *whole, rest = (rest + piece).split("\n")
        last.extend(whole)
    return "\n".join([*last, rest] if rest else last)


def _tail(run: Run, task: Task, tail: Callable[[Run, Task], str]) -> str:
    try:
        return tail(run, task).rstrip()
    except KfpMagicsError as error:  # why a run failed is told though its log cannot be had
        return f"(its log cannot be had: {error.message})"


def failure(run: Run, tail: Callable[[Run, Task], str], is_from_a_cell: Callable[[Task], bool]) -> RunFailedError:
    """Says why a run did not succeed, with the last lines that the failed step printed.

    Args:
        run: The run as it ended.
        tail: Gives the last lines of a task's log.
        is_from_a_cell: Whether the lines of a task's error are those of a cell.
    """
    again = "%kfp_build" if run.kind == "build" else f"%kfp_retry {run.id}"
    culprit = next((task for task in run.tasks if task.state is State.FAILED and task.has_log), None)
    if culprit is None:
        why = run.error.message if run.error else f"it is {run.state}"
        hint = (run.error and run.error.hint) or f"{again} resumes it."
        return RunFailedError(f"Run {run.name!r} did not succeed: {why}", hint, run=run)
    error, where = culprit.error, ""
    if error and error.line:
        cell = " of its cell" if is_from_a_cell(culprit) else ""
        where = f" (line {error.line}{cell}" + (f": {error.text.strip()})" if error.text else ")")
    lines = "" if culprit.kind == "image" else _tail(run, culprit, tail)  # the log of a build ends with its error
    what = "Image" if culprit.kind == "image" else "Step"
    return RunFailedError(
        f"{what} {culprit.name!r} of run {run.name!r} failed{where}: {error.message if error else 'no reason given'}",
        (f"{lines}\n" if lines else "")
        + (f"{error.hint}\n" if error and error.hint else "")
        + f"%kfp_logs {run.id} {culprit.id} shows its whole log; {again} "
        + ("builds what is missing." if run.kind == "build" else "resumes the run."),
        run=run,
    )
