"""Tasks as containers of this machine, each in its image, by podman or docker."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import signal
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

from kfp_magics import engines
from kfp_magics.backends.local import client, endings
from kfp_magics.backends.local.cancelling import to_its_end
from kfp_magics.backends.local.executor import Launch, Outcome
from kfp_magics.backends.local.limits import limits
from kfp_magics.backends.local.tracebacks import read_traceback
from kfp_magics.errors import EngineError
from kfp_magics.model import Failure

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kfp_magics.engines import Engine
    from kfp_magics.settings import Settings

_LOOK = 0.5  # seconds between two looks at how much a task has written
_NOT_STARTED, _NOT_EXECUTABLE, _NO_PROGRAM = 125, 126, 127
_SIGNALLED = 128  # what shells and engines add to the number of a signal
_INIT_FAILED = re.compile(r"catatonit.*failed to exec|\[FATAL tini.*exec .* failed")
_OF_ENGINES = ("BUILDAH_", "CONTAINER", "DOCKER_", "LD_", "PODMAN_", "REGISTRY_", "SSL_", "XDG_")  # their variables
_INDEX = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST")  # for steps that install when they start


class ContainerExecutor:
    """Carries out attempts as containers of this machine.

    Args:
        settings: Which engine, how tasks end.
        folder: The run's folder.
    """

    name = "container"

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings = settings
        self._run_id = folder.name
        self._found: Engine | None = None
        self._guard: client.Guard | None = None
        self._starting = asyncio.Lock()
        self._images: dict[str, asyncio.Lock] = {}
        self._here: set[str] = set()
        self._removals: set[asyncio.Task[str]] = set()
        self._interrupted = False

    @property
    def engine(self) -> Engine:
        """The engine that the settings name, or the first that works.

        Raises:
            EngineError: None does.
        """
        if self._found is None:
            self._found = engines.first(candidates(self._settings))
        return self._found

    def refuse(self, image: str, command: Sequence[str], args: Sequence[str]) -> str | None:  # noqa: ARG002  (see Executor)
        """Says why a container cannot run here; see `Executor.refuse`."""
        if not image:
            return "it names no image.\nGive it one: --base-image IMAGE."
        _ = self.engine  # says why when there is none
        return None

    async def prepare(self, launch: Launch) -> None:
        """Sees to it that the image is on this machine; see `Executor.prepare`."""
        async with self._images.setdefault(launch.image, asyncio.Lock()):
            if launch.image not in self._here:
                await client.provide(self.engine, launch.image, launch.tell, self._settings.registry_plain_http)
                self._here.add(launch.image)

    async def run(self, launch: Launch) -> Outcome:
        """Carries the attempt out; see `Executor.run`."""
        await self._watch_over()
        launch.folder.chmod(0o777)  # an image may have a user of its own; the run's folder above keeps others out
        options, remark = limits(launch.resources, self.engine)
        if remark:
            launch.tell(remark)
        name = self._name(launch)
        try:
            process = await self._start(launch, name, options)
            status, over = await self._wait(process, name, launch.folder)
            failure = endings.over_quota(self._settings.disk_quota) if over else None
            if failure is None:
                failure = await self._failure(status, name, launch, options) if status else _leading_out(launch)
        except asyncio.CancelledError:
            self._interrupted = True
            raise
        finally:
            self._remove(name)
        return Outcome(returncode=status, failure=failure)

    async def _watch_over(self) -> None:
        async with self._starting:
            if self._guard is None:
                await asyncio.to_thread(client.remove_all, self.engine, self._run_id)  # of a supervisor that was killed
                self._guard = await client.Guard.start(self.engine, self._run_id)

    def _name(self, launch: Launch) -> str:
        task = hashlib.sha256(launch.task_id.encode()).hexdigest()[:10]
        return f"kfpm-{self._run_id}-{task}-{launch.attempt}"

    async def _start(self, launch: Launch, name: str, limited: tuple[str, ...]) -> asyncio.subprocess.Process:
        engine, values = self.engine, _variables(launch)
        inherited = _inherited(values)
        with _environment_file(values) as variables, launch.log.open("ab") as log:
            words = [
                *("run", "--name", name, "--pull", "never", "--log-driver", "none"),
                *("--label", f"{client.LABEL}={self._run_id}", "--label", f"{client.LABEL}.task={launch.task_id}"),
                *("--security-opt", "label=disable", *engine.init, *limited),
                *(word for path, writable in _mounts(launch).items() for word in _mount(path, writable=writable)),
                *("--env-file", f"/dev/fd/{variables.fileno()}"),
                *(word for name in inherited for word in ("--env", name)),
                *(("--entrypoint", launch.command[0]) if launch.command else ()),
                *(launch.image, *launch.command[1:], *launch.args),
            ]
            try:
                return await asyncio.create_subprocess_exec(
                    engine.program,
                    *words,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(variables.fileno(),),
                    start_new_session=True,
                    env=os.environ | inherited,
                )
            except OSError as error:
                raise EngineError(
                    f"The container of {launch.task_id!r} cannot be started: {error.strerror}.",
                    "Pass large values as artifacts, not as parameters.",
                ) from error

    async def _wait(self, process: asyncio.subprocess.Process, name: str, folder: Path) -> tuple[int, bool]:
        """Waits for the end of a container, and sees to it that it ends when it must."""
        quota = self._settings.disk_quota
        end = asyncio.ensure_future(process.wait())
        try:
            while True:
                done, _ = await asyncio.wait({end}, timeout=_LOOK if quota else None)
                if done:
                    return end.result(), False
                if await asyncio.to_thread(endings.size_of, folder) > quota:
                    await self._end(process, end, name)
                    return end.result(), True
        except asyncio.CancelledError:
            await to_its_end(self._end(process, end, name))
            raise

    async def _end(self, process: asyncio.subprocess.Process, end: asyncio.Future[int], name: str) -> None:
        grace = str(max(0, round(self._settings.grace)))
        for _ in range(5):  # the container may be just about to exist
            await client.call(self.engine, "stop", "-t", grace, name)
            await asyncio.wait({end}, timeout=0.3)
            if end.done():
                return
        with suppress(ProcessLookupError):
            process.kill()
        await end

    async def _failure(self, status: int, name: str, launch: Launch, limited: Sequence[str]) -> Failure:
        what = "{{.State.OOMKilled}} {{.State.Status}}"
        out_of_memory, _, state = (await client.call(self.engine, "inspect", "--format", what, name)).partition(" ")
        killed = status == _SIGNALLED + signal.SIGKILL and "--memory" in limited
        if out_of_memory == "true" or killed:  # with an init process in front, engines see only the signal
            return Failure(
                message="It was ended by SIGKILL, most likely for using more memory than it may have.",
                hint="Give it more with --memory, or less data.",
                cell_id=endings.cell_of(launch),
            )
        if state.strip() in {"", "created", "initialized", "configured"}:
            return _did_not_start(status, launch, self.engine)
        if _INIT_FAILED.search(endings.last_line(launch.log)):
            return _did_not_start(_NO_PROGRAM, launch, self.engine)
        if status > _SIGNALLED and status - _SIGNALLED in signal.valid_signals():
            return endings.ended_by_signal(status - _SIGNALLED, launch)
        return read_traceback(launch) or endings.ended_with_code(status, launch)

    def _remove(self, name: str) -> None:
        task = asyncio.create_task(client.call(self.engine, "rm", *client.AT_ONCE[self.engine.name], name))
        self._removals.add(task)
        task.add_done_callback(self._removals.discard)

    async def close(self) -> None:
        """Waits until nothing of the run is left."""
        await asyncio.gather(*self._removals)
        if self._interrupted:  # a container may have come to be after it was to be removed
            await asyncio.to_thread(client.remove_all, self.engine, self._run_id)
        if self._guard is not None:
            await self._guard.dismiss()


def candidates(settings: Settings) -> tuple[str, ...]:
    """The engines that may run containers, by preference."""
    return ("podman", "docker") if settings.container_engine == "auto" else (settings.container_engine,)


def _variables(launch: Launch) -> dict[str, str]:
    passed = {name: os.environ[name] for name in _INDEX if name in os.environ}
    return {"PYTHONUNBUFFERED": "1", **passed, **launch.env}


def _environment_file(values: Mapping[str, str]) -> IO[bytes]:
    """Writes variables to a file without a name: neither command lines nor folders show a secret."""
    file = tempfile.TemporaryFile()  # noqa: SIM115  (closed by whoever hands it on)
    file.write("".join(f"{name}={value}\n" for name, value in values.items() if "\n" not in value).encode())
    file.seek(0)
    return file


def _inherited(values: Mapping[str, str]) -> dict[str, str]:
    """The variables of several lines, which such a file cannot hold: the engine's command passes its own on."""
    found = {name: value for name, value in values.items() if "\n" in value}
    for name, value in found.items():
        if name.startswith(_OF_ENGINES) or os.environ.get(name, value) != value:
            raise EngineError(
                f"The variable {name} has several lines and means something to this machine as well.",
                "Give it another name, or mount it as a file (--secret-volume).",
            )
    return found


def _mounts(launch: Launch) -> Mapping[str, bool]:
    """What of this machine the container sees, at the same paths: its own folder, its inputs, and its volumes."""
    found = dict(launch.mounts)
    for path in _input_paths(launch):
        found.setdefault(path, False)
    return {**found, str(launch.folder): True}


def _input_paths(launch: Launch) -> Iterator[str]:
    for one in launch.executor_input.get("inputs", {}).get("artifacts", {}).values():
        for artifact in one.get("artifacts", ()):
            uri = artifact.get("uri", "")
            if uri.startswith("/") and os.path.exists(uri):  # noqa: PTH110  (a URI, not one of our paths)
                yield uri


def _mount(path: str, *, writable: bool) -> tuple[str, str]:
    if "," in path:
        raise EngineError(f"The path {path!r} cannot be mounted: it has a comma.", "Move the setting home elsewhere.")
    return "--mount", f"type=bind,source={path},target={path}" + ("" if writable else ",readonly")


def _leading_out(launch: Launch) -> Failure | None:
    """Refuses outputs that are links out of the step's folder: what they mean in the container is not what is here."""
    outputs = launch.executor_input.get("outputs", {})
    parameters, artifacts = outputs.get("parameters", {}), outputs.get("artifacts", {})
    places = [("executor_output.json", outputs.get("outputFile", ""))]
    places += [(name, one["outputFile"]) for name, one in parameters.items()]
    places += [(name, artifact["uri"]) for name, one in artifacts.items() for artifact in one.get("artifacts", ())]
    inside = launch.folder.resolve()
    for name, place in places:
        path = Path(place)
        if path.is_symlink() and not path.resolve().is_relative_to(inside):
            return Failure(
                message=f"The output {name!r} is a link to {path.readlink()}, which is only in the container.",
                hint="Write or copy the content to the path that the step was given.",
                cell_id=endings.cell_of(launch),
            )
    return None


def _did_not_start(status: int, launch: Launch, engine: Engine) -> Failure:
    program = launch.command[0] if launch.command else "entry point"
    cell_id = endings.cell_of(launch)
    if status in {_NOT_EXECUTABLE, _NO_PROGRAM}:
        able = "has no program" if status == _NO_PROGRAM else "cannot execute"
        return Failure(
            message=f"The image {launch.image} {able} {program!r}.",
            hint="Take a base image that has it (--base-image).",
            cell_id=cell_id,
        )
    last = endings.last_line(launch.log).removeprefix("Error: ")
    return Failure(message=f"{engine.name} did not start the container: {last}", cell_id=cell_id)
