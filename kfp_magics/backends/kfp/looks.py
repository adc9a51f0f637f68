"""Looking at many runs with few questions."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kfp_magics.backends import silence
from kfp_magics.backends.turns import Turns
from kfp_magics.errors import BackendError, LoginError, NotFoundError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from kfp_magics.backends.kfp.service import Service
    from kfp_magics.model import Json, Run

_AT_ONCE = 100  # ids in one question: more make an address that proxies refuse
_APART = 1.0  # seconds between two questions, on average
_BURST = 3  # questions about single runs that may follow each other
_EVERY = 2.0  # seconds between two looks at the same run
_ALONE = 300.0  # seconds for which a server that cannot be asked for many at once is not asked so again


@dataclass(slots=True)
class Look:
    """What was last seen of a run.

    Attributes:
        raw: The server's answer; None before the first one.
        good: When it answered last, in seconds since the epoch.
        trouble: Why it has not answered since, or nothing.
        listed: Whether it was among those that were asked for together.
        due: When it may be asked for by itself, on the monotonic clock.
    """

    raw: Mapping[str, Json] | None
    good: float
    trouble: str = ""
    listed: bool = False
    due: float = 0.0


def silent_since(look: Look, run: Run, patience: float) -> float | None:
    """Since when nothing is known of a run; see `silence.silent_since`."""
    told = look.raw is not None
    return silence.silent_since(run, good=look.good, answered=told, trouble=look.trouble, patience=patience)


class Looks:
    """What a server last said of the runs that go on; all of them are asked for together.

    A run that the server does not tell together with the others is asked for by itself, when it is its turn.

    Args:
        service: The server.
        going_on: The ids of the runs that have not ended, as far as known here.
    """

    def __init__(self, service: Service, going_on: Callable[[], Iterable[str]]) -> None:
        self._service = service
        self._going_on = going_on
        self._looks: dict[str, Look] = {}
        self._next = 0.0
        self._turns = Turns(_APART, _BURST)
        self._guard = threading.Lock()

    def at(self, run_id: str, *, now: bool = False) -> Look:
        """Gives what is known of a run, fresh enough.

        Args:
            run_id: The run.
            now: Asks for just this run, however fresh the last answer is.

        Raises:
            NotFoundError: The server has no such run.
        """
        with self._guard:
            if not now and time.monotonic() >= self._next:
                self._ask_together(run_id)
            look = self._look(run_id)
            if now or (not look.listed and time.monotonic() >= look.due and self._turns.take()):
                self._ask_for(run_id)
            return replace(look)

    def _look(self, run_id: str) -> Look:
        return self._looks.setdefault(run_id, Look(raw=None, good=time.time()))

    def _ask_together(self, run_id: str) -> None:
        wanted = list(dict.fromkeys([run_id, *self._going_on()]))
        self._looks = {one: self._look(one) for one in wanted}
        pages = [wanted[first : first + _AT_ONCE] for first in range(0, len(wanted), _AT_ONCE)]
        pause = max(_EVERY, len(pages) * _APART)
        if not all(self._ask_for_page(page) for page in pages):
            pause = _ALONE
            for look in self._looks.values():
                look.listed = False
        self._next = time.monotonic() + pause

    def _ask_for_page(self, run_ids: list[str]) -> bool:
        """Asks for several runs; False when the server cannot be asked so."""
        try:
            rows = self._service.runs_of(run_ids)
        except (UnavailableError, LoginError, NotFoundError) as error:
            for one in run_ids:
                self._look(one).trouble = error.message
        except BackendError:
            return False
        else:
            found = {str(row.get("run_id")): row for row in rows}
            for one in run_ids:
                self._look(one).listed = one in found
                if one in found:
                    self._put(one, found[one])
        return True

    def _ask_for(self, run_id: str) -> None:
        look = self._look(run_id)
        alone = sum(not one.listed for one in self._looks.values())
        look.due = time.monotonic() + max(_EVERY, alone * _APART)
        try:
            self._put(run_id, self._service.run(run_id))
        except NotFoundError:
            del self._looks[run_id]
            raise
        except BackendError as error:
            look.trouble = error.message

    def _put(self, run_id: str, raw: Mapping[str, Json]) -> None:
        look = self._looks[run_id]
        look.raw, look.good, look.trouble = raw, time.time(), ""
