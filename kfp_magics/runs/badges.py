"""What a notebook shows on its step cells: the last run of each, and the last image built from it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from kfp_magics.model import State, Task

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Collection, Mapping

    from kfp_magics.model import Json
    from kfp_magics.runs.store import Store

    Sources = Callable[[str], Mapping[str, str]]

_RUNS = 500  # latest runs of a notebook that are looked at
_TELLING = {State.FAILED: 3, State.RUNNING: 2, State.PENDING: 1}


def badges(store: Store, notebooks: Collection[str], sources: Sources) -> list[dict[str, Json]]:
    """Finds the last run and the last image of each cell of a notebook.

    Args:
        store: Where runs are remembered.
        notebooks: How runs may name the notebook.
        sources: Run → cell → the text that the cell had then; empty for a run that is forgotten.
    """
    with store.reading() as connection:
        ran = _latest(connection, notebooks, "kind <> 'build'")
        built = _latest(connection, notebooks, "kind = 'build'")
        tasks = {key: _tasks(connection, *key) for key in {*ran.items(), *built.items()}}
        kinds = dict(
            connection.execute(
                f"SELECT id, kind FROM runs WHERE id IN ({', '.join('?' * len(ran))})",  # noqa: S608
                [*ran.values()],
            )
        )
    texts = {run_id: sources(run_id) for run_id in {*ran.values(), *built.values()}}
    found = []
    for cell in {**ran, **built}:
        run_id, build_id = ran.get(cell, ""), built.get(cell, "")
        run_tasks, build_tasks = tasks.get((cell, run_id), []), tasks.get((cell, build_id), [])
        found.append(
            {
                "cell_id": cell,
                "component": (run_tasks or build_tasks)[0].component or (run_tasks or build_tasks)[0].name,
                "run": _run(run_id, kinds[run_id], run_tasks, texts[run_id].get(cell)) if run_tasks else None,
                "image": _image(build_id, build_tasks[-1], texts[build_id].get(cell)) if build_tasks else None,
            }
        )
    return found


def _latest(connection: sqlite3.Connection, notebooks: Collection[str], kind: str) -> dict[str, str]:
    """Cell → the last run that had a task of it."""
    query = f"""
        SELECT tasks.cell_id, tasks.run_id, max(latest.born) FROM tasks JOIN (
            SELECT id, born FROM runs WHERE notebook IN ({", ".join("?" * len(notebooks))}) AND {kind}
            ORDER BY born DESC LIMIT {_RUNS}) AS latest ON tasks.run_id = latest.id
        WHERE tasks.cell_id <> '' GROUP BY tasks.cell_id"""  # noqa: S608  (only our own words)
    return {cell: run_id for cell, run_id, _ in connection.execute(query, [*notebooks])}


def _tasks(connection: sqlite3.Connection, cell: str, run_id: str) -> list[Task]:
    found = connection.execute(
        "SELECT body FROM tasks WHERE run_id = ? AND cell_id = ? ORDER BY number", (run_id, cell)
    )
    return [Task.from_json(json.loads(body)) for (body,) in found]


def _run(run_id: str, kind: str, tasks: list[Task], source: str | None) -> dict[str, Json]:
    told = max(enumerate(tasks), key=lambda one: (_TELLING.get(one[1].state, 0), one[0]))[1]
    body = told.to_json()
    return {
        "run_id": run_id,
        "task_id": told.id,
        "kind": kind,
        **{key: body[key] for key in ("state", "started", "finished", "cached", "error")},
        "count": len(tasks),
        "source": source,
    }


def _image(run_id: str, task: Task, source: str | None) -> dict[str, Json]:
    return {
        "run_id": run_id,
        "state": str(task.state),
        "reference": task.image if task.state is State.SUCCEEDED else "",
        "finished": task.finished,
        "source": source,
    }
