"""Images in a registry, and the shelf there on which machines leave layers for each other."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from kfp_magics.errors import (
    AccessDeniedError,
    DigestMismatchError,
    ImageNotFoundError,
    RegistryError,
    RegistryUnavailableError,
)
from kfp_magics.images.gathering import gather
from kfp_magics.images.image import Image
from kfp_magics.images.layers import Layer, LayerCache
from kfp_magics.images.manifests import MANIFESTS, OCI_MANIFEST, Descriptor
from kfp_magics.images.stores import Blob, Origin

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kfp_magics.images.registry import Registry

_SHELF = "kfpm-layers"
_NOTHING = Blob.of(b"{}")
_NOTHING_KIND = "application/vnd.oci.empty.v1+json"


class RegistryStore:
    """A path in a registry.

    Layers of requirements are on a shelf beside the images, the repository ``kfpm-layers``, and mounted from there:
    they travel once, for all steps and all machines. Whoever may not write there sends them to each image.

    Args:
        registry: The registry.
        path: What stands before the name of each image; may be empty.
        cache: Layers of this machine.
    """

    def __init__(self, registry: Registry, path: str, cache: LayerCache) -> None:
        self._registry = registry
        self._path = path.strip("/")
        self._cache = cache
        self._shelf = self._at(_SHELF)
        self._is_shut = False
        self._shelved: set[str] = set()

    def repository(self, name: str) -> str:
        """Host and path."""
        return f"{self._registry.host}/{self._at(name)}"

    def find(self, name: str, tag: str) -> str | None:
        """One request."""
        return self._registry.has_manifest(self._at(name), tag)

    def foundation(self, name: str, key: str) -> Image | None:
        """Two requests: manifest and configuration."""
        found = self._registry.manifest(self._at(name), f"d-{key}")
        if found is None or found.media_type not in MANIFESTS:
            return None
        return Image(json.loads(self._registry.blob(self._at(name), found.config.digest)), found.layers)

    def keep_foundation(self, name: str, key: str, image: Image, check: Callable[[], None]) -> None:
        """It is an image like any other, without the step's code."""
        self.put(name, Blob.of(image.config), check)
        self._registry.put_manifest(self._at(name), f"d-{key}", image.manifest(), OCI_MANIFEST)

    def blob_of(self, layer: Layer) -> Blob:
        """The file here, or the shelf."""
        return Blob(layer.digest, layer.size, layer.content or Origin(self._registry, self._shelf, self._cache.folder))

    def put(self, name: str, blob: Blob, check: Callable[[], None]) -> int:
        """Looks, mounts, sends: whatever is enough."""
        target, content = self._at(name), blob.content
        sent = 0
        if isinstance(content, Origin) and content.registry is not self._registry and not self._is_shut:
            sent = self._shelve(blob, check)  # from a registry elsewhere it comes once, not once for each step
        return sent + self._put(
            target, blob, check, mount_from=self._shelf if blob.digest in self._shelved else self._mountable(blob)
        )

    def publish(self, name: str, tag: str, manifest: bytes) -> str:
        """One request."""
        return self._registry.put_manifest(self._at(name), tag, manifest, OCI_MANIFEST)

    def find_layers(self, key: str) -> tuple[Layer, ...]:
        """One request."""
        if self._is_shut:
            return ()
        try:
            found = self._registry.manifest(self._shelf, f"d-{key}")
        except AccessDeniedError:
            self._is_shut = True
            return ()
        try:
            layers = tuple(Layer.described(one) for one in found.layers) if found else ()
        except (KeyError, ValueError):
            return ()
        self._shelved.update(one.digest for one in layers)
        return layers

    def leave_layers(self, key: str, layers: Sequence[Layer], check: Callable[[], None]) -> int:
        """Sends what the shelf lacks, then says what is there."""
        if self._is_shut:
            return 0
        blobs = [*(self.blob_of(one) for one in layers), _NOTHING]
        try:
            sent = self._shelve_all(blobs, check)
        except (AccessDeniedError, ImageNotFoundError):
            self._is_shut = True
            return 0
        config = Descriptor(media_type=_NOTHING_KIND, digest=_NOTHING.digest, size=_NOTHING.size)
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": "application/vnd.kfp-magics.layers",
            "config": config.to_json(),
            "layers": [one.describe().to_json() for one in layers],
        }
        body = json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()
        try:
            self._registry.put_manifest(self._shelf, f"d-{key}", body, OCI_MANIFEST)
        except RegistryUnavailableError:
            raise
        except RegistryError:  # what this process saw there may have been deleted since
            self._shelved.difference_update(blob.digest for blob in blobs)
            sent += self._shelve_all(blobs, check)
            self._registry.put_manifest(self._shelf, f"d-{key}", body, OCI_MANIFEST)
        return sent

    def _shelve_all(self, blobs: Sequence[Blob], check: Callable[[], None]) -> int:
        with ThreadPoolExecutor(8) as pool:
            return sum(gather(pool, lambda blob: self._shelve(blob, check), blobs, check))

    def _mountable(self, blob: Blob) -> str:
        content = blob.content
        return content.repository if isinstance(content, Origin) and content.registry is self._registry else ""

    def _at(self, name: str) -> str:
        return f"{self._path}/{name}".strip("/")

    def _shelve(self, blob: Blob, check: Callable[[], None]) -> int:
        if blob.digest in self._shelved:
            return 0
        with self._cache.holding([blob.digest.replace(":", "-")], check):  # whoever waited finds it there
            if blob.digest in self._shelved:
                return 0
            sent = self._put(self._shelf, blob, check, self._mountable(blob))
            self._shelved.add(blob.digest)
            return sent

    def _put(self, repository: str, blob: Blob, check: Callable[[], None], mount_from: str = "") -> int:
        try:
            with blob.opening(check) as content:
                how = self._registry.put_blob(
                    repository, blob.digest, blob.size, content, mount_from=mount_from, probe=not blob.is_new
                )
        except DigestMismatchError:
            if isinstance(blob.content, Path):
                self._cache.forget(blob.content)  # the next build makes it anew
            raise
        return blob.size if how == "uploaded" else 0
