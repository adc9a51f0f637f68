"""How values are written in Kubeflow Pipelines' API, and read from it: times, states, ids, keys in two spellings."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from kfp_magics.errors import ArgumentError
from kfp_magics.model import State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kfp_magics.model import Json

STATES = {
    State.PENDING: "PENDING",
    State.RUNNING: "RUNNING",
    State.SUCCEEDED: "SUCCEEDED",
    State.FAILED: "FAILED",
    State.CANCELLED: "CANCELED",
    State.SKIPPED: "SKIPPED",
    State.UNKNOWN: "RUNTIME_STATE_UNSPECIFIED",
}
_RUN_PREFIX = "local-"
_LONG_FRACTION = re.compile(r"(\.\d{6})\d+")


def run_id_outside(run_id: str) -> str:
    """What clients call a run.

    A notebook of this machine may reach the engine through the door as well. Its rows of such runs, which are those of
    a server, must not be taken for the engine's own: so the two go by different ids.
    """
    return _RUN_PREFIX + run_id


def run_id_inside(run_id: str) -> str:
    """What the store calls a run, by either id."""
    return run_id.removeprefix(_RUN_PREFIX)


def timestamp(seconds: float) -> str:
    """A time as RFC 3339 has it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def seconds(value: Json, name: str) -> float | None:
    """Reads a time.

    Args:
        value: RFC 3339, or nothing.
        name: Of the field, for the message.

    Raises:
        ArgumentError: It is no time.
    """
    if value in {None, ""}:
        return None
    try:
        found = datetime.fromisoformat(_LONG_FRACTION.sub(r"\1", value))
    except (ValueError, TypeError) as error:
        raise ArgumentError(
            f"The field {name!r} is no time: {value!r}.", "Write it like 2030-01-31T12:00:00Z."
        ) from error
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def get(body: Mapping[str, Json], name: str) -> Json:
    """Reads a field of a message: protobuf's JSON allows both ``display_name`` and ``displayName``."""
    first, *rest = name.split("_")
    return body.get(name, body.get(first + "".join(map(str.title, rest))))


def text(body: Mapping[str, Json], name: str) -> str:
    """Reads a field that is a text; empty when it is not there.

    Raises:
        ArgumentError: It is something else.
    """
    value = get(body, name)
    if not isinstance(value, str | None):
        raise ArgumentError(f"The field {name!r} is no text: {value!r}.")
    return value or ""


def message(body: Mapping[str, Json], name: str) -> dict[str, Json]:
    """Reads a field that is a message; empty when it is not there.

    Raises:
        ArgumentError: It is something else.
    """
    value = get(body, name)
    if not isinstance(value, dict | None):
        raise ArgumentError(f"The field {name!r} is no object.")
    return value or {}


def given(fields: Mapping[str, Json]) -> dict[str, Json]:
    """Leaves out what says nothing, as protobuf's JSON does."""
    return {key: value for key, value in fields.items() if value not in (None, "", {}, [])}
