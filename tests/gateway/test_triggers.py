"""When recurring runs are due."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from kfp_magics.errors import ArgumentError
from kfp_magics.gateway.moments import Moment
from kfp_magics.gateway.triggers import Trigger
from kfp_magics.gateway.words import timestamp

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp()  # a Tuesday


def times(trigger: Trigger, number: int = 3, created: float = NOON) -> list[str]:
    found, last = [], None
    for _ in range(number):
        last = trigger.after(last, created)
        if last is None:
            break
        found.append(timestamp(last)[5:19])
    return found


def cron(text: str, **times_: str) -> Trigger:
    return Trigger.of({"cron_schedule": {"cron": text, **times_}})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0 30 9 * * MON-FRI", ["11-25T09:30:00", "11-26T09:30:00", "11-27T09:30:00"]),
        ("0 0 9 ? * 1", ["11-30T09:00:00", "12-07T09:00:00", "12-14T09:00:00"]),
        ("*/20 * * * * *", ["11-24T12:00:20", "11-24T12:00:40", "11-24T12:01:00"]),
        ("30 0 12 25 12", ["12-25T12:00:30"]),
        ("@daily", ["11-25T00:00:00", "11-26T00:00:00", "11-27T00:00:00"]),
        ("@every 1h30m", ["11-24T13:30:00", "11-24T15:00:00", "11-24T16:30:00"]),
    ],
)
def test_cron_expressions_are_those_of_a_cluster(text: str, expected: list[str]):
    assert times(cron(text), len(expected)) == expected


def test_intervals_count_from_the_start_or_from_when_they_were_made():
    every = Trigger.of({"periodic_schedule": {"interval_second": "3600"}})
    assert times(every, 2) == ["11-24T13:00:00", "11-24T14:00:00"]
    later = {"interval_second": 3600, "start_time": "2026-12-01T00:30:00Z", "end_time": "2026-12-01T02:40:00Z"}
    assert times(Trigger.of({"periodicSchedule": later})) == ["12-01T01:30:00", "12-01T02:30:00"]


def test_a_cron_expression_may_be_due_at_its_very_start():
    assert times(cron("0 0 0 * * *", startTime="2026-12-01T00:00:00Z"), 1) == ["12-01T00:00:00"]


def test_the_last_of_what_was_missed():
    assert cron("0 0 * * * *").latest(NOON, NOON + 7300) == NOON + 7200
    assert cron("0 0 * * * *").latest(NOON, NOON + 7200) == NOON + 7200
    assert Trigger(interval=60).latest(NOON, NOON + 200) == NOON + 180
    assert Trigger(interval=60, end=NOON + 100).latest(NOON, NOON + 200) == NOON + 60


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"cron_schedule": {"cron": "* *"}},
        {"cron_schedule": {"cron": "0 0 25 * * *"}},
        {"cron_schedule": {"cron": "@every soon"}},
        {"cron_schedule": {"cron": "0 0 0 31 2 *"}},
        {"cron_schedule": {"cron": "@daily", "start_time": "now"}},
        {"periodic_schedule": {"interval_second": 0}},
        {"periodic_schedule": {"interval_second": "often"}},
        {"periodic_schedule": {"interval_second": 5}, "cron_schedule": {"cron": "@daily"}},
    ],
)
def test_what_is_no_trigger_is_refused(body):
    with pytest.raises(ArgumentError):
        Trigger.of(body)


def test_what_is_wrong_with_a_trigger_is_said_by_its_own_words():
    with pytest.raises(ArgumentError, match="The field 'start_time' is no time: 'tomorrow'"):
        cron("@daily", start_time="tomorrow")
    with pytest.raises(ArgumentError, match=r"'nonsense' is no cron expression: .*[^.]\.\n"):
        cron("nonsense")


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("at [[ScheduledTime]]", "at 20261124120000"),
        ("[[CurrentTime]]/[[Index]]", "20261124121005/7"),
        ("gs://b/[[ScheduledTime.2006-01-02]]/x", "gs://b/2026-11-24/x"),
        ("[[ScheduledTime.Mon Jan 02 15:04:05 MST 2006 100%]]", "Tue Nov 24 12:00:00 UTC 2026 100%"),
        ("{{$.scheduledTime.strftime('%Y/%m')}} {{$.currentTime.strftime('%H%M')}}", "2026/11 1210"),
        ("[[Nothing]] [[Index.5]]", "[[Nothing]] [[Index.5]]"),
        (["[[Index]]"], ["[[Index]]"]),
    ],
)
def test_a_parameter_is_told_its_moment(text, filled):
    assert Moment(due=NOON, now=NOON + 605, index=7).fill({"one": text}) == {"one": filled}
