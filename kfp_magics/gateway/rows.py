"""Rows of the store's tables as dictionaries."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping

    from kfp_magics.model import Json


def select(connection: sqlite3.Connection, query: str, values: Iterable[Json] = ()) -> list[dict[str, Json]]:
    """Reads what a query finds."""
    cursor = connection.execute(query, tuple(values))
    names = [one[0] for one in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def rows(connection: sqlite3.Connection, table: str, born: list[int]) -> list[dict[str, Json]]:
    """Reads rows of a table, in the order of their numbers as they are given."""
    found = select(connection, f"SELECT * FROM {table} WHERE born IN ({', '.join('?' * len(born))})", born)  # noqa: S608
    by_number = {row["born"]: row for row in found}
    return [by_number[number] for number in born]


def insert(connection: sqlite3.Connection, table: str, row: Mapping[str, Json]) -> None:
    """Writes a row."""
    names = ", ".join(row)
    values = ", ".join(f":{name}" for name in row)
    connection.execute(f"INSERT INTO {table} ({names}) VALUES ({values})", dict(row))  # noqa: S608
