"""The server's words for states, all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kfp_magics.model import State

if TYPE_CHECKING:
    from collections.abc import Collection

    from kfp_magics.model import Json

STATES = {
    "RUNTIME_STATE_UNSPECIFIED": State.UNKNOWN,
    "PENDING": State.PENDING,
    "RUNNING": State.RUNNING,
    "SUCCEEDED": State.SUCCEEDED,
    "SKIPPED": State.SKIPPED,
    "FAILED": State.FAILED,
    "CANCELING": State.RUNNING,  # it still runs
    "CANCELED": State.CANCELLED,
    "PAUSED": State.PENDING,
}


def words(states: Collection[State]) -> list[str]:
    """The server's words for some of our states."""
    return [word for word, ours in STATES.items() if ours in states]


def state(word: Json) -> State:
    """Our word for one of the server's; ``unknown`` for words that nobody has heard of."""
    return STATES.get(word, State.UNKNOWN) if isinstance(word, str) else State.UNKNOWN
