"""The one interface between a compiled pipeline and whatever runs it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Literal, Protocol, runtime_checkable

from kfp_magics.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from kfp_magics.backends.connections import Checked, Connection
    from kfp_magics.model import Artifact, Json, Run, RunKind, State, Task


MARK = "Started by kfp-magics"
"""What the description of a run that we start begins with; what follows is written once in the world."""


def trigger_of(description: str) -> str:
    """Who started a run, if new data did: its description says which file; empty otherwise."""
    found = re.fullmatch(rf"{MARK} \([\w-]+\) for (.+)", description)
    return f"trigger: {found[1]}" if found else ""


def has_ended(run: Run) -> BackendError:
    """What is said to somebody who asks for the end of a run that has come to it."""
    return BackendError(f"The run {run.name!r} has ended: it is {run.state}.", f"%kfp_runs {run.id} shows it.")


@dataclass(frozen=True, kw_only=True, slots=True)
class StepSource:
    """Which cell a component came from, so that an error can point there.

    Attributes:
        cell_id: The notebook cell.
        source: The cell's text as it was when the run started (line N of it is line N of the cell).
        label: How to name the cell to a person, e.g. ``cell 'preprocess'``.
        line_offset: What to add to a line number of the step's module to get the cell's line.
    """

    cell_id: str = ""
    source: str = ""
    label: str = ""
    line_offset: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class SubmitOptions:
    """What a run is given besides its arguments.

    Attributes:
        name: Display name; the pipeline's name and the time when empty.
        kind: What the run is shown as.
        experiment: KFP experiment.
        cache: False runs every task; True leaves it to each task.
        notebook: Path of the notebook that starts it.
        started_by: ``notebook``, ``panel``, ``cli``, ``schedule`` or ``trigger: …``.
        sources: Component name → the cell it came from.
        input_artifacts: Pipeline input artifact → path on this machine (a single step tried on live objects).
        executor: What carries out the tasks on this machine: ``process`` or ``container``; the setting when empty.
        target: Name of the connection, for backends that are elsewhere; the one used last when empty.
        key: What makes it one run however often it is asked for, one time after the other, also by a process that does
            not know what became of the last time: letters, digits and dashes; any other run when empty.
    """

    name: str = ""
    kind: RunKind = "pipeline"
    experiment: str = ""
    cache: bool = True
    notebook: str = ""
    started_by: Literal["notebook", "panel", "cli", "schedule"] | str = "notebook"  # noqa: PYI051  (the usual words)
    sources: Mapping[str, StepSource] = field(default_factory=dict)
    input_artifacts: Mapping[str, Path] = field(default_factory=dict)
    executor: str = ""
    target: str = ""
    key: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """A pipeline that a server runs again and again.

    Attributes:
        name: What the user sees.
        cron: When, in five or six fields; empty when it has an interval.
        interval: Seconds between two runs; 0 when it has a cron.
        enabled: Whether it runs.
        at_once: Most runs that go on at once.
        catch_up: Whether runs that were missed are made up for.
        id: Of the server; empty before it is made.
        pipeline: Name of the pipeline.
        parameters: What its runs are given.
    """

    name: str
    cron: str = ""
    interval: int = 0
    enabled: bool = True
    at_once: int = 1
    catch_up: bool = False
    id: str = ""
    pipeline: str = ""
    parameters: Mapping[str, Json] = field(default_factory=dict)


@runtime_checkable
class Backend(Protocol):
    """Runs compiled pipelines. Calls block; whoever must not wait uses a thread."""

    name: str

    def submit(self, ir: str, arguments: Mapping[str, Json], options: SubmitOptions) -> Run:
        """Starts a run and returns at once.

        Args:
            ir: Compiled pipeline (YAML; a second document may hold the platform part).
            arguments: Pipeline parameter → value.
            options: Everything else.

        Returns:
            The run with every task that is known before it starts.

        Raises:
            ArgumentError: An argument is missing, unknown or of the wrong type.
            BackendError: The backend cannot run this pipeline; nothing was started.
        """

    def poll(self, run: Run) -> Run:
        """Looks where a run stands now: run in, run out, nothing stored."""

    def cancel(self, run: Run) -> None:
        """Asks for the end of a run; exit handlers still run.

        Raises:
            BackendError: It has ended already.
        """

    def retry(self, run: Run) -> Run:
        """Resumes a failed or cancelled run: what succeeded is kept, the rest runs again."""

    def logs(self, run: Run, task: Task, *, follow: bool = False) -> Iterator[str]:
        """Yields the task's log in pieces of text; with ``follow`` until the task has ended."""

    def artifact(self, run: Run, task: Task, name: str) -> BinaryIO:
        """Opens what an artifact holds.

        Raises:
            NotFoundError: The task has no such artifact, or its content is gone.
        """


@runtime_checkable
class Checks(Protocol):
    """A backend that is somewhere else, and can be asked whether it would run something."""

    def check(self, connection: Connection) -> Checked:
        """Asks a server who it is, and whether it takes runs from here.

        Raises:
            LoginError: It does not know who asks, or does not let them.
            BackendError: It is no such server.
            UnavailableError: It cannot be reached.
        """


@runtime_checkable
class Refuses(Protocol):
    """A backend that says before anything is built or started that it cannot run a pipeline."""

    def refuse(self, ir: str, options: SubmitOptions) -> None:
        """Looks whether each step can have what it asks for.

        Args:
            ir: Compiled pipeline; images of its steps need not be there yet.
            options: How it is to run.

        Raises:
            BackendError: One cannot; says which, and what to do.
        """


@runtime_checkable
class KeepsPipelines(Protocol):
    """A backend whose servers keep pipelines and run them again and again."""

    def upload(self, ir: str, name: str, *, version: str = "", description: str = "") -> str:
        """Puts a pipeline on the server, or a version of one that is there; tells in a line what came of it."""

    def schedule(self, wanted: Schedule, ir: str, arguments: Mapping[str, Json], options: SubmitOptions) -> Schedule:
        """Has a pipeline run again and again."""

    def schedules(self) -> list[Schedule]:
        """Lists what runs again and again."""

    def switch(self, schedule: Schedule, *, enabled: bool) -> None:
        """Lets a schedule run, or rest."""

    def unschedule(self, schedule: Schedule) -> None:
        """Removes a schedule; its runs stay."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """What a server keeps under a name: an experiment, a pipeline, or a version of one.

    Attributes:
        id: What the server calls it.
        name: What people call it.
        created: When it was made, in seconds since the epoch; None where that is not told.
        description: What somebody wrote to it.
    """

    id: str
    name: str
    created: float | None = None
    description: str = ""


@runtime_checkable
class KeepsNames(Protocol):
    """A backend whose servers tell which experiments and pipelines they keep."""

    def experiments(self) -> list[Kept]:
        """Lists the experiments that are not archived, newest first."""

    def pipelines(self) -> list[Kept]:
        """Lists the pipelines, newest first."""

    def versions(self, pipeline: Kept) -> list[Kept]:
        """Lists the versions of a pipeline, newest first."""


@runtime_checkable
class KeepsRuns(Protocol):
    """A backend whose servers keep runs themselves, whoever started them."""

    def archive(self, run: Run, *, archived: bool) -> None:
        """Takes a run out of the server's usual list, or puts it back."""

    def delete(self, run: Run) -> None:
        """Removes a run that has ended from its server; one that is gone is no mistake."""

    def find(self, run_id: str) -> Run | None:
        """Looks for a run that this machine does not know on all servers that it does."""

    def recent(
        self, target: str = "", *, limit: int = 50, search: str = "", states: Collection[State] = ()
    ) -> list[Run]:
        """Lists the runs of a server without their tasks, newest first, whoever started them.

        Args:
            target: Name of the connection; the one used last when empty.
            limit: At most so many.
            search: Text in their names.
            states: Only these; all when empty.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """What an artifact holds, before it is read.

    Attributes:
        size: In bytes; None when nobody says.
        files: Of a folder: path inside it → bytes; None when it is a file.
    """

    size: int | None = None
    files: Mapping[str, int] | None = None


@runtime_checkable
class GivesContent(Protocol):
    """A backend whose artifacts are elsewhere, and can be looked at and read piece by piece."""

    def content(self, run: Run, task: Task, artifact: Artifact) -> Content:
        """Says what an artifact of a task holds.

        Raises:
            NotFoundError: It is not there, or not where this backend may ask.
            BackendError: This login may not read it, or nobody answers.
        """

    def open(self, run: Run, task: Task, artifact: Artifact, inside: str = "", *, start: int = 0) -> BinaryIO:
        """Opens what an artifact holds.

        Args:
            run: The run.
            task: A task of it.
            artifact: An artifact of that task.
            inside: A file inside an artifact that is a folder.
            start: The first byte that is wanted.

        Raises:
            NotFoundError: It is not there, or not where this backend may ask.
            BackendError: This login may not read it, or nobody answers.
        """


@runtime_checkable
class Resumes(Protocol):
    """A backend whose runs can be resumed by others, as on its own page."""

    def resumed(self, runs: Sequence[Run]) -> list[Run]:
        """Looks which of some runs that failed or were cancelled go on again, or have succeeded since.

        Args:
            runs: As they are stored.

        Returns:
            Those, each as a new attempt.
        """


@runtime_checkable
class KeepsFiles(Protocol):
    """A backend that keeps what its runs write as files of this machine."""

    def log_file(self, run: Run, task: Task, attempt: int) -> Path:
        """Where an attempt of a task writes its log; the file may not be there yet."""

    def forget(self, run: Run) -> None:
        """Removes what a run that has ended left behind.

        Raises:
            BackendError: It still runs.
        """
