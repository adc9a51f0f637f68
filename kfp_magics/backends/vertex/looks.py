"""Looking at many runs with few questions: the details of a run can only be asked for one by one."""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kfp_magics.backends import silence
from kfp_magics.backends.turns import Turns
from kfp_magics.backends.vertex.states import pipeline_state
from kfp_magics.errors import BackendError, LoginError, NotFoundError, UnavailableError

if TYPE_CHECKING:
    from datetime import datetime

    from google.cloud import aiplatform_v1 as vertex

    from kfp_magics.backends.vertex.service import Service
    from kfp_magics.model import Run

_KEPT = 500  # runs that are remembered
_PAGE = 100  # runs that one question about changes tells of


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """How often Google is asked, so that no quota is used up.

    Attributes:
        look: Seconds between two looks at the same run.
        apart: Seconds between two questions when many runs go on.
        at_once: Questions that may follow each other without a pause.
        changes: Seconds between two questions about what has changed, when many runs go on.
        log: Seconds between two looks at a log: Cloud Logging answers sixty a minute and project.
    """

    look: float = 2.0
    apart: float = 0.6
    at_once: int = 3
    changes: float = 5.0
    log: float = 5.0


@dataclass(slots=True)
class Look:
    """What was last seen of a run.

    Attributes:
        job: Vertex AI's answer; None before the first one.
        good: When it answered last, in seconds since the epoch.
        trouble: Why it has not answered since, or nothing.
        due: When it may be asked for again, on the monotonic clock.
    """

    job: vertex.PipelineJob | None
    good: float
    trouble: str = ""
    due: float = 0.0


def silent_since(look: Look, run: Run, patience: float) -> float | None:
    """Since when nothing is known of a run; see `silence.silent_since`."""
    told = look.job is not None
    return silence.silent_since(run, good=look.good, answered=told, trouble=look.trouble, patience=patience)


class Looks:
    """What Vertex AI last said of the runs of one project and region.

    Each run is asked for in turn. When many go on, one question tells which have changed, and those come first.

    Args:
        service: Whom to ask.
        pace: How often.
    """

    def __init__(self, service: Service, pace: Pace) -> None:
        self._service = service
        self._pace = pace
        self._looks: dict[str, Look] = {}
        self._turns = Turns(pace.apart, pace.at_once)
        self._away = ""  # why nobody is told of any run, since the last answer
        self._first: dict[str, float] = {}  # runs that have changed, and until when the others wait for each
        self._since: datetime | None = None
        self._changes_due = 0.0
        self._guard = threading.Lock()

    def at(self, run_id: str, *, now: bool = False) -> Look:
        """Gives what is known of a run, fresh enough.

        Args:
            run_id: The run.
            now: Asks, however fresh the last answer is.

        Raises:
            NotFoundError: There is no such run.
        """
        with self._guard:
            look = self._looks.setdefault(run_id, Look(job=None, good=time.time()))
            ask_for_changes = self._is_time_for_changes()
            ask = (now or self._is_its_turn(run_id, look)) and self._turns.take(anyway=now)
            if ask:
                self._first.pop(run_id, None)
                look.due = time.monotonic() + self._cycle()
                for old in list(self._looks)[:-_KEPT]:
                    del self._looks[old]
        if ask_for_changes:
            self._ask_for_changes()
        if ask:
            self._ask_for(run_id, look)
        # What nobody has seen here yet is no better known than the others while Google cannot be asked.
        return replace(look, trouble=look.trouble or ("" if look.job is not None else self._away))

    def _cycle(self) -> float:
        """Seconds in which each run that goes on is asked for once."""
        going_on = sum(one.job is None or not pipeline_state(one.job).final for one in self._looks.values())
        return max(self._pace.look, going_on * self._pace.apart)

    def _is_its_turn(self, run_id: str, look: Look) -> bool:
        now = time.monotonic()
        if run_id in self._first:
            self._first[run_id] = now + self._pace.changes  # somebody looks at it
            return True
        return now >= look.due and now >= max(self._first.values(), default=0.0)

    def _is_time_for_changes(self) -> bool:
        now = time.monotonic()
        if now < self._changes_due or self._cycle() <= self._pace.changes or not self._turns.take():
            return False
        self._changes_due = now + self._pace.changes
        return True

    def _ask_for(self, run_id: str, look: Look) -> None:
        try:
            job = self._service.job(run_id)
        except NotFoundError:
            self._looks.pop(run_id, None)
            raise
        except BackendError as error:
            look.trouble = error.message
            if isinstance(error, UnavailableError | LoginError):
                self._away = error.message
        else:
            look.job, look.good, look.trouble, self._away = job, time.time(), "", ""
            with self._guard:
                self._first.pop(run_id, None)  # a question about changes may have told of it meanwhile

    def _ask_for_changes(self) -> None:
        """Finds the runs that have changed since the last time; they are asked for first."""
        known = {run_id: look.job for run_id, look in list(self._looks.items())}
        seen = [job.update_time for job in known.values() if job is not None and job.update_time]
        since = self._since or min(seen, default=None)
        if since is None:
            return
        try:
            changed = list(itertools.islice(self._service.changed_since(since, page=_PAGE), _PAGE))
        except (UnavailableError, LoginError):
            return
        except BackendError:  # it does not answer such a question: each run is seen in turn
            self._changes_due = float("inf")
            return
        self._since = max((one.update_time for one in changed), default=since)
        # No later question tells of them again: they stay the first until they are asked for. What nobody looks at any
        # more holds up nobody for longer than this.
        until = time.monotonic() + self._pace.changes
        with self._guard:
            for one in changed:
                run_id = one.name.rpartition("/")[2]
                job = known.get(run_id)
                if job is not None and job.update_time < one.update_time:
                    self._first[run_id] = until
            self._first = {key: when for key, when in self._first.items() if key in self._looks}
