"""Many things at once, and an end to all of them when somebody asks for it."""

from __future__ import annotations

from concurrent.futures import FIRST_EXCEPTION, Executor, wait
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_LOOK = 0.25  # seconds between two questions whether to go on
_In = TypeVar("_In")
_Out = TypeVar("_Out")


def gather(
    pool: Executor, action: Callable[[_In], _Out], items: Iterable[_In], check: Callable[[], None]
) -> list[_Out]:
    """Does one thing to many items; the first failure ends what has not begun.

    Args:
        pool: Does it.
        action: What is done.
        items: To what.
        check: Called several times a second; what it raises ends what has not begun.

    Returns:
        What came of each, in their order.
    """
    futures = [pool.submit(action, item) for item in items]
    pending = set(futures)
    try:
        while pending:
            done, pending = wait(pending, _LOOK, FIRST_EXCEPTION)
            for one in done:
                one.result()
            check()
    finally:
        for one in pending:
            one.cancel()
    return [one.result() for one in futures]
