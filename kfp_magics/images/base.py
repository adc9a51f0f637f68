"""What an image is made of, and the one interface to whatever builds it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping

Platform: TypeAlias = str
"""Operating system and architecture as OCI writes them: ``linux/amd64``, ``linux/arm64``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageSpec:
    """Everything that enters the image of a step; two equal specs give the same image anywhere.

    Attributes:
        name: Last part of the image's repository, e.g. ``train-model``.
        base: Base image, pinned: ``host/repository@sha256:…``. Empty when a Dockerfile of the user's names its own.
        requirements: Locked lines for pip, each with its hashes; empty when nothing is installed.
        files: Path in the step's folder, POSIX and relative → content; what starts with ``#!`` is executable, the rest
            is not. With `folder`, what is generated beside it. Only ``src/`` enters the image.
        folder: A folder that a person brought with a Dockerfile, absolute; empty otherwise. Its content is read when
            the image is built, ignore rules applied; `folder_digest` stands for it here.
        folder_digest: Hex SHA-256 of the paths, modes and contents of that folder that enter the image.
        python: Minor version of the base image's interpreter, e.g. ``3.11``; empty for images without Python.
        platform: What it runs on.
        env: Environment variables of the image, never secrets.
        entrypoint: What the image runs when it is given no command.
        secret_names: Files left out of the folder because they look like secrets, for a remark to the user.
    """

    name: str
    base: str = ""
    requirements: tuple[str, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)
    folder: str = field(default="", compare=False)
    folder_digest: str = ""
    python: str = ""
    platform: Platform = "linux/amd64"
    env: Mapping[str, str] = field(default_factory=dict)
    entrypoint: tuple[str, ...] = ()
    secret_names: tuple[str, ...] = field(default=(), compare=False)

    @property
    def tag(self) -> str:
        """The content as a tag: ``c-`` and 40 hex digits of a SHA-256; the same bytes give the same tag anywhere."""
        what = {
            "name": self.name,
            "base": self.base,
            "requirements": sorted(self.requirements),
            "files": {path: hashlib.sha256(content).hexdigest() for path, content in self.files.items()},
            "folder": self.folder_digest,
            "python": self.python,
            "platform": self.platform,
            "env": dict(self.env),
            "entrypoint": list(self.entrypoint),
        }
        return f"c-{hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:40]}"


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageRef:
    """An image that exists.

    Attributes:
        repository: Registry host and path, without a tag: ``127.0.0.1:5000/team/train-model``.
        digest: ``sha256:`` and 64 hex digits of its manifest.
        tag: A tag under which it can be found as well; may be empty.
    """

    repository: str
    digest: str
    tag: str = ""

    def __str__(self) -> str:
        return f"{self.repository}@{self.digest}"


class Log(Protocol):
    """Where a build says what it does, as it does it."""

    def write(self, text: str) -> None:
        """Adds text to the build's log; never a secret."""

    def step(self, what: str, done: float | None = None) -> None:
        """Names what is being done now.

        Args:
            what: A few words: ``pushing 3 layers``.
            done: Share of the whole build that is done, from 0 to 1, when known.
        """

    def fact(self, name: str, value: str | float) -> None:
        """Tells what came of the build, shown beside the image.

        Args:
            name: ``did`` (``unchanged``, ``code``, ``dependencies``, ``everything``), ``bytes`` sent, or another word.
            value: For a person.
        """

    def check(self) -> None:
        """Ends the build if somebody asked for its end; a builder that waits calls it at least twice a second.

        Raises:
            BuildCancelledError: The build is to end; whatever it started ends with it.
        """


@runtime_checkable
class Builder(Protocol):
    """Makes images. Calls block; safe to call from several threads for different specs.

    A builder is made for one destination: a registry with a path, such as ``127.0.0.1:5000/team``. The image of a
    spec goes to the repository ``<destination>/<spec.name>`` and carries the tag ``spec.tag`` once it is whole.
    """

    name: str

    def build(self, spec: ImageSpec, log: Log) -> ImageRef:
        """Builds and publishes one image.

        Args:
            spec: What enters it.
            log: Told what happens.

        Returns:
            The image, by digest.

        Raises:
            BuildError: It cannot be built; no tag points at anything new.
        """
