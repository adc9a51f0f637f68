"""A stage for what happens at once: threads of which one at a time may do one thing, in an order that a test chooses.

Between two things that reach outside, an instance can be killed: nothing of it happens any more, no ``finally`` either.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kfp_magics.delivery.newdata.claims import NOT_THERE, Entry
from kfp_magics.delivery.newdata.once import Job, Started

BEGAN = 1_000_000.0


class KilledError(BaseException):
    """The instance is gone."""


class DownError(Exception):
    """The server does not answer."""


@dataclass
class Instance:
    """One delivery of an event."""

    work: Callable[[], Any]
    wakes: float = 0.0
    over: bool = False
    answer: Any = None
    failed: Exception | None = None
    killed: bool = False
    _turn: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    _back: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    _thread: threading.Thread | None = None
    _dies_after: bool = False

    def begin(self) -> None:
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._thread.start()

    def _live(self) -> None:
        self._turn.acquire()
        try:
            if not self.killed:
                self.answer = self.work()
        except KilledError:
            pass
        except Exception as error:  # noqa: BLE001  (the test looks at it)
            self.failed = error
        self.over = True
        self._back.release()

    def step(self, fate: str) -> None:
        """Lets it go on to where it next reaches outside.

        Args:
            fate: ``goes on``, ``dies before`` what it is about to do, or ``dies after``.
        """
        self.killed = self.killed or fate == "dies before"
        self._dies_after = fate == "dies after"
        self._turn.release()
        self._back.acquire()
        if self._dies_after and not self.over:  # it only waited
            self.killed = True
            self._turn.release()
            self._back.acquire()
        if self.over and self._thread is not None:
            self._thread.join()

    def does(self, what: Callable[[], Any]) -> Any:
        self.pause()
        done = what()
        if self._dies_after:
            self.killed = True
            raise KilledError
        return done

    def pause(self) -> None:
        if self.killed:
            raise KilledError
        self._back.release()
        self._turn.acquire()
        if self.killed:
            raise KilledError


class World:
    """What all instances share: what is remembered, the runs, and the time."""

    def __init__(self) -> None:
        self.now = BEGAN
        self.entries: dict[str, Entry] = {}
        self.runs: list[Job] = []
        self.down = 0
        self._versions = 0

    def version(self) -> int:
        self._versions += 1
        return self._versions


class Seen:
    """The world as one instance reaches it: its `Claims`, its `Runs`, its clock."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.instance: Instance | None = None

    def _does(self, what: Callable[[], Any]) -> Any:
        assert self.instance is not None
        return self.instance.does(what)

    # Claims

    def read(self, key: str) -> Entry | None:
        return self._does(lambda: self._world.entries.get(key))

    def write(self, key: str, facts: Mapping[str, str], version: int) -> int | None:
        def do() -> int | None:
            known = self._world.entries.get(key)
            if (known.version if known else NOT_THERE) != version:
                return None
            made = Entry(facts=dict(facts), version=self._world.version(), changed=self._world.now)
            self._world.entries[key] = made
            return made.version

        return self._does(do)

    def remove(self, key: str, version: int) -> bool:
        def do() -> bool:
            known = self._world.entries.get(key)
            if known is None or known.version != version:
                return False
            del self._world.entries[key]
            return True

        return self._does(do)

    def keys(self, start: str) -> list[str]:
        return self._does(lambda: sorted(key for key in self._world.entries if key.startswith(start)))

    # Runs

    def find(self, mark: str) -> Started | None:
        def do() -> Started | None:
            if self._world.down > 0:
                self._world.down -= 1
                raise DownError
            return Started(run=mark) if any(one.mark == mark for one in self._world.runs) else None

        return self._does(do)

    def start(self, job: Job) -> Started:
        def do() -> Started:
            self._world.runs.append(job)
            return Started(run=job.mark)

        return self._does(do)

    # Time

    def clock(self) -> float:
        return self._world.now

    def sleep(self, seconds: float) -> None:
        assert self.instance is not None
        self.instance.wakes = self._world.now + seconds
        self.instance.pause()
