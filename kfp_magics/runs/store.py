"""The store: what is remembered of runs and their tasks, in one SQLite file that several processes write at once.

A final state is never undone: the rule stands in the SQL of each write, so that no process can act on an old look.
Only a higher attempt (a retry) opens a run again.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

from kfp_magics.errors import NotFoundError, StoreError, did_you_mean
from kfp_magics.model import Run, State, Task
from kfp_magics.runs.filesystem import supports_wal

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from pathlib import Path

    from kfp_magics.model import Json

_Runs: TypeAlias = list[Run]  # inside the class `list` is a method
_APPLICATION_ID = 0x6B66706D  # "kfpm"
_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE runs (
            id TEXT PRIMARY KEY, attempt INTEGER NOT NULL, state TEXT NOT NULL, final INTEGER NOT NULL,
            created REAL NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL, pipeline TEXT NOT NULL,
            experiment TEXT NOT NULL, notebook TEXT NOT NULL, body TEXT NOT NULL) WITHOUT ROWID""",
        "CREATE INDEX runs_by_time ON runs (created DESC, id DESC)",
        "CREATE INDEX runs_unfinished ON runs (final) WHERE final = 0",
        """CREATE TABLE tasks (
            run_id TEXT NOT NULL, id TEXT NOT NULL, position INTEGER NOT NULL, attempt INTEGER NOT NULL,
            final INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (run_id, id)) WITHOUT ROWID""",
        "CREATE TABLE change (number INTEGER NOT NULL)",
        "INSERT INTO change VALUES (0)",
    ),
)
_SAVE_RUN = """INSERT INTO runs VALUES (:id, :attempt, :state, :final, :created, :name, :kind, :pipeline, :experiment,
        :notebook, :body)
    ON CONFLICT (id) DO UPDATE SET attempt = excluded.attempt, state = excluded.state, final = excluded.final,
        created = excluded.created, name = excluded.name, kind = excluded.kind, pipeline = excluded.pipeline,
        experiment = excluded.experiment, notebook = excluded.notebook, body = excluded.body
    WHERE excluded.attempt > runs.attempt OR (excluded.attempt = runs.attempt AND runs.final = 0)"""
_SAVE_TASK = """INSERT INTO tasks VALUES (:run_id, :id,
        (SELECT coalesce(max(position), 0) + 1 FROM tasks WHERE run_id = :run_id), :attempt, :final, :body)
    ON CONFLICT (run_id, id) DO UPDATE SET attempt = excluded.attempt, final = excluded.final, body = excluded.body
    WHERE excluded.attempt > tasks.attempt OR (excluded.attempt = tasks.attempt AND tasks.final = 0)"""


class Store:
    """Runs and tasks on disk. Safe to share between threads, and one file between processes.

    Args:
        path: The SQLite file; made with the first use, readable by its owner only.
        patience: Seconds to wait for another process that is writing.
    """

    def __init__(self, path: Path, *, patience: float = 30.0) -> None:
        self.path = path
        self._patience = patience
        self._local = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._guard = threading.Lock()

    def save(self, run: Run) -> Run:
        """Inserts a run or merges what is new about it.

        Args:
            run: With all the tasks that are to be written; tasks that are not named stay as they are.

        Returns:
            The run as it is stored now.

        Raises:
            StoreError: The store cannot be written.
        """
        with self._transaction() as connection:
            connection.execute(_SAVE_RUN, _run_row(run))
            self._put_tasks(connection, run.id, run.attempt, run.tasks)
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
        with self._transaction() as connection:
            row = connection.execute("SELECT attempt FROM runs WHERE id = ?", (run_id,)).fetchone()
            if row is None:
                raise NotFoundError(f"There is no run {run_id!r}.")
            if not attempt or attempt == row[0]:
                self._put_tasks(connection, run_id, row[0], tasks)

    @staticmethod
    def _put_tasks(connection: sqlite3.Connection, run_id: str, attempt: int, tasks: Iterable[Task]) -> None:
        stored = connection.execute("SELECT attempt FROM runs WHERE id = ?", (run_id,)).fetchone()[0]
        if attempt < stored:
            return
        connection.executemany(
            _SAVE_TASK,
            [
                {
                    "run_id": run_id,
                    "id": task.id,
                    "attempt": attempt,
                    "final": task.state.final,
                    "body": _dump(task.to_json()),
                }
                for task in tasks
            ],
        )

    def get(self, run_id: str) -> Run:
        """Reads a run with its tasks, in the order in which they first appeared.

        Raises:
            NotFoundError: There is no such run.
        """
        return self._load(self._connection(), run_id)

    def _load(self, connection: sqlite3.Connection, run_id: str) -> Run:
        with _translated(self.path):
            row = connection.execute("SELECT body FROM runs WHERE id = ?", (run_id,)).fetchone()
            if row is None:
                known = [one for (one,) in connection.execute("SELECT id FROM runs ORDER BY created DESC LIMIT 200")]
                raise NotFoundError(f"There is no run {run_id!r}.", did_you_mean(run_id, known))
            tasks = connection.execute("SELECT body FROM tasks WHERE run_id = ? ORDER BY position", (run_id,))
            body = json.loads(row[0])
            body["tasks"] = [json.loads(task) for (task,) in tasks]
        return Run.from_json(body)

    def find(self, text: str = "") -> Run:
        """Finds a run by what a person types.

        Args:
            text: An id, the start of one, a run's name (the newest of that name), ``last`` or nothing for the newest,
                ``-2`` for the one before.

        Raises:
            NotFoundError: There is none, or several ids start so.
        """
        connection = self._connection()
        back = -int(text) if text.startswith("-") and text[1:].isdigit() else 1 if text in {"", "last"} else 0
        with _translated(self.path):
            if back:
                found = connection.execute(
                    "SELECT id FROM runs ORDER BY created DESC, id DESC LIMIT 1 OFFSET ?", (back - 1,)
                ).fetchall()
                if not found:
                    raise NotFoundError("There is no such run yet.", "%kfp_run PIPELINE starts one.")
                return self.get(found[0][0])
            found = (
                connection.execute(
                    "SELECT id FROM runs WHERE id = :t OR name = :t ORDER BY created DESC LIMIT 1", {"t": text}
                ).fetchall()
                or connection.execute(
                    "SELECT id FROM runs WHERE substr(id, 1, :n) = :t ORDER BY created DESC LIMIT 9",
                    {"t": text, "n": len(text)},
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
        """
        exact = {"pipeline": pipeline, "experiment": experiment, "notebook": notebook, "kind": kind}
        conditions = [f"{column} = :{column}" for column, value in exact.items() if value]
        values: dict[str, Json] = {**exact, "limit": limit, "offset": offset}
        if search:
            conditions.append("instr(lower(name || ' ' || pipeline || ' ' || id), lower(:search))")
            values["search"] = search
        if states:
            conditions.append(f"state IN ({', '.join(f':state{n}' for n in range(len(states)))})")
            values |= {f"state{n}": str(state) for n, state in enumerate(states)}
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        query = f"SELECT body FROM runs {where} ORDER BY created DESC, id DESC LIMIT :limit OFFSET :offset"  # noqa: S608  (only our own words)
        with _translated(self.path):
            rows = self._connection().execute(query, values).fetchall()
        return [Run.from_json(json.loads(body)) for (body,) in rows]

    def unfinished(self) -> _Runs:
        """Lists the runs that have not ended, without their tasks."""
        with _translated(self.path):
            rows = self._connection().execute("SELECT body FROM runs WHERE final = 0").fetchall()
        return [Run.from_json(json.loads(body)) for (body,) in rows]

    def change(self) -> int:
        """A number that grows with every write of any process; cheap to ask for."""
        with _translated(self.path):
            number: int = self._connection().execute("SELECT number FROM change").fetchone()[0]
        return number

    def delete(self, run_id: str) -> None:
        """Forgets a run and its tasks; its folder is left alone."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM tasks WHERE run_id = ?", (run_id,))
            connection.execute("DELETE FROM runs WHERE id = ?", (run_id,))

    def close(self) -> None:
        """Closes the connections of all threads."""
        with self._guard:
            for connection in self._opened:
                connection.close()
            self._opened.clear()
            self._local = threading.local()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._connection()
        with _translated(self.path):
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("UPDATE change SET number = number + 1")
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def _connection(self) -> sqlite3.Connection:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            with _translated(self.path), self._guard:
                connection = _open(self.path, self._patience)
                self._opened.append(connection)
            self._local.connection = connection
        assert isinstance(connection, sqlite3.Connection)
        return connection


def _open(path: Path, patience: float) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    # Transactions are begun by hand; `close` may be called from another thread than the one that opened.
    connection = sqlite3.connect(path, timeout=patience, isolation_level=None, check_same_thread=False)
    try:
        _prepare(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    version = _version(connection, path)
    if version < len(_MIGRATIONS):
        connection.execute("BEGIN IMMEDIATE")
        for statements in _MIGRATIONS[_version(connection, path) :]:  # another process may have been first
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(_MIGRATIONS)}")
        connection.execute("COMMIT")
    connection.execute(f"PRAGMA journal_mode = {'WAL' if supports_wal(path) else 'DELETE'}")
    connection.execute("PRAGMA synchronous = NORMAL")


def _version(connection: sqlite3.Connection, path: Path) -> int:
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if application != _APPLICATION_ID and (tables or version):
        raise StoreError(f"The file {str(path)!r} is a database of something else.", _ELSEWHERE)
    if version > len(_MIGRATIONS):
        raise StoreError(
            f"The store {str(path)!r} was written by a newer kfp-magics.",
            "Upgrade: pip install --upgrade kfp-magics. The file was left as it is.",
        )
    return version


_ELSEWHERE = "It was left as it is. Move it away, or set KFP_MAGICS_HOME to another folder."


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """The one place where SQLite's errors become ours."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if "locked" in str(error) or "busy" in str(error):
            message = f"The store {str(path)!r} is locked by another process."
            raise StoreError(message, f"Try again, or see who holds it: lsof {path}") from error
        raise StoreError(f"The store {str(path)!r} cannot be used: {error}.", _ELSEWHERE) from error
    except sqlite3.DatabaseError as error:
        raise StoreError(f"The store {str(path)!r} is damaged: {error}.", _ELSEWHERE) from error
    except OSError as error:
        raise StoreError(f"The store {str(path)!r} cannot be opened: {error.strerror}.", _ELSEWHERE) from error


def _run_row(run: Run) -> dict[str, Json]:
    body = run.to_json()
    del body["tasks"]
    return {
        **{column: body[column] for column in ("id", "attempt", "created", "kind")},
        **{column: _clean(body[column]) for column in ("name", "pipeline", "experiment", "notebook")},
        "state": str(run.state),
        "final": run.state.final,
        "body": _dump(body),
    }


def _dump(value: Json) -> str:
    # ASCII escapes keep lone surrogates; NaN and infinities are written and read as Python's json does.
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
