"""Runs that ended badly and were resumed: from here, or by somebody else, as on the server's own page."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from kfp_magics.backends.kfp.states import state
from kfp_magics.errors import BackendError
from kfp_magics.model import State

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from kfp_magics.backends.kfp.service import Service
    from kfp_magics.model import Json, Run

MOST = 100
"""Runs that are asked about, in one question."""
EVERY = 30.0
"""Seconds between two such questions to a server."""
_SETTLING = 60.0  # seconds for which a server may still show how the attempt before a retry ended
_AGAIN = frozenset({State.PENDING, State.RUNNING, State.SUCCEEDED})  # which needs a new attempt


def resumed(service: Service, runs: Sequence[Run]) -> list[tuple[Run, Mapping[str, Json]]]:
    """Finds those of some ended runs that the server has going on again, or succeeded.

    Args:
        service: The server.
        runs: Runs that failed or were cancelled, the newest first.

    Returns:
        Each with the server's answer; none when it does not answer.
    """
    known = {run.id: run for run in runs[:MOST]}
    try:
        rows = service.runs_of(list(known))
    except BackendError:  # out of reach, or one that cannot be asked so: what is stored stays
        return []
    found = [(known[run_id], row) for row in rows if (run_id := str(row.get("run_id"))) in known]
    return [(run, row) for run, row in found if state(row.get("state")) in _AGAIN]


def remember_end(folder: Path, raw: Mapping[str, Json]) -> None:
    """Notes when a run ended that is about to be resumed.

    Args:
        folder: What is kept of it.
        raw: What its server says of it.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    (folder / "retried").write_text(str(raw.get("finished_at", "")), encoding="utf-8")


def is_of_the_attempt_before(folder: Path, run: Run, raw: Mapping[str, Json]) -> bool:
    """Whether a server still shows how a run ended before it was resumed."""
    path = folder / "retried"
    try:
        same = path.read_text(encoding="utf-8") == str(raw.get("finished_at", ""))
        return run.attempt > 1 and same and time.time() - path.stat().st_mtime < _SETTLING
    except OSError:
        return False
