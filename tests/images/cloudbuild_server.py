"""A Google Cloud Build for tests: its own service and messages over gRPC, and builds really carried out.

Sources come from a Cloud Storage emulator, or from git as for builds of triggers; logs go to the emulator. Steps
of ``gcr.io/cloud-builders/docker`` run here, with a ``docker`` that is buildah; every other step runs in a container of
podman's, in the image `default_builder`.
"""

from __future__ import annotations

import dataclasses
import re
import subprocess
import tarfile
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from google.cloud import storage
from google.cloud.devtools import cloudbuild_v1 as cb
from google.longrunning import operations_pb2

NUMBER = "1234"  # of every project
LOGS = f"{NUMBER}.cloudbuild-logs.googleusercontent.com"
_SERVICE = "google.devtools.cloudbuild.v1.CloudBuild"
_Status = cb.Build.Status
_OVER = {_Status.SUCCESS, _Status.FAILURE, _Status.TIMEOUT, _Status.CANCELLED, _Status.INTERNAL_ERROR}
_DOCKER = """#!/bin/sh
# docker as far as the builder image of Google is used in practice, by buildah
verb=$1; shift
case $verb in
  build) exec buildah bud --isolation chroot --tls-verify=false "$@" ;;
  push) exec buildah push --tls-verify=false "$1" ;;
  tag) exec buildah tag "$1" "$2" ;;
  *) echo "docker: unknown command $verb" >&2; exit 1 ;;
esac
"""


@dataclasses.dataclass
class Fault:
    """What goes wrong with the next calls of one method."""

    code: grpc.StatusCode
    message: str
    times: int = 1
    after: bool = False  # the call is carried out, and its answer lost


class StoppedError(Exception):
    """A build is to end now."""

    def __init__(self, status: cb.Build.Status, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class CloudBuildServer:
    """Cloud Build of every project, on a port of this machine.

    Args:
        storage_client: Where sources are and logs go.
        environment: Variables for podman and buildah.
        default_builder: Image that steps run in, whatever image they name.
    """

    def __init__(self, storage_client: storage.Client, environment: dict[str, str], default_builder: str) -> None:
        self.builds: dict[str, cb.Build] = {}
        self.faults: dict[str, Fault] = {}
        self.calls: list[str] = []
        self._storage = storage_client
        self._environment = environment
        self._default_builder = default_builder
        self._cancelled: dict[str, threading.Event] = {}
        self._guard = threading.RLock()
        self._scratch = tempfile.TemporaryDirectory(prefix="cloudbuild-")
        docker = Path(self._scratch.name, "bin", "docker")
        docker.parent.mkdir()
        docker.write_text(_DOCKER)
        docker.chmod(0o755)
        self._workers = ThreadPoolExecutor(8, "build")
        self._server = grpc.server(ThreadPoolExecutor(8, "call"))
        methods = {
            "CreateBuild": (self._create, cb.CreateBuildRequest, operations_pb2.Operation),
            "GetBuild": (self._get, cb.GetBuildRequest, cb.Build),
            "ListBuilds": (self._list, cb.ListBuildsRequest, cb.ListBuildsResponse),
            "CancelBuild": (self._cancel, cb.CancelBuildRequest, cb.Build),
        }
        handlers = {name: self._handler(name, *parts) for name, parts in methods.items()}
        self._server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(_SERVICE, handlers)])
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        for event in self._cancelled.values():
            event.set()
        self._server.stop(None)
        self._workers.shutdown()
        self._scratch.cleanup()

    # Calls

    def _handler(self, name: str, call: Callable[..., Any], request: Any, response: Any) -> grpc.RpcMethodHandler:
        def answer(message: Any, context: grpc.ServicerContext) -> Any:
            self.calls.append(name)
            fault = self.faults.get(name)
            if fault is not None and fault.times > 0 and not fault.after:
                fault.times -= 1
                context.abort(fault.code, fault.message)
            done = call(message, context)
            if fault is not None and fault.times > 0:
                fault.times -= 1
                context.abort(fault.code, fault.message)
            return done

        def write(message: Any) -> bytes:
            return message.SerializeToString() if hasattr(message, "SerializeToString") else response.serialize(message)

        return grpc.unary_unary_rpc_method_handler(answer, request.deserialize, write)

    def _create(self, request: cb.CreateBuildRequest, context: grpc.ServicerContext) -> operations_pb2.Operation:
        build = cb.Build.deserialize(cb.Build.serialize(request.build))
        build.project_id = request.project_id
        problem = problem_of(build)
        if problem:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, problem)
        self.start(build, request.parent)
        operation = operations_pb2.Operation(name=f"operations/build/{build.project_id}/{build.id}")
        operation.metadata.Pack(cb.BuildOperationMetadata.pb(cb.BuildOperationMetadata(build=build)))
        return operation

    def start(self, build: cb.Build, parent: str) -> Future[None]:
        """Starts a build that is as it must be; the future ends with it."""
        build.id = str(uuid.uuid4())
        build.name = f"{parent}/builds/{build.id}"
        build.logs_bucket = build.logs_bucket or f"gs://{LOGS}"
        build.log_url = f"https://console.cloud.google.com/cloud-build/builds/{build.id}?project={NUMBER}"
        build.status = _Status.QUEUED
        with self._guard:
            self.builds[build.id] = build
            self._cancelled[build.id] = threading.Event()
        return self._workers.submit(self._carry_out, build)

    def _get(self, request: cb.GetBuildRequest, context: grpc.ServicerContext) -> cb.Build:
        with self._guard:
            found = self.builds.get(request.id or request.name.rpartition("/")[2])
            if found is None:
                context.abort(grpc.StatusCode.NOT_FOUND, f"Requested entity was not found: {request.id}")
            return cb.Build.deserialize(cb.Build.serialize(found))

    def _list(self, request: cb.ListBuildsRequest, context: grpc.ServicerContext) -> cb.ListBuildsResponse:
        tag = re.fullmatch(r'tags="([^"]+)"', request.filter)
        if tag is None:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"invalid filter {request.filter!r}")
        with self._guard:
            return cb.ListBuildsResponse(builds=[one for one in self.builds.values() if tag and tag[1] in one.tags])

    def _cancel(self, request: cb.CancelBuildRequest, context: grpc.ServicerContext) -> cb.Build:
        self._cancelled[request.id].set()
        return self._get(cb.GetBuildRequest(id=request.id), context)

    # Builds

    def _carry_out(self, build: cb.Build) -> None:
        log = _Log(self._storage, build)
        deadline = time.monotonic() + (build.timeout.total_seconds() if build.timeout else 600)
        build.status = _Status.WORKING
        try:
            with tempfile.TemporaryDirectory(dir=self._scratch.name) as folder:
                workspace = Path(folder)
                log.add("FETCHSOURCE\n")
                self._fetch(build, workspace)
                log.add("BUILD\n")
                self._run_steps(build, workspace, log, deadline)
                self._push(build, log)
            status, detail = _Status.SUCCESS, ""
        except StoppedError as end:
            status, detail = end.status, str(end)
        log.add(f"{'DONE' if status is _Status.SUCCESS else 'ERROR'}\n{detail}\n")
        with self._guard:
            build.status_detail = detail
            if status is _Status.FAILURE and not build.failure_info.type_:
                build.failure_info.type_ = cb.Build.FailureInfo.FailureType.USER_BUILD_STEP
                build.failure_info.detail = detail
            build.status = status

    def _fetch(self, build: cb.Build, workspace: Path) -> None:
        if build.source.git_source.url:
            git = build.source.git_source
            for command in (["clone", "-q", git.url, "."], ["checkout", "-q", git.revision]):
                subprocess.run(["git", *command], cwd=workspace, check=True, capture_output=True)
            return
        source = build.source.storage_source
        with tempfile.TemporaryFile() as file:
            blob = self._storage.bucket(source.bucket).get_blob(source.object_)
            if blob is None or blob.generation != source.generation:
                build.failure_info.type_ = cb.Build.FailureInfo.FailureType.FETCH_SOURCE_FAILED
                raise StoppedError(_Status.FAILURE, "could not resolve source: object not found")
            blob.download_to_file(file)
            file.seek(0)
            with tarfile.open(fileobj=file) as tar:
                for member in tar:
                    assert not member.name.startswith(("/", "../")), member.name
                    assert member.isfile() or member.issym(), member.name
                tar.extractall(workspace)

    def _run_steps(self, build: cb.Build, workspace: Path, log: _Log, deadline: float) -> None:
        done: dict[str, threading.Event] = {step.id or str(n): threading.Event() for n, step in enumerate(build.steps)}
        failures: list[StoppedError] = []

        def one(number: int, step: cb.BuildStep) -> None:
            earlier = list(done)[:number]
            waits = [name for name in step.wait_for if name != "-"] if step.wait_for else earlier
            for name in waits:
                done[name].wait()
            try:
                if not failures:
                    self._run_step(build, step, number, workspace, log, deadline)
            except StoppedError as end:
                if not step.allow_failure:
                    failures.append(end)
            finally:
                done[step.id or str(number)].set()

        threads = [threading.Thread(target=one, args=(n, step)) for n, step in enumerate(build.steps)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]

    def _run_step(
        self, build: cb.Build, step: cb.BuildStep, number: int, workspace: Path, log: _Log, deadline: float
    ) -> None:
        label = f"Step #{number}" + (f' - "{step.id}"' if step.id else "")
        step.status = _Status.WORKING
        command, folder, environment = self._command(build, step, workspace)
        try:
            with subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            ) as process:
                watch = threading.Thread(target=self._end_in_time, args=(build, process, deadline))
                watch.start()
                assert process.stdout is not None
                for line in process.stdout:
                    log.add(f"{label}: {line}")
                process.wait()
                watch.join()
        except OSError as error:
            step.status, step.exit_code = _Status.FAILURE, 127
            raise StoppedError(_Status.FAILURE, f"build step {number} {step.name!r} failed: {error}") from error
        if self._cancelled[build.id].is_set():
            step.status = _Status.CANCELLED
            raise StoppedError(_Status.CANCELLED, "build was cancelled")
        if process.returncode and time.monotonic() >= deadline:
            step.status = _Status.TIMEOUT
            raise StoppedError(_Status.TIMEOUT, "build timed out")
        step.exit_code = process.returncode
        step.status = _Status.FAILURE if process.returncode else _Status.SUCCESS
        if process.returncode:
            what = f"build step {number} {step.name!r} failed: step exited with non-zero status: {process.returncode}"
            raise StoppedError(_Status.FAILURE, what)

    def _end_in_time(self, build: cb.Build, process: subprocess.Popen[str], deadline: float) -> None:
        while process.poll() is None:
            if self._cancelled[build.id].wait(0.05) or time.monotonic() >= deadline:
                process.kill()
                return

    def _command(self, build: cb.Build, step: cb.BuildStep, workspace: Path) -> tuple[list[str], Path, dict[str, str]]:
        def text(value: str) -> str:
            return substituted(build, value)

        image, inside = text(step.name), text(step.dir_) or "."
        variables = dict(text(one).partition("=")[::2] for one in (*build.options.env, *step.env))
        args = ["-c", step.script] if step.script else [text(one) for one in step.args]
        entrypoint = "bash" if step.script else text(step.entrypoint)
        if image.startswith("gcr.io/cloud-builders/docker"):
            path = f"{self._scratch.name}/bin:{self._environment['PATH']}"
            environment = self._environment | variables | {"PATH": path, "HOME": str(workspace)}
            return [entrypoint or f"{self._scratch.name}/bin/docker", *args], workspace / inside, environment
        command = ["podman", "run", "--rm", "--tls-verify=false", "--volume", f"{workspace}:/workspace"]
        command += ["--workdir", f"/workspace/{inside}"]
        command += [f"--env={name}={value}" for name, value in variables.items()]
        command += [f"--entrypoint={entrypoint}"] if entrypoint else []
        return [*command, self._default_builder, *args], workspace, self._environment

    def _push(self, build: cb.Build, log: _Log) -> None:
        log.add("PUSH\n")
        for name in build.images:
            image = substituted(build, name)
            with tempfile.NamedTemporaryFile("r") as digest:
                command = ["buildah", "push", "--tls-verify=false", "--digestfile", digest.name, image]
                done = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False)
                log.add(done.stdout + done.stderr)
                if done.returncode:
                    kinds = cb.Build.FailureInfo.FailureType
                    denied = "denied" in done.stderr or "unauthorized" in done.stderr
                    build.failure_info.type_ = kinds.PUSH_NOT_AUTHORIZED if denied else kinds.PUSH_IMAGE_NOT_FOUND
                    build.failure_info.detail = f"failed to push {image}: {done.stderr.strip()[-200:]}"
                    raise StoppedError(_Status.FAILURE, build.failure_info.detail)
                build.results.images.append(cb.BuiltImage(name=image, digest=digest.read().strip()))


class _Log:
    """The log of a build: an object that is written anew with every line."""

    def __init__(self, client: storage.Client, build: cb.Build) -> None:
        bucket, _, folder = build.logs_bucket.removeprefix("gs://").partition("/")
        self._blob = (client.lookup_bucket(bucket) or client.create_bucket(bucket)).blob(
            f"{folder}/log-{build.id}.txt".lstrip("/")
        )
        self._text = ""
        self._kept = build.options.logging != cb.BuildOptions.LoggingMode.CLOUD_LOGGING_ONLY
        self._guard = threading.Lock()

    def add(self, text: str) -> None:
        with self._guard:
            self._text += text
            if self._kept:
                self._blob.upload_from_string(self._text.encode(), content_type="text/plain")


def known_substitutions(build: cb.Build) -> dict[str, str]:
    given = dict(build.substitutions)
    empty = ("TRIGGER_NAME", "COMMIT_SHA", "REVISION_ID", "SHORT_SHA", "REPO_NAME", "BRANCH_NAME", "TAG_NAME")
    built_in = {"PROJECT_ID": build.project_id, "BUILD_ID": build.id, "PROJECT_NUMBER": NUMBER, "LOCATION": "global"}
    return dict.fromkeys(empty, "") | given | built_in


def substituted(build: cb.Build, text: str) -> str:
    known = known_substitutions(build)

    def one(match: re.Match[str]) -> str:
        if match.group() == "$$":
            return "$"
        return known[(match.group(1) or match.group(2))]

    return re.sub(r"\$\$|\$\{([A-Z_][A-Z0-9_]*)\}|\$([A-Z_][A-Z0-9_]*)", one, text)


def _strings(build: cb.Build) -> Iterator[str]:
    yield from build.images
    yield from build.tags
    for step in build.steps:
        yield from (step.name, step.dir_, step.entrypoint, *step.args, *step.env)


def problem_of(build: cb.Build) -> str:
    """Why Cloud Build refuses a build, or nothing; after its documentation."""
    if not build.steps:
        return "invalid build: no steps specified"
    known, used = known_substitutions(build), set()
    for text in _strings(build):
        for first, second in re.findall(r"\$(?:\$|\{([A-Z_][A-Z0-9_]*)\}|([A-Z_][A-Z0-9_]*))", text):
            if name := first or second:
                used.add(name)
                if name not in known:
                    return f'invalid build: key in the template "{name}" is not a valid built-in substitution'
    loose = build.options.substitution_option == cb.BuildOptions.SubstitutionOption.ALLOW_LOOSE
    unused = [name for name in build.substitutions if name.startswith("_") and name not in used]
    if unused and not loose:
        return f'invalid build: key "{unused[0]}" in the substitution data is not matched in the template'
    ids: set[str] = set()
    for number, step in enumerate(build.steps):
        if not step.name:
            return f"invalid build: step {number} has no name"
        if set(step.wait_for) - ids - {"-"}:
            return f"invalid build: step {number} depends on {list(step.wait_for)!r}, which has not been defined"
        if step.script and (step.args or step.entrypoint):
            return f"invalid build: step {number}: script cannot be used with args or entrypoint"
        ids.add(step.id)
    for image in build.images:
        if re.search(r"[A-Z]", substituted(build, image).rpartition(":")[0]):
            return f"invalid build: invalid image name {image!r}"
    source = build.source.storage_source
    if not (source.bucket and source.object_) and not build.source.git_source.url:
        return "invalid build: no source"
    options = build.options
    if build.service_account and not (build.logs_bucket or options.logging or options.default_logs_bucket_behavior):
        return (
            "if 'build.service_account' is specified, the build must either (a) specify 'build.logs_bucket', (b) use "
            "the REGIONAL_USER_OWNED_BUCKET build.options.default_logs_bucket_behavior option, or (c) use either "
            "CLOUD_LOGGING_ONLY / NONE logging options"
        )
    return ""
