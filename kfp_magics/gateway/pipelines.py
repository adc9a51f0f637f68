"""Pipelines and their versions."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from kfp_magics.errors import ArgumentError, BackendError, NotFoundError
from kfp_magics.gateway import lists
from kfp_magics.gateway.rows import insert, rows, select
from kfp_magics.gateway.specs import spec_of
from kfp_magics.gateway.status import ExistsError
from kfp_magics.gateway.words import given, message, text, timestamp
from kfp_magics.runs.database import clean

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

    from kfp_magics.model import Json
    from kfp_magics.runs.store import Store

_COLUMNS = {
    "id": lists.Column(sql="id"),
    "name": lists.Column(sql="name"),
    "display_name": lists.Column(sql="display_name"),
    "description": lists.Column(sql="description"),
    "created_at": lists.Column(sql="created", kind="time"),
}
_PIPELINES = lists.Source(table="pipelines", columns={**_COLUMNS, "pipeline_id": lists.Column(sql="id")})
_VERSIONS = lists.Source(table="pipeline_versions", columns={**_COLUMNS, "pipeline_version_id": lists.Column(sql="id")})
_UPDATE = "UPDATE {} SET display_name = ifnull(:display_name, display_name), tags = ifnull(:tags, tags) WHERE id = :id"
_LONGEST_NAME = 128
_MOST_TAGS, _LONGEST_TAG = 20, 63  # as a cluster has it


@dataclass(frozen=True, kw_only=True, slots=True)
class Naming:
    """How a pipeline or a version is called.

    Attributes:
        name: Unique; for a version, in its pipeline.
        display_name: What is shown; the name when empty.
        description: For people.
        tags: Key → value.
        code_source_url: Where a version's source is.
    """

    name: str
    display_name: str = ""
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    code_source_url: str = ""

    def row(self) -> dict[str, Json]:
        """What is written of it.

        Raises:
            ArgumentError: It is no name.
        """
        name = clean(self.name or self.display_name).strip()
        if not name:
            raise ArgumentError("A pipeline needs a name.", "Give one.")
        if len(name) > _LONGEST_NAME:
            raise ArgumentError(f"The name {name[:20]!r}… is longer than {_LONGEST_NAME} characters.", "Shorten it.")
        return {
            "id": str(uuid.uuid4()),
            "name": name,
            "display_name": clean(self.display_name) or name,
            "description": clean(self.description),
            "created": time.time(),
            "tags": json.dumps(dict(self.tags)),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """What is to be changed of a pipeline or a version; None is left as it is.

    Attributes:
        display_name: What is shown.
        tags: Key → value.
    """

    display_name: str | None
    tags: Mapping[str, str] | None

    @classmethod
    def of(cls, body: Mapping[str, Json]) -> Self:
        """Reads a pipeline or a version that says what is to change."""
        tags = tags_of(body) if body.get("tags") is not None else None
        return cls(display_name=clean(text(body, "display_name")).strip() or None, tags=tags)

    def row(self) -> dict[str, Json]:
        """What is written of it."""
        tags = json.dumps(dict(self.tags)) if self.tags is not None else None
        return {"display_name": self.display_name, "tags": tags}


def tags_of(body: Mapping[str, Json]) -> dict[str, str]:
    """Reads the tags of a message.

    Raises:
        ArgumentError: There are too many, or one is none.
    """
    found = message(body, "tags")
    if len(found) > _MOST_TAGS:
        raise ArgumentError(f"There are {len(found)} tags, and there may be {_MOST_TAGS}.")
    for key, value in found.items():
        if not isinstance(value, str) or not key or "." in key or max(len(key), len(value)) > _LONGEST_TAG:
            raise ArgumentError(
                f"{key!r}: {value!r} is no tag.",
                f"A key without a point and a text, of {_LONGEST_TAG} letters at most.",
            )
    return found


class Pipelines:
    """The pipelines that were uploaded to this machine.

    Args:
        store: Where they are remembered.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def create(self, naming: Naming, ir: str = "") -> tuple[dict[str, Json], str]:
        """Makes a pipeline, and its first version when one is given.

        Args:
            naming: How both are called.
            ir: The compiled pipeline; without it the pipeline has no version yet.

        Returns:
            The pipeline, and the id of the version.

        Raises:
            ExistsError: There is one of that name.
        """
        row = naming.row()
        with self._store.writing() as connection:
            if connection.execute("SELECT 1 FROM pipelines WHERE name = ?", (row["name"],)).fetchone():
                raise ExistsError(
                    f"There is a pipeline {row['name']!r} already.", "Upload a version of it, or take another name."
                )
            insert(connection, "pipelines", row)
            version_id = _insert_version(connection, row["id"], naming, ir) if ir else ""
        return self.get(row["id"]), version_id

    def create_version(self, pipeline_id: str, naming: Naming, ir: str) -> dict[str, Json]:
        """Makes a version of a pipeline that is there.

        Raises:
            ExistsError: The pipeline has a version of that name.
            NotFoundError: There is no such pipeline.
        """
        with self._store.writing() as connection:
            _must_exist(connection, pipeline_id)
            version_id = _insert_version(connection, pipeline_id, naming, ir)
        return self.version(pipeline_id, version_id)

    def get(self, pipeline_id: str) -> dict[str, Json]:
        """Reads a pipeline.

        Raises:
            NotFoundError: There is none of that id.
        """
        with self._store.reading() as connection:
            found = select(connection, "SELECT * FROM pipelines WHERE id = ?", [pipeline_id])
        if not found:
            raise _unknown(pipeline_id)
        return _pipeline(found[0])

    def by_name(self, name: str) -> dict[str, Json]:
        """Reads a pipeline by its name.

        Raises:
            NotFoundError: There is none of that name.
        """
        with self._store.reading() as connection:
            found = select(connection, "SELECT * FROM pipelines WHERE name = ?", [clean(name)])
        if not found:
            raise _unknown(name)
        return _pipeline(found[0])

    def list(self, asked: lists.Asked) -> dict[str, Json]:
        """Reads a page of pipelines."""
        with self._store.reading() as connection:
            page = lists.page(connection, _PIPELINES, asked, {})
            return page.answer("pipelines", [_pipeline(row) for row in rows(connection, "pipelines", page.born)])

    def version(self, pipeline_id: str, version_id: str) -> dict[str, Json]:
        """Reads a version.

        Raises:
            NotFoundError: There is none of that id.
        """
        with self._store.reading() as connection:
            return _version(_version_row(connection, pipeline_id, version_id))

    def ir(self, pipeline_id: str, version_id: str) -> str:
        """The compiled pipeline of a version; of the newest one when none is named.

        Raises:
            NotFoundError: There is none.
        """
        with self._store.reading() as connection:
            found: str = _version_row(connection, pipeline_id, version_id)["ir"]
        return found

    def list_versions(self, pipeline_id: str, asked: lists.Asked) -> dict[str, Json]:
        """Reads a page of a pipeline's versions."""
        with self._store.reading() as connection:
            _must_exist(connection, pipeline_id)
            page = lists.page(connection, _VERSIONS, asked, {"pipeline_id": pipeline_id})
            found = rows(connection, "pipeline_versions", page.born)
            return page.answer("pipeline_versions", [_version(row) for row in found])

    def update(self, pipeline_id: str, change: Change) -> dict[str, Json]:
        """Changes how a pipeline is shown, and its tags."""
        with self._store.writing() as connection:
            _must_exist(connection, pipeline_id)
            connection.execute(_UPDATE.format("pipelines"), {"id": pipeline_id} | change.row())
        return self.get(pipeline_id)

    def update_version(self, pipeline_id: str, version_id: str, change: Change) -> dict[str, Json]:
        """Changes how a version is shown, and its tags."""
        with self._store.writing() as connection:
            row = _version_row(connection, pipeline_id, version_id)
            connection.execute(_UPDATE.format("pipeline_versions"), {"id": row["id"]} | change.row())
        return self.version(pipeline_id, version_id)

    def delete(self, pipeline_id: str, *, cascade: bool) -> None:
        """Forgets a pipeline.

        Args:
            pipeline_id: Which.
            cascade: With its versions; without, a pipeline that has any stays.

        Raises:
            BackendError: It has versions.
        """
        with self._store.writing() as connection:
            _must_exist(connection, pipeline_id)
            count = "SELECT count(*) FROM pipeline_versions WHERE pipeline_id = ?"
            if not cascade and (number := connection.execute(count, (pipeline_id,)).fetchone()[0]):
                raise BackendError(
                    f"The pipeline {pipeline_id!r} has {number} versions.",
                    "Delete them first, or ask with cascade=true.",
                )
            connection.execute("DELETE FROM pipeline_versions WHERE pipeline_id = ?", (pipeline_id,))
            connection.execute("DELETE FROM pipelines WHERE id = ?", (pipeline_id,))

    def delete_version(self, pipeline_id: str, version_id: str) -> None:
        """Forgets a version."""
        with self._store.writing() as connection:
            row = _version_row(connection, pipeline_id, version_id)
            connection.execute("DELETE FROM pipeline_versions WHERE id = ?", (row["id"],))


def _insert_version(connection: sqlite3.Connection, pipeline_id: str, naming: Naming, ir: str) -> str:
    row = naming.row()
    known = "SELECT 1 FROM pipeline_versions WHERE pipeline_id = ? AND name = ?"
    if connection.execute(known, (pipeline_id, row["name"])).fetchone():
        raise ExistsError(f"The pipeline has a version {row['name']!r} already.", "Take another name.")
    more = {"pipeline_id": pipeline_id, "code_source_url": clean(naming.code_source_url), "ir": ir}
    insert(connection, "pipeline_versions", row | more)
    version_id: str = row["id"]
    return version_id


def _version_row(connection: sqlite3.Connection, pipeline_id: str, version_id: str) -> dict[str, Json]:
    if version_id:
        query, values = "SELECT * FROM pipeline_versions WHERE id = ?", [version_id]
    else:
        query, values = (
            "SELECT * FROM pipeline_versions WHERE pipeline_id = ? ORDER BY born DESC LIMIT 1",
            [pipeline_id],
        )
    found = select(connection, query, values)
    if not found or (pipeline_id and found[0]["pipeline_id"] != pipeline_id):
        what = f"version {version_id!r}" if version_id else "version"
        raise NotFoundError(f"The pipeline {pipeline_id!r} has no {what}.", "kfp pipeline list-versions PIPELINE")
    return found[0]


def _must_exist(connection: sqlite3.Connection, pipeline_id: str) -> None:
    if connection.execute("SELECT 1 FROM pipelines WHERE id = ?", (pipeline_id,)).fetchone() is None:
        raise _unknown(pipeline_id)


def _unknown(pipeline: str) -> NotFoundError:
    return NotFoundError(f"There is no pipeline {pipeline!r}.", "kfp pipeline list")


def _named(row: Mapping[str, Json]) -> dict[str, Json]:
    return {
        "name": row["name"],
        "display_name": row["display_name"],
        "description": row["description"],
        "created_at": timestamp(row["created"]),
        "tags": json.loads(row["tags"]),
    }


def _pipeline(row: Mapping[str, Json]) -> dict[str, Json]:
    return given({"pipeline_id": row["id"], **_named(row)})


def _version(row: Mapping[str, Json]) -> dict[str, Json]:
    more = {"code_source_url": row["code_source_url"], "pipeline_spec": spec_of(row["ir"])}
    return given({"pipeline_id": row["pipeline_id"], "pipeline_version_id": row["id"], **_named(row), **more})
