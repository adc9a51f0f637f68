"""Vertex AI as a backend: from the notebook to its API and back, over a socket."""

from __future__ import annotations

import pytest

from kfp_magics.backends.base import Backend, Checks, KeepsPipelines, KeepsRuns, SubmitOptions
from kfp_magics.errors import BackendError
from kfp_magics.model import State
from tests.kfp.pipelines import ir_of
from tests.vertex.conftest import ended
from tests.vertex.server import Plan


def test_it_is_a_backend(backend) -> None:
    for protocol in (Backend, Checks, KeepsPipelines, KeepsRuns):
        assert isinstance(backend, protocol)


def test_a_run_goes_there_and_comes_back(server, connect, store) -> None:
    backend = connect(service_account="runner@shop.iam.gserviceaccount.com", network="projects/1/global/networks/net")
    server.plan = Plan(values={"prepare": {"Output": 7}})
    options = SubmitOptions(experiment="Trials of May", name="first", cache=False)
    run = backend.submit(ir_of("nested"), {"rows": 7}, options)
    (job,) = server.jobs.values()
    assert job.name.endswith(f"/pipelineJobs/{run.id}")
    assert job.display_name == "first"
    assert job.service_account == "runner@shop.iam.gserviceaccount.com"
    assert job.network == "projects/1/global/networks/net"
    assert job.runtime_config.gcs_output_directory == "gs://wares/runs"
    assert dict(job.runtime_config.parameter_values) == {"rows": 7}
    assert dict(job.labels) == {
        "started-with": "kfp-magics",
        "started-by": "notebook",
        "experiment": "trials-of-may",
    }
    tasks = job.pipeline_spec["root"]["dag"]["tasks"].values()
    assert all(task["cachingOptions"]["enableCache"] is False for task in tasks)
    assert "europe-west4" in run.url
    assert "project=shop" in run.url
    done = ended(backend, store, run)
    assert done.state is State.SUCCEEDED
    assert done.parameters == {"rows": 7, "rates": [0.1, 0.2]}
    assert done.created <= done.started <= done.finished


@pytest.mark.parametrize("flat", [True, False], ids=["side by side", "each in an iteration"])
@pytest.mark.parametrize("rooted", [True, False], ids=["in a root", "at the top"])
def test_tasks_come_back_nested(server, backend, store, flat, rooted) -> None:
    server.plan = Plan(flat=flat, rooted=rooted, unmet={"condition-4"}, values={"train": {"Output": 0.5}})
    run = ended(backend, store, backend.submit(ir_of("nested"), {"rows": 7, "rates": [0.1, 0.2]}, SubmitOptions()))
    states = {task.id: (task.kind, task.state) for task in run.tasks}
    print(states)
    assert states["exit-handler-1"] == ("exit-handler", State.SUCCEEDED)
    assert states["exit-handler-1/for-loop-2"] == ("loop", State.SUCCEEDED)
    for number in (0, 1):
        inside = f"exit-handler-1/for-loop-2/{number}"
        assert states[inside] == ("iteration", State.SUCCEEDED)
        train = run.task(f"{inside}/train")
        assert train.inputs["rate"] == [0.1, 0.2][number]
        assert train.outputs == {"Output": 0.5}
        assert train.parent == inside
        assert states[f"{inside}/condition-3"] == ("condition", State.SUCCEEDED)
    assert states["exit-handler-1/condition-4"] == ("condition", State.SKIPPED)
    assert states["exit-handler-1/condition-4/train-2"] == ("step", State.SKIPPED)
    assert run.task("exit-handler-1/condition-4").reason == "its condition was not met"


def test_a_cancelled_run_ends(server, backend, store) -> None:
    server.plan = Plan(lasts=60.0)
    run = backend.submit(ir_of("plain"), {}, SubmitOptions())
    backend.cancel(run)
    assert ended(backend, store, run).state is State.CANCELLED
    with pytest.raises(BackendError, match="has ended"):
        backend.cancel(run)
    with pytest.raises(BackendError, match=r"resumes no run"):
        backend.retry(run)
