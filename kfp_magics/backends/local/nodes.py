"""What the scheduler and those who work for it tell each other about one task of one DAG."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kfp_magics.backends.local.values import Values

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Mapping

    from kfp_magics.model import Failure, Json, State


@dataclass(kw_only=True, slots=True)
class Result:
    """How a task ended.

    Attributes:
        state: A final state.
        outputs: What it gave; empty unless it succeeded.
        error: Why it failed.
        culprit: Id of the step that failed, in a group that failed.
    """

    state: State
    outputs: Values = field(default_factory=Values)
    error: Failure | None = None
    culprit: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """What the tasks of one DAG see.

    Attributes:
        prefix: Id of the group with a slash behind, or nothing at the top.
        inputs: What the DAG was given.
        declared: The inputs that its component declares.
        done: Task → how it ended, once it has.
        outputs: Task → the outputs that its component declares.
    """

    prefix: str
    inputs: Values
    declared: Mapping[str, Json]
    done: Mapping[str, Future[Result]]
    outputs: Mapping[str, Mapping[str, Json]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """One task of one DAG, while it is carried out.

    Attributes:
        id: Its id in the run.
        key: Its name in the DAG.
        spec: The PipelineTaskSpec.
        scope: What its DAG's tasks see.
        exempt: Whether it runs although the run is cancelled (exit handlers and what is in them).
    """

    id: str
    key: str
    spec: Mapping[str, Json]
    scope: Scope
    exempt: bool
