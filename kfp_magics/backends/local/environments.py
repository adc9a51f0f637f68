"""Environments of Python steps: made by uv, kept by the hash of what they hold, shared by all runs."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import importlib.metadata
import json
import os
import shutil
import sys
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from kfp_magics.backends.local.cancelling import ending
from kfp_magics.errors import RequirementsError
from kfp_magics.installer import uv

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from kfp_magics.backends.local.recipe import Recipe

_READY = ".ready"
_PAUSE = 0.05  # seconds between two looks at a lock that others hold
_HOPELESS = ("No solution found", "not found in the package registry", "was not found", "Failed to parse", "Failed to")


class Environments:
    """Makes environments and remembers them.

    Args:
        folder: Where they are kept.
        offline: Use uv's cache only.
    """

    def __init__(self, folder: Path, *, offline: bool) -> None:
        self._folder = folder
        self._offline = offline
        self._ready: dict[str, Path] = {}

    async def python(self, recipe: Recipe) -> Path:
        """Gives the interpreter of an environment, which is made when it is not there yet.

        An environment holds what the step requires and KFP's runtime, nothing of the notebook's own.

        Args:
            recipe: The step.

        Raises:
            RequirementsError: It cannot be made; nothing half-made is left.
        """
        wanted = _content(recipe)
        key = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()[:16]
        if key not in self._ready:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            place = self._folder / key
            async with _alone(self._folder / f"{key}.lock") as lock:
                if not (place / _READY).exists():
                    await self._make(place, recipe, str(wanted["kfp"]), lock)
                    (place / _READY).write_text(json.dumps(wanted), encoding="utf-8")
            os.utime(place / _READY)  # when it was last used
            self._ready[key] = place / "bin" / "python"
        return self._ready[key]

    async def _make(self, place: Path, recipe: Recipe, kfp: str, lock: int) -> None:
        shutil.rmtree(place, ignore_errors=True)
        try:
            await _uv(lock, "venv", "--quiet", "--no-project", "--python", sys.executable, str(place))
            target = ("--python", str(place / "bin" / "python"))
            options = [*_index_options(recipe), *(["--offline"] if self._offline else [])]
            if recipe.packages:
                await _uv(lock, "pip", "install", "--quiet", *target, *options, *recipe.packages)
            if kfp.startswith("linked "):
                self._link_kfp(place)
            elif not _names_kfp(recipe.packages):
                await _uv(lock, "pip", "install", "--quiet", "--no-deps", *target, *options, kfp)
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise

    def _link_kfp(self, place: Path) -> None:
        """Lends our own KFP to an environment: no network, no copy, and none of our other packages."""
        version, source = _our_kfp()
        folder = self._folder / f"kfp-{version}-{hashlib.sha256(str(source).encode()).hexdigest()[:8]}"
        folder.mkdir(exist_ok=True)
        link = folder / "kfp"
        if not link.is_symlink():
            draft = folder / f".kfp-{os.getpid()}"
            draft.symlink_to(source)
            draft.replace(link)
        [packages] = place.glob("lib/python*/site-packages")
        # A .pth file puts the folder behind the step's own packages: what the step requires wins. Its plain lines are
        # read in the encoding of the locale, whatever that is, and so the path is spelled in ASCII.
        (packages / "kfp_magics_runtime.pth").write_text(
            f"import sys; sys.path.append({str(folder)!a})\n", encoding="ascii"
        )


def _content(recipe: Recipe) -> dict[str, str | list[str]]:
    return {
        "packages": sorted(recipe.packages),
        "index_urls": list(recipe.index_urls),
        "trusted_hosts": list(recipe.trusted_hosts),
        "kfp": _runtime(recipe),
        "python": f"{sys.implementation.cache_tag} {sys.base_prefix}",
    }


def _runtime(recipe: Recipe) -> str:
    version, place = _our_kfp()
    return f"linked {version} {place}" if recipe.kfp in {"", f"kfp=={version}"} else recipe.kfp


@cache
def _our_kfp() -> tuple[str, Path]:
    """Version and place of the KFP that runs here; looking takes milliseconds, and every attempt asks."""
    distribution = importlib.metadata.distribution("kfp")
    return distribution.version, Path(str(distribution.locate_file("kfp")))


def _names_kfp(packages: tuple[str, ...]) -> bool:
    return any(package == "kfp" or package.startswith(("kfp=", "kfp>", "kfp<", "kfp~", "kfp[")) for package in packages)


def _index_options(recipe: Recipe) -> list[str]:
    first, *others = recipe.index_urls or ("",)
    return [
        *(["--index-url", first] if first else []),
        *(word for url in others for word in ("--extra-index-url", url)),
        *(word for host in recipe.trusted_hosts for word in ("--allow-insecure-host", host)),
    ]


@asynccontextmanager
async def _alone(path: Path) -> AsyncIterator[int]:
    """Holds a lock. A child that is given it holds it, too: one that outlives its supervisor is waited for."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(_PAUSE)
        yield file
    finally:
        os.close(file)


async def _uv(lock: int, *words: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *uv(*words),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=-1,
        stderr=asyncio.subprocess.STDOUT,
        pass_fds=(lock,),
    )
    async with ending(process):
        output, _ = await process.communicate()
    if process.returncode:
        raise _refusal(output.decode("utf-8", "replace"))


def _refusal(output: str) -> RequirementsError:
    lines = [line.strip(" │╰─▶×├") for line in output.splitlines() if line.strip(" │╰─▶×├")]
    start = next((n for n, line in enumerate(lines) if line.startswith(_HOPELESS)), 0)
    why = " ".join(lines[start : start + 4])[:600]
    network = any(word in output for word in ("dns error", "Network", "Connection", "timed out", "offline"))
    return RequirementsError(
        f"The step's requirements cannot be installed: {why or 'uv gave no reason'}",
        "Check the network, or set KFP_MAGICS_OFFLINE=true to use what is cached."
        if network
        else "Check their names and versions: --packages names them, --no-infer leaves out the inferred ones.",
    )
