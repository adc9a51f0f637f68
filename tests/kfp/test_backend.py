"""A Kubeflow Pipelines server as a backend: from the notebook to its API and back, over a socket."""

from __future__ import annotations

from kfp_magics.backends.base import SubmitOptions
from kfp_magics.model import State
from tests.kfp.conftest import ended
from tests.kfp.pipelines import ir_of


def test_a_run_goes_there_and_comes_back(server, backend, store) -> None:
    options = SubmitOptions(experiment="trials", name="first", cache=False)
    run = backend.submit(ir_of("nested"), {"rows": 7}, options)
    assert run.target == server.url.removeprefix("http://")
    assert run.url == f"{server.url}/#/runs/details/{run.id}"
    (kept,) = server.runs.values()
    assert kept.body["runtime_config"] == {"parameters": {"rows": 7}}
    assert server.experiments[kept.body["experiment_id"]]["display_name"] == "trials"
    tasks = kept.body["pipeline_spec"]["root"]["dag"]["tasks"].values()
    assert [task["cachingOptions"] for task in tasks] == [{"enableCache": False}] * len(tasks)
    done = ended(backend, store, run)
    assert done.state is State.SUCCEEDED
    assert done.parameters == {"rows": 7, "rates": [0.1, 0.2]}
