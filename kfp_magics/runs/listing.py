"""Lists of many runs, answered by SQL: pages, counts, and what has changed since a revision."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from kfp_magics.model import Run, State
from kfp_magics.runs.database import clean

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from kfp_magics.model import Json
    from kfp_magics.runs.store import Store

FACETS = ("state", "kind", "pipeline", "experiment", "notebook", "backend", "started_by")
_FACET_VALUES = 200  # values of one facet that are named
_DONE = tuple(str(state) for state in State if state.final)


@dataclass(frozen=True, kw_only=True, slots=True)
class Filter:
    """Which runs are meant.

    Attributes:
        search: Text that the name, the pipeline or the id contains, whatever its case.
        values: Facet → the values that are let through; a facet without values lets all through.
        archived: Whether archived runs are left out, are the only ones, or stand among the others.
    """

    search: str = ""
    values: Mapping[str, Collection[str]] = field(default_factory=dict)
    archived: Literal["no", "only", "all"] = "no"


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """A part of a list.

    Attributes:
        rows: What the list shows of each run, the last that came first.
        total: How many runs the whole list has.
        next: Where the next page begins; None on the last one.
        change: The store's change number of this look.
    """

    rows: list[dict[str, Json]]
    total: int
    next: int | None
    change: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Changes:
    """What was written after a revision.

    Attributes:
        change: The store's change number of this look.
        rows: Runs that changed, as a list shows them, oldest change first.
        tasks: Run → its tasks that changed, as they stand now.
        more: Whether so much has changed that only the number is told.
        deleted: Runs that were deleted → revision.
    """

    change: int
    rows: list[dict[str, Json]] = field(default_factory=list)
    tasks: Mapping[str, list[dict[str, Json]]] = field(default_factory=dict)
    deleted: Mapping[str, int] = field(default_factory=dict)
    more: bool = False


def page(store: Store, wanted: Filter, *, limit: int, before: int | None = None, offset: int = 0) -> Page:
    """Reads a page of a list.

    Args:
        store: Where runs are remembered.
        wanted: Which runs.
        limit: At most so many.
        before: The `Page.next` of the page before.
        offset: Runs to leave out from there.
    """
    where, values = _where(wanted, FACETS)
    onward = f"{where} AND born < :before" if before is not None else where
    # What is left out is left out in the index, which is small, not in the rows.
    chosen = f"SELECT born FROM runs {'INDEXED BY runs_facts' if offset else ''} WHERE {onward}"  # noqa: S608  (only our own words)
    query = f"""SELECT born, id, summary, archived, revision FROM runs
        WHERE born IN ({chosen} ORDER BY born DESC LIMIT :limit OFFSET :offset) ORDER BY born DESC"""  # noqa: S608
    with store.reading() as connection:
        change, _ = _change(connection)
        total = connection.execute(f"SELECT count(*) FROM runs WHERE {where}", values).fetchone()[0]  # noqa: S608
        place = {"before": before, "limit": limit + 1, "offset": offset}
        found = connection.execute(query, values | place).fetchall()
        rows = list(_rows(connection, [one[1:] for one in found[:limit]]))
    return Page(rows=rows, total=total, next=found[limit - 1][0] if len(found) > limit else None, change=change)


def rows_of(store: Store, run_ids: Iterable[str]) -> list[dict[str, Json]]:
    """Reads what a list shows of certain runs, in their order.

    Raises:
        NotFoundError: One of them does not exist.
    """
    with store.reading() as connection:
        found = []
        for run_id in run_ids:
            store.must_exist(connection, run_id)
            found += connection.execute(
                "SELECT id, summary, archived, revision FROM runs WHERE id = ?", (run_id,)
            ).fetchall()
        return list(_rows(connection, found))


def facets(store: Store, wanted: Filter) -> dict[str, Json]:
    """Counts runs by every facet; each obeys the filters of the others but not its own.

    Returns:
        Facet → list of ``{"value", "count"}``, the most frequent first; ``total`` and ``change`` beside them.
    """
    where, values = _where(wanted, ())
    columns = ", ".join(FACETS)
    with store.reading() as connection:
        change, _ = _change(connection)
        groups = connection.execute(
            f"SELECT {columns}, count(*) FROM runs WHERE {where} GROUP BY {columns}",  # noqa: S608
            values,
        ).fetchall()
    counts: dict[str, Counter[str]] = {name: Counter() for name in FACETS}
    total = 0
    for *words, count in groups:
        refused = [name for name, word in zip(FACETS, words, strict=True) if not _lets_through(wanted, name, word)]
        if not refused:
            total += count
        for name, word in zip(FACETS, words, strict=True):
            if not set(refused) - {name}:
                counts[name][word] += count
    named = {
        name: [{"value": value, "count": count} for value, count in found.most_common(_FACET_VALUES)]
        for name, found in counts.items()
    }
    return {**named, "total": total, "change": change}


def _lets_through(wanted: Filter, name: str, word: str) -> bool:
    values = wanted.values.get(name, ())
    return not values or word in values


def states(store: Store) -> tuple[dict[str, int], int]:
    """Counts the runs that are not archived by state, and gives the store's change number."""
    with store.reading() as connection:
        change, _ = _change(connection)
        counts = connection.execute("SELECT state, count(*) FROM runs WHERE archived = 0 GROUP BY state").fetchall()
    return dict(counts), change


def version(store: Store) -> str:
    """A text that differs whenever anything in the store does, or another store stands in its place."""
    with store.reading() as connection:
        number, name = _change(connection)
    return f"{name}-{number}"


def revision(store: Store, run_id: str) -> tuple[int, bool]:
    """The revision of a run, and whether it is archived.

    Raises:
        NotFoundError: There is no such run.
    """
    with store.reading() as connection:
        store.must_exist(connection, run_id)
        number, archived = connection.execute("SELECT revision, archived FROM runs WHERE id = ?", (run_id,)).fetchone()
    return number, bool(archived)


def changes(store: Store, since: int, *, most: int) -> Changes:
    """Reads what was written after a revision.

    Args:
        store: Where runs are remembered.
        since: That revision.
        most: Number of runs from which on nothing but the number is told.
    """
    with store.reading() as connection:
        change, _ = _change(connection)
        gone = dict(connection.execute("SELECT id, revision FROM deleted WHERE revision > ?", (since,)))
        found = connection.execute(
            "SELECT id, summary, archived, revision FROM runs WHERE revision > ? ORDER BY revision LIMIT ?",
            (since, most + 1),
        ).fetchall()
        if len(found) + len(gone) > most or change < since:
            return Changes(change=change, more=True)
        tasks: dict[str, list[dict[str, Json]]] = {}
        for run_id, body in connection.execute(
            "SELECT run_id, body FROM tasks WHERE revision > ? ORDER BY number", (since,)
        ):
            tasks.setdefault(run_id, []).append(json.loads(body))
        return Changes(change=change, rows=list(_rows(connection, found)), tasks=tasks, deleted=gone)


def run_since(store: Store, run_id: str, since: int) -> Run:
    """Reads a run with only those tasks that were written after a revision.

    Raises:
        NotFoundError: There is no such run.
    """
    with store.reading() as connection:
        store.must_exist(connection, run_id)
        (text,) = connection.execute("SELECT body FROM runs WHERE id = ?", (run_id,)).fetchone()
        found = connection.execute(
            "SELECT body FROM tasks WHERE run_id = ? AND revision > ? ORDER BY number", (run_id, since)
        ).fetchall()
    return Run.from_json({**json.loads(text), "tasks": [json.loads(body) for (body,) in found]})


def _where(wanted: Filter, names: Iterable[str]) -> tuple[str, dict[str, Json]]:
    conditions: list[str] = {"no": ["archived = 0"], "only": ["archived = 1"], "all": ["archived IN (0, 1)"]}[
        wanted.archived
    ]
    values: dict[str, Json] = {}
    if wanted.search:
        conditions.append("instr(words, :search)")
        values["search"] = clean(wanted.search).casefold()
    for name in names:
        words = {f"{name}{number}": clean(word) for number, word in enumerate(wanted.values.get(name, ()))}
        if words:
            conditions.append(f"{name} IN ({', '.join(f':{key}' for key in words)})")
            values |= words
    return " AND ".join(conditions), values


def _rows(connection: sqlite3.Connection, found: list[tuple[Json, ...]]) -> Iterator[dict[str, Json]]:
    """Puts the progress of its steps to each run."""
    ids = [one[0] for one in found]
    progress: dict[str, dict[str, int]] = {run_id: dict.fromkeys(map(str, State), 0) for run_id in ids}
    for run_id, state, count in connection.execute(
        f"SELECT run_id, state, count(*) FROM tasks WHERE leaf = 1 AND run_id IN ({', '.join('?' * len(ids))})"  # noqa: S608
        " GROUP BY run_id, state",
        ids,
    ):
        progress[run_id][state] = count
    for run_id, summary, archived, number in found:
        counts = progress[run_id]
        total, done = sum(counts.values()), sum(counts[state] for state in _DONE)
        yield json.loads(summary) | {
            "archived": bool(archived),
            "revision": number,
            "progress": {"total": total, "done": done, **counts},
        }


def _change(connection: sqlite3.Connection) -> tuple[int, str]:
    number, name = connection.execute("SELECT number, store FROM change").fetchone()
    return number, name
