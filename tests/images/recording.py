"""A build's log in memory."""

from __future__ import annotations

from kfp_magics.errors import BuildCancelledError


class RecordingLog:
    """What a builder said.

    Args:
        cancel_at: The build is to end once this has been written.
    """

    def __init__(self, cancel_at: str = "") -> None:
        self.text = ""
        self.steps: list[str] = []
        self.shares: list[float] = []
        self.facts: dict[str, str | float] = {}
        self._cancel_at = cancel_at

    def write(self, text: str) -> None:
        self.text += text

    def step(self, what: str, done: float | None = None) -> None:
        self.steps.append(what)
        if done is not None:
            self.shares.append(done)

    def fact(self, name: str, value: str | float) -> None:
        self.facts[name] = value

    def check(self) -> None:
        if self._cancel_at and self._cancel_at in self.text:
            raise BuildCancelledError("The build was cancelled.")
