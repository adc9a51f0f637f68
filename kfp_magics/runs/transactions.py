"""Reading and writing one SQLite file from many threads: a connection each, and all of a change or nothing of it."""

from __future__ import annotations

import sqlite3
import threading
import weakref
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kfp_magics.runs import database

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


class Transactions:
    """What one file of runs says at one moment, and changes to it. Safe to share between threads.

    Args:
        path: The SQLite file; made with the first use, readable by its owner only.
        patience: Seconds to wait for another process that is writing.
    """

    def __init__(self, path: Path, patience: float) -> None:
        self.path = path
        self._patience = patience
        self._local = threading.local()
        self._opened: list[_Opened] = []
        self._guard = threading.Lock()
        # Not when Python ends: threads may use them until then.
        weakref.finalize(self, _close, self._opened).atexit = False

    def close(self) -> None:
        """Closes the connections of all threads, each as soon as its thread has done with it."""
        with self._guard:
            opened = self._opened.copy()
            self._opened.clear()
        _close(opened)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Gives a connection that sees the store as it stands at one moment.

        Raises:
            StoreError: The store cannot be read.
        """
        with self._using() as connection:
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                if connection.in_transaction:  # SQLite itself ends one that meets a damaged file
                    connection.execute("COMMIT")

    @contextmanager
    def writing(self) -> Iterator[tuple[sqlite3.Connection, int]]:
        """Gives a connection that may write, and the revision of what it writes; all of it is written, or nothing.

        Raises:
            StoreError: The store cannot be written.
        """
        with self._using() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                revision = connection.execute("SELECT number FROM change").fetchone()[0] + 1
                before = connection.total_changes
                yield connection, revision
                if connection.total_changes > before:
                    connection.execute("UPDATE change SET number = ?", (revision,))
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    @contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        """Gives this thread's connection; one that has seen a damaged file is not used again."""
        with database.translated(self.path):
            one = self._taken()
            try:
                yield one.connection
            except sqlite3.Error as error:
                if not database.is_busy(error):
                    one.close()
                raise
            finally:
                one.use.release()

    def _taken(self) -> _Opened:
        while True:
            one = self._mine()
            one.use.acquire()
            if not one.closed:
                return one
            one.use.release()

    def _mine(self) -> _Opened:
        one: _Opened | None = getattr(self._local, "opened", None)
        if one is None or one.closed or one.file != _identity(self.path):  # removed, or another put in its place
            if one is not None:
                one.close()
            with self._guard:
                before = _identity(self.path)  # it may be exchanged while it is opened
                connection = database.connect(self.path, self._patience)
                one = self._local.opened = _Opened(connection, before or _identity(self.path))
                for other in self._opened:
                    if not other.thread.is_alive():  # a kernel's life sees many threads come and go
                        other.close()
                self._opened[:] = [*(other for other in self._opened if not other.closed), one]
        return one


@dataclass(eq=False, slots=True)
class _Opened:
    """A thread's connection; whoever closes it waits until it is not in use, since SQLite does not."""

    connection: sqlite3.Connection
    file: tuple[int, int] | None
    use: threading.RLock = field(default_factory=threading.RLock)
    thread: threading.Thread = field(default_factory=threading.current_thread)
    closed: bool = False

    def close(self) -> None:
        with self.use:
            self.closed = True
            self.connection.close()


def _close(opened: Iterable[_Opened]) -> None:
    for one in opened:
        one.close()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
