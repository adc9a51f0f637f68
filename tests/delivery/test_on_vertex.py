"""The generated function starts runs on Vertex AI, by its REST interface."""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import grpc
import pytest
from google.api_core import exceptions
from google.cloud import aiplatform_v1 as vertex
from google.cloud.aiplatform_v1.services.pipeline_service.transports import PipelineServiceGrpcTransport
from google.protobuf.json_format import MessageToDict, ParseDict
from kfp import compiler, dsl

from kfp_magics.backends.connections import Connections, parse
from kfp_magics.backends.vertex import VertexBackend
from kfp_magics.delivery.cloud.folder import function_files
from kfp_magics.delivery.cloud.target import target_of
from kfp_magics.delivery.newdata.rules import Rule
from kfp_magics.model import Pipeline
from kfp_magics.options import RunOptions
from kfp_magics.runs.store import Store
from kfp_magics.settings import Settings
from tests.delivery.served import Served, put
from tests.delivery.storage_server import StorageServer
from tests.serving import Serving
from tests.vertex.server import VertexServer


class RestDoor(Serving):
    """The REST interface of Vertex AI before the server that speaks gRPC: messages are Google's, JSON is theirs.

    Attributes:
        lost: How many of the next answers are lost, after the call was carried out.
    """

    def __init__(self, server: VertexServer) -> None:
        self.lost = 0
        channel = grpc.insecure_channel(urlsplit(server.endpoint).netloc)
        client = vertex.PipelineServiceClient(transport=PipelineServiceGrpcTransport(channel=channel))
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = urlsplit(self.path).path.removeprefix("/v1/")
                self._answer(lambda: client.get_pipeline_job(name=name, retry=None))

            def do_POST(self) -> None:
                parts = urlsplit(self.path)
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                job = vertex.PipelineJob()
                ParseDict(body, vertex.PipelineJob.pb(job))  # refuses what Vertex AI does not know
                request = vertex.CreatePipelineJobRequest(
                    parent=parts.path.removeprefix("/v1/").removesuffix("/pipelineJobs"),
                    pipeline_job=job,
                    pipeline_job_id=parse_qs(parts.query)["pipelineJobId"][0],
                )
                self._answer(lambda: client.create_pipeline_job(request=request, retry=None))

            def _answer(self, call: Callable[[], Any]) -> None:
                try:
                    status, value = 200, MessageToDict(vertex.PipelineJob.pb(call()))
                except exceptions.GoogleAPICallError as error:
                    status, value = error.code, {"error": {"code": error.code, "message": error.message}}
                if self.command == "POST" and owner.lost > 0:
                    owner.lost -= 1
                    self.close_connection = True
                    return
                content = json.dumps(value).encode()
                with suppress(OSError):
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)

            def log_message(self, *words: Any) -> None:
                """Says nothing."""

        self._channel = channel
        super().__init__(ThreadingHTTPServer(("127.0.0.1", 0), Handler))

    def close(self) -> None:
        super().close()
        self._channel.close()


@pytest.fixture
def vertex_server() -> Iterator[VertexServer]:
    made = VertexServer()
    yield made
    made.close()


@pytest.fixture
def door(vertex_server: VertexServer) -> Iterator[RestDoor]:
    made = RestDoor(vertex_server)
    yield made
    made.close()


@pytest.fixture
def compiled(tmp_path: Any) -> Pipeline:
    @dsl.component(base_image="python:3.11")
    def note(data: str) -> str:
        return data

    @dsl.pipeline(name="Fit it")
    def fit(data: str):
        note(data=data)

    path = tmp_path / "fit.yaml"
    compiler.Compiler().compile(fit, str(path))
    return Pipeline(name="fit-it", ir=path.read_text())


def test_one_object_is_one_run_that_says_what_started_it(
    serve: Callable[..., Served],
    bucket: StorageServer,
    door: RestDoor,
    vertex_server: VertexServer,
    compiled: Pipeline,
    settings: Settings,
    store: Store,
) -> None:
    given = {"pipeline_root": "gs://wares/runs", "service_account": "runner@shop.iam.gserviceaccount.com"}
    connections = Connections(settings.home_path)
    connections.remember(parse("vertex:shop/europe-west4", {**given, "endpoint": door.url}))
    target = target_of(settings, compiled, RunOptions(backend="vertex", experiment="Nightly"))
    rule = Rule(name="fit", on="gs://wares/in/*", pipeline="fit-it", templates={"data": "$uri"})
    served = serve(function_files(rule, compiled.ir, target))
    put("in/Größe 1.csv")
    meta = bucket.meta("wares", "in/Größe 1.csv")
    door.lost = 1
    assert served.deliver(meta) == 500  # the run was started, and nobody was told
    [claim] = bucket.names("wares", ".kfp-magics/fit/objects/")
    bucket.storage.get_file_obj("wares", claim)["updated"] = "2026-01-01T00:00:00.000000Z"
    assert [served.deliver(meta) for _ in range(3)] == [200, 200, 200]
    [job] = vertex_server.jobs.values()
    assert dict(job.labels) == {"started-with": "kfp-magics", "started-by": "trigger", "experiment": "nightly"}
    assert job.service_account == "runner@shop.iam.gserviceaccount.com"
    assert job.runtime_config.gcs_output_directory == "gs://wares/runs"
    connections.remember(parse("vertex:shop/europe-west4", {**given, "endpoint": vertex_server.endpoint}))
    [run] = VertexBackend(settings, store).recent()
    assert run.id.startswith("fit-it-")
    assert run.started_by == "trigger: gs://wares/in/Größe 1.csv"
    assert run.parameters == {"data": "gs://wares/in/Größe 1.csv"}
    put("runs/model")
    assert served.deliver(bucket.meta("wares", "runs/model")) == 200
    assert len(vertex_server.jobs) == 1
