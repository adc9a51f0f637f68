"""Schedules: Vertex AI's words and ours."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from google.api_core import exceptions
from google.cloud import aiplatform_v1 as vertex
from google.protobuf.json_format import MessageToDict

from kfp_magics import ir as irs
from kfp_magics.backends.base import Schedule
from kfp_magics.backends.vertex.runs import ir_of
from kfp_magics.backends.vertex.service import WORDS
from kfp_magics.errors import ArgumentError
from kfp_magics.google import TRANSIENT

if TYPE_CHECKING:
    from kfp_magics.backends.vertex.service import Service

_MARK = "schedule"  # label that tells a schedule from all others, though the answer to its creation got lost
_TRIES = 3
_ZONES = ("TZ=", "CRON_TZ=")


def cron_of(wanted: Schedule) -> str:
    """When it runs, as Vertex AI takes it: five fields, and perhaps a time zone before them.

    Raises:
        ArgumentError: It does not read, or has no such form.
    """
    if wanted.interval:
        return _cron_every(wanted.interval)
    fields = wanted.cron.split()
    zone = [fields.pop(0)] if fields and fields[0].startswith(_ZONES) else []
    if len(fields) == 6 and fields[0] == "0":
        fields.pop(0)
    if len(fields) != 5:
        raise ArgumentError(
            f"The cron {wanted.cron!r} has {len(fields)} fields, and Vertex AI takes five.",
            "Write minute hour day month weekday, e.g. '0 6 * * 1', or 'TZ=Europe/Berlin 0 6 * * 1'.",
        )
    return " ".join([*zone, *fields])


def _cron_every(seconds: int) -> str:
    minutes, rest = divmod(seconds, 60)
    if not rest and minutes and minutes < 60 and 60 % minutes == 0:
        return f"*/{minutes} * * * *"
    hours, rest = divmod(seconds, 3600)
    if not rest and hours and hours < 24 and 24 % hours == 0:
        return f"0 */{hours} * * *"
    if seconds == 86_400:
        return "0 0 * * *"
    raise ArgumentError(
        f"Vertex AI has no interval of {seconds} seconds: it knows times of the clock only.",
        "Give an interval that divides an hour or a day, such as 15m, 6h or 1d, or a cron.",
    )


def create(service: Service, wanted: Schedule, job: vertex.PipelineJob) -> Schedule:
    """Makes a schedule once, though the answer gets lost.

    Raises:
        ArgumentError: Vertex AI has no such schedule.
    """
    if wanted.catch_up:
        raise ArgumentError(
            "Vertex AI makes up for missed runs only when a schedule that rested goes on.", "Leave the catching up out."
        )
    mark = secrets.token_hex(8)
    job.labels[_MARK] = mark
    request = vertex.CreateScheduleRequest(
        parent=service.parent,
        schedule=vertex.Schedule(
            display_name=wanted.name,
            cron=cron_of(wanted),
            max_concurrent_run_count=wanted.at_once,
            create_pipeline_job_request=vertex.CreatePipelineJobRequest(parent=service.parent, pipeline_job=job),
        ),
    )
    with WORDS.said(f"make a schedule in {service.where}"):
        made = _create_once(service, request, mark)
        if not wanted.enabled:
            service.schedules.pause_schedule(name=made.name, retry=service.retry, timeout=service.timeout)
            made = service.schedules.get_schedule(name=made.name, retry=service.retry, timeout=service.timeout)
    return read(made)


def _create_once(service: Service, request: vertex.CreateScheduleRequest, mark: str) -> vertex.Schedule:
    for attempt in range(_TRIES):
        try:
            return service.schedules.create_schedule(request=request, retry=None, timeout=service.timeout)
        except TRANSIENT:
            if (found := _marked(service, mark)) is not None:
                return found
            if attempt == _TRIES - 1:
                raise
    raise AssertionError


def _marked(service: Service, mark: str) -> vertex.Schedule | None:
    found = service.schedules.list_schedules(parent=service.parent, retry=service.retry, timeout=service.timeout)
    return next((one for one in found if _request(one).pipeline_job.labels.get(_MARK) == mark), None)


def _request(schedule: vertex.Schedule) -> vertex.CreatePipelineJobRequest:
    return schedule.create_pipeline_job_request


def every(service: Service) -> list[Schedule]:
    """Lists the schedules that run pipelines."""
    with WORDS.said(f"list the schedules of {service.where}"):
        found = service.schedules.list_schedules(parent=service.parent, retry=service.retry, timeout=service.timeout)
        return [read(one) for one in found if "create_pipeline_job_request" in one]


def switch(service: Service, schedule: Schedule, *, enabled: bool) -> None:
    """Lets a schedule run, or rest."""
    name = f"{service.parent}/schedules/{schedule.id}"
    with WORDS.said(f"switch the schedule {schedule.name!r}"):
        if enabled:
            request = vertex.ResumeScheduleRequest(name=name, catch_up=schedule.catch_up)
            service.schedules.resume_schedule(request=request, retry=service.retry, timeout=service.timeout)
        else:
            service.schedules.pause_schedule(name=name, retry=service.retry, timeout=service.timeout)


def delete(service: Service, schedule: Schedule) -> None:
    """Removes a schedule; its runs stay."""
    name = f"{service.parent}/schedules/{schedule.id}"
    with WORDS.said(f"delete the schedule {schedule.name!r}"):
        try:
            service.schedules.delete_schedule(name=name, retry=service.retry, timeout=service.timeout)
        except exceptions.NotFound:
            return


def read(raw: vertex.Schedule) -> Schedule:
    """Reads a schedule of Vertex AI's."""
    job = _request(raw).pipeline_job
    ir = ir_of(job)
    return Schedule(
        id=raw.name.rpartition("/")[2],
        name=raw.display_name,
        cron=raw.cron,
        enabled=vertex.Schedule.pb(raw).state == vertex.Schedule.State.ACTIVE,
        at_once=raw.max_concurrent_run_count,
        catch_up=raw.catch_up,
        pipeline=irs.name(ir) if ir is not None else "",
        parameters=MessageToDict(vertex.PipelineJob.pb(job).runtime_config).get("parameterValues", {}),
    )
