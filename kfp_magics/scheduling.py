"""Schedules that are asked for in words, in a cell or in a shell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kfp_magics.backends.base import Schedule
from kfp_magics.errors import ArgumentError
from kfp_magics.servers import seconds

if TYPE_CHECKING:
    from argparse import Namespace

    from kfp_magics.session import OnBuild, Session


def create_schedule(session: Session, what: str, words: Namespace, on_build: OnBuild) -> Schedule:
    """Makes the schedule that some words ask for; all of them are read before anything is built.

    Raises:
        ArgumentError: A word does not read, or there is a schedule of that name.
    """
    if bool(words.cron) == bool(words.every):
        raise ArgumentError("A schedule has a cron or an interval.", "Give --cron '0 6 * * *', or --every 1h.")
    if words.at_once < 1:
        raise ArgumentError("At least one run must be allowed at once.", "Write --at-once 1.")
    interval = seconds(words.every) if words.every else 0
    values = session.values(words.values, session.resolve(what))
    pipeline = session.ready(what, on_build=on_build)
    wanted = Schedule(
        name=words.name or pipeline.name,
        cron=words.cron,
        interval=interval,
        enabled=not words.disabled,
        at_once=words.at_once,
        catch_up=words.catch_up,
        pipeline=pipeline.name,
    )
    return session.servers.schedule(pipeline, wanted, values, words.experiment, replace=words.replace)
