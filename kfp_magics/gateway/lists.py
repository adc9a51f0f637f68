"""Pages of anything: filters, order and page tokens of Kubeflow Pipelines' API, answered by SQL."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote_plus

from kfp_magics.errors import ArgumentError, did_you_mean
from kfp_magics.gateway.words import get, given, seconds
from kfp_magics.runs.database import clean

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping

    from kfp_magics.model import Json

_USUAL_SIZE, _LARGEST_SIZE = 20, 200
_MOST_PREDICATES = 50
_NUMBERS = {1: "EQUALS", 2: "NOT_EQUALS", 3: "GREATER_THAN", 5: "GREATER_THAN_EQUALS", 6: "LESS_THAN"} | {
    7: "LESS_THAN_EQUALS",
    8: "IN",
    9: "IS_SUBSTRING",
}
_COMPARISONS = {
    "EQUALS": "=",
    "NOT_EQUALS": "<>",
    "GREATER_THAN": ">",
    "GREATER_THAN_EQUALS": ">=",
    "LESS_THAN": "<",
    "LESS_THAN_EQUALS": "<=",
}
_VALUES = ("string_value", "int_value", "long_value", "timestamp_value")
_LISTS = ("string_values", "int_values", "long_values")


def _as_it_is(value: Json) -> Json:
    return value


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A field that can be filtered and sorted by.

    Attributes:
        sql: Its value.
        kind: What it is compared with.
        order: What it is sorted by, if that is not the value.
        inside: Turns the value of a client into ours.
    """

    sql: str
    kind: Literal["text", "time"] = "text"
    order: str = ""
    inside: Callable[[Json], Json] = _as_it_is


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """What is listed.

    Attributes:
        table: What stands behind FROM; its column ``born`` counts the rows.
        columns: Field → column; ``created_at`` is one of them.
    """

    table: str
    columns: Mapping[str, Column]

    def column(self, name: str) -> Column:
        """Finds a field.

        Raises:
            ArgumentError: There is none of that name.
        """
        if name not in self.columns:
            raise ArgumentError(f"There is no field {name!r} to filter or sort by.", did_you_mean(name, self.columns))
        return self.columns[name]


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """Which page of which list; the words of a request."""

    page_token: str = ""
    page_size: int = 0
    sort_by: str = ""
    filter: str = ""

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Asked:
        """Reads the query of a request."""
        size = get(query, "page_size") or "0"
        if not size.isdecimal():
            raise ArgumentError(f"The page size {size!r} is no whole number.", "Give one from 1 to 200.")
        words = {name: get(query, name) or "" for name in ("page_token", "sort_by", "filter")}
        return cls(page_size=int(size), **words)


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """A page.

    Attributes:
        born: Its rows.
        total: How many rows the whole list has.
        token: What asks for the next page; empty on the last one.
    """

    born: list[int]
    total: int
    token: str

    def answer(self, name: str, rows: list[dict[str, Json]]) -> dict[str, Json]:
        """The answer to a list call; what is empty or none is left out, as a cluster does."""
        return given({name: rows, "total_size": self.total or None, "next_page_token": self.token})


@dataclass(slots=True)
class _Where:
    conditions: list[str]
    values: dict[str, Json] = field(default_factory=dict)

    def put(self, value: Json) -> str:
        name = f"v{len(self.values)}"
        self.values[name] = clean(value) if isinstance(value, str) else value
        return f":{name}"

    def __str__(self) -> str:
        return " AND ".join(self.conditions) or "1"


def page(connection: sqlite3.Connection, source: Source, asked: Asked, fixed: Mapping[str, Json]) -> Page:
    """Reads a page.

    Args:
        connection: The store.
        source: What is listed.
        asked: Which page.
        fixed: SQL of a value → what it must be, whatever was asked.

    Raises:
        ArgumentError: The filter, the order or the token is none.
    """
    token = _read_token(asked)
    order, descending = _order(source, token.get("sort", asked.sort_by))
    where = _Where([])
    where.conditions += [f"{sql} = {where.put(value)}" for sql, value in fixed.items()]
    wanted = token.get("filter", asked.filter)
    for predicate in _predicates(wanted):
        where.conditions.append(_condition(source, predicate, where))
    counted = f"SELECT count(*) FROM {source.table} WHERE {where}"  # noqa: S608  (only our own words)
    total = connection.execute(counted, where.values).fetchone()[0]
    if token:
        side = "<" if descending else ">"
        where.conditions.append(f"({order}, born) {side} ({where.put(token['value'])}, {where.put(token['born'])})")
    size = min(asked.page_size or _USUAL_SIZE, _LARGEST_SIZE)
    word = "DESC" if descending else "ASC"
    query = f"SELECT born, {order} FROM {source.table} WHERE {where} ORDER BY 2 {word}, 1 {word} LIMIT {size + 1}"  # noqa: S608
    found = connection.execute(query, where.values).fetchall()
    more = ""
    if len(found) > size:
        born, value = found[size - 1]
        sort = token.get("sort", asked.sort_by)
        more = _token({"sort": sort, "filter": wanted, "value": value, "born": born})
    return Page(born=[born for born, _ in found[:size]], total=total, token=more)


def _order(source: Source, text: str) -> tuple[str, bool]:
    words = text.split() or ["created_at"]
    if len(words) > 2 or (len(words) == 2 and words[1].lower() not in {"asc", "desc"}):
        raise ArgumentError(f"{text!r} is no order.", "Write a field, and 'asc' or 'desc': sort_by=created_at desc")
    column = source.column(words[0])
    empty = "''" if column.kind == "text" else "0"
    return column.order or f"ifnull({column.sql}, {empty})", words[-1].lower() == "desc"


def _token(value: dict[str, Json]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


def _read_token(asked: Asked) -> dict[str, Json]:
    if not asked.page_token:
        return {}
    hint = "Give the next_page_token of the page before."
    try:
        found = json.loads(base64.urlsafe_b64decode(asked.page_token))
        born, value = found["born"], found["value"]
        sort, wanted = found["sort"], found["filter"]
    except (ValueError, TypeError, KeyError, binascii.Error) as error:
        raise ArgumentError("The page token is none of ours.", hint) from error
    plain = isinstance(born, int) and isinstance(value, str | int | float)
    if not plain or not isinstance(sort, str) or not isinstance(wanted, str):
        raise ArgumentError("The page token is none of ours.", hint)
    if asked.sort_by not in {"", sort} or asked.filter not in {"", wanted}:
        raise ArgumentError("The page token is that of another order or filter.", hint)
    return {"sort": sort, "filter": wanted, "value": value, "born": born}


def _predicates(text: str) -> list[dict[str, Json]]:
    if not text:
        return []
    found = _json(text)
    predicates = found.get("predicates", []) if isinstance(found, dict) else None
    if not isinstance(predicates, list) or not all(isinstance(one, dict) for one in predicates):
        raise ArgumentError(
            "The filter has no list of predicates.",
            'Write {"predicates": [{"operation": "EQUALS", "key": "display_name", "string_value": "x"}]}',
        )
    if len(predicates) > _MOST_PREDICATES:
        raise ArgumentError(f"The filter has more than {_MOST_PREDICATES} predicates.")
    return predicates


def _json(text: str) -> Json:
    for attempt in (text, unquote_plus(text)):  # clients may have quoted it once more, as KFP's documentation says
        try:
            return json.loads(attempt)
        except ValueError:
            continue
    raise ArgumentError("The filter is no JSON.", 'Write {"predicates": […]}')


def _condition(source: Source, predicate: Mapping[str, Json], where: _Where) -> str:
    key = get(predicate, "key")
    column = source.column(key if isinstance(key, str) else "")
    operation = get(predicate, "operation")
    operation = _NUMBERS.get(operation, operation) if isinstance(operation, int) else operation
    if operation == "IN":
        values = _list(predicate, str(key))
        names = ", ".join(where.put(_value(column, value, str(key))) for value in values)
        return f"{column.sql} IN ({names})"
    found = [get(predicate, name) for name in _VALUES if get(predicate, name) is not None]
    if len(found) != 1:
        raise ArgumentError(f"The predicate about {key!r} needs one value, and has {len(found)}.")
    value = _value(column, found[0], str(key))
    if operation == "IS_SUBSTRING":
        return f"instr(lower({column.sql}), lower({where.put(str(value))}))"
    if operation not in _COMPARISONS:
        raise ArgumentError(
            f"There is no operation {operation!r}.", did_you_mean(str(operation), [*_COMPARISONS, "IN", "IS_SUBSTRING"])
        )
    return f"{column.sql} {_COMPARISONS[operation]} {where.put(value)}"


def _list(predicate: Mapping[str, Json], key: str) -> list[Json]:
    found = [get(predicate, name) for name in _LISTS if get(predicate, name) is not None]
    values = found[0].get("values") if len(found) == 1 and isinstance(found[0], dict) else None
    if not isinstance(values, list):
        raise ArgumentError(f"The predicate about {key!r} needs a list of values.", '"string_values": {"values": […]}')
    return values


def _value(column: Column, value: Json, key: str) -> Json:
    if column.kind == "time":
        if isinstance(value, str) and not value.isdecimal():
            return seconds(value, key)
        return float(value) if isinstance(value, str | int | float) else 0.0
    if not isinstance(value, str | int | float):
        raise ArgumentError(f"The predicate about {key!r} compares with {value!r}.", "Give a text.")
    return column.inside(str(value))
