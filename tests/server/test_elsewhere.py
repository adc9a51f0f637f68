"""Artifacts of runs that are on a server: seen, previewed and saved like those of this machine, and nothing besides."""

from __future__ import annotations

import io
import os
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from kfp_magics.backends.connections import Connections, parse
from kfp_magics.model import Artifact, Run, State, Task
from kfp_magics.runs.store import Store
from kfp_magics.settings import Settings
from tests.kfp.server import Fault, KfpServer
from tests.server.conftest import Ask
from tests.vertex.server import VertexServer

CONTENT = bytes(range(256)) * 2000


@pytest.fixture
def cluster(settings: Settings) -> Iterator[KfpServer]:
    settings.server_patience = 0.2
    made = KfpServer()
    Connections(settings.home_path).remember(parse(made.url, {"name": "cluster"}))
    yield made
    made.close()


@pytest.fixture
def vertex(settings: Settings) -> Iterator[VertexServer]:
    made = VertexServer()
    given = {"endpoint": made.endpoint, "name": "vertex", "pipeline_root": "gs://wares/runs"}
    Connections(settings.home_path).remember(parse("vertex:shop/europe-west4", given))
    yield made
    made.close()


def save(store: Store, backend: str, **uris: str | tuple[str, str]) -> None:
    """A run on a server whose step wrote artifacts, each at a place, perhaps of another type."""
    given = {name: (one, "system.Dataset") if isinstance(one, str) else one for name, one in uris.items()}
    artifacts = tuple(
        Artifact(name=name, io="output", type=kind, uri=uri, metadata={"rows": 7})
        for name, (uri, kind) in given.items()
    )
    task = Task(id="t", name="t", state=State.SUCCEEDED, attempt=1, artifacts=artifacts)
    target = {"kfp": "cluster"}.get(backend, backend)
    store.save(Run(id="r", name="x", backend=backend, target=target, state=State.SUCCEEDED, tasks=(task,)))


async def test_files_of_a_cluster_are_shown_previewed_and_saved(ask: Ask, store: Store, cluster: KfpServer) -> None:
    cluster.files = {
        "minio/mlpipeline/v2/a/data": CONTENT,
        "minio/mlpipeline/v2/a/table": b"a,b\n1,2\n3,4\n",
        "minio/mlpipeline/v2/a/page": b"<script>alert(1)</script>",
        "minio/mlpipeline/v2/a/empty": b"",
    }
    place = "minio://mlpipeline/v2/a"
    save(store, "kfp", data=f"{place}/data", table=f"{place}/table", page=(f"{place}/page", "system.HTML"),
         empty=f"{place}/empty")  # fmt: skip
    path = "/runs/r/artifact"
    table = (await ask("GET", f"{path}/info", task="t", name="table")).json
    assert (table["kind"], table["media_type"], table["size"]) == ("file", "text/csv", 12)
    assert (table["metadata"], table["uri"]) == ({"rows": 7}, f"{place}/table")
    data = (await ask("GET", f"{path}/info", task="t", name="data")).json
    assert (data["kind"], data["media_type"], data["size"]) == ("remote", "application/octet-stream", None)
    whole = await ask("GET", path, task="t", name="data", download="true")
    assert (whole.status, whole.body) == (200, CONTENT)
    assert whole.headers["Content-Disposition"].startswith('attachment; filename="data"')
    part = await ask("GET", path, task="t", name="data", headers={"Range": "bytes=1000-65535"})
    assert (part.status, part.body) == (206, CONTENT[1000:65536])
    assert part.headers["Content-Range"] == "bytes 1000-65535/*"
    end = await ask("GET", path, task="t", name="table", headers={"Range": "bytes=4-65535"})
    assert (end.status, end.body, end.headers["Content-Range"]) == (206, b"1,2\n3,4\n", "bytes 4-11/12")
    page = await ask("GET", path, task="t", name="page")
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert page.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    empty = await ask("GET", path, task="t", name="empty", headers={"Range": "bytes=0-65535"})
    assert (empty.status, empty.body) == (200, b"")


async def test_a_bucket_of_vertex_ai_is_shown_with_its_folders(
    ask: Ask, store: Store, vertex: VertexServer, google_storage: Any
) -> None:
    bucket = google_storage.bucket("wares")
    bucket.blob("runs/1/data").upload_from_string(CONTENT)
    for name in ("model/weights.bin", "model/notes/read.md"):
        bucket.blob(f"runs/1/{name}").upload_from_string(name.encode())
    bucket.blob("runs/1/model-of-others/secret").upload_from_string(b"TOP")
    save(store, "vertex", data="gs://wares/runs/1/data", model="gs://wares/runs/1/model", gone="gs://wares/runs/1/gone")
    path = "/runs/r/artifact"
    data = (await ask("GET", f"{path}/info", task="t", name="data")).json
    assert (data["kind"], data["size"]) == ("file", len(CONTENT))
    part = await ask("GET", path, task="t", name="data", headers={"Range": "bytes=300000-"})
    assert (part.status, part.body) == (206, CONTENT[300_000:])
    assert part.headers["Content-Range"] == f"bytes 300000-{len(CONTENT) - 1}/{len(CONTENT)}"
    model = (await ask("GET", f"{path}/info", task="t", name="model")).json
    assert {one["path"]: one["media_type"] for one in model["files"]} == {
        "notes/read.md": "text/markdown",
        "weights.bin": "application/octet-stream",
    }
    assert (await ask("GET", path, task="t", name="model", path="notes/read.md")).body == b"model/notes/read.md"
    with tarfile.open(fileobj=io.BytesIO((await ask("GET", path, task="t", name="model")).body)) as archive:
        assert sorted(archive.getnames()) == ["model/notes/read.md", "model/weights.bin"]
    for inside in ("../data", "../model-of-others/secret", "notes/../../data", "/data", "no\0", "notes\\..\\x", "."):
        answer = await ask("GET", path, task="t", name="model", path=inside)
        assert (answer.status, b"TOP" in answer.body) == (404, False), inside
    gone = await ask("GET", f"{path}/info", task="t", name="gone")
    assert (gone.status, gone.json["message"]) == (
        404,
        "gs://wares/runs/1/gone is not there: it was deleted, or the step wrote nothing.",
    )


async def test_who_may_not_read_is_told_so_in_two_lines(ask: Ask, store: Store, cluster: KfpServer) -> None:
    save(store, "kfp", data="minio://b/a/data", far="https://elsewhere.example/data")
    cluster.faults = [Fault("/artifacts/", times=99, status=403, body=b"Forbidden", kind="text/plain")]
    for path in ("/runs/r/artifact", "/runs/r/artifact/info"):
        refused = await ask("GET", path, task="t", name="data")
        assert refused.status == 409
        assert "lets nobody in without a login (403): Forbidden" in refused.json["message"]
        assert refused.json["hint"].startswith("Say who asks: --token-env")
        far = (await ask("GET", path, task="t", name="far")).json
        assert "does not hand out" in far["message"]
        assert far["hint"] == "Open it there."
    cluster.faults = [Fault("/artifacts/", times=99, status=404, body=b"404 page not found", kind="text/plain")]
    nobody = (await ask("GET", "/runs/r/artifact/info", task="t", name="data")).json
    assert "ml-pipeline-ui" in nobody["hint"]


class Listener:
    """Somebody on this machine whom nobody should ask."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                listener.asked.append(self.path)
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"TOP")

            do_POST = do_GET  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        self.http = HTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()


@pytest.mark.parametrize("backend", ["kfp", "vertex"])
async def test_nobody_else_is_asked_whatever_a_run_names(
    ask: Ask, store: Store, cluster: KfpServer, vertex: VertexServer, google_storage: Any, tmp_path: Any, backend: str
) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("TOP")
    listener = Listener()
    places = {
        "http": f"http://{listener.address}/x", "slashes": f"//{listener.address}/x", "path": str(secret),
        "file": f"file://{secret}", "host": f"minio://{listener.address}/x", "user": f"minio://b@{listener.address}/x",
        "up": "minio://b/../../apis/v2beta1/runs/r", "bare": "minio:", "environ": "/proc/self/environ",
        "query": f"gs://{listener.address}/x?a=b", "none": "",
    }  # fmt: skip
    save(store, backend, **places)
    for name in places:
        for path in ("/runs/r/artifact", "/runs/r/artifact/info"):
            answer = await ask("GET", path, task="t", name=name)
            assert answer.status in {404, 409}, (name, answer.body)
            assert b"TOP" not in answer.body
            assert os.environ["HOME"].encode() + b"\0" not in answer.body
    assert listener.asked == []
    assert not [one for one in cluster.requests if "/artifacts/minio" in one]
    assert not [one for one in cluster.requests if one == "GET /apis/v2beta1/runs/r" and backend == "vertex"]
    listener.http.shutdown()
    listener.http.server_close()


async def test_only_artifacts_that_the_run_has_and_only_for_who_is_logged_in(
    ask: Ask, store: Store, cluster: KfpServer, jp_fetch: Any, http_server_client: Any, jp_base_url: str
) -> None:
    cluster.files = {"minio/b/a/data": b"mine", "minio/b/a/other": b"TOP"}
    save(store, "kfp", data="minio://b/a/data")
    for changes in (
        {"name": "other"},
        {"name": "data", "index": 1},
        {"name": "data", "io": "input"},
        {"name": "../other"},
    ):
        assert (await ask("GET", "/runs/r/artifact", **{"task": "t", **changes})).status == 404
    url = f"{jp_base_url}kfp-magics/api/runs/r/artifact?task=t&name=data"
    answer = await http_server_client.fetch(url, raise_error=False, follow_redirects=False)
    assert answer.code in {302, 403}
    assert b"mine" not in (answer.body or b"")
    assert not [one for one in cluster.requests if "/artifacts/" in one]
