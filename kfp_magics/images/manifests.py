"""Manifests and indexes of images: what a registry serves, read and checked."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from kfp_magics.errors import RegistryError
from kfp_magics.images.references import is_digest

if TYPE_CHECKING:
    from collections.abc import Mapping

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
INDEXES = frozenset({OCI_INDEX, DOCKER_INDEX})
MANIFESTS = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
ACCEPTED = (OCI_MANIFEST, DOCKER_MANIFEST, OCI_INDEX, DOCKER_INDEX)


@dataclass(frozen=True, kw_only=True, slots=True)
class Descriptor:
    """A pointer from a manifest to a blob, or from an index to a manifest.

    Attributes:
        media_type: What the content is.
        digest: What it must hash to.
        size: Its bytes.
        platform: ``linux/arm64``, with its variant where there is one; empty unless an index says so.
        annotations: Remarks of whoever made it.
    """

    media_type: str
    digest: str
    size: int
    platform: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, value: Mapping[str, Any]) -> Descriptor:
        """Reads one from JSON.

        Raises:
            KeyError, TypeError, ValueError: It is none.
        """
        where = value.get("platform") or {}
        parts = [where.get("os", ""), where.get("architecture", ""), where.get("variant", "")]
        if not is_digest(value["digest"]):
            raise ValueError(f"{value['digest']!r} is no digest")
        return cls(
            media_type=str(value["mediaType"]),
            digest=value["digest"],
            size=int(value["size"]),
            platform="/".join(part for part in parts if part),
            annotations=dict(value.get("annotations") or {}),
        )

    def to_json(self) -> dict[str, Any]:
        """As it stands in a manifest."""
        value: dict[str, Any] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        return value | ({"annotations": dict(self.annotations)} if self.annotations else {})


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A manifest or an index, as the registry served it and verified against its digest.

    Attributes:
        body: The exact bytes; the digest is theirs.
        media_type: Which kind it is.
        digest: What `body` hashes to.
    """

    body: bytes
    media_type: str
    digest: str

    @cached_property
    def json(self) -> dict[str, Any]:
        """The content.

        Raises:
            RegistryError: It is not JSON of an object.
        """
        try:
            value = json.loads(self.body)
        except ValueError as error:
            raise self._malformed(str(error)) from error
        if not isinstance(value, dict):
            raise self._malformed("not an object")
        return value

    @property
    def is_index(self) -> bool:
        """Whether this points to manifests of several platforms rather than to layers."""
        return self.media_type in INDEXES

    @property
    def config(self) -> Descriptor:
        """The image's configuration blob."""
        return self._descriptors([self.json.get("config")])[0]

    @property
    def layers(self) -> tuple[Descriptor, ...]:
        """The layers, base first."""
        return self._descriptors(self.json.get("layers"))

    @property
    def manifests(self) -> tuple[Descriptor, ...]:
        """The manifests that an index points to."""
        return self._descriptors(self.json.get("manifests"))

    def _descriptors(self, values: Any) -> tuple[Descriptor, ...]:  # noqa: ANN401  (JSON of somebody else)
        try:
            return tuple(Descriptor.read(value) for value in values)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._malformed(f"{type(error).__name__}: {error}") from error

    def _malformed(self, why: str) -> RegistryError:
        return RegistryError(
            f"The manifest {self.digest[:19]}… cannot be read ({why}).",
            "It was pushed by something broken: build and push that image again.",
        )


def kind_of(body: bytes, content_type: str) -> str:
    """The media type of a manifest: its own word for it, else the header's; old ones carry only the header.

    Args:
        body: The manifest.
        content_type: The header with which it came.
    """
    try:
        own = json.loads(body).get("mediaType", "")
    except (ValueError, AttributeError):
        own = ""
    return str(own) or content_type.partition(";")[0].strip()
