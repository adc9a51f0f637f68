"""Recurring runs: the server's words and ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kfp_magics import ir as irs
from kfp_magics.backends.base import Schedule
from kfp_magics.backends.kfp.runs import ir_of
from kfp_magics.errors import ArgumentError, UncertainError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kfp_magics.backends.kfp.service import Service
    from kfp_magics.model import Json


def trigger_of(wanted: Schedule) -> dict[str, Json]:
    """When it runs, in the server's words.

    Raises:
        ArgumentError: The cron does not read.
    """
    if wanted.interval:
        return {"periodic_schedule": {"interval_second": str(wanted.interval)}}
    return {"cron_schedule": {"cron": cron(wanted.cron)}}


def cron(text: str) -> str:
    """A cron with seconds, which the server wants: it would read the first of five fields as seconds.

    Raises:
        ArgumentError: It has too few or too many fields.
    """
    fields = text.split()
    if len(fields) == 1 and text.startswith("@"):
        return text
    if len(fields) not in {5, 6}:
        raise ArgumentError(f"The cron {text!r} has {len(fields)} fields.", "Write minute hour day month weekday.")
    return " ".join(["0", *fields] if len(fields) == 5 else fields)


def _as_typed(text: str) -> str:
    """A cron of the server's as people write it: without seconds, where there are none."""
    seconds, *fields = text.split() or [""]
    return " ".join(fields) if seconds == "0" and len(fields) == 5 else text


def create(service: Service, body: dict[str, Json], experiment: str) -> dict[str, Json]:
    """Makes a recurring run once, though the answer gets lost."""
    whole = {**body, "experiment_id": service.experiment(experiment)}
    try:
        return service.create_recurring_run(whole)
    except UncertainError:
        found = [one for one in service.recurring_runs() if one.get("description") == body["description"]]
        return found[0] if found else service.create_recurring_run(whole)


def schedule_of(raw: Mapping[str, Json]) -> Schedule:
    """Reads a recurring run of the server's."""
    trigger = raw.get("trigger") or {}
    interval = (trigger.get("periodic_schedule") or {}).get("interval_second") or 0
    ir = ir_of(raw.get("pipeline_spec"))
    at_once = str(raw.get("max_concurrency") or "")
    return Schedule(
        id=str(raw.get("recurring_run_id", "")),
        name=str(raw.get("display_name", "")),
        cron=_as_typed(str((trigger.get("cron_schedule") or {}).get("cron") or "")),
        interval=int(interval) if str(interval).isdecimal() else 0,
        enabled=raw.get("status") == "ENABLED",
        at_once=int(at_once) if at_once.isdecimal() else 1,
        catch_up=not raw.get("no_catchup"),
        pipeline=irs.name(ir) if ir is not None else "",
        parameters=(raw.get("runtime_config") or {}).get("parameters") or {},
    )
