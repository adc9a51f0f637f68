"""When a recurring run is due: by a cron expression, or each so many seconds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

from croniter import CroniterBadCronError, CroniterBadDateError, croniter

from kfp_magics.errors import ArgumentError
from kfp_magics.gateway.words import get, given, message, seconds, text, timestamp

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kfp_magics.model import Json

_EVERY = re.compile(r"@every\s+(?:(?P<h>\d+)h)?(?:(?P<m>\d+)m)?(?:(?P<s>\d+)s)?")
_HINT = "Write six fields, seconds first: '0 30 9 * * MON-FRI', or '@daily', or '@every 1h30m'."


@dataclass(frozen=True, kw_only=True, slots=True)
class Trigger:
    """When a recurring run is due.

    Attributes:
        cron: Six fields, seconds first, in UTC; empty for an interval.
        interval: Seconds; 0 for a cron expression.
        start: Not before this time (seconds since the epoch), or None.
        end: Not after this time, or None.
    """

    cron: str = ""
    interval: int = 0
    start: float | None = None
    end: float | None = None

    @classmethod
    def of(cls, body: Mapping[str, Json]) -> Self:
        """Reads a ``V2beta1Trigger``.

        Raises:
            ArgumentError: It says nothing, two things, or what is no time.
        """
        cron, periodic = message(body, "cron_schedule"), message(body, "periodic_schedule")
        if bool(cron) == bool(periodic):
            raise ArgumentError("A trigger is either a cron_schedule or a periodic_schedule.", "Give one of them.")
        said = cron or periodic
        start, end = (seconds(get(said, name), name) for name in ("start_time", "end_time"))
        if periodic:
            return cls(interval=_interval(periodic), start=start, end=end)
        found = cls(cron=text(cron, "cron").strip(), start=start, end=end)
        if not found.cron.startswith("@every"):
            found.after(0.0, 0.0)
        elif not _every(found.cron):
            raise ArgumentError(f"{found.cron!r} is no cron expression.", _HINT)
        return found

    def to_json(self) -> dict[str, Json]:
        """The trigger as a ``V2beta1Trigger``."""
        times = {
            "start_time": timestamp(self.start) if self.start else "",
            "end_time": timestamp(self.end) if self.end else "",
        }
        if self.cron:
            return {"cron_schedule": given({"cron": self.cron, **times})}
        return {"periodic_schedule": given({"interval_second": str(self.interval), **times})}

    def after(self, moment: float | None, created: float) -> float | None:
        """The first time at which it is due after a moment.

        Args:
            moment: When it was due last; None if it never was.
            created: When the recurring run was made.

        Returns:
            Seconds since the epoch; None when it never is again.
        """
        base = moment if moment is not None else max(self.start if self.start is not None else created, 0.0)
        step = self.interval or _every(self.cron)
        if step:
            found = base + step
        else:
            first_may_be_start = moment is None and self.start is not None
            found = self._cron(base - 1e-3 if first_may_be_start else base)
        return None if self.end is not None and found > self.end else found

    def latest(self, due: float, now: float) -> float:
        """The last time at which it was due, among those from one that was to now."""
        step = self.interval or _every(self.cron)
        limit = now if self.end is None else min(now, self.end)
        if step:
            return due + (limit - due) // step * step
        found = croniter(_six(self.cron), _utc(limit + 1e-3), second_at_beginning=True).get_prev(datetime)
        return max(due, float(found.timestamp()))

    def _cron(self, moment: float) -> float:
        try:
            found = croniter(_six(self.cron), _utc(moment), second_at_beginning=True).get_next(datetime)
        except (CroniterBadCronError, CroniterBadDateError) as error:
            raise ArgumentError(f"{self.cron!r} is no cron expression: {str(error).rstrip('.')}.", _HINT) from error
        return float(found.timestamp())


def _utc(moment: float) -> datetime:
    return datetime.fromtimestamp(moment, UTC)


def _six(cron: str) -> str:
    """Five fields begin with seconds as well, on a cluster as here: the day of the week is what may be left out."""
    return f"{cron} *" if len(cron.split()) == 5 else cron


def _every(cron: str) -> int:
    found = _EVERY.fullmatch(cron)
    parts = {key: int(value or 0) for key, value in found.groupdict().items()} if found else {}
    return parts.get("h", 0) * 3600 + parts.get("m", 0) * 60 + parts.get("s", 0)


def _interval(body: Mapping[str, Json]) -> int:
    said = body.get("interval_second", body.get("intervalSecond"))
    try:
        found = int(said)
    except (TypeError, ValueError):
        found = 0
    if found < 1:
        raise ArgumentError(f"The interval {said!r} is no whole number of seconds from 1 on.", "interval_second: 3600")
    return found
