"""The store: what is remembered of runs and their tasks, in one SQLite file that several processes write at once.

A final state is never undone: the rule stands in the SQL of each write, so that no process can act on an old look.
Only a higher attempt (a retry) opens a run again. What a task gave may still be told when it has ended.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, TypeAlias

from kfp_magics.errors import NotFoundError, did_you_mean
from kfp_magics.model import Run, State, Task
from kfp_magics.runs import database
from kfp_magics.runs.images import BuiltImage
from kfp_magics.runs.transactions import Transactions

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from kfp_magics.model import Json

_Runs: TypeAlias = list[Run]  # inside the class `list` is a method
_DELETED_KEPT = 1000  # revisions for which a deleted run is remembered, so that whoever watches hears of it


class Store:
    """Runs and tasks on disk. Safe to share between threads, and one file between processes.

    Args:
        path: The SQLite file; made with the first use, readable by its owner only.
        patience: Seconds to wait for another process that is writing.
    """

    def __init__(self, path: Path, *, patience: float = 30.0) -> None:
        self.path = path
        self._transactions = Transactions(path, patience)

    def save(self, run: Run) -> Run:
        """Inserts a run or merges what is new about it.

        Args:
            run: With all the tasks that are to be written; tasks that are not named stay as they are.

        Returns:
            The run as it is stored now.

        Raises:
            StoreError: The store cannot be written.
        """
        with self._transactions.writing() as (connection, revision):
            if connection.execute("SELECT 1 FROM deleted WHERE id = ?", (run.id,)).fetchone():
                raise NotFoundError(f"The run {run.id!r} was deleted.")
            return self._put(connection, run, revision)

    def update(self, known: Run, now: Run) -> Run:
        """Writes what a look at a run found, unless somebody has written meanwhile: then it may be older than that.

        Args:
            known: The run as it was read before the look.
            now: The run as it was found.

        Returns:
            The run as it is stored now.

        Raises:
            NotFoundError: Somebody deleted it.
            StoreError: The store cannot be written.
        """
        if now == known:
            return now
        with self._transactions.writing() as (connection, revision):
            stored = self._load(connection, known.id)
            same = database.dump(stored.to_json()) == database.dump(known.to_json())  # also where a metric is no number
            return self._put(connection, now, revision) if same else stored

    def _put(self, connection: sqlite3.Connection, run: Run, revision: int) -> Run:
        connection.execute(database.SAVE_RUN, database.run_row(run, revision))
        self._put_tasks(connection, run.id, run.attempt, run.tasks, revision)
        return self._load(connection, run.id)

    def save_tasks(self, run_id: str, tasks: Iterable[Task], *, attempt: int = 0) -> None:
        """Writes tasks of a run that is stored.

        Args:
            run_id: The run.
            tasks: Tasks as they stand now.
            attempt: The run's attempt that they belong to; the stored one when 0.

        Raises:
            NotFoundError: There is no such run.
        """
        with self._transactions.writing() as (connection, revision):
            row = connection.execute("SELECT attempt FROM runs WHERE id = ?", (run_id,)).fetchone()
            if row is None:
                raise NotFoundError(f"There is no run {run_id!r}.")
            if not attempt or attempt == row[0]:
                self._put_tasks(connection, run_id, row[0], tasks, revision)

    @staticmethod
    def _put_tasks(
        connection: sqlite3.Connection, run_id: str, attempt: int, tasks: Iterable[Task], revision: int
    ) -> None:
        stored = connection.execute("SELECT attempt FROM runs WHERE id = ?", (run_id,)).fetchone()[0]
        if attempt < stored:
            return
        before = connection.total_changes
        connection.executemany(
            database.SAVE_TASK, [database.task_row(task, run_id, attempt, revision) for task in tasks]
        )
        if connection.total_changes > before:
            connection.execute("UPDATE runs SET revision = ? WHERE id = ?", (revision, run_id))

    def get(self, run_id: str) -> Run:
        """Reads a run with its tasks, in the order in which they first appeared.

        Raises:
            NotFoundError: There is no such run.
        """
        with self.reading() as connection:
            return self._load(connection, run_id)

    def known(self, run_id: str) -> Run | None:
        """Reads a run with its tasks if there is one."""
        with self.reading() as connection:
            there = connection.execute("SELECT 1 FROM runs WHERE id = ?", (run_id,)).fetchone()
            return self._load(connection, run_id) if there else None

    def run_of_task(self, run_id: str, task_id: str) -> tuple[Run, Task]:
        """Reads one task, and its run without the others: cheap however many there are.

        Raises:
            NotFoundError: There is no such run or task.
        """
        with self.reading() as connection:
            self.must_exist(connection, run_id)
            (body,) = connection.execute("SELECT body FROM runs WHERE id = ?", (run_id,)).fetchone()
            found = connection.execute(
                "SELECT body FROM tasks WHERE run_id = ? AND id = ?", (run_id, task_id)
            ).fetchone()
            if found is None:
                known = [one for (one,) in connection.execute("SELECT id FROM tasks WHERE run_id = ?", (run_id,))]
                raise NotFoundError(f"The run {run_id!r} has no task {task_id!r}.", did_you_mean(task_id, known))
        return Run.from_json(json.loads(body)), Task.from_json(json.loads(found[0]))

    @staticmethod
    def _load(connection: sqlite3.Connection, run_id: str) -> Run:
        Store.must_exist(connection, run_id)
        row = connection.execute("SELECT body FROM runs WHERE id = ?", (run_id,)).fetchone()
        tasks = connection.execute("SELECT body FROM tasks WHERE run_id = ? ORDER BY number", (run_id,))
        body = json.loads(row[0])
        body["tasks"] = [json.loads(task) for (task,) in tasks]
        return Run.from_json(body)

    @staticmethod
    def must_exist(connection: sqlite3.Connection, run_id: str) -> None:
        """Complains about a run that is not there, and names those that it may mean."""
        if connection.execute("SELECT 1 FROM runs WHERE id = ?", (run_id,)).fetchone() is None:
            known = [one for (one,) in connection.execute("SELECT id FROM runs ORDER BY born DESC LIMIT 200")]
            raise NotFoundError(f"There is no run {run_id!r}.", did_you_mean(run_id, known, "%kfp_runs lists them."))

    def find(self, text: str = "") -> Run:
        """Finds a run by what a person types.

        Args:
            text: An id, the start of one, the name of a run or of a pipeline (the newest of that name), ``last`` or
                nothing for the newest that is not archived, ``-2`` for the one before.

        Raises:
            NotFoundError: There is none, or several ids start so.
        """
        back = -int(text) if text.startswith("-") and text[1:].isdigit() else 1 if text in {"", "last"} else 0
        with self.reading() as connection:
            if back:
                found = connection.execute(
                    "SELECT id FROM runs WHERE archived = 0 ORDER BY born DESC LIMIT 1 OFFSET ?", (back - 1,)
                ).fetchall()
                if not found:
                    raise NotFoundError("There is no such run yet.", "%kfp_run PIPELINE starts one.")
                return self._load(connection, found[0][0])
            found = (
                connection.execute(
                    "SELECT id FROM runs WHERE id = :t OR name = :t ORDER BY archived, born DESC LIMIT 1", {"t": text}
                ).fetchall()
                or connection.execute(
                    "SELECT id FROM runs WHERE substr(id, 1, :n) = :t ORDER BY born DESC LIMIT 9",
                    {"t": text, "n": len(text)},
                ).fetchall()
                or connection.execute(
                    "SELECT id FROM runs WHERE pipeline = ? ORDER BY archived, born DESC LIMIT 1", (text,)
                ).fetchall()
            )
        if len(found) > 1:
            ids = ", ".join(one for (one,) in found)
            raise NotFoundError(f"Several runs start with {text!r}: {ids}.", "Type a few characters more.")
        return self.get(found[0][0] if found else text)

    def list(
        self,
        *,
        limit: int = 50,
        offset: int = 0,
        search: str = "",
        states: Collection[State] = (),
        pipeline: str = "",
        experiment: str = "",
        notebook: str = "",
        kind: str = "",
        archived: bool = False,
    ) -> _Runs:
        """Lists runs without their tasks, newest first.

        Args:
            limit: At most so many.
            offset: After so many.
            search: Text that the name, the pipeline or the id contains, whatever its case.
            states: Only these; all when empty.
            pipeline: Only this pipeline.
            experiment: Only this experiment.
            notebook: Only this notebook.
            kind: Only this kind.
            archived: Also those that were put away.
        """
        exact = {"pipeline": pipeline, "experiment": experiment, "notebook": notebook, "kind": kind}
        conditions = [f"{column} = :{column}" for column, value in exact.items() if value]
        values: dict[str, Json] = {**exact, "limit": limit, "offset": offset}
        if not archived:
            conditions.append("archived = 0")
        if search:
            conditions.append("instr(words, :search)")
            values["search"] = database.clean(search).casefold()
        if states:
            conditions.append(f"state IN ({', '.join(f':state{n}' for n in range(len(states)))})")
            values |= {f"state{n}": str(state) for n, state in enumerate(states)}
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        query = f"SELECT body FROM runs {where} ORDER BY born DESC LIMIT :limit OFFSET :offset"  # noqa: S608  (only our own words)
        with self.reading() as connection:
            rows = connection.execute(query, values).fetchall()
        return [Run.from_json(json.loads(body)) for (body,) in rows]

    def unfinished(self) -> _Runs:
        """Lists the runs that have not ended, without their tasks."""
        with self.reading() as connection:
            rows = connection.execute("SELECT body FROM runs WHERE final = 0 ORDER BY born").fetchall()
        return [Run.from_json(json.loads(body)) for (body,) in rows]

    def change(self) -> int:
        """A number that grows with every change that any process writes; cheap to ask for."""
        with self.reading() as connection:
            number: int = connection.execute("SELECT number FROM change").fetchone()[0]
        return number

    def archive(self, run_id: str, *, archived: bool = True) -> None:
        """Takes a run out of the usual list, or puts it back.

        Raises:
            NotFoundError: There is no such run.
        """
        with self._transactions.writing() as (connection, revision):
            self.must_exist(connection, run_id)
            connection.execute(
                "UPDATE runs SET archived = :archived, revision = :revision WHERE id = :id AND archived <> :archived",
                {"archived": archived, "revision": revision, "id": run_id},
            )

    def delete(self, run_id: str) -> None:
        """Forgets a run and its tasks for good; its folder is left alone."""
        with self._transactions.writing() as (connection, revision):
            if connection.execute("DELETE FROM runs WHERE id = ?", (run_id,)).rowcount:
                connection.execute("DELETE FROM tasks WHERE run_id = ?", (run_id,))
                connection.execute("INSERT INTO deleted VALUES (?, ?)", (run_id, revision))
                connection.execute("DELETE FROM deleted WHERE revision < ?", (revision - _DELETED_KEPT,))

    def remember_image(self, image: BuiltImage) -> None:
        """Keeps an image that was built or found; it becomes the newest of its step there."""
        row = {"repository": image.place, "tag": image.tag, "body": json.dumps(asdict(image))}
        with self._transactions.writing() as (connection, _):
            connection.execute("DELETE FROM images WHERE repository = :repository AND tag = :tag", row)
            connection.execute("INSERT INTO images (repository, tag, body) VALUES (:repository, :tag, :body)", row)

    def image(self, place: str, tag: str = "") -> BuiltImage | None:
        """Finds an image that is remembered.

        Args:
            place: Where images go, and the image's name there.
            tag: What `ImageSpec.tag` says; the newest one when empty.
        """
        query = "SELECT body FROM images WHERE repository = ? AND (tag = ? OR ? = '') ORDER BY born DESC LIMIT 1"
        with self.reading() as connection:
            row = connection.execute(query, (place, tag, tag)).fetchone()
        return BuiltImage(**json.loads(row[0])) if row else None

    def close(self) -> None:
        """Closes the connections of all threads, each as soon as its thread has done with it."""
        self._transactions.close()

    def reading(self) -> AbstractContextManager[sqlite3.Connection]:
        """Gives a connection that sees the store as it stands at one moment.

        Raises:
            StoreError: The store cannot be read.
        """
        return self._transactions.reading()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Gives a connection that may write what stands beside the runs; all of it is written, or nothing.

        Raises:
            StoreError: The store cannot be written.
        """
        with self._transactions.writing() as (connection, _):
            yield connection
