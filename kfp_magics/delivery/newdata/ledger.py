"""What is remembered of watched folders: what new files there start, and what became of each file."""

from __future__ import annotations

import json
import secrets
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from kfp_magics.backends.base import StepSource, SubmitOptions
from kfp_magics.delivery.newdata.rules import NewObject, Rule
from kfp_magics.errors import NotFoundError, did_you_mean
from kfp_magics.runs.database import dump

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping

    from kfp_magics.model import Json
    from kfp_magics.runs.store import Store

_MOST_GATHERED = 1000  # files of one run; what is beyond waits for the next


@dataclass(frozen=True, kw_only=True, slots=True)
class Watch:
    """A folder that is watched.

    Attributes:
        rule: Which new files start a run, and with what parameters.
        folder: Absolute path.
        ir: The compiled pipeline.
        backend: Where it runs.
        options: How, but for what is different with each run.
        settings: Those that the watcher works with.
    """

    rule: Rule
    folder: str
    ir: str
    backend: str = "local"
    options: SubmitOptions = field(default_factory=SubmitOptions)
    settings: Mapping[str, Json] = field(default_factory=dict)

    def to_json(self) -> dict[str, Json]:
        """The watch as plain JSON values."""
        options = asdict(self.options)
        del options["input_artifacts"]  # live objects of a notebook, which no file brings along
        return {
            "rule": self.rule.to_json(),
            "folder": self.folder,
            "ir": self.ir,
            "backend": self.backend,
            "options": options,
            "settings": dict(self.settings),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Json]) -> Watch:
        """Reads what `to_json` wrote."""
        options = dict(value["options"])
        options["sources"] = {name: StepSource(**source) for name, source in options["sources"].items()}
        return cls(**{**value, "rule": Rule.from_json(value["rule"]), "options": SubmitOptions(**options)})


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Files that start one run.

    Attributes:
        watch: Name of the watch.
        key: What makes it one run, however often it is submitted.
        objects: The files, oldest first.
    """

    watch: str
    key: str
    objects: tuple[NewObject, ...]


class Ledger:
    """Watches and deliveries, in the store. Only one process at a time delivers for a watch.

    A version of a file is ``known`` (it lay there before), ``waiting``, ``claimed`` (its run is being started), and in
    the end ``started``, ``declined`` or ``failed``.

    Args:
        store: Where it is remembered.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    # Watches

    def put(self, watch: Watch, lying: Iterable[NewObject], *, take: bool = False) -> bool:
        """Remembers a watch, or what it has become.

        Args:
            watch: The watch.
            lying: Files that lie there already, which counts only for a watch that is new.
            take: Whether files that lay there before start runs as well.

        Returns:
            Whether it is new.
        """
        name, body = watch.rule.name, dump(watch.to_json())
        with self._store.writing() as connection:
            is_new = not connection.execute(
                "UPDATE watches SET folder = ?, body = ?, changed = changed + 1 WHERE name = ?",
                (watch.folder, body, name),
            ).rowcount
            if is_new:
                connection.execute(
                    "INSERT INTO watches VALUES (?, ?, ?, 0, ?)", (name, watch.folder, time.time(), body)
                )
                _note(connection, name, lying, "known")
            if take:
                connection.execute(
                    "UPDATE deliveries SET state = 'waiting', seen = ? WHERE watch = ? AND state = 'known'",
                    (time.time(), name),
                )
            _again(connection, name)
        return is_new

    def again(self, name: str) -> None:
        """Has files that failed tried again."""
        with self._store.writing() as connection:
            if _again(connection, name):
                connection.execute("UPDATE watches SET changed = changed + 1 WHERE name = ?", (name,))

    def watch(self, name: str) -> Watch:
        """Reads a watch.

        Raises:
            NotFoundError: There is none of that name.
        """
        with self._store.reading() as connection:
            row = connection.execute("SELECT body FROM watches WHERE name = ?", (name,)).fetchone()
            if row is None:
                names = [one for (one,) in connection.execute("SELECT name FROM watches")]
                hint = did_you_mean(name, names) or "%kfp_cd watch DIR --run PIPELINE watches a folder."
                raise NotFoundError(f"Nothing is watched under the name {name!r}.", hint)
        return Watch.from_json(json.loads(row[0]))

    def watches(self) -> list[Watch]:
        """Reads all watches, the oldest first."""
        with self._store.reading() as connection:
            found = connection.execute("SELECT body FROM watches ORDER BY created").fetchall()
        return [Watch.from_json(json.loads(body)) for (body,) in found]

    def version(self, name: str) -> int | None:
        """A number that grows when a watch is changed; None when there is none of that name."""
        with self._store.reading() as connection:
            row = connection.execute("SELECT changed FROM watches WHERE name = ?", (name,)).fetchone()
        return row[0] if row else None

    def forget(self, name: str) -> None:
        """Forgets a watch and what became of its files; runs stay."""
        with self._store.writing() as connection:
            connection.execute("DELETE FROM watches WHERE name = ?", (name,))
            connection.execute("DELETE FROM deliveries WHERE watch = ?", (name,))

    # Deliveries

    def keys(self, name: str) -> set[str]:
        """The versions of files that are remembered."""
        with self._store.reading() as connection:
            return {key for (key,) in connection.execute("SELECT key FROM deliveries WHERE watch = ?", (name,))}

    def note(self, name: str, objects: Iterable[NewObject]) -> int:
        """Remembers new versions of files, each once however often it is told of.

        Returns:
            How many were not known.
        """
        with self._store.writing() as connection:
            return _note(connection, name, objects, "waiting")

    def claim(self, name: str, gather: float) -> Batch | None:
        """Decides which files start the next run, and by what key it will be known.

        Args:
            name: The watch.
            gather: Seconds for which files are gathered, from the first on.

        Returns:
            Them, or None when no run is due.
        """
        with self._store.reading() as connection:  # so that whoever waits for a burst keeps nobody from writing
            if not _due(connection, name, gather):
                return None
        with self._store.writing() as connection:
            found = _due(connection, name, gather)
            if not found:
                return None
            key = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(6)}"
            connection.executemany(
                "UPDATE deliveries SET state = 'claimed', run_key = ? WHERE number = ?",
                [(key, number) for number, _, _ in found],
            )
        return Batch(watch=name, key=key, objects=tuple(NewObject.from_json(json.loads(body)) for _, _, body in found))

    def claimed(self, name: str) -> list[Batch]:
        """Runs that are being started, or were by a process that did not come to say so; the oldest first."""
        with self._store.reading() as connection:
            found = connection.execute(
                "SELECT run_key, body FROM deliveries WHERE watch = ? AND state = 'claimed' ORDER BY number", (name,)
            ).fetchall()
        batches: dict[str, list[NewObject]] = {}
        for key, body in found:
            batches.setdefault(key, []).append(NewObject.from_json(json.loads(body)))
        return [Batch(watch=name, key=key, objects=tuple(objects)) for key, objects in batches.items()]

    def close(self, batch: Batch, state: str, *, run_id: str = "", error: str = "") -> None:
        """Remembers what became of files that were claimed.

        Args:
            batch: The files.
            state: ``started``, ``declined`` or ``failed``.
            run_id: The run that they started.
            error: Why none could be started.
        """
        with self._store.writing() as connection:
            connection.execute(
                "UPDATE deliveries SET state = ?, run_id = ?, error = ? WHERE watch = ? AND run_key = ?",
                (state, run_id, error, batch.watch, batch.key),
            )

    def counts(self, name: str) -> Counter[str]:
        """How many files there are in each state."""
        with self._store.reading() as connection:
            found = connection.execute(
                "SELECT state, count(*) FROM deliveries WHERE watch = ? GROUP BY state", (name,)
            ).fetchall()
        return Counter(dict(found))

    def runs(self, name: str) -> list[str]:
        """The ids of the runs that were started, the last one first."""
        with self._store.reading() as connection:
            found = connection.execute(
                "SELECT run_id FROM deliveries WHERE watch = ? AND state = 'started' ORDER BY number DESC", (name,)
            ).fetchall()
        return list(dict.fromkeys(run_id for (run_id,) in found))


def _again(connection: sqlite3.Connection, name: str) -> int:
    """What failed is claimed once more; its key stays, should a run have come of it after all."""
    query = "UPDATE deliveries SET state = 'claimed' WHERE watch = ? AND state = 'failed'"
    return connection.execute(query, (name,)).rowcount


def _due(connection: sqlite3.Connection, name: str, gather: float) -> list[tuple[int, float, str]]:
    """The files that the next run is for; none while more may come."""
    found: list[tuple[int, float, str]] = connection.execute(
        "SELECT number, seen, body FROM deliveries WHERE watch = ? AND state = 'waiting' ORDER BY number LIMIT ?",
        (name, _MOST_GATHERED if gather else 1),
    ).fetchall()
    return [] if found and 0 <= time.time() - found[0][1] < gather else found


def _note(connection: sqlite3.Connection, name: str, objects: Iterable[NewObject], state: str) -> int:
    before = connection.total_changes
    connection.executemany(
        "INSERT OR IGNORE INTO deliveries (watch, key, seen, state, body) VALUES (?, ?, ?, ?, ?)",
        [(name, one.key, time.time(), state, dump(one.to_json())) for one in objects],
    )
    return connection.total_changes - before
