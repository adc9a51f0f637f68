"""What carries out one attempt of one task: the interface and the values that cross it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
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
        resources: What the container asks for, as the IR says it (``resourceMemoryLimit`` …); processes share theirs.
        mounts: Paths of this machine that the step is promised (secrets, volumes) → whether it may write there.
        tell: Takes one line about what is being done for the attempt now.
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
    resources: Mapping[str, Json] = field(default_factory=dict)
    mounts: Mapping[str, bool] = field(default_factory=dict)
    tell: Callable[[str], None] = lambda _: None


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
    """Runs attempts: as processes of this machine, or in containers on it."""

    name: str

    def refuse(self, image: str, command: Sequence[str], args: Sequence[str]) -> str | None:
        """Says why a container cannot run here, or None; asked before anything starts."""

    async def prepare(self, launch: Launch) -> None:
        """Makes what the attempt needs (its environment, its image); may take seconds.

        Raises:
            RequirementsError: It cannot be made.
            EngineError: Its image cannot be had.
        """

    async def run(self, launch: Launch) -> Outcome:
        """Carries the attempt out; cancelling ends the whole process tree, politely first."""

    async def close(self) -> None:
        """Ends whatever was kept warm."""
