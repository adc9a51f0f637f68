"""Builds images by laying files over a base image, through the registry's own interface: no engine, no root."""

from __future__ import annotations

import hashlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kfp_magics.errors import BuildError, RegistryError
from kfp_magics.images.base import ImageRef, ImageSpec
from kfp_magics.images.compression import compressor
from kfp_magics.images.dependencies import Dependencies
from kfp_magics.images.folder_store import ArchiveStore, FolderStore
from kfp_magics.images.gathering import gather
from kfp_magics.images.image import Image
from kfp_magics.images.layers import SOURCE, Entry, LayerCache, disk_error, inside, small_layer, whole
from kfp_magics.images.manifests import Manifest
from kfp_magics.images.platforms import Resolved, resolve
from kfp_magics.images.references import Reference
from kfp_magics.images.registry_store import RegistryStore
from kfp_magics.images.stores import Blob, Origin, Store
from kfp_magics.images.wheels import Bytecode, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kfp_magics.images.base import Log
    from kfp_magics.images.registry import Registry

_AT_ONCE = 8  # requests; more do not help one connection's other end


class AppendBuilder:
    """Lays requirements and code over the base image of a step. Safe to use from several threads for different specs.

    Nothing of the base image is read but its description. A tag is set when everything that it needs is there.

    Args:
        destination: ``HOST/PATH`` of a registry; ``oci:FOLDER``; ``docker-archive:FILE.tar`` or
            ``docker-archive:FOLDER``.
        registries: Gives the client of a host.
        cache: Folder for layers and descriptions of base images; shared by everything on this machine.
        compression: ``gzip`` or ``zstd``.
        bytecode: Which distributions are compiled, as `Target` says: ``all`` makes the first build slower and every
            start of a step quicker.

    Raises:
        DefinitionError: The destination or the compression is none.
    """

    name = "append"

    def __init__(
        self,
        destination: str,
        registries: Callable[[str], Registry],
        cache: Path,
        *,
        compression: str = "gzip",
        bytecode: Bytecode = "small",
    ) -> None:
        self._registries = registries
        self._cache = LayerCache(cache / "layers")
        self._bases = cache / "bases"
        self._how = compressor(compression)
        self._bytecode = bytecode
        self._store = self._open(destination, cache)
        self._known: dict[tuple[str, str], Image] = {}

    def build(self, spec: ImageSpec, log: Log) -> ImageRef:
        """Builds and publishes one image.

        Args:
            spec: What enters it.
            log: Told what happens.

        Raises:
            BuildError: It cannot be built; no tag points at anything new.
        """
        started = time.monotonic()
        _refuse(spec)
        code = _code(spec)
        key = self._key(spec)
        known = self._known.get((spec.name, key))
        with ThreadPoolExecutor(1) as pool:
            kept = pool.submit(self._store.foundation, spec.name, key) if known is None else None
            found = self._store.find(spec.name, spec.tag)
            kept_image = kept.result() if kept and not found else None
        if found:
            log.fact("did", "unchanged")
            log.write(f"unchanged, {_milliseconds(started)}\n")
            return ImageRef(repository=self._store.repository(spec.name), digest=found, tag=spec.tag)
        foundation, told, below = known or kept_image, "dependencies cached", 0
        if foundation is None:
            foundation, told, below = self._founded(spec, key, log)
        try:
            ref, size = self._finish(spec, code, foundation, log)
        except RegistryError as error:
            if known is None:
                raise
            # What this process saw there may have been deleted since.
            log.write(f"{error.message} Looking again at everything.\n")
            foundation, told, below = self._founded(spec, key, log)
            ref, size = self._finish(spec, code, foundation, log)
        self._known[spec.name, key] = foundation
        log.fact("bytes", below + size)
        log.write(f"code layer {_bytes(size)}, {_milliseconds(started)}, {told}\n")
        return ref

    def _finish(self, spec: ImageSpec, files: Sequence[Entry], foundation: Image, log: Log) -> tuple[ImageRef, int]:
        """Lays the code over it and publishes; tells the code's bytes too."""
        log.step("adding the code", 0.9)
        code = small_layer("code", files, self._how)
        assert isinstance(code.content, bytes)
        image = foundation.with_layers([code]).with_runtime(spec.env, spec.entrypoint)
        self._put(
            spec.name,
            [Blob(code.digest, code.size, code.content, is_new=True), Blob.of(image.config, is_new=True)],
            log,
        )
        digest = self._store.publish(spec.name, spec.tag, image.manifest(spec.base))
        return ImageRef(repository=self._store.repository(spec.name), digest=digest, tag=spec.tag), code.size

    def _founded(self, spec: ImageSpec, key: str, log: Log) -> tuple[Image, str, int]:
        """Brings the base and the requirements to where the image goes; tells what was sent in words and bytes."""
        log.step("looking at the base image", 0.05)
        base = self._base(spec)
        image = Image.of(base.config, base.manifest.layers)
        origin = Origin(self._registries(base.reference.host), base.reference.repository, self._cache.folder)
        blobs = [Blob(one.digest, one.size, origin) for one in image.layers]
        sent = 0
        if spec.requirements:
            target = self._target(replace(spec, python=_python(spec, image)))
            dependencies = Dependencies(self._cache, self._store)
            layers = dependencies.layers(spec.requirements, target, log)
            sent = sum(dependencies.sent)
            image = image.with_layers(layers)
            blobs += [self._store.blob_of(one) for one in layers]
        log.step(f"bringing {len(blobs)} layers to {self._store.repository(spec.name)}", 0.7)
        sent += self._put(spec.name, blobs, log)
        self._store.keep_foundation(spec.name, key, image, log.check)
        return image, f"{len(blobs)} layers below it, {_bytes(sent)} of them sent", sent

    def _put(self, name: str, blobs: Sequence[Blob], log: Log) -> int:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return sum(gather(pool, lambda blob: self._store.put(name, blob, log.check), blobs, log.check))

    def _base(self, spec: ImageSpec) -> Resolved:
        """What is known of a base image: it is pinned, so that looking once is enough."""
        reference = Reference.parse(spec.base)
        kept = self._bases / f"{hashlib.sha256(f'{reference.pinned} {spec.platform}'.encode()).hexdigest()}.json"
        try:
            facts: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
            manifest = Manifest(body=facts["manifest"].encode(), media_type=facts["kind"], digest=facts["digest"])
            at = reference.at(facts["digest"])
            return Resolved(reference=at, manifest=manifest, config=facts["config"], digest=facts["digest"])
        except (OSError, ValueError, KeyError):
            pass  # not looked at yet, or cut short
        found = resolve(self._registries(reference.host), reference.repository, reference.digest, spec.platform)
        facts = {
            "digest": found.digest,
            "kind": found.manifest.media_type,
            "manifest": found.manifest.body.decode(),
            "config": dict(found.config),
        }
        try:
            with whole(kept) as file:
                file.write(json.dumps(facts).encode())
        except OSError as error:
            raise disk_error(self._bases, error) from error
        return found

    def _key(self, spec: ImageSpec) -> str:
        """Names what an image stands on: equal for all steps that share base and requirements."""
        return self._target(spec).key("foundation", spec.base, *sorted(spec.requirements))

    def _target(self, spec: ImageSpec) -> Target:
        return Target(spec.python, spec.platform, self._how, self._bytecode)

    def _open(self, destination: str, cache: Path) -> Store:
        kind, _, place = destination.partition(":")
        if kind == "oci":
            return FolderStore(Path(place).expanduser())
        if kind == "docker-archive":
            return ArchiveStore(Path(place).expanduser(), cache / "archives")
        reference = Reference.parse(f"{destination.rstrip('/')}/name")
        path = reference.repository.removesuffix("/name").removesuffix("name")
        return RegistryStore(self._registries(reference.host), path, self._cache)


def _refuse(spec: ImageSpec) -> None:
    if spec.folder or not spec.base:
        raise BuildError(
            f"The image of {spec.name!r} comes from a Dockerfile, which the builder append does not run.",
            "Build it with an engine or on Cloud Build: --builder podman, docker, buildah or cloudbuild.",
        )
    if not Reference.parse(spec.base).digest:
        raise BuildError(
            f"The base image {spec.base!r} of {spec.name!r} is not pinned to a digest.",
            "Write it as repository@sha256:…, or let %kfp_build pin it.",
        )


def _code(spec: ImageSpec) -> list[Entry]:
    """The files under ``src/``; the rest of a step's folder is for those who build from it."""
    sources = {path: content for path, content in spec.files.items() if path.startswith("src/")}
    return [
        Entry(inside(path.removeprefix("src/"), SOURCE), content, executable=content.startswith(b"#!"))
        for path, content in sources.items()
    ]


def _python(spec: ImageSpec, base: Image) -> str:
    python = spec.python or base.python
    if not python:
        raise BuildError(
            f"The base image {spec.base!r} of {spec.name!r} does not say which Python it has.",
            "Take one that sets PYTHON_VERSION, as the official python images do, or build with an engine.",
        )
    return python


def _milliseconds(started: float) -> str:
    taken = time.monotonic() - started
    return f"{taken * 1000:.0f} ms" if taken < 1 else f"{taken:.1f} s"


def _bytes(size: int) -> str:
    return f"{size} B" if size < 1000 else f"{size / 1000:.1f} kB" if size < 1_000_000 else f"{size / 1e6:.1f} MB"
