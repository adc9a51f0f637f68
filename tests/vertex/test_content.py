"""What steps print and write on Vertex AI, and how they fail there."""

from __future__ import annotations

import pytest

from kfp_magics.backends.base import SubmitOptions
from kfp_magics.errors import NotFoundError
from kfp_magics.model import State
from tests.kfp.pipelines import ir_of
from tests.vertex.conftest import ended
from tests.vertex.server import Plan


def test_values_and_artifacts_are_shown_and_read(server, backend, store, google_storage) -> None:
    content = bytes(range(256)) * 10_000
    google_storage.bucket("wares").blob("runs/clean").upload_from_string(content)
    google_storage.bucket("wares").blob("runs/folder/part-1").upload_from_string(b"x")
    server.plan = Plan(values={"prepare": {"Output": 7}, "train": {"Output": 0.5}})
    uris = {"clean": "gs://wares/runs/clean", "folder": "gs://wares/runs/folder", "gone": "gs://wares/runs/gone"}
    server.plan.artifacts = {"prepare": uris | {"elsewhere": "s3://other/thing"}}
    run = ended(backend, store, backend.submit(ir_of("plain"), {"rows": 7}, SubmitOptions()))
    prepare = run.task("prepare")
    assert prepare.inputs == {"rows": 7}
    assert prepare.outputs == {"Output": 7}
    assert type(prepare.outputs["Output"]) is int
    (clean,) = [one for one in prepare.artifacts if one.name == "clean"]
    assert (clean.io, clean.type, clean.uri, clean.metadata) == (
        "output",
        "system.Dataset",
        "gs://wares/runs/clean",
        {"rows": 7},
    )
    with backend.artifact(run, prepare, "clean") as stream:
        assert stream.read(3) == content[:3]
        assert stream.read() == content[3:]
    for name, why in {"folder": "is a folder", "gone": "is not there", "elsewhere": "not in a bucket"}.items():
        with pytest.raises(NotFoundError, match=why):
            backend.artifact(run, prepare, name)
    with pytest.raises(NotFoundError, match="has no artifact 'other'"):
        backend.artifact(run, prepare, "other")


def test_a_failed_step_says_why_and_what_follows_is_skipped(server, backend, store) -> None:
    server.plan = Plan(fails={"prepare": "The replica exited with a non-zero status of 1.\nTraceback …"})
    run = ended(backend, store, backend.submit(ir_of("plain"), {}, SubmitOptions()))
    assert run.state is State.FAILED
    assert run.error.message.startswith("The DAG failed because some tasks failed.")
    prepare, train = run.task("prepare"), run.task("train")
    assert prepare.state is State.FAILED
    assert prepare.error.message == "The replica exited with a non-zero status of 1."
    assert prepare.error.traceback == "Traceback …"
    assert prepare.attempt == 2
    assert train.state is State.SKIPPED


def test_a_reused_result_is_a_success(server, backend, store) -> None:
    server.plan = Plan(reused={"prepare"}, values={"prepare": {"Output": 3}})
    run = ended(backend, store, backend.submit(ir_of("plain"), {}, SubmitOptions()))
    prepare = run.task("prepare")
    assert (prepare.state, prepare.cached) == (State.SUCCEEDED, True)
    assert prepare.outputs == {"Output": 3}
    assert list(backend.logs(run, prepare)) == []


def test_logs_of_all_attempts_are_read_page_by_page(server, backend, store) -> None:
    server.plan = Plan(fails={"prepare": "no"})
    run = ended(backend, store, backend.submit(ir_of("plain"), {}, SubmitOptions()))
    job = server.job_of(run.id, "prepare")
    server.print(f"{job}0", "first attempt", ago=0)
    for number in range(7):
        server.print(job, f"line {number}: ä")
    server.print(job, "", payload={"message": "by a logger", "levelname": "INFO"})
    server.print("4711", "of somebody else")
    text = "".join(backend.logs(run, run.task("prepare")))
    assert text.splitlines() == ["first attempt", *(f"line {number}: ä" for number in range(7)), "by a logger"]
    assert list(backend.logs(run, run.task("train"))) == []


def test_a_log_is_followed_to_its_end(server, backend, store) -> None:
    server.plan = Plan(lasts=1.5)
    run = backend.submit(ir_of("plain"), {}, SubmitOptions())
    while not (run := backend.poll(run)).started:
        pass
    job = server.job_of(run.id, "prepare")
    server.print(job, "begun")
    read = []
    for line in backend.logs(run, run.task("prepare"), follow=True):
        read.append(line)
        if line == "begun\n":
            server.print(job, "goes on")
            server.print(job, "late, and stamped earlier", ago=0.5)
    assert sorted(read) == ["begun\n", "goes on\n", "late, and stamped earlier\n"]  # each line once
    assert backend.poll(run).task("prepare").state is State.SUCCEEDED
