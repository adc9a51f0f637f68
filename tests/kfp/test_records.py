"""What steps took and gave on a cluster: told by ML Metadata, and said plainly where it is not."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest

from kfp_magics import ir as irs
from kfp_magics import mlmd
from kfp_magics.backends.base import SubmitOptions
from kfp_magics.backends.kfp import KfpBackend
from kfp_magics.errors import BackendError, NotFoundError
from kfp_magics.model import Artifact, Run, State, Task
from tests.kfp.conftest import ended
from tests.kfp.pipelines import ir_of
from tests.kfp.server import Fault
from tests.kfp.workflow import Plan

TABLE = Artifact(
    name="clean",
    io="output",
    type="system.Dataset",
    uri="minio://mlpipeline/v2/a/clean",
    metadata={"rows": 3, "s": 0.5},
)


def results() -> dict[str, list[Task]]:
    """What the tasks of the nested pipeline gave, in the numbers that a cluster sends."""
    ir = irs.parse(ir_of("nested"))
    given = {
        "exit-handler-1/prepare": {"inputs": {"rows": 3}, "outputs": {"Output": 3}, "artifacts": (TABLE,)},
        "exit-handler-1/for-loop-2/0": {"inputs": {"item": 0.1}},
        "exit-handler-1/for-loop-2/1": {"inputs": {"item": 0.2}},
        "exit-handler-1/for-loop-2/0/train": {"inputs": {"rate": 0.1, "rows": 3}, "outputs": {"Output": 0.25}},
        "exit-handler-1/for-loop-2/1/train": {"inputs": {"rate": 0.2, "rows": 3}, "outputs": {"Output": 1}},
    }
    tasks = []
    for task in irs.static_tasks(ir, templates=True):
        if "*" in task.id and task.kind != "iteration":
            continue
        for number in "01" if task.kind == "iteration" else " ":
            one = replace(task, id=task.id.replace("*", number), name=number if task.kind == "iteration" else task.name)
            tasks.append(replace(one, **given.get(one.id, {})))
            tasks += [
                replace(inner, id=inner.id.replace("*", number), parent=one.id, **given[inner.id.replace("*", number)])
                for inner in irs.static_tasks(ir, templates=True)
                if task.kind == "iteration" and inner.parent == task.id and inner.kind == "step"
            ]
    return {"nested": tasks, "plain": [replace(TASK, artifacts=(TABLE,))]}


TASK = Task(id="prepare", name="prepare", inputs={"rows": 3}, outputs={"Output": 3})


def run(backend: KfpBackend, store, name: str = "nested") -> Run:
    return ended(backend, store, backend.submit(ir_of(name), {}, SubmitOptions()))


@pytest.mark.parametrize("links", ["argo", "pods", "parents", "native"])
def test_values_and_artifacts_are_told_to_their_tasks(server, backend, store, links: str) -> None:
    server.links, server.results = links, results()
    ended_run = run(backend, store)
    assert ended_run.state is State.SUCCEEDED
    prepare = ended_run.task("exit-handler-1/prepare")
    assert (prepare.inputs, prepare.outputs, prepare.artifacts) == ({"rows": 3}, {"Output": 3}, (TABLE,))
    assert type(prepare.outputs["Output"]) is int
    assert [type(value) for value in prepare.artifacts[0].metadata.values()] == [int, float]
    trained = [ended_run.task(f"exit-handler-1/for-loop-2/{number}/train") for number in (0, 1)]
    assert [one.outputs for one in trained] == [{"Output": 0.25}, {"Output": 1.0}]
    assert type(trained[1].outputs["Output"]) is float
    assert ended_run.task("exit-handler-1/for-loop-2/1").inputs == {"item": 0.2}
    assert store.get(ended_run.id).task("exit-handler-1/prepare").artifacts == (TABLE,)
    asked = [one for one in server.requests if mlmd.PATH in one]
    backend.poll(ended_run)
    assert [one for one in server.requests if mlmd.PATH in one] == asked  # what has ended is asked for once


def test_a_file_is_read_as_the_server_s_pages_do(server, connect, store) -> None:
    content = bytes(range(256)) * 5000
    server.results, server.files = results(), {"minio/mlpipeline/v2/a/clean": content}
    backend = connect(namespace="team-a")
    ended_run = run(backend, store, "plain")
    prepare = ended_run.task("prepare")
    with backend.artifact(ended_run, prepare, "clean") as file:
        assert file.read() == content
    assert "GET /artifacts/minio/mlpipeline/v2/a/clean?namespace=team-a" in server.requests
    with backend.open(ended_run, prepare, TABLE, start=1000) as file:
        assert file.read(10) == content[1000:1010]
    server.files.clear()
    with pytest.raises(BackendError, match="fails"):
        backend.artifact(ended_run, prepare, "clean")


def test_a_bucket_is_read_with_the_login_of_this_machine_where_the_pages_do_not(
    server, backend, store, google_storage
) -> None:
    google_storage.bucket("wares").blob("runs/clean/part-1").upload_from_string(b"one")
    server.results = results()
    there = replace(TABLE, uri="gs://wares/runs/clean")
    server.results["plain"][0] = replace(TASK, artifacts=(there,))
    ended_run = run(backend, store, "plain")
    assert backend.content(ended_run, ended_run.task("prepare"), there).files == {"part-1": 3}
    with backend.open(ended_run, ended_run.task("prepare"), there, "part-1") as file:
        assert file.read() == b"one"
    for inside in ("../other", "/etc/passwd", "a/../../b", "a\\b", "no\0"):
        with pytest.raises(NotFoundError):
            backend.open(ended_run, ended_run.task("prepare"), there, inside)


def test_no_other_address_is_asked_than_those_of_files(server, backend, store) -> None:
    places = (
        "minio://b/../../apis/v2beta1/runs", "minio://b/a/%2e%2e/../x", "minio://../a", "minio://b//a", "s3://b/.",
        "s3://b", "http://169.254.169.254/latest/meta-data", "https://elsewhere.example/x", "file:///etc/passwd",
        "oci://x/y", "minio://user@host/x", "gopher://x/y",
    )  # fmt: skip
    server.results = results()
    ended_run = run(backend, store, "plain")
    prepare = ended_run.task("prepare")
    before = len(server.requests)
    for uri in places:
        with pytest.raises(BackendError):
            backend.open(ended_run, prepare, replace(TABLE, uri=uri))
    assert not [one for one in server.requests[before:] if "/artifacts/" in one]


@pytest.mark.parametrize(
    "fault",
    [
        Fault("ml_metadata", times=99, status=404, body=b"<html>", kind="text/html"),
        Fault("ml_metadata", times=99, status=403, body=b"RBAC: access denied", kind="text/plain"),
        Fault("ml_metadata", times=99, status=200, body=b"<html>sign in</html>", kind="text/html"),
        Fault("ml_metadata", times=99, status=200, body=b"no frames at all"),
        Fault("ml_metadata", times=99, status=200, body=mlmd.trailer(7, "not%20for%20you")),
        Fault("ml_metadata", times=99, status=200, body=mlmd.frame(b"\xff\xff\xff") + mlmd.trailer()),
    ],
    ids=["none", "forbidden", "a login page", "rubbish", "refused", "no message"],
)
def test_a_server_that_tells_nothing_is_said_when_connecting_and_ends_no_run(
    server, backend: KfpBackend, store, fault: Fault
) -> None:
    server.faults, server.results = [fault], results()
    ended_run = run(backend, store)
    assert ended_run.state is State.SUCCEEDED
    assert ended_run.task("exit-handler-1/prepare").outputs == {}
    (connection,) = [one for one in backend.connections.all().values() if one.kind == "kfp"]
    assert "Values, metrics and artifacts are not shown" in backend.check(connection).remarks[-1]
    asked = sum(mlmd.PATH in one for one in server.requests)
    run(backend, store)
    assert sum(mlmd.PATH in one for one in server.requests) == asked  # and it is not asked again and again


def test_an_end_is_not_told_before_what_its_steps_gave(server, backend, store) -> None:
    server.results = results()
    server.faults = [Fault("ml_metadata", times=4, status=503), Fault("ml_metadata", times=2, lose=True)]
    assert run(backend, store).task("exit-handler-1/prepare").outputs == {"Output": 3}


def test_a_run_that_was_resumed_is_asked_for_again(server, backend, store) -> None:
    server.results, server.plans = results(), {"twice": Plan(failed={"train"})}
    failed = ended(backend, store, backend.submit(ir_of("plain"), {}, SubmitOptions(name="twice")))
    assert (failed.state, failed.task("prepare").outputs) == (State.FAILED, {})
    again = ended(backend, store, backend.retry(failed))
    assert (again.state, again.task("prepare").outputs) == (State.SUCCEEDED, {"Output": 3})


def test_the_messages_are_those_of_ml_metadata() -> None:
    """Bytes that the vendor's own package wrote, in the environment of its own that it needs."""
    written = {
        "GetContextByTypeAndNameResponse": "CjAIAhoDcnVuKhMKCW5hbWVzcGFjZRIGGgR0ZWFtMhJzeXN0ZW0uUGlwZWxpbmVSdW4=",
        "GetExecutionsByContextResponse": (
            "Cm4IBxgDKiIKB291dHB1dHMSFyIVChMKBk91dHB1dBIJEQAAAAAAAOA/KhMKDXBhcmVudF9kYWdfaWQSAggDKhQKCXRhc2tfbmFtZRIH"
            "GgV0cmFpbjoZc3lzdGVtLkNvbnRhaW5lckV4ZWN1dGlvbhIBbg=="
        ),
        "GetEventsByExecutionIDsResponse": "ChEICRAHGgkKBxIFbW9kZWwgBA==",
        "GetArtifactsByIDResponse": (
            "Cl8ICRAEGhBnczovL3dhcmVzL21vZGVsKhUKCGFjY3VyYWN5EgkRzczMzMzM7D8qLgoGbWF0cml4EiQiIgogCgRsaXN0EhgyFgoJEQAA"
            "AAAAAPA/CgkRAAAAAAAAAEAwAhIQCAQSDHN5c3RlbS5Nb2RlbA=="
        ),
        "GetExecutionsByContextRequest": "CAISBQhkGgFu",
    }
    read = {name: mlmd.parse(name, base64.b64decode(data)) for name, data in written.items()}
    context = read["GetContextByTypeAndNameResponse"].context
    assert (context.id, context.name, context.type) == (2, "run", "system.PipelineRun")
    (execution,) = read["GetExecutionsByContextResponse"].executions
    words = execution.custom_properties
    assert (execution.id, execution.type, execution.last_known_state) == (7, "system.ContainerExecution", 3)
    assert (mlmd.plain(words["task_name"]), mlmd.plain(words["parent_dag_id"])) == ("train", 3)
    assert mlmd.fields(words["outputs"]) == {"Output": 0.5}
    (event,) = read["GetEventsByExecutionIDsResponse"].events
    assert (event.artifact_id, event.execution_id, event.type, event.path.steps[0].key) == (9, 7, mlmd.OUTPUT, "model")
    (artifact,) = read["GetArtifactsByIDResponse"].artifacts
    assert (artifact.uri, artifact.type_id) == ("gs://wares/model", 4)
    assert {name: mlmd.plain(one) for name, one in artifact.custom_properties.items()} == {
        "accuracy": 0.9,
        "matrix": [1, 2],
    }
    assert read["GetArtifactsByIDResponse"].artifact_types[0].name == "system.Model"
    ours = mlmd.message(
        "GetExecutionsByContextRequest",
        context_id=2,
        options=mlmd.message("Options", max_result_size=100, next_page_token="n"),
    )
    assert base64.b64encode(ours.SerializeToString()).decode() == written["GetExecutionsByContextRequest"]
