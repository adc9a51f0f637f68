"""What carries out one attempt of one task: the interface and the values that cross it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from kfp_magics.backends.base import StepSource
    from kfp_magics.model import Failure, Json


@dataclass(frozen=True, kw_only=True, slots=True)
class Launch:
    """One attempt of one task, with everything resolved.

    Attributes:
        task_id: The task's id in the run.
        attempt: Counted from 1.
        image: Image reference of the container.
        command: Entry point, placeholders resolved.
        args: Its arguments, placeholders resolved.
        executor_input: KFP's ExecutorInput message as JSON.
        env: Environment variables of the container, secrets included; never logged.
        folder: Folder of the attempt; exists, and is the working directory.
        log: File that everything printed goes to.
        source: The cell that the step came from, when known.
    """

    task_id: str
    attempt: int
    image: str
    command: tuple[str, ...]
    args: tuple[str, ...]
    executor_input: Mapping[str, Json]
    env: Mapping[str, str]
    folder: Path
    log: Path
    source: StepSource | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How an attempt ended.

    Attributes:
        returncode: Exit code; negative for the signal that ended it.
        failure: Why it failed; None when it succeeded.
    """

    returncode: int
    failure: Failure | None = None


class Executor(Protocol):
    """Runs attempts: as processes here, later in containers."""

    name: str

    def refuse(self, image: str, command: Sequence[str], args: Sequence[str]) -> str | None:
        """Says why a container cannot run here, or None; asked before anything starts."""

    async def prepare(self, launch: Launch) -> None:
        """Makes what the attempt needs (its environment); may take seconds.

        Raises:
            RequirementsError: It cannot be made.
        """

    async def run(self, launch: Launch) -> Outcome:
        """Carries the attempt out; cancelling ends the whole process tree, politely first."""

    async def close(self) -> None:
        """Ends whatever was kept warm."""
