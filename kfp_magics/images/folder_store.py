"""Images without a registry: an OCI layout folder, or an archive for ``docker load`` and ``podman load``."""

from __future__ import annotations

import io
import json
import tarfile
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from kfp_magics.errors import BuildError
from kfp_magics.images.layers import KEPT, disk_error, prune, whole
from kfp_magics.images.manifests import OCI_MANIFEST
from kfp_magics.images.references import digest_of
from kfp_magics.images.stores import Blob, copy_verified

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from kfp_magics.images.image import Image
    from kfp_magics.images.layers import Layer

_NAME = "org.opencontainers.image.ref.name"


class FolderStore:
    """An OCI layout folder, as ``skopeo copy oci:FOLDER:NAME-TAG`` and ``podman pull`` read it.

    Args:
        folder: Made when it is not there; images that are in it stay.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()

    def repository(self, name: str) -> str:
        """The folder; which image in it is meant, the digest says."""
        del name
        return f"oci:{self.folder}"

    def find(self, name: str, tag: str) -> str | None:
        """Looks into the index of the folder."""
        return next((one["digest"] for one in self._index() if one["annotations"].get(_NAME) == f"{name}-{tag}"), None)

    def foundation(self, name: str, key: str) -> Image | None:
        """None is kept: looking for the layers here costs nothing."""
        del name, key
        return None

    def keep_foundation(self, name: str, key: str, image: Image, check: Callable[[], None]) -> None:
        """Does nothing."""

    def blob_of(self, layer: Layer) -> Blob:
        """The file here."""
        assert layer.content is not None
        return Blob(layer.digest, layer.size, layer.content)

    def put(self, name: str, blob: Blob, check: Callable[[], None]) -> int:
        """Copies it."""
        del name
        place = self.blob(blob.digest)
        if place.exists() and place.stat().st_size == blob.size:
            place.touch()
            return 0
        copy_verified(blob, place, check)
        return blob.size

    def publish(self, name: str, tag: str, manifest: bytes) -> str:
        """Writes the manifest, then names it in the index."""
        digest = digest_of(manifest)
        self.put(name, Blob.of(manifest), lambda: None)
        entry = {
            "mediaType": OCI_MANIFEST,
            "digest": digest,
            "size": len(manifest),
            "annotations": {_NAME: f"{name}-{tag}"},
        }
        try:
            with FileLock(self.folder / ".lock"):
                others = [one for one in self._index() if one["annotations"].get(_NAME) != f"{name}-{tag}"]
                index = {"schemaVersion": 2, "manifests": [*others, entry]}
                for path, value in (("oci-layout", {"imageLayoutVersion": "1.0.0"}), ("index.json", index)):
                    with whole(self.folder / path) as file:
                        file.write(json.dumps(value, indent=2).encode())
        except OSError as error:
            raise disk_error(self.folder, error) from error
        return digest

    def find_layers(self, key: str) -> tuple[Layer, ...]:
        """There is no shelf."""
        del key
        return ()

    def leave_layers(self, key: str, layers: Sequence[Layer], check: Callable[[], None]) -> int:
        """There is no shelf."""
        del key, layers, check
        return 0

    def blob(self, digest: str) -> Path:
        """Where a blob is."""
        kind, _, name = digest.partition(":")
        return self.folder / "blobs" / kind / name

    def _index(self) -> list[dict[str, Any]]:
        path = self.folder / "index.json"
        if not path.exists():
            return []
        try:
            entries = json.loads(path.read_text(encoding="utf-8"))["manifests"]
            return [{**one, "annotations": one.get("annotations") or {}} for one in entries]
        except (ValueError, KeyError, TypeError) as error:
            raise BuildError(
                f"{str(path)!r} is no index of an OCI layout.", "Name another folder, or remove this one."
            ) from error


class ArchiveStore(FolderStore):
    """An archive for ``docker load`` and ``podman load``: a file for one step, or a folder with a file for each.

    Args:
        place: A file, when its name ends with ``.tar``; else a folder.
        scratch: Keeps the layers between two builds.
    """

    def __init__(self, place: Path, scratch: Path) -> None:
        super().__init__(scratch)
        self._place = place.absolute()

    def repository(self, name: str) -> str:
        """The file."""
        return f"docker-archive:{self._file(name)}"

    def find(self, name: str, tag: str) -> str | None:
        """Looks into the archive, not only at what is known about it."""
        return super().find(name, tag) if self._tags(name) == [f"{name}:{tag}"] else None

    def publish(self, name: str, tag: str, manifest: bytes) -> str:
        """Writes the archive, then remembers it."""
        others = [one for one in self._tags(name) if not one.startswith(f"{name}:")]
        if others:
            raise BuildError(
                f"{str(self._file(name))!r} holds another step's image, {others[0]}.",
                "Name a folder: it gets a file for each step.",
            )
        parts = json.loads(manifest)
        config, layers = parts["config"]["digest"], [one["digest"] for one in parts["layers"]]
        about = f"{_hex(config)}.json"
        listed = {
            "Config": about,
            "RepoTags": [f"{name}:{tag}"],
            "Layers": [f"{_hex(one)}.tar" for one in layers],
        }
        try:
            with (
                whole(self._file(name)) as file,
                tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar,
            ):
                _add(tar, "manifest.json", json.dumps([listed]).encode())
                _add(tar, about, self.blob(config).read_bytes())
                for digest in dict.fromkeys(layers):
                    info = tarfile.TarInfo(f"{_hex(digest)}.tar")
                    info.size, info.mode = self.blob(digest).stat().st_size, 0o644
                    with self.blob(digest).open("rb") as source:
                        tar.addfile(info, source)
        except OSError as error:
            raise disk_error(self._place, error) from error
        prune(self.blob(config).parent, "*", KEPT)
        return super().publish(name, tag, manifest)

    def _file(self, name: str) -> Path:
        return self._place if self._place.suffix == ".tar" else self._place / f"{name}.tar"

    def _tags(self, name: str) -> list[str]:
        path = self._file(name)
        if not path.exists():
            return []
        try:
            with tarfile.open(path, "r:") as tar:
                file = tar.extractfile("manifest.json")
                assert file is not None
                return [str(tag) for image in json.load(file) for tag in image["RepoTags"]]
        except (tarfile.TarError, ValueError, KeyError, TypeError, AssertionError) as error:
            raise BuildError(f"{str(path)!r} is no archive of images.", "Name another file, or remove it.") from error


def _hex(digest: str) -> str:
    return digest.partition(":")[2]


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o644
    tar.addfile(info, io.BytesIO(content))
