"""Vertex AI's pipeline jobs to our runs and back."""

from __future__ import annotations

import json
import re
import secrets
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from google.cloud import aiplatform_v1 as vertex
from google.protobuf.json_format import MessageToDict, ParseDict

from kfp_magics import ir as irs
from kfp_magics.backends.vertex.states import pipeline_state
from kfp_magics.backends.vertex.tasks import Reader, Told, failure, plain, seconds
from kfp_magics.errors import BackendError, DefinitionError
from kfp_magics.model import MISSING, Run, State
from kfp_magics.outputs import run_outputs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kfp_magics.backends.base import SubmitOptions
    from kfp_magics.backends.connections import Connection
    from kfp_magics.ir import IR
    from kfp_magics.model import Json

LABEL = "started-with"
"""Label of the runs that we start."""
_LONGEST_LABEL = 63
_LONGEST_NAME = 128


def new_id(pipeline: str, key: str = "") -> str:
    """An id for a run: it tells the pipeline and the time, and no other run has it; or the pipeline and a key."""
    word = re.sub(r"[^a-z0-9]+", "-", pipeline.lower()).strip("-")
    word = word if word[:1].isalpha() else f"run-{word}"
    key = key or f"{time.strftime('%Y%m%d%H%M%S', time.gmtime())}-{secrets.token_hex(4)}"
    return f"{word[:80].rstrip('-')}-{key}"


def starter_of(job: vertex.PipelineJob) -> str:
    """Who started a run that was not started from here, as far as it tells."""
    if job.schedule_name:
        return "schedule"
    if job.labels.get(LABEL) == "kfp-magics" and job.labels.get("started-by") == "trigger":
        return f"trigger: {job.display_name.rpartition(' · ')[2]}"
    return "somebody"


def label(text: str) -> str:
    """A text as the value of a label, where Google lets only few characters in."""
    return re.sub(r"[^a-z0-9_-]+", "-", text.lower())[:_LONGEST_LABEL].strip("-")


def pipeline_root(ir: IR, connection: Connection) -> str:
    """The folder of a bucket that a run writes to.

    Raises:
        BackendError: None is named.
    """
    root: str = connection.pipeline_root or ir.spec.get("defaultPipelineRoot", "")
    if not root.startswith("gs://"):
        raise BackendError(
            f"Vertex AI writes to a bucket, and {root!r} is none." if root else "Vertex AI needs a bucket to write to.",
            f"%kfp_connect {connection.name} --pipeline-root gs://BUCKET/FOLDER",  # to a name: the rest of it stays
        )
    return root


def job_of(
    ir: IR, arguments: Mapping[str, Json], options: SubmitOptions, connection: Connection, *, name: str
) -> vertex.PipelineJob:
    """What Vertex AI is asked to run.

    Args:
        ir: The compiled pipeline.
        arguments: Pipeline parameter → value.
        options: Everything else.
        connection: Where to.
        name: Display name of the run.
    """
    ours = {LABEL: "kfp-magics", "started-by": label(options.started_by), "experiment": label(options.experiment)}
    raw: dict[str, Json] = {
        "displayName": name[:_LONGEST_NAME],
        "pipelineSpec": irs.spec_of(ir, cache=options.cache),
        "labels": {**connection.labels, **{key: value for key, value in ours.items() if value}},
        "runtimeConfig": {
            "gcsOutputDirectory": pipeline_root(ir, connection),
            "parameterValues": dict(arguments),
        },
        "serviceAccount": connection.service_account,
        "network": connection.network,
    }
    job = vertex.PipelineJob()
    ParseDict(raw, vertex.PipelineJob.pb(job))
    return job


def ir_of(job: vertex.PipelineJob) -> IR | None:
    """The pipeline that Vertex AI keeps with a run; None when it has none that reads, as those of KFP 1."""
    spec = MessageToDict(vertex.PipelineJob.pb(job).pipeline_spec)
    try:
        return irs.parse(json.dumps(spec)) if spec else None
    except DefinitionError:
        return None


def page_of(connection: Connection, run_id: str) -> str:
    """Google's own page about a run."""
    return (
        f"https://console.cloud.google.com/vertex-ai/locations/{connection.region}/pipelines/runs/{run_id}"
        f"?project={connection.project}"
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """A run as Vertex AI shows it.

    Attributes:
        run: The run.
        jobs: Step → the ids of the custom jobs that did its work, one for each attempt.
    """

    run: Run
    jobs: Mapping[str, tuple[str, ...]]


def seen(job: vertex.PipelineJob, ir: IR | None, known: Run) -> Seen:
    """Reads what Vertex AI says of a run.

    Args:
        job: Its answer.
        ir: The compiled pipeline, as far as known.
        known: What is known of the run here, which Vertex AI does not tell: who started it, and where.
    """
    now = pipeline_state(job)
    told = Reader(ir, job.job_detail.task_details, now if now.final else None).read() if ir is not None else None
    run = replace(
        known,
        name=job.display_name or known.name,
        pipeline=irs.name(ir) if ir is not None else known.pipeline,
        state=now,
        tasks=told.tasks if told is not None else known.tasks,
        parameters=_parameters(job, ir) or dict(known.parameters),
        outputs=_outputs(ir, told) if ir is not None and told is not None and now is State.SUCCEEDED else {},
        created=seconds(job.create_time) or known.created or time.time(),
        started=seconds(job.start_time),
        finished=seconds(job.end_time) if now.final else None,
        error=failure(job.error) if now is State.FAILED else None,
        stale=None,
        stale_reason="",
    )
    return Seen(run=run, jobs=told.jobs if told is not None else {})


def _outputs(ir: IR, told: Told) -> dict[str, Json]:
    """The pipeline's own outputs: as Vertex AI tells them, else those of the steps that made them."""
    return {**run_outputs(ir, {task.id: task for task in told.tasks}), **told.outputs}


def _parameters(job: vertex.PipelineJob, ir: IR | None) -> dict[str, Json]:
    """What a run was given, defaults included."""
    given = MessageToDict(vertex.PipelineJob.pb(job).runtime_config).get("parameterValues", {})
    declared = ir.spec["root"].get("inputDefinitions", {}).get("parameters", {}) if ir is not None else {}
    ports = irs.parameters(ir) if ir is not None else ()
    defaults = {port.name: port.default for port in ports if port.is_parameter and port.default is not MISSING}
    return {
        name: plain(value, declared.get(name, {}).get("parameterType", ""))
        for name, value in {**defaults, **given}.items()
    }
