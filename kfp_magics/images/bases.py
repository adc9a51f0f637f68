"""Base images pinned to a digest: looked up once in their registry, then remembered."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from kfp_magics.errors import BuildError, RegistryError
from kfp_magics.images.context import Base
from kfp_magics.images.kept import kept
from kfp_magics.images.platforms import resolve
from kfp_magics.images.references import Reference

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from kfp_magics.images.base import Platform
    from kfp_magics.images.registry import Registry

_VERSION = re.compile(r"(\d+\.\d+)(\..*)?")
_LABEL = re.compile(r"(.*[._-])?python[._-]version", re.IGNORECASE)


class Bases:
    """Finds base images and remembers what it found, so that the same name stays the same image.

    Args:
        folder: Where it is remembered.
        registries: The registry of a host.
        offline: Ask no registry.
    """

    def __init__(self, folder: Path, registries: Callable[[str], Registry], *, offline: bool = False) -> None:
        self._folder = folder
        self._registries = registries
        self._offline = offline

    def find(self, name: str, platform: Platform, *, anew: bool = False) -> Base:
        """Pins a base image.

        Args:
            name: As people write it, ``python:3.11-slim``.
            platform: Which it must have.
            anew: Asks the registry again, whatever was found before.

        Raises:
            RegistryError: It does not exist, not for the platform, or its registry does not answer.
        """
        reference = Reference.parse(name)
        key = hashlib.sha256(f"{reference} {platform}".encode()).hexdigest()[:32]
        found = kept(self._folder / f"{key}.json", lambda: self._look_up(name, reference, platform), anew=anew)
        return Base(**json.loads(found))

    def _look_up(self, name: str, reference: Reference, platform: Platform) -> str:
        if self._offline:
            raise RegistryError(
                f"The base image {name} was not looked up before, and the setting offline forbids it now.",
                "Set KFP_MAGICS_OFFLINE=false once, or name an image that was built on before.",
            )
        resolved = resolve(self._registries(reference.host), reference.repository, reference.identifier, platform)
        pinned = reference.at(resolved.index_digest or resolved.digest).pinned
        settings = resolved.config.get("config") or {}
        base = Base(reference=pinned, python=_python(settings), user=str(settings.get("User") or ""))
        return json.dumps(asdict(base))


def _python(settings: Mapping[str, Any]) -> str:
    env = dict(one.partition("=")[::2] for one in settings.get("Env") or ())
    labels = {key: value for key, value in (settings.get("Labels") or {}).items() if _LABEL.fullmatch(key)}
    for text in (env.get("PYTHON_VERSION", ""), *labels.values()):
        if found := _VERSION.fullmatch(str(text)):
            return found[1]
    return ""


def python_of(base: Base, wanted: str, name: str) -> str:
    """Minor version of the interpreter that a step gets.

    Args:
        base: Its base image.
        wanted: What the user says; wins over what the image says.
        name: How the user calls the image.

    Raises:
        BuildError: Nobody says.
    """
    text = wanted or base.python
    found = _VERSION.fullmatch(text)
    if not text:
        raise BuildError(
            f"The base image {name} does not say which Python it has.",
            "Say it: %kfp_build --python 3.11, or the setting python.",
        )
    if not found:
        raise BuildError(f"{text!r} is no version of Python.", "Write it like 3.11.")
    return found[1]
