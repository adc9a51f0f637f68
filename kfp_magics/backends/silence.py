"""Since when a server has not told of a run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kfp_magics.model import Run


def silent_since(run: Run, *, good: float, answered: bool, trouble: str, patience: float) -> float | None:
    """Since when nothing is known of a run; None while it is.

    Args:
        run: As it is remembered.
        good: When its server last told of it; if it never did, when it was first asked.
        answered: Whether it ever did, as far as known here.
        trouble: Why it has not told since, or nothing.
        patience: Seconds without an answer that are nothing to speak of.
    """
    if not trouble or time.time() - max(good if answered else 0.0, run.created) <= patience:
        return None
    if answered:
        return good
    # Nobody here has ever seen it: what is remembered is as old as the last thing that happened to it.
    moments = (run.created, run.started, *(one for task in run.tasks for one in (task.started, task.finished)))
    return min(good, max(one for one in moments if one is not None))
