"""Experiments: names under which runs stand, with what Kubeflow Pipelines remembers of them."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING

from kfp_magics.errors import ArgumentError, NotFoundError
from kfp_magics.gateway import lists
from kfp_magics.gateway.rows import rows
from kfp_magics.gateway.status import ExistsError
from kfp_magics.gateway.words import given, text, timestamp
from kfp_magics.runs.database import clean

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping, Sequence

    from kfp_magics.model import Json
    from kfp_magics.runs.store import Store

DEFAULT = "Default"
"""Where runs stand that name no experiment."""
NAMED = f"CASE experiment WHEN '' THEN '{DEFAULT}' ELSE experiment END"
"""SQL of the experiment of a run or a schedule."""
_STORAGE = "CASE archived WHEN 0 THEN 'AVAILABLE' ELSE 'ARCHIVED' END"
_SOURCE = lists.Source(
    table="experiments",
    columns={
        "id": lists.Column(sql="id"),
        "experiment_id": lists.Column(sql="id"),
        "name": lists.Column(sql="display_name"),
        "display_name": lists.Column(sql="display_name"),
        "description": lists.Column(sql="description"),
        "created_at": lists.Column(sql="created", kind="time"),
        "storage_state": lists.Column(sql=_STORAGE),
    },
)


class Experiments:
    """The experiments of this machine.

    Args:
        store: Where they are remembered.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def meet(self) -> None:
        """Makes the experiments that runs name, wherever these were started, and the default one."""
        with self._store.reading() as connection:
            missing = connection.execute(
                f"""SELECT DISTINCT {NAMED} AS name FROM runs WHERE name NOT IN (SELECT display_name FROM experiments)
                UNION SELECT '{DEFAULT}' WHERE '{DEFAULT}' NOT IN (SELECT display_name FROM experiments)"""  # noqa: S608
            ).fetchall()
        if missing:
            with self._store.writing() as connection:
                for (name,) in missing:
                    _insert(connection, name, "")

    def create(self, body: Mapping[str, Json]) -> dict[str, Json]:
        """Makes an experiment.

        Raises:
            ExistsError: There is one of that name.
        """
        name = clean(text(body, "display_name")).strip()
        if not name:
            raise ArgumentError("An experiment needs a name.", "Give a display_name.")
        self.meet()
        with self._store.writing() as connection:
            connection.execute("DELETE FROM experiments WHERE display_name = ? AND deleted = 1", (name,))
            if connection.execute("SELECT 1 FROM experiments WHERE display_name = ?", (name,)).fetchone():
                raise ExistsError(f"There is an experiment {name!r} already.")
            made = _insert(connection, name, clean(text(body, "description")))
        return self.get(made)

    def get(self, experiment_id: str) -> dict[str, Json]:
        """Reads an experiment.

        Raises:
            NotFoundError: There is none of that id.
        """
        self.meet()
        with self._store.reading() as connection:
            return _shape(_row(connection, experiment_id), _last_runs(connection))

    def name(self, experiment_id: str) -> str:
        """The name of an experiment; the default one's when the id is empty.

        Raises:
            NotFoundError: There is none of that id.
        """
        if not experiment_id:
            return DEFAULT
        self.meet()
        with self._store.reading() as connection:
            found: str = _row(connection, experiment_id)["display_name"]
        return found

    def ids(self, names: Iterable[str]) -> dict[str, str]:
        """Name → id of the experiments that runs name, those of deleted ones as well."""
        wanted = sorted(set(names))
        if missing := set(wanted) - (found := self._ids(wanted)).keys():
            with self._store.writing() as connection:
                for name in sorted(missing):
                    _insert(connection, name, "")
            found = self._ids(wanted)
        return found

    def _ids(self, names: Sequence[str]) -> dict[str, str]:
        query = f"SELECT display_name, id FROM experiments WHERE display_name IN ({', '.join('?' * len(names))})"  # noqa: S608
        with self._store.reading() as connection:
            return dict(connection.execute(query, names).fetchall())

    def is_archived(self, name: str) -> bool:
        """Whether the experiment of that name is put away."""
        query = "SELECT 1 FROM experiments WHERE display_name = ? AND archived = 1"
        with self._store.reading() as connection:
            return connection.execute(query, (name or DEFAULT,)).fetchone() is not None

    def list(self, asked: lists.Asked) -> dict[str, Json]:
        """Reads a page."""
        self.meet()
        with self._store.reading() as connection:
            page = lists.page(connection, _SOURCE, asked, {"deleted": 0})
            found = rows(connection, "experiments", page.born)
            last = _last_runs(connection)
        return page.answer("experiments", [_shape(row, last) for row in found])

    def archive(self, experiment_id: str, *, archived: bool) -> None:
        """Puts an experiment away, with its runs and its schedules; brought back, it comes alone."""
        with self._store.writing() as connection:
            name = _row(connection, experiment_id)["display_name"]
            connection.execute("UPDATE experiments SET archived = ? WHERE id = ?", (archived, experiment_id))
            if archived:
                query = f"SELECT id FROM runs WHERE archived = 0 AND {NAMED} = ?"  # noqa: S608  (only our own words)
                runs = [one for (one,) in connection.execute(query, (name,))]
                connection.execute("UPDATE schedules SET enabled = 0 WHERE experiment = ?", (name,))
        for run_id in runs if archived else ():
            self._store.archive(run_id)

    def delete(self, experiment_id: str) -> None:
        """Forgets an experiment; its runs stay."""
        with self._store.writing() as connection:
            _row(connection, experiment_id)
            # The row stays, unseen: runs that name it must not bring the experiment back.
            connection.execute("UPDATE experiments SET deleted = 1 WHERE id = ?", (experiment_id,))


def _insert(connection: sqlite3.Connection, name: str, description: str) -> str:
    made = str(uuid.uuid4())
    connection.execute(
        "INSERT OR IGNORE INTO experiments (id, display_name, description, created) VALUES (?, ?, ?, ?)",
        (made, name, description, time.time()),
    )
    return made


def _row(connection: sqlite3.Connection, experiment_id: str) -> dict[str, Json]:
    found = connection.execute("SELECT born FROM experiments WHERE id = ? AND deleted = 0", (experiment_id,)).fetchall()
    if not found:
        raise NotFoundError(f"There is no experiment {experiment_id!r}.", "kfp experiment list")
    return rows(connection, "experiments", [found[0][0]])[0]


def _last_runs(connection: sqlite3.Connection) -> dict[str, float]:
    """Experiment → when its newest run was made."""
    newest = f"SELECT {NAMED} AS named, max(born) AS last FROM runs GROUP BY 1"  # noqa: S608  (only our own words)
    query = f"SELECT named, json_extract(summary, '$.created') FROM ({newest}) JOIN runs ON born = last"  # noqa: S608
    return dict(connection.execute(query).fetchall())


def _shape(row: Mapping[str, Json], last_runs: Mapping[str, float]) -> dict[str, Json]:
    last = last_runs.get(row["display_name"])
    return given(
        {
            "experiment_id": row["id"],
            "display_name": row["display_name"],
            "description": row["description"],
            "created_at": timestamp(row["created"]),
            "storage_state": "ARCHIVED" if row["archived"] else "AVAILABLE",
            "last_run_created_at": timestamp(last) if last is not None else "",
        }
    )
