"""The source of a build as one archive: the same files give the same bytes, so that none is uploaded twice."""

from __future__ import annotations

import gzip
import hashlib
import io
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from kfp_magics.images import folders

if TYPE_CHECKING:
    from typing import BinaryIO

    from kfp_magics.images.base import ImageSpec


def pack_source(spec: ImageSpec, to: IO[bytes]) -> str:
    """Writes everything that a build reads as one archive; a folder of 2 GB never stands in memory.

    Args:
        spec: What is built.
        to: Where to write.

    Returns:
        Hex SHA-256 of what was written.

    Raises:
        BuildError: A file cannot be read, or the folder changed since the spec was made.
    """
    digest = _Digest(to)
    # No name and no time in the header: they would differ from machine to machine.
    with gzip.GzipFile(filename="", mode="wb", fileobj=digest, compresslevel=6, mtime=0) as packed:
        folders.pack(_folder(spec), spec.files, cast("BinaryIO", packed), digest=spec.folder_digest)
    return digest.hex


def find_config(spec: ImageSpec) -> tuple[str, str]:
    """Finds the build configuration among what is built.

    Returns:
        Its name and its text; both empty when there is none.
    """
    folder = _folder(spec)
    for name in folders.CLOUDBUILD:
        if name in spec.files:
            return name, spec.files[name].decode("utf-8", "replace")
        if folder.first([name]):
            return name, (folder.root / name).read_text(encoding="utf-8", errors="replace")
    return "", ""


def _folder(spec: ImageSpec) -> folders.Folder:
    return folders.read_folder(spec.folder) if spec.folder else folders.Folder(root=Path(), entries=())


class _Digest(io.RawIOBase):
    """Hashes what goes through it."""

    def __init__(self, to: IO[bytes]) -> None:
        super().__init__()
        self._to = to
        self._hash = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, piece: bytes, /) -> int:  # type: ignore[override]  # any buffer in the base class
        self._hash.update(piece)
        return self._to.write(piece)

    @property
    def hex(self) -> str:
        return self._hash.hexdigest()
