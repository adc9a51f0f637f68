"""Looking at many runs with few questions: the details of a run can only be asked for one by one."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kfp_magics.backends.vertex.states import pipeline_state
from kfp_magics.errors import BackendError

if TYPE_CHECKING:
    from google.cloud import aiplatform_v1 as vertex

    from kfp_magics.backends.vertex.service import Service

_KEPT = 500  # runs that are remembered


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """How often Google is asked, so that no quota is used up.

    Attributes:
        look: Seconds between two looks at the same run.
        apart: Seconds between two questions when many runs go on.
        at_once: Questions that may follow each other without a pause.
        log: Seconds between two looks at a log: Cloud Logging answers sixty a minute and project.
    """

    look: float = 2.0
    apart: float = 0.5
    at_once: int = 10
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


class Looks:
    """What Vertex AI last said of the runs of one project and region.

    Args:
        service: Whom to ask.
        pace: How often.
    """

    def __init__(self, service: Service, pace: Pace) -> None:
        self._service = service
        self._pace = pace
        self._looks: dict[str, Look] = {}
        self._free = 0.0  # when the next question may be asked, were there none that may follow without a pause
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
            moment = time.monotonic()
            too_many = self._free - moment > self._pace.at_once * self._pace.apart
            if not now and (moment < look.due or too_many):
                return look
            self._free = max(self._free, moment) + self._pace.apart
            going_on = sum(one.job is None or not pipeline_state(one.job).final for one in self._looks.values())
            look.due = moment + max(self._pace.look, going_on * self._pace.apart)
            for old in list(self._looks)[:-_KEPT]:
                del self._looks[old]
        try:
            look.job = self._service.job(run_id)
        except BackendError as error:
            look.trouble = error.message
        else:
            look.good, look.trouble = time.time(), ""
        return look
