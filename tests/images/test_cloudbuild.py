"""Cloud Build: Google's clients against a server that speaks their protocol and really builds."""

from __future__ import annotations

import gzip
import os
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import httpx
import pytest
from gcp_storage_emulator.server import create_server
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.cloud.devtools import cloudbuild_v1 as cb

from kfp_magics.errors import BuildCancelledError, BuildError
from kfp_magics.images.base import ImageSpec
from kfp_magics.images.cloudbuild import CloudBuildBuilder
from kfp_magics.images.cloudbuild.builder import BuildOptions
from kfp_magics.images.cloudbuild.config import dockerfile_config, read_config
from kfp_magics.images.cloudbuild.service import Place, default_bucket
from kfp_magics.images.folders import digest_of, read_folder
from kfp_magics.images.registry import Registries
from kfp_magics.settings import Settings
from tests.images.cloudbuild_server import LOGS, CloudBuildServer, Fault
from tests.images.containers import Podman, push_base, skopeo_inspect
from tests.images.registries import Server

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


class Log:
    """A build's log in memory; ``cancel_at`` ends the build when a text has been written."""

    def __init__(self, cancel_at: str = "") -> None:
        self.text = ""
        self.steps: list[str] = []
        self._cancel_at = cancel_at

    def write(self, text: str) -> None:
        self.text += text

    def step(self, what: str, done: float | None = None) -> None:
        self.steps.append(what)

    def fact(self, name: str, value: str | float) -> None:
        """Not read here."""

    def check(self) -> None:
        if self._cancel_at and self._cancel_at in self.text:
            raise BuildCancelledError("The build was cancelled.")


@pytest.fixture
def google_storage(monkeypatch: pytest.MonkeyPatch) -> Iterator[storage.Client]:
    server = create_server("localhost", 0, in_memory=True)
    server.start()
    host, port = server._api._httpd.server_address[:2]
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://{host}:{port}")
    yield storage.Client(project="shop", credentials=AnonymousCredentials())
    server.stop()


@pytest.fixture
def base(registry: Server) -> str:
    return push_base(registry.host)


@pytest.fixture
def server(google_storage: storage.Client, podman: Podman, base: str) -> Iterator[CloudBuildServer]:
    made = CloudBuildServer(google_storage, dict(os.environ), base)
    yield made
    made.close()


@pytest.fixture
def registries(settings: Settings) -> Iterator[Registries]:
    made = Registries(settings)
    yield made
    made.close()


@pytest.fixture
def builder(server: CloudBuildServer, registry: Server, registries: Registries) -> Callable[..., CloudBuildBuilder]:
    def make(**options: object) -> CloudBuildBuilder:
        place = Place(project="shop", endpoint=server.endpoint)
        wanted = BuildOptions(interval=0.05, **options)  # type: ignore[arg-type]
        return CloudBuildBuilder(f"{registry.host}/team", place, registries, wanted)

    return make


def spec_of(folder: Path, name: str = "train") -> ImageSpec:
    return ImageSpec(name=name, folder=str(folder), folder_digest=digest_of(read_folder(folder)))


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


Make = Callable[..., CloudBuildBuilder]


def test_a_folder_with_a_dockerfile_becomes_an_image_that_runs(
    builder: Make, base: str, tmp_path: Path, podman: Podman, server: CloudBuildServer, registry: Server
) -> None:
    folder = write(tmp_path / "train", Dockerfile=f"FROM {base}\nCOPY hello.py /\nCMD python3 /hello.py\n")
    write(folder, hello__py="print('gebaut: ä')")
    log = Log()
    spec = spec_of(folder)
    made = builder().build(spec, log)
    assert made.repository == f"{registry.host}/team/train"
    assert made.digest == skopeo_inspect(f"{made.repository}:{spec.tag}")["Digest"]
    assert podman.run(str(made)) == "gebaut: ä\n"
    assert "FETCHSOURCE" in log.text
    assert "DONE" in log.text
    assert any(step.startswith("step docker") for step in log.steps)
    again = builder().build(spec, Log())  # the same source is not uploaded again
    assert again.repository == made.repository
    sources = {
        (one.source.storage_source.object_, one.source.storage_source.generation) for one in server.builds.values()
    }
    assert len(server.builds) == 2
    assert len(sources) == 1


CONFIG = """
steps:
  - id: generate
    name: python:3.11
    dir: '${_DIR_IN_REPO}'
    entrypoint: bash
    args: [-c, 'x=7; echo "answer = 6 * $$x" > answer.py; echo "_FLAVOUR is ${_FLAVOUR}"']
  - id: lint
    name: python:3.11
    dir: '${DIR_IN_REPO}'
    script: python3 -m compileall -q . && echo linted
    waitFor: [generate]
  - id: image
    name: gcr.io/cloud-builders/docker
    dir: '${_DIR_IN_REPO}'
    args: [build, -t, '${_REGISTRY}/$_CONTAINER_NAME:latest', .]
    waitFor: [generate]
images: ['${_REGISTRY}/$_CONTAINER_NAME:latest']
substitutions: {_FLAVOUR: vanilla}
timeout: 300s
options: {machineType: E2_HIGHCPU_8}
"""


def test_a_configuration_of_the_users_own_is_carried_out(
    builder: Make, base: str, tmp_path: Path, podman: Podman, server: CloudBuildServer
) -> None:
    dockerfile = f"FROM {base}\nCOPY answer.py /\nWORKDIR /\nCMD python3 -c 'import answer; print(answer.answer)'\n"
    folder = write(tmp_path / "own", Dockerfile=dockerfile)
    write(folder, cloudbuild__yaml=CONFIG)
    log = Log()
    spec = spec_of(folder, "own")
    made = builder(service_account="builder@shop.iam.gserviceaccount.com").build(spec, log)
    assert made.digest == skopeo_inspect(f"{made.repository}:{spec.tag}")["Digest"]
    assert podman.run(str(made)) == "42\n"
    assert "_FLAVOUR is vanilla" in log.text
    assert "linted" in log.text
    (build,) = server.builds.values()
    assert build.options.machine_type == cb.BuildOptions.MachineType.E2_HIGHCPU_8
    assert build.service_account == "projects/-/serviceAccounts/builder@shop.iam.gserviceaccount.com"
    assert build.options.default_logs_bucket_behavior == 1
    assert build.timeout.total_seconds() == 300


def sleeper(folder: Path, seconds: float, **more: str) -> Path:
    config = (
        f"steps: [{{name: python, entrypoint: sh, args: [-c, 'echo begun; sleep {seconds}; echo over'], id: sleep}}]"
    )
    return write(folder, cloudbuild__yaml=config, **more)


def test_cancelling_ends_the_build_there(builder: Make, tmp_path: Path, server: CloudBuildServer) -> None:
    with pytest.raises(BuildCancelledError):
        builder().build(spec_of(sleeper(tmp_path / "s", 60)), Log(cancel_at="begun"))
    (build,) = server.builds.values()
    assert build.status is cb.Build.Status.CANCELLED


def test_a_time_limit_says_how_to_raise_it(builder: Make, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="time limit of 1 s") as caught:
        builder(timeout=1).build(spec_of(sleeper(tmp_path / "s", 60)), Log())
    assert "timeout: 2s" in caught.value.hint


def test_a_failing_step_is_named_with_its_exit_code(builder: Make, tmp_path: Path) -> None:
    config = "steps: [{name: python, id: test, entrypoint: sh, args: [-c, 'echo no >&2; exit 3']}]"
    log = Log()
    with pytest.raises(BuildError, match="failed in step 'test', exit code 3") as caught:
        builder().build(spec_of(write(tmp_path / "f", cloudbuild__yaml=config)), log)
    assert "console.cloud.google.com" in caught.value.hint
    assert "no\n" in log.text


def test_an_image_that_is_not_there_after_the_steps_fails(builder: Make, tmp_path: Path) -> None:
    config = "steps: [{name: python, args: ['true'], entrypoint: env}]\nimages: ['${_REGISTRY}/nothing:${_TAG}']"
    with pytest.raises(BuildError, match="failed to push"):
        builder().build(spec_of(write(tmp_path / "f", cloudbuild__yaml=config)), Log())


def test_a_build_that_pushes_nothing_is_told_how(builder: Make, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="pushed no image") as caught:
        builder().build(spec_of(sleeper(tmp_path / "s", 0)), Log())
    assert "images:" in caught.value.hint


@pytest.mark.parametrize(
    ("code", "message", "says", "hint"),
    [
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "Quota exceeded for quota metric 'Build'", "Quota exceeded", "quota"),
        (
            grpc.StatusCode.PERMISSION_DENIED,
            "The caller does not have permission",
            "You may not start a build",
            "roles/",
        ),
        (grpc.StatusCode.INVALID_ARGUMENT, "invalid build: no", "invalid build: no", "Mend"),
    ],
)
def test_what_google_refuses_is_said_in_two_lines(
    builder: Make, tmp_path: Path, server: CloudBuildServer, code: grpc.StatusCode, message: str, says: str, hint: str
) -> None:
    server.faults["CreateBuild"] = Fault(code, message)
    with pytest.raises(BuildError, match=says) as caught:
        builder().build(spec_of(sleeper(tmp_path / "s", 0)), Log())
    assert hint in caught.value.hint
    assert server.builds == {}


def test_a_lost_answer_does_not_start_a_build_twice(builder: Make, tmp_path: Path, server: CloudBuildServer) -> None:
    server.faults["CreateBuild"] = Fault(UNAVAILABLE, "connection reset", after=True)
    with pytest.raises(BuildError, match="pushed no image"):  # it ended well, as far as a build of this kind can
        builder().build(spec_of(sleeper(tmp_path / "s", 0)), Log())
    assert len(server.builds) == 1


def test_a_connection_that_is_lost_for_a_while_ends_nothing(
    builder: Make, base: str, tmp_path: Path, server: CloudBuildServer
) -> None:
    folder = write(tmp_path / "b", Dockerfile=f"FROM {base}\nCMD echo hi\n")
    server.faults["GetBuild"] = Fault(UNAVAILABLE, "socket closed", times=5)
    log = Log()
    assert builder().build(spec_of(folder), log).digest.startswith("sha256:")
    assert "Cloud Build does not answer; trying again" in log.steps


def test_a_connection_that_stays_lost_says_that_the_build_goes_on(
    builder: Make, tmp_path: Path, server: CloudBuildServer
) -> None:
    server.faults["GetBuild"] = Fault(UNAVAILABLE, "socket closed", times=10_000)
    with pytest.raises(BuildError, match="out of reach") as caught:
        builder(patience=0.2).build(spec_of(sleeper(tmp_path / "s", 0)), Log())
    assert "goes on there" in caught.value.hint


def test_the_log_arrives_while_the_build_runs(builder: Make, tmp_path: Path, server: CloudBuildServer) -> None:
    log, ended, gate = Log(), threading.Event(), tmp_path / "gate"
    script = f"echo begun; while [ ! -e {gate} ]; do sleep 0.05; done; echo over"
    config = f"steps: [{{name: gcr.io/cloud-builders/docker, entrypoint: sh, args: [-c, '{script}'], id: waits}}]"

    def build() -> None:
        with pytest.raises(BuildError, match="pushed no image"):
            builder().build(spec_of(write(tmp_path / "s", cloudbuild__yaml=config)), log)
        ended.set()

    thread = threading.Thread(target=build, daemon=True)
    thread.start()
    while "begun" not in log.text:
        assert not ended.is_set(), log.text
        time.sleep(0.02)
    assert not ended.is_set()
    gate.touch()
    thread.join()
    assert "over" in log.text


def test_secrets_stay_here(builder: Make, base: str, tmp_path: Path, google_storage: storage.Client) -> None:
    folder = write(tmp_path / "b", Dockerfile=f"FROM {base}\nCOPY . /src\nCMD ls -A /src\n", __env="PASSWORD=hunter2")
    builder().build(spec_of(folder), Log())
    for bucket in google_storage.list_buckets():
        for blob in bucket.list_blobs():
            content = blob.download_as_bytes(raw_download=True)
            if blob.name.endswith(".tgz"):
                content = gzip.decompress(content)
            assert b"hunter2" not in content
    assert google_storage.bucket(LOGS).exists()


def test_the_bucket_for_sources_is_the_one_that_googles_own_tools_use() -> None:
    assert default_bucket("shop", "global") == "shop_cloudbuild"
    assert default_bucket("google.com:shop", "europe-west1") == "elgoog_com_shop_europe-west1_cloudbuild"


@pytest.fixture
def strangers(google_storage: storage.Client, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The emulator knows no owners of buckets: here every bucket belongs to somebody else."""
    behind = os.environ["STORAGE_EMULATOR_HOST"]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            listing = self.path.startswith("/storage/v1/b?")
            answer = b"{}" if listing else httpx.get(behind + self.path).content
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever).start()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_port}")
    yield
    server.shutdown()
    server.server_close()


def test_a_strangers_bucket_of_the_usual_name_is_refused(
    google_storage: storage.Client, server: CloudBuildServer, registries: Registries, strangers: None, tmp_path: Path
) -> None:
    google_storage.create_bucket("shop_cloudbuild")
    builder = CloudBuildBuilder("127.0.0.1:1/team", Place(project="shop", endpoint=server.endpoint), registries)
    with pytest.raises(BuildError, match="belongs to another project") as caught:
        builder.build(spec_of(sleeper(tmp_path / "s", 0)), Log())
    assert "KFP_MAGICS_CLOUDBUILD_BUCKET" in caught.value.hint
    assert server.builds == {}


def test_an_endpoint_without_encryption_is_taken_on_this_machine_only(registries: Registries) -> None:
    with pytest.raises(BuildError, match="not encrypted"):
        CloudBuildBuilder("h/team", Place(project="shop", endpoint="http://builds.example"), registries)


def test_the_settings_say_where_and_how(
    server: CloudBuildServer, registry: Server, registries: Registries, settings: Settings, tmp_path: Path
) -> None:
    settings.google_project, settings.google_region = "shop", "europe-west1"
    settings.cloudbuild_endpoint, settings.cloudbuild_bucket = server.endpoint, "sources"
    settings.cloudbuild_machine_type, settings.cloudbuild_timeout = "E2_HIGHCPU_8", 77
    builder = CloudBuildBuilder.from_settings(f"{registry.host}/team", settings, registries, {"_WORD": "wo rt"})
    config = "steps: [{name: python, entrypoint: echo, args: ['${_WORD}']}]"
    log = Log()
    with pytest.raises(BuildError, match="pushed no image"):
        builder.build(spec_of(write(tmp_path / "f", cloudbuild__yaml=config)), log)
    assert "wo rt" in log.text
    (build,) = server.builds.values()
    assert build.name.startswith("projects/shop/locations/europe-west1/builds/")
    assert build.source.storage_source.bucket == "sources"
    assert build.timeout.total_seconds() == 77
    settings.cloudbuild_machine_type = "E2_HIGHCPU_9"
    wrong = CloudBuildBuilder.from_settings(f"{registry.host}/team", settings, registries)
    with pytest.raises(BuildError, match="no machine type"):
        wrong.build(spec_of(sleeper(tmp_path / "s", 0)), Log())


def test_without_credentials_the_next_command_is_said(
    monkeypatch: pytest.MonkeyPatch, registries: Registries, tmp_path: Path
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "nothing.json"))
    with pytest.raises(BuildError, match="no Google credentials") as caught:
        CloudBuildBuilder("h/team", Place(project="shop"), registries)
    assert caught.value.hint == "gcloud auth application-default login"


BAD = [
    ("steps: []", "has no steps", "steps:"),
    ("steps: [{name: x, args: [1]}]", "expected string", "Quote"),
    ("steps: [{name: x, foo: 1}]", "foo", "schema"),
    ("steps: [{name: x}]\ntimeout: '600'", "uration", "600s"),
    ("steps: [{name: x}]\nsource: {}", "source of its own", "Leave"),
    ("steps: [{name: x, args: ['$HOME_DIR']}]", r"\$HOME_DIR", r"$$HOME_DIR"),
    ("steps: [{name: x, args: ['${_REGION}']}]", "_REGION", "substitutions:"),
    ("steps: [{name: x}]\nsubstitutions: {_A: b}", "never uses it", "ALLOW_LOOSE"),
    ("steps: [{name: x}]\nsubstitutions: {_A: 3}", "only text", "Quote"),
    ("steps: [{name: x}]\nsubstitutions: {a: b}", "cannot be called", "underscore"),
    ("steps: [{name: x, waitFor: [buidl]}, {id: build, name: y}]", "waits for 'buidl'", "earlier"),
    ("steps: [{name: x, id: a}, {id: a, name: y}]", "stands twice", "id"),
    ("steps: [{name: x, script: a, args: [b]}]", "a script and args", "Keep one"),
    ("steps: [{args: [b]}]", "names no image", "name:"),
    ("steps: [", "no YAML", "Mend"),
]


@pytest.mark.parametrize(("text", "says", "hint"), BAD, ids=[text for text, _, _ in BAD])
def test_a_configuration_that_google_would_refuse_is_refused_here(text: str, says: str, hint: str) -> None:
    with pytest.raises(BuildError, match=says) as caught:
        read_config(text, {})
    assert hint in caught.value.hint


def test_only_what_a_configuration_uses_is_filled_in() -> None:
    build = read_config(
        "steps: [{name: '$_TAG', args: ['${DIR}', '$$HOME']}]", {"_TAG": "v1", "_NO": "x", "DIR": "a/b"}
    )
    assert dict(build.substitutions) == {"_TAG": "v1"}
    assert list(build.steps[0].args) == ["a/b", "$$HOME"]
    assert read_config(dockerfile_config("h/x:1"), {}).images == ["h/x:1"]
