"""From a step to everything that enters its image, and what of it is new."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kfp_magics.images.bases import Bases, python_of
from kfp_magics.images.context import Base, content_of, image_spec
from kfp_magics.images.lock import Locks

if TYPE_CHECKING:
    from collections.abc import Callable

    from kfp_magics.images.base import ImageSpec
    from kfp_magics.images.context import Content
    from kfp_magics.images.registry import Registry
    from kfp_magics.model import Component, Pipeline
    from kfp_magics.options import BuildOptions
    from kfp_magics.runs.images import BuiltImage
    from kfp_magics.settings import Settings


@dataclass(frozen=True, kw_only=True, slots=True)
class Looked:
    """A pipeline in those of its images that exist.

    Attributes:
        pipeline: The pipeline.
        missing: The steps whose images are to be built before it runs.
        contained: Whether its steps run in images.
    """

    pipeline: Pipeline
    missing: tuple[Component, ...] = ()
    contained: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Planned:
    """A step with what enters its image.

    Attributes:
        component: The step.
        spec: Everything that enters it.
        remarks: For the user, a line each.
    """

    component: Component
    spec: ImageSpec
    remarks: tuple[str, ...] = ()

    def place(self, options: BuildOptions) -> str:
        """Where its image goes, or would go."""
        return f"{options.registry}/{self.spec.name}" if options.registry else self.spec.name

    @property
    def below(self) -> str:
        """Hash of everything below the code."""
        spec = self.spec
        what = [spec.base, sorted(spec.requirements), spec.python, spec.platform]
        return hashlib.sha256(json.dumps(what).encode()).hexdigest()


class Planner:
    """Finds out what enters images.

    Args:
        settings: Where things are kept.
        registries: The registry of a host.
        asks: Whether registries and uv are asked; otherwise only what is remembered counts.
    """

    def __init__(self, settings: Settings, registries: Callable[[str], Registry], *, asks: bool = True) -> None:
        folder = settings.home_path / "locks"
        self._bases = Bases(folder / "bases", registries, offline=settings.offline or not asks)
        self._locks = Locks(folder / "requirements", offline=settings.offline, asks=asks)
        self._has_cloud_build = bool(settings.google_project)

    def plan(self, component: Component, options: BuildOptions) -> Planned:
        """Says what enters the image of a step.

        Args:
            component: The step.
            options: Complete.

        Raises:
            BuildError: Its folder, its base image or its registry stands in the way.
            RequirementsError: Its requirements cannot be locked.
        """
        by_cloud_build = options.builder == "cloudbuild" or (options.builder == "auto" and self._has_cloud_build)
        content = content_of(component, as_it_is=by_cloud_build)
        base, locked = Base(reference=""), tuple[str, ...]()
        if content.folder is None:
            base, locked = self.foundation(component, content, options)
        spec = image_spec(component, content, base=base, locked=locked, platform=options.platform)
        return Planned(component=component, spec=spec, remarks=content.remarks)

    def foundation(self, component: Component, content: Content, options: BuildOptions) -> tuple[Base, tuple[str, ...]]:
        """Pins the base image of a step and locks its requirements; errors as `plan`.

        Args:
            component: The step.
            content: What it brings.
            options: Complete.
        """
        base = self._bases.find(component.base_image, options.platform, anew=options.upgrade)
        if not content.python:
            return base, ()
        base = replace(base, python=python_of(base, options.python, component.base_image))
        locked = self._locks.lock(
            content.requirements,
            python=base.python,
            platform=options.platform,
            kfp=importlib.metadata.version("kfp") if content.kfp else "",
            anew=options.upgrade,
        )
        return base, locked


def difference(planned: Planned, last: BuiltImage | None) -> str:
    """Says what is new since the last image: ``unchanged``, ``code``, ``dependencies`` or ``everything``."""
    if last is None:
        return "everything"
    if last.tag == planned.spec.tag:
        return "unchanged"
    return "code" if last.below == planned.below else "dependencies"
