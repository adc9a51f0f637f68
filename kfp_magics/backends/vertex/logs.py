"""What steps print, from Cloud Logging."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from google.cloud.logging_v2.types import ListLogEntriesRequest, LogEntry
from google.protobuf.json_format import MessageToDict

from kfp_magics.backends.vertex.service import LOG_WORDS
from kfp_magics.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from kfp_magics.backends.vertex.service import Service

_PAGE = 1000  # lines in one answer
_OVERLAP = 60.0  # seconds that are read again, as lines arrive late and out of order


@dataclass(slots=True)
class Log:
    """The log of one step, read further with each look.

    Args:
        service: Whom to ask.
        run_id: The run.
        since: When the run was made: Cloud Logging looks back a day only, unless it is told.
    """

    service: Service
    run_id: str
    since: datetime | None
    _from: float = 0.0
    _known: dict[str, float] = field(default_factory=dict)

    def read(self, jobs: Sequence[str]) -> Iterator[str]:
        """Yields the lines that came since the last look.

        Args:
            jobs: The ids of the custom jobs that do the step's work; nothing was printed while there are none.
        """
        if not jobs:
            return
        numbers = " OR ".join(f'"{one}"' for one in jobs)
        wanted = f'resource.type="ml_job" AND resource.labels.job_id=({numbers})'
        moment = self._from - _OVERLAP if self._from else (self.since.timestamp() if self.since else 0.0)
        if moment:
            wanted += f' AND timestamp>="{time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))}"'
        request = ListLogEntriesRequest(
            resource_names=[f"projects/{self.service.connection.project}"],
            filter=wanted,
            order_by="timestamp asc",
            page_size=_PAGE,
        )
        with LOG_WORDS.said(f"read the log of the run {self.run_id}"):
            found = self.service.logging.list_log_entries(
                request=request, retry=self.service.retry, timeout=self.service.timeout
            )
            for entry in found:
                if (line := self._line(entry)) is not None:
                    yield line

    def _line(self, entry: LogEntry) -> str | None:
        moment = entry.timestamp.timestamp() if entry.timestamp else 0.0
        if entry.insert_id in self._known:
            return None
        self._from = max(self._from, moment)
        self._known[entry.insert_id] = moment
        for old in [key for key, when in self._known.items() if when < self._from - 2 * _OVERLAP]:
            del self._known[old]
        return f"{_text(entry)}\n"


def _text(entry: LogEntry) -> str:
    raw = MessageToDict(LogEntry.pb(entry))
    payload = raw.get("jsonPayload", raw.get("protoPayload", {}))
    return str(raw.get("textPayload") or payload.get("message") or payload or "").rstrip("\n")


def trouble(service: Service) -> str:
    """Why logs cannot be read; empty when they can."""
    request = ListLogEntriesRequest(
        resource_names=[f"projects/{service.connection.project}"], filter='resource.type="ml_job"', page_size=1
    )
    try:
        with LOG_WORDS.said("read logs"):
            next(iter(service.logging.list_log_entries(request=request, retry=None, timeout=service.timeout)), None)
    except BackendError as error:
        return f"{error.message} {error.hint}"
    return ""
