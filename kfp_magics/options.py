"""How runs are started and images are built, as whoever asks says it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kfp_magics.settings import Settings


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """How a run is started.

    Attributes:
        backend: Where; the setting ``backend`` when empty.
        name: Display name; made from the pipeline and the time when empty.
        experiment: KFP experiment.
        cache: False runs every task again.
        executor: On this machine, ``process`` or ``container``; the setting ``executor`` when empty.
        build: Whether steps run in images that are built first; None means where tasks run in containers and the
            setting ``registry`` says where images go.
        start_from: Step from which on the pipeline runs; what is before it comes from an earlier run.
        reuse: That earlier run; the last one of the pipeline that succeeded when empty.
        only_changed: Only what changed since that earlier run runs, and what comes after it.
        started_by: ``notebook``, ``cli``, ``schedule`` or ``trigger: …``.
    """

    backend: str = ""
    name: str = ""
    experiment: str = ""
    cache: bool = True
    executor: str = ""
    build: bool | None = None
    start_from: str = ""
    reuse: str = ""
    only_changed: bool = False
    started_by: str = "notebook"


@dataclass(frozen=True, kw_only=True, slots=True)
class PartOptions:
    """Which part of a pipeline is a pipeline of its own.

    Attributes:
        of: The whole pipeline.
        start: The steps that the part starts with.
        reuse: Run that the results of the steps before them come from; when empty, whoever starts it gives them.
        give: What is given all the same.
        name: KFP name; the Python name's when empty.
    """

    of: str
    start: tuple[str, ...]
    reuse: str = ""
    give: tuple[str, ...] = ()
    name: str = ""


BUILDERS = ("auto", "append", "docker", "podman", "buildah", "cloudbuild")
"""What builds images."""

PLATFORMS = ("linux/amd64", "linux/arm64")
"""What images run on."""

FOLDERS = ("oci:", "docker-archive:")
"""How destinations start that are no registry."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildOptions:
    """How images are built; what is empty comes from the settings.

    Attributes:
        builder: Which builder.
        registry: Where they go.
        platform: What they run on.
        python: Version of the base image's interpreter, where the image does not say it.
        upgrade: Look anew for what base images and requirements are now.
        force: Carry out Dockerfiles again, also when nothing changed; appended images would be the same.
        started_by: ``notebook`` or ``cli``.
    """

    builder: str = ""
    registry: str = ""
    platform: str = ""
    python: str = ""
    upgrade: bool = False
    force: bool = False
    started_by: str = "notebook"

    def complete(self, settings: Settings) -> BuildOptions:
        """The same with the settings' words where nothing else was said."""
        return replace(
            self,
            builder=self.builder or settings.builder,
            registry=_destination(self.registry or settings.registry),
            platform=self.platform or settings.platform,
            python=self.python or settings.python,
        )


def _destination(text: str) -> str:
    """Folders are named whole, so that they are the same wherever one stands."""
    kind, colon, path = text.partition(":")
    if f"{kind}{colon}" in FOLDERS:
        return f"{kind}:{Path(path).expanduser().absolute()}"
    return text.rstrip("/")


def default_bucket(project: str, region: str) -> str:
    """The bucket that Google's own tools use for the sources of a project."""
    name = project.replace(":", "_").replace(".", "_").replace("google", "elgoog")
    return f"{name}_cloudbuild" if region == "global" else f"{name}_{region}_cloudbuild"
