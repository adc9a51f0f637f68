"""Starting something on a server once, though its answers get lost."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

from kfp_magics.backends.base import MARK
from kfp_magics.errors import NotFoundError, UnavailableError, UncertainError

if TYPE_CHECKING:
    from kfp_magics.backends.kfp.service import Service
    from kfp_magics.model import Json

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 5.0  # seconds in which a request without an answer may still take effect


def mark(key: str = "") -> str:
    """A description that no other run has, or only one that was asked for with the same key."""
    return f"{MARK} ({key or secrets.token_hex(8)})"


def start_once(
    service: Service, body: dict[str, Json], experiment: str, patience: float, *, again: bool = False
) -> dict[str, Json]:
    """Starts a run exactly once.

    When the answer gets lost, the run's description, which no other run has, tells whether it was started.

    Args:
        service: The server.
        body: What to run, but for the experiment.
        experiment: The name of the experiment, which is made when there is none.
        patience: Seconds for which it is tried.
        again: Whether it may have been started already, by a process that did not come to say so.

    Returns:
        The server's run.

    Raises:
        UnavailableError: The server could not be brought to answer; no run was seen to start.
    """
    end = time.monotonic() + patience
    pause, lost = _FIRST_PAUSE, again
    while True:
        try:
            experiment_id = service.experiment(experiment)
            if lost and (found := service.runs_marked(str(body["description"]), experiment_id)):
                return found[0]
            started = service.create_run({**body, "experiment_id": experiment_id})
        except UncertainError as error:
            lost = True
            if time.monotonic() + pause > end:
                raise UnavailableError(
                    f"{error.message} Whether the run was started is not known.",
                    f"Look for {body['display_name']!r} at {service.host} before you try again.",
                ) from error
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        except NotFoundError:
            if lost:
                raise
            lost = True
            service.forget_experiments()  # somebody deleted the experiment
        else:
            return _only(service, started, experiment_id) if lost else started


def _only(service: Service, started: dict[str, Json], experiment_id: str) -> dict[str, Json]:
    """Ends runs that came of requests that were thought lost and took effect late; the oldest one stays."""
    first, *others = service.runs_marked(str(started["description"]), experiment_id) or [started]
    for one in others:
        service.act("terminate", str(one["run_id"]))
    return first
