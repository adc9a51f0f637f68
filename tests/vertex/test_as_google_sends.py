"""What we ask of Vertex AI is, field by field, what ``google-cloud-aiplatform`` asks for the same pipeline."""

import json
import os
import subprocess
import sys
from typing import Any

from google.protobuf.json_format import MessageToDict
from kfp import compiler, dsl

from kfp_magics.backends.base import Schedule, SubmitOptions

_ACCOUNT = "runner@shop.iam.gserviceaccount.com"
_NETWORK = "projects/1/global/networks/net"
_NO_BUCKETS = "none://"  # Google's own looks whose bucket it is before it asks, and goes on without an answer
_OURS = {"started-with", "started-by", "schedule"}
_GOOGLES = """
import json, sys
from google.auth.credentials import AnonymousCredentials
from google.cloud import aiplatform

asked = json.load(sys.stdin)
aiplatform.init(
    project="shop", location="europe-west4", api_endpoint=asked["endpoint"], credentials=AnonymousCredentials()
)
for name, (job, submit, schedule) in asked["jobs"].items():
    made = aiplatform.PipelineJob(display_name=name, template_path=asked["file"], job_id=name, **job)
    if schedule:
        made.create_schedule(display_name=name, **schedule, **submit)
    else:
        made.submit(**submit)
"""


@dsl.component(base_image="python:3.11-slim")
def work(
    number: int, rate: float, deep: bool, word: str, names: list, more: dict, data: dsl.Output[dsl.Dataset]
) -> int:
    return number


@dsl.component(base_image="python:3.11-slim")
def close(number: int = 1):
    print(number)


@dsl.pipeline(name="all-kinds", pipeline_root="gs://declared/root")
def pipeline(
    number: int = 3,
    rate: float = 0.5,
    deep: bool = False,
    word: str = "a",
    names: list = ["x"],  # noqa: B006  (as pipelines are written)
    more: dict = {"k": 1},  # noqa: B006
):
    with dsl.ExitHandler(close()):
        first = work(number=number, rate=rate, deep=deep, word=word, names=names, more=more)
        first.set_cpu_limit("4").set_memory_limit("16G").set_accelerator_type("NVIDIA_TESLA_T4").set_accelerator_limit(
            1
        )
        first.set_retry(2, backoff_duration="30s")
        first.set_caching_options(False)
        with dsl.ParallelFor(names) as name:
            work(number=1, rate=rate, deep=True, word=name, names=names, more=more)
        with dsl.If(first.outputs["Output"] > 2):
            close(number=2)


_EVERY_TYPE = {
    "number": 2**40,
    "rate": 1.0,
    "deep": True,
    "word": "ünï {{$.inputs}}",
    "names": [1, "b", [None]],
    "more": {"a": {"b": [1.5, True, None]}},
}
_ROOT = {"pipeline_root": "gs://wares/runs"}
_ACCESS = {"service_account": _ACCOUNT, "network": _NETWORK}
_RUNS: dict[str, tuple[dict[str, Any], dict[str, Any], SubmitOptions, dict[str, Any]]] = {
    # name → what is said to the connection, the arguments, the options, the same for Google's own job
    "plain": ({"pipeline_root": ""}, {}, SubmitOptions(), {}),
    "root": (_ROOT, {}, SubmitOptions(), _ROOT),
    "values": (_ROOT, _EVERY_TYPE, SubmitOptions(), {**_ROOT, "parameter_values": _EVERY_TYPE}),
    "uncached": (_ROOT, {}, SubmitOptions(cache=False), {**_ROOT, "enable_caching": False}),
    "labelled": (
        {**_ROOT, **_ACCESS, "label": ["team=research"]},
        {"number": 0},
        SubmitOptions(experiment="trials"),
        {**_ROOT, "parameter_values": {"number": 0}, "labels": {"team": "research", "experiment": "trials"}},
    ),
}


def _plain(message: Any, labels: Any) -> dict[str, Any]:
    for key in _OURS & set(labels):
        del labels[key]
    found: dict[str, Any] = MessageToDict(type(message).pb(message))
    for key in ("name", "createTime", "state"):
        found.pop(key, None)
    return found


def test_runs_and_schedules_are_asked_for_as_by_google(server, encrypted, connect, tmp_path) -> None:
    file = tmp_path / "pipeline.yaml"
    compiler.Compiler().compile(pipeline, str(file))
    cron = {"cron": "TZ=Europe/Berlin 0 6 * * 1", "max_concurrent_run_count": 3}
    jobs = {name: (job, _ACCESS if name == "labelled" else {}, None) for name, (*_, job) in _RUNS.items()}
    jobs["again"] = ({**_RUNS["values"][-1]}, _ACCESS, cron)
    other, authority = encrypted
    subprocess.run(
        [sys.executable, "-c", _GOOGLES],
        input=json.dumps({"endpoint": other.endpoint.removeprefix("https://"), "file": str(file), "jobs": jobs}),
        env=os.environ | {"GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(authority), "STORAGE_EMULATOR_HOST": _NO_BUCKETS},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    ir = file.read_text()
    for name, (connection, arguments, options, _) in _RUNS.items():
        run = connect(**connection).submit(ir, arguments, SubmitOptions(**{**_fields(options), "name": name}))
        ours, googles = server.jobs[run.id], other.jobs[name]
        assert _plain(ours, ours.labels) == _plain(googles, googles.labels), name
    wanted = Schedule(name="again", cron=cron["cron"], at_once=cron["max_concurrent_run_count"])
    connect(**_ROOT, **_ACCESS).schedule(wanted, ir, _EVERY_TYPE, SubmitOptions())
    (ours,), (googles,) = server.schedules.values(), other.schedules.values()
    ours.create_pipeline_job_request.pipeline_job.display_name = ""  # names its runs; Google's own leaves it out
    pairs = [(one, one.create_pipeline_job_request.pipeline_job.labels) for one in (ours, googles)]
    assert _plain(*pairs[0]) == _plain(*pairs[1])


def _fields(options: SubmitOptions) -> dict[str, Any]:
    return {name: getattr(options, name) for name in ("experiment", "cache")}
