"""What recurring runs know of their moment, put into parameters: ``[[ScheduledTime]]`` and its kind."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kfp_magics.model import Json

_MACRO = re.compile(
    r"\[\[(?P<word>ScheduledTime|CurrentTime|Index)(?:\.(?P<go>[^\]]+))?\]\]"
    r"|\{\{\$\.(?P<time>scheduledTime|currentTime)\.strftime\('(?P<format>[^']*)'\)\}\}"
)
_COMPACT = "%Y%m%d%H%M%S"
# Formats are written as Go does: by the same moment always.
_GO = {
    "January": "%B", "Monday": "%A", "2006": "%Y", "Jan": "%b", "Mon": "%a", "MST": "UTC", "PM": "%p",
    "01": "%m", "02": "%d", "03": "%I", "04": "%M", "05": "%S", "06": "%y", "15": "%H",
}  # fmt: skip
_GO_WORD = re.compile("|".join(_GO) + "|%")


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """A moment at which a recurring run is due.

    Attributes:
        due: When, in seconds since the epoch.
        now: When it is started.
        index: The how many-th it is, from 1 on.
    """

    due: float
    now: float
    index: int

    def fill(self, parameters: Mapping[str, Json]) -> dict[str, Json]:
        """Parameters as the run of this moment gets them; times are in UTC."""
        return {
            name: _MACRO.sub(self._filling, value) if isinstance(value, str) else value
            for name, value in parameters.items()
        }

    def _filling(self, found: re.Match[str]) -> str:
        word = found["word"] or found["time"]
        if word == "Index":
            return str(self.index) if not found["go"] else found[0]
        moment = time.gmtime(self.due if word.lower() == "scheduledtime" else self.now)
        if found["time"]:
            return time.strftime(found["format"], moment)
        go = found["go"]
        return time.strftime(_GO_WORD.sub(lambda one: _GO.get(one[0], "%%"), go) if go else _COMPACT, moment)
