"""The SQLite file behind the store: how it is opened, what is in it, and how an older one becomes a newer one."""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from kfp_magics.errors import StoreError
from kfp_magics.model import TRIGGER, Run, Task
from kfp_magics.runs.filesystem import supports_wal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from kfp_magics.model import Json

_APPLICATION_ID = 0x6B66706D  # "kfpm"
_ERROR_LENGTH = 300  # characters of an error that a list shows
LEAVES = frozenset({"step", "importer", "image"})
"""Kinds of tasks that count as progress; the others are groups of them."""


def _first(connection: sqlite3.Connection) -> None:
    for statement in (
        """CREATE TABLE runs (
            id TEXT PRIMARY KEY, attempt INTEGER NOT NULL, state TEXT NOT NULL, final INTEGER NOT NULL,
            created REAL NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL, pipeline TEXT NOT NULL,
            experiment TEXT NOT NULL, notebook TEXT NOT NULL, body TEXT NOT NULL) WITHOUT ROWID""",
        """CREATE TABLE tasks (
            run_id TEXT NOT NULL, id TEXT NOT NULL, position INTEGER NOT NULL, attempt INTEGER NOT NULL,
            final INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (run_id, id)) WITHOUT ROWID""",
        "CREATE TABLE change (number INTEGER NOT NULL)",
        "INSERT INTO change VALUES (0)",
    ):
        connection.execute(statement)


def _second(connection: sqlite3.Connection) -> None:
    """Revisions, so that a change can be asked for; columns and indexes, so that lists of many runs never read a body.

    ``born`` counts runs in the order in which they came, and so does ``number`` for tasks, whatever the clock says.
    """
    for statement in (
        "ALTER TABLE runs RENAME TO old_runs",
        "ALTER TABLE tasks RENAME TO old_tasks",
        """CREATE TABLE runs (
            born INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, attempt INTEGER NOT NULL,
            state TEXT NOT NULL, final INTEGER NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL,
            pipeline TEXT NOT NULL, experiment TEXT NOT NULL, notebook TEXT NOT NULL, backend TEXT NOT NULL,
            started_by TEXT NOT NULL, words TEXT NOT NULL, archived INTEGER NOT NULL DEFAULT 0,
            revision INTEGER NOT NULL, summary TEXT NOT NULL, body TEXT NOT NULL)""",
        """CREATE TABLE tasks (
            number INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT NOT NULL, id TEXT NOT NULL, attempt INTEGER NOT NULL,
            state TEXT NOT NULL, final INTEGER NOT NULL, leaf INTEGER NOT NULL, cell_id TEXT NOT NULL,
            revision INTEGER NOT NULL, body TEXT NOT NULL, UNIQUE (run_id, id))""",
        "CREATE TABLE deleted (id TEXT PRIMARY KEY, revision INTEGER NOT NULL) WITHOUT ROWID",
        "ALTER TABLE change ADD COLUMN store TEXT NOT NULL DEFAULT ''",
    ):
        connection.execute(statement)
    connection.execute("UPDATE change SET store = ?", (secrets.token_hex(4),))
    for (body,) in connection.execute("SELECT body FROM old_runs ORDER BY created, id"):
        run = Run.from_json(json.loads(body))
        connection.execute(SAVE_RUN, run_row(run, 0))
    for run_id, attempt, body in connection.execute(
        "SELECT run_id, attempt, body FROM old_tasks ORDER BY run_id, position"
    ):
        connection.execute(SAVE_TASK, task_row(Task.from_json(json.loads(body)), run_id, attempt, 0))
    for statement in (
        "DROP TABLE old_runs",
        "DROP TABLE old_tasks",
        "CREATE INDEX runs_unfinished ON runs (final) WHERE final = 0",
        "CREATE INDEX runs_by_revision ON runs (revision)",
        "CREATE INDEX runs_by_notebook ON runs (notebook, born)",
        # What filters, counts and searches look at, together: they read this and never the rows.
        """CREATE INDEX runs_facts ON runs
            (archived, state, kind, pipeline, experiment, notebook, backend, started_by, words)""",
        "CREATE INDEX tasks_by_revision ON tasks (revision)",
        "CREATE INDEX tasks_progress ON tasks (run_id, leaf, state)",
        "CREATE INDEX tasks_by_cell ON tasks (run_id, cell_id) WHERE cell_id <> ''",
    ):
        connection.execute(statement)


def _third(connection: sqlite3.Connection) -> None:
    """Images that were built, so that a step is known to be in sync with its image after a restart."""
    connection.execute(
        """CREATE TABLE images (
            born INTEGER PRIMARY KEY AUTOINCREMENT, repository TEXT NOT NULL, tag TEXT NOT NULL, body TEXT NOT NULL,
            UNIQUE (repository, tag))"""
    )


def _fourth(connection: sqlite3.Connection) -> None:
    """What Kubeflow Pipelines remembers besides runs, so that its API can be answered for those of this machine.

    Times are seconds since the epoch. A run's experiment is known by its name alone, as in `Run`.
    """
    for statement in (
        """CREATE TABLE experiments (
            born INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, display_name TEXT NOT NULL UNIQUE,
            description TEXT NOT NULL, created REAL NOT NULL, archived INTEGER NOT NULL DEFAULT 0,
            deleted INTEGER NOT NULL DEFAULT 0)""",
        """CREATE TABLE pipelines (
            born INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL UNIQUE,
            display_name TEXT NOT NULL, description TEXT NOT NULL, created REAL NOT NULL, tags TEXT NOT NULL)""",
        """CREATE TABLE pipeline_versions (
            born INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, pipeline_id TEXT NOT NULL,
            name TEXT NOT NULL, display_name TEXT NOT NULL, description TEXT NOT NULL, created REAL NOT NULL,
            code_source_url TEXT NOT NULL, tags TEXT NOT NULL, ir TEXT NOT NULL, UNIQUE (pipeline_id, name))""",
        """CREATE TABLE schedules (
            born INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, display_name TEXT NOT NULL,
            description TEXT NOT NULL, created REAL NOT NULL, updated REAL NOT NULL, enabled INTEGER NOT NULL,
            experiment TEXT NOT NULL, last REAL, fired INTEGER NOT NULL DEFAULT 0, error TEXT NOT NULL DEFAULT '',
            body TEXT NOT NULL)""",
        """CREATE TABLE run_facts (
            run_id TEXT PRIMARY KEY, description TEXT NOT NULL, pipeline_id TEXT NOT NULL, version_id TEXT NOT NULL,
            schedule_id TEXT NOT NULL, scheduled REAL, service_account TEXT NOT NULL, pipeline_root TEXT NOT NULL,
            cancel_asked REAL) WITHOUT ROWID""",
        "CREATE INDEX run_facts_by_schedule ON run_facts (schedule_id) WHERE schedule_id <> ''",
        """CREATE TRIGGER run_facts_end AFTER DELETE ON runs BEGIN
            DELETE FROM run_facts WHERE run_id = old.id; END""",
    ):
        connection.execute(statement)


def _fifth(connection: sqlite3.Connection) -> None:
    """Folders that are watched for new data, and what became of each file: a row for each version of one.

    ``run_key`` is decided before the run is started, so that it is found again whatever happens in between.
    """
    for statement in (
        """CREATE TABLE watches (
            name TEXT PRIMARY KEY, folder TEXT NOT NULL, created REAL NOT NULL, changed INTEGER NOT NULL,
            body TEXT NOT NULL) WITHOUT ROWID""",
        """CREATE TABLE deliveries (
            number INTEGER PRIMARY KEY AUTOINCREMENT, watch TEXT NOT NULL, key TEXT NOT NULL, seen REAL NOT NULL,
            state TEXT NOT NULL, run_key TEXT NOT NULL DEFAULT '', run_id TEXT NOT NULL DEFAULT '',
            error TEXT NOT NULL DEFAULT '', body TEXT NOT NULL, UNIQUE (watch, key))""",
        "CREATE INDEX deliveries_by_state ON deliveries (watch, state, number)",
    ):
        connection.execute(statement)


_MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (_first, _second, _third, _fourth, _fifth)

SAVE_RUN = """INSERT INTO runs (id, attempt, state, final, name, kind, pipeline, experiment, notebook, backend,
        started_by, words, revision, summary, body)
    VALUES (:id, :attempt, :state, :final, :name, :kind, :pipeline, :experiment, :notebook, :backend, :started_by,
        :words, :revision, :summary, :body)
    ON CONFLICT (id) DO UPDATE SET attempt = excluded.attempt, state = excluded.state, final = excluded.final,
        name = excluded.name, kind = excluded.kind, pipeline = excluded.pipeline, experiment = excluded.experiment,
        notebook = excluded.notebook, backend = excluded.backend, started_by = excluded.started_by,
        words = excluded.words, revision = excluded.revision, summary = excluded.summary, body = excluded.body
    WHERE (excluded.attempt > runs.attempt OR (excluded.attempt = runs.attempt AND runs.final = 0))
        AND excluded.body <> runs.body"""

# What a task gave may be told after that it has ended: so a longer word about the same end is taken.
SAVE_TASK = """INSERT INTO tasks (run_id, id, attempt, state, final, leaf, cell_id, revision, body)
    VALUES (:run_id, :id, :attempt, :state, :final, :leaf, :cell_id, :revision, :body)
    ON CONFLICT (run_id, id) DO UPDATE SET attempt = excluded.attempt, state = excluded.state, final = excluded.final,
        leaf = excluded.leaf, cell_id = excluded.cell_id, revision = excluded.revision, body = excluded.body
    WHERE (excluded.attempt > tasks.attempt OR (excluded.attempt = tasks.attempt AND (tasks.final = 0
            OR (excluded.state = tasks.state AND length(excluded.body) > length(tasks.body)))))
        AND (excluded.attempt > tasks.attempt OR excluded.body <> tasks.body)"""


def run_row(run: Run, revision: int) -> dict[str, Json]:
    """What is written of a run, without its tasks."""
    body = run.to_json()
    del body["tasks"]
    columns = {
        column: clean(body[column])
        for column in ("id", "name", "kind", "pipeline", "experiment", "notebook", "backend", "started_by")
    }
    if run.started_by.startswith(TRIGGER):  # one kind to filter by, however many files there are
        columns["started_by"] = TRIGGER.partition(":")[0]
    return {
        **columns,
        "attempt": run.attempt,
        "state": str(run.state),
        "final": run.state.final,
        "words": f"{columns['name']} {columns['pipeline']} {columns['id']}".casefold(),
        "revision": revision,
        "summary": dump(_summary(run, body)),
        "body": dump(body),
    }


def _summary(run: Run, body: dict[str, Json]) -> dict[str, Json]:
    """What a list shows: short whatever a run was given, and never ended before it began."""
    summary = {key: value for key, value in body.items() if key not in {"parameters", "outputs"}}
    if run.started is not None and run.finished is not None:
        summary["finished"] = max(run.started, run.finished)
    return summary | {"error": run.error.message[:_ERROR_LENGTH] if run.error else ""}


def task_row(task: Task, run_id: str, attempt: int, revision: int) -> dict[str, Json]:
    """What is written of a task."""
    return {
        "run_id": run_id,
        "id": task.id,
        "attempt": attempt,
        "state": str(task.state),
        "final": task.state.final,
        "leaf": task.kind in LEAVES,
        "cell_id": clean(task.cell_id),
        "revision": revision,
        "body": dump(task.to_json()),
    }


def dump(value: Json) -> str:
    """Writes JSON as it is stored."""
    # ASCII escapes keep lone surrogates; NaN and infinities are written and read as Python's json does.
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))


def clean(text: str) -> str:
    """Makes a text one that SQLite takes: lone surrogates become question marks."""
    return text.encode("utf-8", "replace").decode()


def connect(path: Path, patience: float) -> sqlite3.Connection:
    """Opens the file, makes it when it is not there, and brings an older one up to date.

    Args:
        path: The file; it becomes readable by its owner only.
        patience: Seconds to wait for another process that is writing.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    # Transactions are begun by hand; `close` may be called from another thread than the one that opened.
    connection = sqlite3.connect(path, timeout=patience, isolation_level=None, check_same_thread=False)
    try:
        _prepare(connection, path, patience)
    except BaseException:
        connection.close()
        raise
    return connection


VERSION = len(_MIGRATIONS)
"""Of the file, as this version of kfp-magics writes it."""


def look(path: Path, patience: float) -> int:
    """Looks at a file that is there, and changes nothing.

    Args:
        path: The file.
        patience: Seconds to wait for another process that is writing.

    Returns:
        Its version.

    Raises:
        StoreError: It is damaged, or of a newer version, or of something else.
    """
    with (
        translated(path),
        closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", timeout=patience, uri=True)) as file,
    ):
        version = _version(file, path)
        found = file.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise StoreError(f"The store {str(path)!r} is damaged: {found}.", _ELSEWHERE)
    return version


def _prepare(connection: sqlite3.Connection, path: Path, patience: float) -> None:
    version = _version(connection, path)
    if version < len(_MIGRATIONS):
        connection.execute("BEGIN IMMEDIATE")
        for migrate in _MIGRATIONS[_version(connection, path) :]:  # another process may have been first
            migrate(connection)
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(_MIGRATIONS)}")
        connection.execute("COMMIT")
    _keep_journal(connection, "wal" if supports_wal(path) else "delete", time.monotonic() + patience)
    connection.execute("PRAGMA synchronous = NORMAL")


def _keep_journal(connection: sqlite3.Connection, mode: str, deadline: float) -> None:
    """Changes how SQLite keeps its journal; here alone SQLite itself does not wait for others to be done."""
    while connection.execute("PRAGMA journal_mode").fetchone()[0] != mode:
        try:
            connection.execute(f"PRAGMA journal_mode = {mode}")
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _version(connection: sqlite3.Connection, path: Path) -> int:
    application: int
    version: int
    # In one statement: between two, another process may just have made the tables.
    application, version, tables = connection.execute(
        "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_master) "
        "FROM pragma_application_id, pragma_user_version"
    ).fetchone()
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
def translated(path: Path) -> Iterator[None]:
    """The one place where SQLite's errors become ours."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if is_busy(error):
            message = f"The store {str(path)!r} is locked by another process."
            raise StoreError(message, f"Try again, or see who holds it: lsof {path}") from error
        raise StoreError(f"The store {str(path)!r} cannot be used: {error}.", _ELSEWHERE) from error
    except sqlite3.DatabaseError as error:
        raise StoreError(f"The store {str(path)!r} is damaged: {error}.", _ELSEWHERE) from error
    except OSError as error:
        hint = _ELSEWHERE if path.exists() else "Set KFP_MAGICS_HOME to a folder that you can write to."
        raise StoreError(f"The store {str(path)!r} cannot be opened: {error.strerror}.", hint) from error


def is_busy(error: sqlite3.Error) -> bool:
    """Whether it will pass: somebody else is writing."""
    return "locked" in str(error) or "busy" in str(error)
