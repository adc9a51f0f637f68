"""Looking at many runs with few questions."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kfp_magics.errors import BackendError, LoginError, NotFoundError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from kfp_magics.backends.kfp.service import Service
    from kfp_magics.model import Json

_AT_ONCE = 100  # ids in one question: more make an address that proxies refuse
_PACE = 1.0  # questions a second, at most
_EVERY = 2.0  # seconds between two looks at the same run


@dataclass(slots=True)
class Look:
    """What was last seen of a run.

    Attributes:
        raw: The server's answer; None before the first one.
        good: When it answered last, in seconds since the epoch.
        trouble: Why it has not answered since, or nothing.
    """

    raw: Mapping[str, Json] | None
    good: float
    trouble: str = ""


class Looks:
    """What a server last said of the runs that go on; all of them are asked for together.

    Args:
        service: The server.
        going_on: The ids of the runs that have not ended, as far as known here.
    """

    def __init__(self, service: Service, going_on: Callable[[], Iterable[str]]) -> None:
        self._service = service
        self._going_on = going_on
        self._looks: dict[str, Look] = {}
        self._next = 0.0
        self._one_by_one = False
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
            if now or (run_id not in self._looks and time.monotonic() < self._next):
                self._ask_for(run_id)
            elif time.monotonic() >= self._next:
                self._ask_all(run_id)
            return self._looks.get(run_id) or self._ask_for(run_id)

    def _ask_all(self, run_id: str) -> None:
        wanted = list(dict.fromkeys([run_id, *self._going_on()]))
        self._looks = {key: look for key, look in self._looks.items() if key in wanted}
        questions = len(wanted) if self._one_by_one else -(-len(wanted) // _AT_ONCE)
        try:
            if self._one_by_one:
                for one in wanted:
                    self._put(one, self._service.run(one))
            else:
                self._ask_in_pages(wanted)
        except NotFoundError:
            pass  # one of them is gone; whoever asks for it is told
        except BackendError as error:
            self._note(wanted, error)
        finally:
            self._next = time.monotonic() + max(_EVERY, questions / _PACE)

    def _ask_in_pages(self, wanted: list[str]) -> None:
        for first in range(0, len(wanted), _AT_ONCE):
            try:
                rows = self._service.runs_of(wanted[first : first + _AT_ONCE])
            except (UnavailableError, LoginError, NotFoundError):
                raise
            except BackendError:  # a server that cannot be asked for many by their ids
                self._one_by_one = True
                return
            for row in rows:
                self._put(str(row.get("run_id")), row)

    def _ask_for(self, run_id: str) -> Look:
        try:
            self._put(run_id, self._service.run(run_id))
        except BackendError as error:
            self._note([run_id], error)
        return self._looks[run_id]

    def _put(self, run_id: str, raw: Mapping[str, Json]) -> None:
        self._looks[run_id] = Look(raw=raw, good=time.time())

    def _note(self, run_ids: Iterable[str], error: BackendError) -> None:
        for run_id in run_ids:
            look = self._looks.setdefault(run_id, Look(raw=None, good=time.time()))
            look.trouble = error.message
