"""The server's runs to ours and back."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kfp_magics import ir as irs
from kfp_magics.backends.base import Kept, trigger_of
from kfp_magics.backends.kfp import natives
from kfp_magics.backends.kfp.nodes import Nodes
from kfp_magics.backends.kfp.states import state
from kfp_magics.backends.kfp.tasks import Reader, failure, seconds
from kfp_magics.errors import DefinitionError
from kfp_magics.model import MISSING, Failure, Run, State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kfp_magics.backends.base import SubmitOptions
    from kfp_magics.backends.connections import Connection
    from kfp_magics.backends.kfp.service import Service
    from kfp_magics.ir import IR
    from kfp_magics.model import Json, Task

_CLOCKS_APART = 60.0  # seconds between our clock and a server's that no request takes


def body_of(
    ir: IR, arguments: Mapping[str, Json], options: SubmitOptions, connection: Connection, *, name: str, mark: str
) -> dict[str, Json]:
    """What the server is asked to run, but for the experiment.

    Args:
        ir: The compiled pipeline.
        arguments: Pipeline parameter → value.
        options: Everything else.
        connection: Where to.
        name: Display name of the run.
        mark: Its description.
    """
    config: dict[str, Json] = {"parameters": dict(arguments)}
    if connection.pipeline_root:
        config["pipeline_root"] = connection.pipeline_root
    body: dict[str, Json] = {
        "display_name": name,
        "description": mark,
        "pipeline_spec": pipeline_spec(ir, cache=options.cache),
        "runtime_config": config,
    }
    if connection.service_account:
        body["service_account"] = connection.service_account
    return body


def pipeline_spec(ir: IR, *, cache: bool = True) -> dict[str, Json]:
    """The pipeline as the server takes it: alone, or with its platform part beside it."""
    spec = irs.spec_of(ir, cache=cache)
    return {"pipeline_spec": spec, "platform_spec": dict(ir.platform)} if ir.platform else spec


def ir_of(spec: Json) -> IR | None:
    """Reads the pipeline that the server keeps with a run; None when it has none, or one of version 1."""
    if not isinstance(spec, dict) or not spec:
        return None
    parts = [spec.get("pipeline_spec", spec), *([spec["platform_spec"]] if spec.get("platform_spec") else ())]
    try:
        return irs.parse("\n---\n".join(json.dumps(one) for one in parts))
    except DefinitionError:
        return None


def parameters_of(ir: IR | None, raw: Mapping[str, Json]) -> dict[str, Json]:
    """What a run was given, defaults included."""
    given = (raw.get("runtime_config") or {}).get("parameters") or {}
    ports = irs.parameters(ir) if ir is not None else ()
    defaults = {port.name: port.default for port in ports if port.is_parameter and port.default is not MISSING}
    return {**defaults, **given}


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """A run as the server shows it.

    Attributes:
        run: The run.
        pods: Step → the names that the pod of its code may have.
    """

    run: Run
    pods: Mapping[str, list[str]]


def seen(raw: Mapping[str, Json], ir: IR | None, known: Run) -> Seen:
    """Reads what the server says of a run.

    Args:
        raw: The server's answer.
        ir: Its compiled pipeline, as far as known.
        known: What is known of it here, which the server does not tell: who started it, and where.
    """
    now = state(raw.get("state"))
    details = natives.details(raw)
    nodes = Nodes(details)
    values = parameters_of(ir, raw) or dict(known.parameters)
    told = Reader(ir, nodes, now if now.final else None).read(values) if ir is not None else None
    begun = [found for one in details if (found := seconds(one.get("start_time")))]
    made = seconds(raw.get("created_at"))
    # Who started a run here knows when: a server's clock that is wrong must change neither its place nor its times.
    wrong = known.created - made if made and known.created and abs(known.created - made) > _CLOCKS_APART else 0.0
    created = known.created or made or time.time()
    finished = seconds(raw.get("finished_at")) if now.final else None
    started = min(begun) if begun else ((made or created) if now is not State.PENDING else None)
    tasks = told.tasks if told is not None else known.tasks
    run = replace(
        known,
        id=str(raw.get("run_id") or known.id),
        name=str(raw.get("display_name") or known.name),
        pipeline=irs.name(ir) if ir is not None else known.pipeline,
        state=now,
        tasks=tuple(_moved(task, wrong) for task in tasks) if wrong and told is not None else tasks,
        parameters=values,
        created=created,
        started=_later(started, wrong),
        finished=_later(finished, wrong),
        error=_error(raw, now),
        stale=None,
        stale_reason="",
    )
    return Seen(run=run, pods=told.pods if told is not None else {})


def _moved(task: Task, by: float) -> Task:
    return replace(task, started=_later(task.started, by), finished=_later(task.finished, by))


def _later(moment: float | None, by: float) -> float | None:
    return None if moment is None else moment + by


def foreign(raw: Mapping[str, Json], service: Service) -> Run:
    """A run that is not known here, without its tasks.

    Args:
        raw: What its server says of it.
        service: The server.
    """
    spec: Mapping[str, Json] = raw.get("pipeline_spec") or {}
    version: Mapping[str, Json] = raw.get("pipeline_version_reference") or {}
    run_id = str(raw.get("run_id", ""))
    known = Run(
        id=run_id,
        name="",
        pipeline=name_of(spec) if spec else service.name_in(version),
        backend="kfp",
        target=service.connection.name,
        url=service.page_url(run_id),
        started_by="schedule"
        if raw.get("recurring_run_id")
        else trigger_of(str(raw.get("description", ""))) or "somebody",
    )
    return replace(seen(raw, None, known).run, pipeline=known.pipeline)


def name_of(spec: Mapping[str, Json]) -> str:
    """The name of a compiled pipeline in the shape of `pipeline_spec`."""
    info = (spec.get("pipeline_spec") or spec).get("pipelineInfo") or {}
    return str(info.get("name", ""))


def kept(raw: Mapping[str, Json], key: str) -> Kept:
    """Something that a server keeps under a name; ``key`` is what it calls its id."""
    return Kept(
        id=str(raw.get(key, "")),
        name=str(raw.get("display_name") or raw.get("name") or ""),
        created=seconds(raw.get("created_at")),
        description=str(raw.get("description") or ""),
    )


def _error(raw: Mapping[str, Json], now: State) -> Failure | None:
    if now is not State.FAILED:
        return None
    history = raw.get("state_history") or ()
    past = next((found for one in reversed(history) if (found := failure(one.get("error")))), None)
    return failure(raw.get("error")) or past
