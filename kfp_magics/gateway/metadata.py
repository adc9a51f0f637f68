"""What steps took and gave, as a cluster tells it: in ML Metadata, by gRPC-Web at the same address.

KFP's API has no place for values and tells artifacts by number only; its pages ask ML Metadata for the rest, and so
does our own backend. The numbers are made of the run's row in the store and of what they stand for, so that nothing
needs to be kept for them.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from kfp_magics import mlmd
from kfp_magics.errors import ArgumentError, KfpMagicsError, NotFoundError
from kfp_magics.gateway.rows import select
from kfp_magics.model import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kfp_magics.gateway.runs import Runs
    from kfp_magics.model import Artifact, Run, Task
    from kfp_magics.runs.store import Store

_BITS = 40  # of a number for what it stands for; those before are the run's
_LARGEST_PAGE = 100
_LIVE = 2  # state of an artifact that is there
_STATES = {
    State.PENDING: 1,
    State.RUNNING: 2,
    State.SUCCEEDED: 3,
    State.FAILED: 4,
    State.CANCELLED: 6,
    State.SKIPPED: 6,
    State.UNKNOWN: 0,
}
_INVALID = 3  # gRPC's word for a question that does not read


def number(born: int, what: str) -> int:
    """The number of something of a run.

    Args:
        born: Of the run, in the store.
        what: What it is; something else has another number.
    """
    digest = hashlib.sha256(what.encode()).digest()[: _BITS // 8]
    return (born << _BITS) | int.from_bytes(digest, "big")


def execution_number(born: int, task: Task) -> int:
    """The number of a task."""
    return number(born, f"task {task.id}")


def artifact_number(born: int, artifact: Artifact) -> int:
    """The number of an artifact: whoever reads it means the same as whoever wrote it."""
    return number(born, f"artifact {artifact.uri or artifact.name}")


class Metadata:
    """Answers questions about what steps took and gave.

    Args:
        store: Where runs are remembered.
        runs: The runs.
    """

    def __init__(self, store: Store, runs: Runs) -> None:
        self._store = store
        self._runs = runs

    def answer(self, method: str, body: bytes) -> bytes:
        """Answers a question, as gRPC-Web has it: what cannot be answered is said at the end.

        Args:
            method: Its name.
            body: The question.
        """
        if method not in mlmd.METHODS:
            return mlmd.trailer(mlmd.UNIMPLEMENTED, f"{method} is not offered here.")
        try:
            data, _ = mlmd.unframe(body)
            found = self._answer(method, mlmd.parse(f"{method}Request", data))
        except NotFoundError as error:
            return mlmd.trailer(mlmd.NOT_FOUND, error.message)
        except KfpMagicsError as error:
            return mlmd.trailer(_INVALID, error.message)
        return mlmd.frame(found.SerializeToString()) + mlmd.trailer()

    def _answer(self, method: str, asked: Any) -> Any:  # noqa: ANN401  (messages made as the program runs)
        match method:
            case "GetContextByTypeAndName":
                return mlmd.message(f"{method}Response", **self._context(asked.type_name, asked.context_name))
            case "GetExecutionsByContext":
                executions = list(_executions(self._run(asked.context_id), asked.context_id))
                return _page(executions, asked.options)
            case "GetEventsByExecutionIDs":
                return mlmd.message(f"{method}Response", events=list(self._events(asked.execution_ids)))
        return mlmd.message(f"{method}Response", artifacts=list(self._artifacts(asked.artifact_ids)))

    def _context(self, kind: str, name: str) -> dict[str, Any]:
        if kind != mlmd.RUN_CONTEXT:
            return {}
        try:
            run = self._runs.run(name)
        except NotFoundError:  # which is no mistake: so many servers say it
            return {}
        return {"context": mlmd.message("Context", id=self._runs.born(run.id), name=name, type=kind)}

    def _run(self, born: int) -> Run:
        with self._store.reading() as connection:
            rows = select(connection, "SELECT id FROM runs WHERE born = ? AND backend = 'local'", (born,))
        if not rows:
            raise NotFoundError(f"There is no context {born}.")
        return self._runs.run(rows[0]["id"])

    def _by_run(self, numbers: Iterable[int]) -> Iterator[tuple[int, Run, set[int]]]:
        wanted: dict[int, set[int]] = defaultdict(set)
        for one in numbers:
            wanted[one >> _BITS].add(one)
        for born, some in wanted.items():
            yield born, self._run(born), some

    def _events(self, numbers: Iterable[int]) -> Iterator[Any]:
        for born, run, wanted in self._by_run(numbers):
            for task in run.tasks:
                if (execution := execution_number(born, task)) not in wanted:
                    continue
                for one in task.artifacts:
                    yield mlmd.message(
                        "Event",
                        artifact_id=artifact_number(born, one),
                        execution_id=execution,
                        path=mlmd.message("Path", steps=[mlmd.message("Step", key=one.name)]),
                        type=mlmd.OUTPUT if one.io == "output" else mlmd.INPUT,
                    )

    def _artifacts(self, numbers: Iterable[int]) -> Iterator[Any]:
        for born, run, wanted in self._by_run(numbers):
            known = {artifact_number(born, one): one for task in run.tasks for one in task.artifacts}
            for one in sorted(wanted & known.keys()):
                artifact = known[one]
                yield mlmd.message(
                    "Artifact",
                    id=one,
                    uri=artifact.uri,
                    type=artifact.type,
                    state=_LIVE,
                    custom_properties={key: mlmd.value_of(value) for key, value in artifact.metadata.items()},
                )


def _executions(run: Run, born: int) -> Iterator[Any]:
    top = number(born, "the whole run")
    ids = {task.id: execution_number(born, task) for task in run.tasks}
    loops = {task.parent for task in run.tasks if task.kind == "iteration"}
    yield mlmd.message("Execution", id=top, type=mlmd.DAG_EXECUTION, last_known_state=_STATES[run.state])
    for task in run.tasks:
        if not (task.started or task.cached or task.state.final):
            continue
        words = {
            "task_name": mlmd.value_of(task.id.rsplit("/", 1)[-1]),
            "display_name": mlmd.value_of(task.name),
            "parent_dag_id": mlmd.value_of(ids.get(task.parent, top)),
            "inputs": mlmd.fields_of(task.inputs),
            "outputs": mlmd.fields_of(task.outputs),
        }
        if task.id in loops:
            words["iteration_count"] = mlmd.value_of(sum(one.parent == task.id for one in run.tasks))
        if task.kind == "iteration":
            words["iteration_index"] = mlmd.value_of(int(task.name))
        kind = mlmd.STEP_EXECUTION if task.has_log else mlmd.DAG_EXECUTION
        yield mlmd.message(
            "Execution", id=ids[task.id], type=kind, last_known_state=_STATES[task.state], custom_properties=words
        )


def _page(executions: list[Any], options: Any) -> Any:  # noqa: ANN401  (a message)
    token = options.next_page_token or "0"
    if not token.isdecimal():
        raise ArgumentError(f"There is no page {token!r}.")
    first = int(token)
    last = first + max(1, min(options.max_result_size or 20, _LARGEST_PAGE))
    more = {"next_page_token": str(last)} if last < len(executions) else {}
    return mlmd.message("GetExecutionsByContextResponse", executions=executions[first:last], **more)
