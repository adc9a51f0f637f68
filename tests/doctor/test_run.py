"""What runs need: there, missing, broken."""

from __future__ import annotations

import sqlite3

import pytest

from kfp_magics.backends.connections import Connections, parse
from kfp_magics.errors import StoreError
from kfp_magics.runs import database
from kfp_magics.runs.store import Store
from tests.doctor.conftest import says
from tests.kfp.server import KfpServer
from tests.vertex.server import VertexServer


def test_the_smallest_of_all_runs(look, settings, tmp_path, monkeypatch) -> None:
    found = look("run", "engine")
    assert found.answer.word == "ok", found
    assert not (tmp_path / "home").exists()  # it has a home of its own
    monkeypatch.setenv("UV_CACHE_DIR", "/proc/nowhere")
    found = look("run", "engine")
    assert found.answer.word == "broken"
    assert "cannot be installed" in found.answer.note


def test_containers(look, settings, programs) -> None:
    programs("podman", "echo 'Error: no machine' >&2; exit 1")
    programs("docker", "echo 'Error: no daemon' >&2; exit 1")
    assert says(look("run", "containers"))[:2] == (
        "not needed",
        "no container engine works here; steps run in processes",
    )
    settings.executor = "container"
    found = look("run", "containers")
    assert found.fails
    assert says(found)[1] == "podman: does not work: Error: no machine"
    programs("docker", """echo '{"ServerVersion": "1", "MemoryLimit": true}'""")
    assert says(look("run", "containers"))[:2] == ("ok", "docker runs containers")


def test_room(look, settings, tmp_path) -> None:
    assert "GB free" in look("run", "disk").answer.note
    settings.home = "/proc/home"  # a file system without any
    found = look("run", "disk")
    assert found.fails
    assert says(found)[1] == "0.0 GB free at /proc: no environment fits"


def test_the_store_is_looked_at_and_left_alone(look, settings, tmp_path) -> None:
    assert says(look("run", "store"))[:2] == ("ok", "no run yet")
    path = settings.store_path
    assert not path.exists()
    store = Store(path)
    store.list()
    assert says(look("run", "store"))[1] == f"{path}, version {database.VERSION}"
    store.close()
    with sqlite3.connect(path) as file:
        file.execute("PRAGMA user_version = 99")
    file.close()
    before = path.read_bytes()
    found = look("run", "store")
    assert (found.fails, says(found)[2]) == (True, "pip install --upgrade 'kfp-magics'")
    assert path.read_bytes() == before
    path.write_bytes(before[:100] + b"\xff" * (len(before) - 100))
    found = look("run", "store")
    assert (found.fails, says(found)[2]) == (True, f"mv {path} {path}.damaged")
    path.write_bytes(b"no database at all" * 100)
    assert look("run", "store").fails
    with pytest.raises(StoreError):
        database.look(path, 1.0)


def test_a_store_of_an_older_version_is_not_touched_either(look, settings) -> None:
    path = settings.store_path
    path.parent.mkdir(parents=True)
    file = sqlite3.connect(path)
    file.executescript("CREATE TABLE runs (id TEXT); PRAGMA application_id = 0x6B66706D; PRAGMA user_version = 1")
    file.close()
    before = path.read_bytes()
    assert says(look("run", "store"))[:2] == ("ok", f"{path}, version 1, brought up to date with the next use")
    assert says(look("cd", "watchers"))[1] == "no folder is watched"
    assert path.read_bytes() == before


@pytest.fixture
def kfp_server():
    made = KfpServer()
    yield made
    made.close()


def connect(settings, word: str, **options: object) -> None:
    connection = parse(word, options)
    Connections(settings.home_path).remember(connection)
    settings.backend, settings.connection = connection.kind, connection.name


def test_the_server_that_runs_go_to(look, settings, kfp_server) -> None:
    assert says(look("run", "server"))[:2] == ("not needed", "runs go to this machine")
    connect(settings, kfp_server.url, namespace="team-a")
    word, note, _ = says(look("run", "server"))
    assert word == "ok"
    assert note.startswith(f"Kubeflow Pipelines 2.5.0 at {kfp_server.url}, team-a")
    kfp_server.tokens = {"right"}
    found = look("run", "server")
    assert found.fails
    assert says(found)[2]


def test_a_server_with_a_wrong_token_is_said_without_the_token(look, settings, kfp_server, monkeypatch) -> None:
    monkeypatch.setenv("KFP_TOKEN", "POISON")
    kfp_server.tokens = {"right"}
    connect(settings, kfp_server.url, token_env="KFP_TOKEN")
    found = look("run", "server")
    assert found.fails
    assert "POISON" not in str(found)
    monkeypatch.setenv("KFP_TOKEN", "right")
    assert says(look("run", "server"))[0] == "ok"


def test_a_server_that_is_down(look, settings, closed_port) -> None:
    connect(settings, f"http://127.0.0.1:{closed_port}")
    found = look("run", "server")
    assert found.fails
    assert (found.answer.mend.magic, says(found)[2]) == ("%kfp_connect local", "export KFP_MAGICS_BACKEND=local")
    assert "Is it up" in found.answer.note


def test_a_connection_that_nobody_knows(look, settings) -> None:
    settings.backend, settings.connection = "kfp", "gone"
    found = look("run", "server")
    assert found.fails
    assert "gone" in found.answer.note


def test_vertex_ai(look, settings, monkeypatch, tmp_path) -> None:
    assert says(look("run", "Vertex AI"))[0] == "not needed"
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "nothing.json"))
    connect(settings, "vertex:shop/europe-west4")
    for name in ("Vertex AI", "server"):
        state, what, mend = says(look("run", name))
        assert (state, mend) == ("broken", "gcloud auth application-default login")
        assert "no Google credentials for Vertex AI in" in what
    server = VertexServer()
    try:
        connect(settings, "vertex:shop/europe-west4", endpoint=server.endpoint)
        assert says(look("run", "server"))[1].startswith("Vertex AI in europe-west4, project shop")
    finally:
        server.close()
