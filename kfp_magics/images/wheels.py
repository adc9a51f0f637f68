"""Locked requirements, installed by uv for the platform of an image, whatever machine this is."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import re
import signal
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from kfp_magics.errors import BuildError
from kfp_magics.images import bytecode
from kfp_magics.images.children import follow
from kfp_magics.images.layers import SITE, Entry
from kfp_magics.images.lock import PLATFORMS, name_of
from kfp_magics.installer import uv

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from kfp_magics.images.compression import Compressor

Bytecode: TypeAlias = Literal["all", "small", "none"]
_COMPILED: dict[Bytecode, float] = {"all": math.inf, "small": 2e6, "none": 0}
_FORMAT = 1  # of the layers made from distributions; a new one makes all of them anew
_DROPPED = frozenset({"REQUESTED", "direct_url.json", "uv_cache.json"})  # they tell of this machine
_OTHER_BUILDER = "Build this step with an engine or on Cloud Build: --builder podman, docker, buildah or cloudbuild."
_CHATTER = (
    "Using ",
    "Building ",
    "Resolved ",
    "Prepared ",
    "error: No solution found",
    "No solution found",
    "hint:",
    "warning:",
)
_NO_WHEEL = ("no wheels", "building from source is disabled", "no usable wheels", "no source distribution")


@dataclass(frozen=True, slots=True)
class Locked:
    """One line of a lock.

    Attributes:
        name: The distribution, normalized.
        what: ``pandas==2.2.3``.
        hashes: What its file may hash to, sorted.
    """

    name: str
    what: str
    hashes: tuple[str, ...]

    @classmethod
    def read(cls, line: str) -> Locked:
        """Reads a line of a lock.

        Raises:
            BuildError: It is not pinned by hashes.
        """
        what, *hashes = re.split(r"\s+--hash[=\s]\s*", line.replace("\\\n", " ").strip())
        what = what.rstrip("\\ ")
        name = name_of(what)
        if not name:
            raise BuildError(f"The locked requirement {what!r} does not read.", "Lock the requirements again.")
        if not hashes:
            raise BuildError(f"The requirement {what!r} is locked without hashes.", "Lock the requirements again.")
        return cls(name, what, tuple(sorted(one.strip("\\ \n") for one in hashes)))

    @property
    def line(self) -> str:
        """As pip and uv read it."""
        return " ".join((self.what, *(f"--hash={one}" for one in self.hashes)))


@dataclass(frozen=True, slots=True)
class Target:
    """What wheels are installed for.

    Attributes:
        python: Minor version, ``3.11``.
        platform: As OCI writes it.
        how: How layers are packed.
        bytecode: Which distributions are compiled: ``all``, ``small`` (up to 2 MB of modules, which is KFP's runtime
            part and most others, and costs next to nothing) or ``none``.
    """

    python: str
    platform: str
    how: Compressor
    bytecode: Bytecode = "small"

    @property
    def most_compiled(self) -> float:
        """Bytes of modules up to which a distribution is compiled; 0 where this interpreter is of another version."""
        return _COMPILED[self.bytecode] if bytecode.fits(self.python) else 0

    def key(self, *what: str) -> str:
        """Names what is made for this target from these texts."""
        facts = [_FORMAT, SITE, self.python, self.platform, self.how.version, self.most_compiled, *what]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:40]


def install(locked: Sequence[Locked], target: Target, folder: Path, check: Callable[[], None]) -> None:
    """Installs distributions into a folder, from wheels; those that have none are built here if they are pure Python.

    Args:
        locked: What to install.
        target: For what.
        folder: Where to; new or empty.
        check: Called several times a second; what it raises ends the installation.

    Raises:
        BuildError: One of them has no wheel for the target and is more than Python, is not what its hash says, or
            cannot be had.
    """
    for options in (["--offline", "--only-binary", ":all:"], ["--only-binary", ":all:"], []):
        code, said = _uv(locked, target, folder, options, check)
        if code == 0:
            break
        if "--offline" not in options and (options == [] or not _lacks_wheel(" ".join(said))):
            raise _refusal(code, said, target)
    if not options:
        _refuse_compiled(folder, target)


def _uv(
    locked: Sequence[Locked], target: Target, folder: Path, options: Iterable[str], check: Callable[[], None]
) -> tuple[int, list[str]]:
    """Calls uv; gives its exit code and what it said."""
    if target.platform not in PLATFORMS:
        raise BuildError(
            f"There are no wheels for {target.platform!r}.", f"Platforms: {', '.join(PLATFORMS)}. {_OTHER_BUILDER}"
        )
    words = [
        *("pip", "install", "--no-progress", "--target", str(folder), "--no-deps", "--require-hashes"),
        *("--python-platform", PLATFORMS[target.platform], "--python-version", target.python),
        *("--python", sys.executable, "--no-compile-bytecode", *options),
    ]
    compilers = dict.fromkeys(("CC", "CXX", "FC", "CARGO", "RUSTC"), "false")  # what needs one fails at once
    with tempfile.TemporaryDirectory(prefix="kfpm-lock-") as scratch:
        lines = Path(scratch, "requirements.txt")
        lines.write_text("".join(f"{one.line}\n" for one in locked), encoding="utf-8")
        return follow(uv(*words, "--requirement", str(lines)), lambda _: None, check, compilers)


def _lacks_wheel(said: str) -> bool:
    return any(one in said.lower() for one in _NO_WHEEL)


def _refusal(code: int, output: Sequence[str], target: Target) -> BuildError:
    lines = [line.strip(" ×╰─▶│├") for line in output]
    said = [re.sub(r"^(error|cause): ", "", line) for line in lines if line and not line.startswith(_CHATTER)]
    text = " ".join(said)[:800]
    if code < 0:
        text = f"uv was ended by a signal ({signal.strsignal(-code)}). {text}"
    if "hash mismatch" in text.lower():
        return BuildError(
            f"A requirement is not what its lock says: {text}",
            "Its file was changed since: lock again if you trust it, and tell its authors if you do not.",
        )
    if "failed to build" in text.lower() or _lacks_wheel(text):
        return BuildError(f"A requirement has no wheel for {target.platform}: {text}", _OTHER_BUILDER)
    return BuildError(f"The requirements cannot be installed: {text or 'uv gave no reason'}", "Lock them again.")


def _refuse_compiled(folder: Path, target: Target) -> None:
    for wheel in folder.glob("*.dist-info/WHEEL"):
        tags = re.findall(r"(?m)^Tag:\s*(\S+)", wheel.read_text(encoding="utf-8"))
        if any(tag.rpartition("-")[2].startswith(("linux_", "macosx_", "win")) for tag in tags):
            name = wheel.parent.name.removesuffix(".dist-info").replace("-", "==", 1)
            raise BuildError(
                f"The requirement {name} has no wheel for {target.platform} and is more than Python.", _OTHER_BUILDER
            )


class Installed:
    """What was installed in a folder, taken apart again by distribution.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, list[str]] = {
            name_of(_name(record)): [row[0] for row in csv.reader(io.StringIO(record.read_text("utf-8"))) if row]
            for record in folder.glob("*.dist-info/RECORD")
        }

    def clashing(self) -> set[str]:
        """Distributions that share a file with another: what lies there may be the other's."""
        owners = Counter(path for files in self._files.values() for path in set(files))
        return {name for name, files in self._files.items() if any(owners[path] > 1 for path in files)}

    def size(self, name: str) -> int:
        """About how much work a distribution is, in bytes."""
        return sum(path.stat().st_size for one in self._files[name] if (path := self._folder / one).is_file())

    def entries(self, name: str, workers: bytecode.Workers, most: float) -> list[Entry]:
        """The files of a distribution as they enter an image.

        Args:
            name: Which.
            workers: Compile its modules.
            most: Bytes of modules up to which they do.
        """
        kept = sorted({path for path in self._files[name] if self._is_kept(path)})
        modules = {path for path in kept if bytecode.is_worth(path)}
        if sum((self._folder / path).stat().st_size for path in modules) > most:
            modules.clear()
        workers.compile([(self._folder / path, f"/{SITE}/{path}") for path in sorted(modules)])
        found = []
        for path in kept:
            source = self._folder / path
            content: bytes | Path = source
            if path.endswith(".dist-info/RECORD"):
                content = "".join(f"{one},,\n" for one in kept).encode()
            elif path.startswith("bin/"):
                content = _portable(source.read_bytes())
            found.append(Entry(f"{SITE}/{path}", content, bool(source.stat().st_mode & 0o100)))
            if path in modules and (code := bytecode.place(source)).is_file():
                found.append(Entry(f"{SITE}/{code.relative_to(self._folder).as_posix()}", code))
        return found

    def has_path_files(self, name: str) -> bool:
        """Whether it has ``.pth`` files, which Python reads in a site folder only."""
        return any("/" not in path and path.endswith(".pth") for path in self._files[name])

    def _is_kept(self, path: str) -> bool:
        parts = path.split("/")
        if ".." in parts or path.startswith("/") or "__pycache__" in parts:
            return False
        return parts[-1] not in _DROPPED and (self._folder / path).is_file()


def _name(record: Path) -> str:
    return record.parent.name.removesuffix(".dist-info").rpartition("-")[0]


def _portable(script: bytes) -> bytes:
    """A script that starts whatever Python the image has, instead of the one of this machine."""
    long = re.match(rb"#!/bin/sh\n'''exec' .*\n' '''\n", script)
    short = re.match(rb"#![^\n]*python[^\n]*\n", script)
    found = long or short
    return script if found is None else b"#!/usr/bin/env python3\n" + script[found.end() :]
