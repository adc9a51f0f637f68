"""Tasks as processes of this machine: each its own, forked from a warm server or started afresh."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kfp_magics.backends.local.cancelling import to_its_end
from kfp_magics.backends.local.endings import ended_by_signal, ended_with_code, over_quota, size_of
from kfp_magics.backends.local.environments import Environments
from kfp_magics.backends.local.executor import Outcome
from kfp_magics.backends.local.recipe import Recipe, recognise
from kfp_magics.model import COPIED, Failure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kfp_magics.backends.local.executor import Launch
    from kfp_magics.model import Json
    from kfp_magics.settings import Settings

_IN_IMAGES = "/opt/kfpm/"  # where images of ours have their code
_SERVER = Path(__file__).with_name("forkserver.py")
_LOOK = 0.5  # seconds between two looks at how much a task has written
_PASSED = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "SHELL", "TERM")
_PASSED_GROUPS = ("LC_", "SSL_", "REQUESTS_CA", "CURL_CA", "HTTP_", "HTTPS_", "NO_", "http_", "https_", "no_", "XDG_")
_BARE = ""


class ForkServer:
    """The supervisor's end of a server that forks tasks.

    Args:
        process: The server, its pipes open.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._ends: dict[str, asyncio.Future[int]] = {}
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, python: Path, mode: str, log: Path) -> ForkServer:
        """Starts a server.

        Args:
            python: The interpreter of the step's environment.
            mode: ``--warm`` imports KFP's runtime at once, ``--bare`` only executes commands.
            log: File for what the server itself has to say.
        """
        with log.open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                str(python), "-P", str(_SERVER), mode, stdin=-1, stdout=-1, stderr=errors, env=base_environment(python)
            )
        return cls(process)

    @property
    def alive(self) -> bool:
        """Whether it takes tasks."""
        return self._process.returncode is None and not self._reader.done()

    def begin(self, name: str, command: Mapping[str, Json]) -> asyncio.Future[int]:
        """Starts a task.

        Returns:
            Its exit code, once it has ended; negative for a signal.
        """
        self._ends[name] = asyncio.get_running_loop().create_future()
        self._send({"start": name, **command})
        return self._ends[name]

    def signal(self, name: str, number: int) -> None:
        """Sends a signal to every process of a task."""
        if self.alive:
            self._send({"signal": number, "id": name})

    def _send(self, message: Mapping[str, Json]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\n")

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            event = json.loads(line)
            if "status" in event and not (future := self._ends.pop(event["id"])).done():
                future.set_result(event["status"])
        for future in self._ends.values():  # the server is gone, and took its tasks along
            if not future.done():
                future.set_result(-signal.SIGKILL)
        self._ends.clear()

    async def close(self) -> None:
        """Ends the server and all its tasks."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        await self._process.wait()
        await self._reader


class ProcessExecutor:
    """Carries out attempts as processes of this machine.

    Args:
        settings: Where environments are, how tasks start and end.
        folder: The run's folder.
    """

    name = "process"

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings = settings
        self._folder = folder
        self._environments = Environments(settings.home_path / "envs", offline=settings.offline)
        self._servers: dict[str, ForkServer] = {}
        self._starting = asyncio.Lock()
        start = settings.task_start
        self._fork = start == "fork" or (start == "auto" and sys.platform == "linux")

    def refuse(self, image: str, command: Sequence[str], args: Sequence[str]) -> str | None:
        """Says why a container cannot run as a process here; see `Executor.refuse`."""
        if recognise(command, args) is not None:
            return None
        if not command:
            return f"its image {image!r} says what to run, and processes have no image.\nGive it a command."
        if any(word.startswith(_IN_IMAGES) for word in (*command, *args)):
            return f"its code is in its image {image!r}, and processes have no image.\n--executor container runs it."
        told = not command[0].startswith(("{{$", '{"'))  # otherwise only the run knows the word
        if told and shutil.which(command[0]) is None:
            return f"there is no program {command[0]!r} on this machine.\nInstall it: it would come from {image!r}."
        return None

    async def prepare(self, launch: Launch) -> None:
        """Makes the environment of a Python step; see `Executor.prepare`."""
        recipe = recognise(launch.command, launch.args)
        if recipe is not None:
            await self._environments.python(recipe)

    async def run(self, launch: Launch) -> Outcome:
        """Carries the attempt out; see `Executor.run`."""
        recipe = recognise(launch.command, launch.args)
        python = await self._environments.python(recipe) if recipe is not None else Path(sys.executable)
        task = launch.folder / "task.json"
        body = {"command": [*launch.command, *launch.args]} if recipe is None else _module(recipe, launch)
        task.write_text(json.dumps(body), encoding="utf-8")
        forked = recipe is not None and self._fork
        if recipe is not None and not forked:
            task = task.with_name("command.json")
            command = [str(python), "-P", str(_SERVER), "--once", str(launch.folder / "task.json")]
            task.write_text(json.dumps({"command": command}), encoding="utf-8")
        server = await self._server(python if forked else None)
        env = base_environment(python if recipe is not None else None) | dict(launch.env)
        wanted = {
            "task": str(task),
            "log": str(launch.log),
            "folder": str(launch.folder),
            "env": env,
            "quota": self._settings.disk_quota,
        }
        status, over = await self._watch(server, f"{launch.task_id} {launch.attempt}", wanted, launch.folder)
        if over:
            return Outcome(returncode=status, failure=over_quota(self._settings.disk_quota))
        return Outcome(returncode=status, failure=_failure(status, launch) if status else None)

    async def _server(self, python: Path | None) -> ForkServer:
        key = str(python) if python is not None else _BARE
        async with self._starting:
            found = self._servers.get(key)
            if found is None or not found.alive:
                mode = "--warm" if python is not None else "--bare"
                found = await ForkServer.start(python or Path(sys.executable), mode, self._folder / "supervisor.log")
                self._servers[key] = found
        return found

    async def _watch(self, server: ForkServer, name: str, wanted: Mapping[str, Any], folder: Path) -> tuple[int, bool]:
        """Waits for the end of a task, and sees to it that it ends when it must."""
        end = server.begin(name, wanted)
        try:
            while True:
                done, _ = await asyncio.wait({end}, timeout=_LOOK if wanted["quota"] else None)
                if done:
                    return end.result(), False
                if await asyncio.to_thread(size_of, folder) > wanted["quota"]:
                    await self._end(server, name, end)
                    return end.result(), True
        except asyncio.CancelledError:
            await to_its_end(self._end(server, name, end))
            raise

    async def _end(self, server: ForkServer, name: str, end: asyncio.Future[int]) -> None:
        server.signal(name, signal.SIGTERM)
        await asyncio.wait({end}, timeout=self._settings.grace)
        if not end.done():
            server.signal(name, signal.SIGKILL)
            await asyncio.wait({end})

    async def close(self) -> None:
        """Ends all servers."""
        await asyncio.gather(*(server.close() for server in self._servers.values()))


def base_environment(python: Path | None) -> dict[str, str]:
    """The variables that every task gets: as little of the notebook's own as a container would get.

    Args:
        python: The interpreter of the step's environment; None for plain commands.
    """
    kept = {name: value for name, value in os.environ.items() if name in _PASSED or name.startswith(_PASSED_GROUPS)}
    kept |= {"_KFP_RUNTIME": "true", "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
    kept["PYTHONUTF8"] = "1"  # as in Python's images, whatever the locale of this machine
    if python is not None:
        kept["VIRTUAL_ENV"] = str(python.parent.parent)
        kept["PATH"] = f"{python.parent}{os.pathsep}{kept.get('PATH', os.defpath)}"
    return kept


def _module(recipe: Recipe, launch: Launch) -> dict[str, Json]:
    source = launch.source
    return {
        "module": recipe.source,
        "function": recipe.function,
        "executor_input": dict(launch.executor_input),
        "folder": str(launch.folder),
        "label": source.label if source else "",
        "cell": source.source if source else "",
        "cell_id": source.cell_id if source else "",
        "line_offset": source.line_offset if source else 0,
        "cell_lines": source.source.partition(f"\n{COPIED}\n")[0].count("\n") + 1 if source else 0,
    }


def _failure(status: int, launch: Launch) -> Failure:
    with suppress(OSError, ValueError):
        return Failure(**json.loads((launch.folder / "failure.json").read_text(encoding="utf-8")))
    return ended_by_signal(-status, launch) if status < 0 else ended_with_code(status, launch)
