"""Requirements for an engine's build: installed by uv on this machine, where its index, its cache and its logins are.

The base image then needs neither pip nor a network, and the same files lie in the image as when layers are appended.
What has no wheel stays with pip in the image, which may have the compiler that it needs.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from kfp_magics.errors import BuildError
from kfp_magics.images.bytecode import Workers
from kfp_magics.images.compression import compressor
from kfp_magics.images.context import INSTALL, SITE
from kfp_magics.images.dependencies import HOOK, HOOK_TEXT
from kfp_magics.images.layers import SITE as LAYER_SITE
from kfp_magics.images.wheels import Installed, Locked, Target, install

if TYPE_CHECKING:
    from kfp_magics.images.base import ImageSpec, Log
    from kfp_magics.images.layers import Entry

_PLACE = "site"


def preinstall(spec: ImageSpec, folder: Path, dockerfile: str, log: Log) -> None:
    """Installs what a generated build folder would have pip install, and has its Dockerfile copy it.

    Args:
        spec: What is built.
        folder: Its build folder; nothing in it is changed when a requirement has no wheel.
        dockerfile: Name of its Dockerfile.
        log: Told what happens.

    Raises:
        BuildError: A requirement is not what its hash says, or cannot be had.
    """
    path = folder / dockerfile
    text = path.read_text(encoding="utf-8")
    if not spec.requirements or INSTALL not in text:
        return
    log.step("installing the requirements", 0.0)
    with tempfile.TemporaryDirectory(prefix="kfpm-site-") as scratch:
        try:
            _install(spec, Path(scratch), folder / _PLACE, log)
        except BuildError as error:
            if "has no wheel" not in error.message:
                raise
            log.write(f"{error.message}\npip installs the requirements in the image.\n")
            return
    log.check()
    log.write(f"uv installed {', '.join(line.partition(' ')[0] for line in spec.requirements)}\n")
    path.write_text(text.replace(INSTALL, f"COPY {_PLACE} {SITE}\n"), encoding="utf-8")


def _install(spec: ImageSpec, scratch: Path, place: Path, log: Log) -> None:
    locked = [Locked.read(line) for line in spec.requirements]
    target = Target(python=spec.python, platform=spec.platform, how=compressor())
    install(locked, target, scratch, log.check)
    installed = Installed(scratch)
    with Workers(os.cpu_count() or 2) as workers:
        for one in locked:
            for entry in installed.entries(one.name, workers, target.most_compiled):
                _write(entry, place)
    if any(installed.has_path_files(one.name) for one in locked):
        (place / Path(HOOK).name).write_bytes(HOOK_TEXT)


def _write(entry: Entry, place: Path) -> None:
    path = place / Path(entry.path).relative_to(LAYER_SITE)
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(entry.content, bytes):
        path.write_bytes(entry.content)
    else:
        shutil.copyfile(entry.content, path)
    path.chmod(0o755 if entry.executable else 0o644)
