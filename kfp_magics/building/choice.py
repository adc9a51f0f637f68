"""Which builder builds what: the one that was asked for, or the one that fits."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from kfp_magics import engines
from kfp_magics.errors import BuildError, EngineError
from kfp_magics.images.base import ImageRef
from kfp_magics.images.folders import DOCKERFILES
from kfp_magics.images.references import Reference
from kfp_magics.images.wrappers import Cached, Shared
from kfp_magics.options import FOLDERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from kfp_magics.images.base import Builder, ImageSpec
    from kfp_magics.images.registry import Registries
    from kfp_magics.images.wheels import Bytecode
    from kfp_magics.options import BuildOptions
    from kfp_magics.settings import Settings


ENGINES = ("docker", "podman", "buildah")
"""In the order in which they are tried."""


def _append(options: BuildOptions, settings: Settings, registries: Registries) -> Builder:
    from kfp_magics.images.append import AppendBuilder  # noqa: PLC0415  (only when something is built)

    cache = settings.home_path / "images"
    bytecode = cast("Bytecode", settings.bytecode)  # one of its words: the setting takes no others
    return AppendBuilder(options.registry, registries, cache, compression=settings.compression, bytecode=bytecode)


def _engine(options: BuildOptions, settings: Settings, _registries: Registries) -> Builder:
    from kfp_magics.images.engine import EngineBuilder  # noqa: PLC0415  (only when something is built)

    return EngineBuilder(options.builder, options.registry, plain_http=settings.registry_plain_http)


def _cloudbuild(options: BuildOptions, settings: Settings, registries: Registries) -> Builder:
    try:
        from kfp_magics.images.cloudbuild import CloudBuildBuilder  # noqa: PLC0415  (imports Google's clients)
    except ModuleNotFoundError as error:
        raise BuildError(
            f"The builder cloudbuild needs packages of Google's that are not here ({error.name}).",
            "pip install 'kfp-magics[gcp]'",
        ) from error
    return CloudBuildBuilder.from_settings(options.registry, settings, registries)


_MAKERS: dict[str, Callable[[BuildOptions, Settings, Registries], Builder]] = {
    "append": _append,
    **dict.fromkeys(ENGINES, _engine),
    "cloudbuild": _cloudbuild,
}


class Builders:
    """The builders, each made once for a destination.

    Args:
        settings: What they work with.
        registries: The registry of a host.
    """

    def __init__(self, settings: Settings, registries: Registries) -> None:
        self._settings = settings
        self._registries = registries
        self._made: dict[tuple[str, str, bool], Builder] = {}
        self._guard = threading.Lock()
        self._engine = ""

    def choose(self, spec: ImageSpec, options: BuildOptions) -> Builder:
        """Gives the builder for an image.

        Args:
            spec: What enters it.
            options: Complete.

        Raises:
            BuildError: There is none for it.
        """
        check_destination(options.registry)
        name = self._fitting(spec) if options.builder == "auto" else options.builder
        if name == "append" and spec.folder:
            raise BuildError(
                f"The step {spec.name!r} has a Dockerfile, which the builder append does not carry out.",
                "Take another: --builder docker, podman, buildah or cloudbuild.",
            )
        if name != "append" and options.registry.startswith(FOLDERS):
            raise BuildError(
                f"The builder {name} pushes to a registry, not to {options.registry!r}.",
                "Name one: --registry HOST/PATH. Only the builder append writes to a folder.",
            )
        key = (name, options.registry, options.force)
        with self._guard:
            if key not in self._made:
                self._made[key] = self._wrapped(name, options)
            return self._made[key]

    def _fitting(self, spec: ImageSpec) -> str:
        if not spec.folder:
            return "append"
        if not any((Path(spec.folder) / name).is_file() for name in DOCKERFILES):
            return "cloudbuild"  # it has steps of its own instead
        try:
            return self._working_engine()
        except EngineError as error:
            if self._settings.google_project:
                return "cloudbuild"
            raise BuildError(
                f"The step {spec.name!r} has a Dockerfile. {error.message}",
                f"{error.hint} Or set KFP_MAGICS_GOOGLE_PROJECT to build on Google Cloud Build.",
            ) from error

    def _working_engine(self) -> str:
        with self._guard:
            if not self._engine:
                self._engine = engines.first(ENGINES).name
            return self._engine

    def _wrapped(self, name: str, options: BuildOptions) -> Builder:
        builder = _MAKERS[name](replace(options, builder=name), self._settings, self._registries)
        if name != "append" and not options.force:  # it looks itself, together with what else it asks
            builder = Cached(builder, lambda spec: find_image(self._registries, options.registry, spec))
        return Shared(builder, self._settings.home_path / "locks" / "builds", options.registry)


def check_destination(destination: str) -> None:
    """Complains about a destination that is none.

    Raises:
        BuildError: There is none.
        DefinitionError: It is no name of a registry.
    """
    if not destination:
        raise BuildError(
            "It is not said where images go.",
            "Name a registry: --registry HOST/PATH or KFP_MAGICS_REGISTRY; or a folder: --registry oci:images",
        )
    if not destination.startswith(FOLDERS):
        Reference.parse(f"{destination}/image")


def find_image(registries: Registries, destination: str, spec: ImageSpec) -> ImageRef | None:
    """Looks whether a registry has the image of a spec.

    Args:
        registries: The registry of a host.
        destination: Host and path.
        spec: What enters it.
    """
    reference = Reference.parse(f"{destination}/{spec.name}:{spec.tag}")
    digest = registries(reference.host).has_manifest(reference.repository, spec.tag)
    return ImageRef(repository=reference.name, digest=digest, tag=spec.tag) if digest else None
