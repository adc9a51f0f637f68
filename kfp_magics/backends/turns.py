"""How often a server is asked: many runs cost it no more than few."""

from __future__ import annotations

import time


class Turns:
    """Gives questions their turn: so many a second at most, however many wait.

    Args:
        apart: Seconds between two questions, taken over some time.
        at_once: Questions that may follow each other without a pause.
    """

    def __init__(self, apart: float, at_once: int) -> None:
        self._apart = apart
        self._at_once = at_once
        self._free = 0.0  # when all that was asked is paid for

    def take(self, *, anyway: bool = False) -> bool:
        """Whether a question may be asked now, which then counts as asked.

        Args:
            anyway: It is asked whatever the answer; it counts all the same.
        """
        now = time.monotonic()
        owed = max(0.0, self._free - now)
        if not anyway and owed > (self._at_once - 1) * self._apart:
            return False
        self._free = now + owed + self._apart
        return True
