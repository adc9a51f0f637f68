"""Which image stands behind a name for a platform: an index is followed to the manifest that fits."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kfp_magics.errors import ImageNotFoundError, RegistryError
from kfp_magics.images.manifests import MANIFESTS, Manifest
from kfp_magics.images.references import Reference

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kfp_magics.images.registry import Registry

_DEFAULT_VARIANTS = {"arm64": "v8", "arm": "v7"}


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """One image for one platform.

    Attributes:
        reference: Its name, pinned to `digest`.
        manifest: Config and layers.
        config: What the image's configuration says: platform, environment, entry point, diff ids, history.
        digest: Of `manifest`.
        index_digest: Of the index that led here; empty where the name leads to a manifest at once.
    """

    reference: Reference
    manifest: Manifest
    config: Mapping[str, Any]
    digest: str
    index_digest: str = ""


def resolve(registry: Registry, repository: str, reference: str, platform: str) -> Resolved:
    """Finds the image behind a name for a platform.

    Args:
        registry: Where it is.
        repository: Path there.
        reference: Tag or digest, of an index or of a manifest.
        platform: ``linux/amd64``, ``linux/arm64``.

    Raises:
        ImageNotFoundError: There is no such image, or not for this platform; the ones that exist are named.
        RegistryError: What is there is no image.
    """
    name = f"{registry.host}/{repository}{'@' if ':' in reference else ':'}{reference}"
    found = _manifest(registry, repository, reference, name)
    index_digest = ""
    if found.is_index:
        index_digest = found.digest
        found = _manifest(registry, repository, _choose(found, platform, name), name)
    if found.media_type not in MANIFESTS:
        raise RegistryError(
            f"{name} is no image that can be used ({found.media_type or 'unknown kind'}).",
            "Images pushed by docker, podman or buildah of the last eight years can.",
        )
    config = _config(registry, repository, found, name)
    if _normal(_platform_of(config)) != _normal(platform):
        raise _wrong_platform(name, platform, [_platform_of(config)])
    return Resolved(
        reference=Reference(host=registry.host, repository=repository, digest=found.digest),
        manifest=found,
        config=config,
        digest=found.digest,
        index_digest=index_digest,
    )


def _manifest(registry: Registry, repository: str, reference: str, name: str) -> Manifest:
    found = registry.manifest(repository, reference)
    if found is None:
        raise ImageNotFoundError(f"There is no image {name}.", "Check the name and the tag.")
    return found


def _choose(index: Manifest, platform: str, name: str) -> str:
    listed = index.manifests
    fitting = [one for one in listed if _normal(one.platform) == _normal(platform)]
    if not fitting:
        raise _wrong_platform(name, platform, [one.platform for one in listed])
    return fitting[0].digest


def _config(registry: Registry, repository: str, manifest: Manifest, name: str) -> dict[str, Any]:
    try:
        config = json.loads(registry.blob(repository, manifest.config.digest))
    except ValueError as error:
        raise RegistryError(f"The configuration of {name} is no JSON.", "Build and push that image again.") from error
    if not isinstance(config, dict):
        raise RegistryError(f"The configuration of {name} is no object.", "Build and push that image again.")
    return config


def _platform_of(config: Mapping[str, Any]) -> str:
    parts = (config.get("os"), config.get("architecture"), config.get("variant"))
    return "/".join(str(part) for part in parts if part)


def _normal(platform: str) -> str:
    system, _, rest = platform.partition("/")
    machine, _, variant = rest.partition("/")
    return f"{system}/{machine}/{variant or _DEFAULT_VARIANTS.get(machine, '')}"


def _wrong_platform(name: str, platform: str, existing: list[str]) -> ImageNotFoundError:
    known = sorted({one for one in existing if one and "unknown" not in one})
    return ImageNotFoundError(
        f"{name} does not exist for {platform}.",
        f"It does for: {', '.join(known)}." if known else "It names no platform at all: choose another base image.",
    )
