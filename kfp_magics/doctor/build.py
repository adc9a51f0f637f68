"""What building images needs: a registry that takes them, and something that makes them."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from kfp_magics import engines
from kfp_magics.doctor.findings import (
    LOG_IN,
    Answer,
    Check,
    broken,
    installed,
    missing,
    ok,
    refused,
    setting,
    typed,
    unneeded,
)
from kfp_magics.errors import EngineError, KfpMagicsError, RegistryError
from kfp_magics.options import FOLDERS, BuildOptions

if TYPE_CHECKING:
    from kfp_magics.doctor.findings import Case

_SECONDS = 4.0  # that a registry may take to answer
_ENGINES = 7.0  # that an engine may take to answer
_START = {"docker": "sudo systemctl start docker", "podman": "podman info", "buildah": "buildah info"}
_WHERE = "HOST/PATH"


def needs_registry(case: Case) -> bool:
    """Whether images go somewhere, as things stand."""
    return case.wants("build") or case.settings.executor == "container" or case.settings.builder != "auto"


def _registry(case: Case) -> Answer:
    place = BuildOptions().complete(case.settings).registry
    if not place:
        where = setting("registry", _WHERE)
        return missing("none is set: steps run in their base images", where, needed=needs_registry(case))
    if place.startswith(FOLDERS):
        return _folder(Path(place.partition(":")[2]))
    from kfp_magics.images.references import Reference  # noqa: PLC0415  (not needed to author)
    from kfp_magics.images.registry import Registries  # noqa: PLC0415  (imports httpx)

    reference = Reference.parse(f"{place}/kfpm-layers")
    registries = Registries(case.settings, timeout=_SECONDS, attempts=1)
    try:
        registries(reference.host).may_push(reference.repository)
    except RegistryError as error:
        return refused(
            error, typed(f"curl -v {'http' if engines.is_loopback(place) else 'https'}://{reference.host}/v2/")
        )
    finally:
        registries.close()
    return ok(f"{place} takes images")


def _folder(folder: Path) -> Answer:
    there = next((one for one in (folder, *folder.parents) if one.exists()), folder)
    if there.is_dir() and os.access(there, os.W_OK):
        return ok(f"images go into the folder {folder}")
    return broken(f"nothing can be written to {there}", typed(f"mkdir -p {folder} && chmod u+w {there}"))


def _append(case: Case) -> Answer:  # noqa: ARG001  (all checks are called alike)
    return ok("always there: layers over a base image")


def _engine(name: str, case: Case) -> Answer:
    return look_at_engine(name, needed=case.settings.builder == name)


def look_at_engine(name: str, *, needed: bool) -> Answer:
    """How it stands with docker, podman or buildah.

    Args:
        name: Which.
        needed: Whether something asks for it.
    """
    if shutil.which(name) is None:
        mac = f"brew install {'--cask ' if name == 'docker' else ''}{name}"
        debian = f"sudo apt-get install {'docker.io' if name == 'docker' else name}"
        install = typed(mac if sys.platform == "darwin" else debian)
        return missing("not on this machine", install, needed=needed)
    try:
        found = engines.find(name, patience=_ENGINES)
    except EngineError as error:
        start = "podman machine start" if sys.platform == "darwin" and name == "podman" else _START[name]
        return broken(
            error.message.removeprefix(f"{name} ").removeprefix("is here but ").rstrip("."), typed(start), needed=needed
        )
    return ok(f"{found.program}{', without root' if found.rootless else ''}")


def _cloudbuild(case: Case) -> Answer:
    needed = case.settings.builder == "cloudbuild"
    if not needed and not case.settings.google_project:
        return unneeded("no Google Cloud project is set", setting("google_project", "PROJECT"))
    if not has("google-cloud-build"):
        return missing("Google's packages are not here", installed("kfp-magics[gcp]"), needed=needed)
    from kfp_magics.images.cloudbuild.service import Google  # noqa: PLC0415  (imports Google's clients)

    try:
        google = Google.from_settings(case.settings)
    except KfpMagicsError as error:
        return refused(error, needed=needed)
    return ok(f"credentials are here, project {google.project}")


def has(distribution: str) -> bool:
    """Whether a distribution is installed; nothing of it is imported."""
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


CHECKS = (
    Check(group="build", name="registry", look=_registry),
    Check(group="build", name="append", look=_append),
    *(Check(group="build", name=name, look=partial(_engine, name)) for name in ("docker", "podman", "buildah")),
    Check(group="build", name="Cloud Build", look=_cloudbuild, patience=10.0, mend=LOG_IN),
)
