"""Single calls of a container engine's command: images, and the end of what is left."""

from __future__ import annotations

import asyncio
import subprocess
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from kfp_magics.backends.local.cancelling import ending
from kfp_magics.engines import UNRESOLVED, names, plain_http
from kfp_magics.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable

    from kfp_magics.engines import Engine

LABEL = "kfp-magics.run"
"""Label of every container of ours; its value is the id of the run."""

AT_ONCE = {"podman": ("--force", "--time", "0"), "docker": ("--force",)}
"""Options of ``rm`` that end what still runs, without waiting."""

# Its input ends when the supervisor does, however it does. A container may be just about to exist then.
_GUARD = """
read -r word && exit 0
for pause in 0 1 4; do
  sleep "$pause"
  found=$("$1" ps --all --quiet --filter "label=$2")
  [ -z "$found" ] || "$1" rm $3 $found
done
"""


async def call(engine: Engine, *words: str) -> str:
    """Calls an engine and gives what it printed; nothing when it refused, because what was to end has ended."""
    process = await asyncio.create_subprocess_exec(
        engine.program,
        *words,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    output, _ = await process.communicate()
    return "" if process.returncode else output.decode("utf-8", "replace").strip()


async def provide(engine: Engine, image: str, tell: Callable[[str], None], plain: str = "") -> None:
    """Pulls an image that is not on this machine yet.

    Args:
        engine: Who shall have it.
        image: Its reference.
        tell: Told how far it is.
        plain: Hosts where plain HTTP is asked for, as `plain_http` takes them.

    Raises:
        EngineError: It cannot be had.
    """
    if await call(engine, "image", "inspect", "--format", "{{.Id}}", image):
        return
    tell(f"pulling {image}")
    said = ""
    for name in names(engine, image):
        code, said = await _pull(engine, name, image, tell, plain)
        if not code:
            tell("")
            return
        if UNRESOLVED not in said:
            break
    raise _refusal(engine, image, said)


async def _pull(
    engine: Engine, name: str, shown: str, tell: Callable[[str], None], plain: str
) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        *(engine.program, "pull", *plain_http(engine, name, plain), name),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    last: deque[str] = deque(maxlen=3)
    layers: set[str] = set()
    async with ending(process):
        assert process.stdout is not None
        async for raw in process.stdout:
            line = raw.decode("utf-8", "replace").strip()
            last.append(line)
            if layer := _layer(line):
                layers.add(layer)
                tell(f"pulling {shown} ({len(layers)} {'layer' if len(layers) == 1 else 'layers'})")
        await process.wait()
    return process.returncode, " ".join(last)


def _layer(line: str) -> str:
    """The layer that a line of ``pull`` speaks of: ``Copying blob sha256:…`` or ``6e909acdb790: Pull complete``."""
    if line.startswith("Copying blob "):
        return line.split()[2]
    name, colon, what = line.partition(": ")
    return name if colon and what in {"Pull complete", "Already exists"} else ""


def _refusal(engine: Engine, image: str, said: str) -> EngineError:
    lower = said.lower()
    if any(word in lower for word in ("unauthorized", "denied", "authentication required", "forbidden")):
        host = image.partition("/")[0]
        hint = f"Log in for {engine.name}: {engine.name} login {host}"
    elif any(word in lower for word in ("manifest unknown", "not found", "name unknown", "no such image")):
        hint = "Build it (%kfp_build), or check its name."
    else:
        hint = "Check the network and the image's name."
    return EngineError(f"The image {image} cannot be pulled: {said[-400:]}", hint)


def remove_all(engine: Engine, run_id: str) -> None:
    """Ends and removes every container of a run."""
    listing = [engine.program, "ps", "--all", "--quiet", "--filter", f"label={LABEL}={run_id}"]
    found = subprocess.run(listing, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if names := found.stdout.split():
        removal = [engine.program, "rm", *AT_ONCE[engine.name], *names]
        subprocess.run(removal, stdin=subprocess.DEVNULL, capture_output=True, check=False)


class Guard:
    """A process that outlives the supervisor just to end its containers.

    Args:
        process: The guard, its input open.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, engine: Engine, run_id: str) -> Guard:
        """Starts to watch over a run."""
        words = ("guard", engine.program, f"{LABEL}={run_id}", " ".join(AT_ONCE[engine.name]))
        process = await asyncio.create_subprocess_exec(
            *("sh", "-c", _GUARD, *words),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        return cls(process)

    async def dismiss(self) -> None:
        """Ends it: everything is removed already."""
        with suppress(BrokenPipeError, ConnectionResetError):
            await self._process.communicate(b"done\n")
