"""Where images go: one interface for registries, folders and archives, so that a builder need not care."""

from __future__ import annotations

import hashlib
import io
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from kfp_magics.images.layers import Layer, disk_error, whole
from kfp_magics.images.references import digest_of, mismatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from kfp_magics.images.image import Image
    from kfp_magics.images.registry import Registry


@dataclass(frozen=True, slots=True)
class Origin:
    """A registry that has a blob.

    Attributes:
        registry: Its client.
        repository: Path there.
        scratch: Where there is room for a blob on its way from one registry to another.
    """

    registry: Registry
    repository: str
    scratch: Path


@dataclass(frozen=True, slots=True)
class Blob:
    """Content that an image needs.

    Attributes:
        digest: Of the content.
        size: Its bytes.
        content: The bytes, their file, or the registry that has them.
        is_new: Nobody can have it yet, so that looking for it is a waste.
    """

    digest: str
    size: int
    content: bytes | Path | Origin
    is_new: bool = False

    @classmethod
    def of(cls, content: bytes, *, is_new: bool = False) -> Blob:
        """A blob of some bytes."""
        return cls(digest_of(content), len(content), content, is_new)

    @contextmanager
    def opening(self, check: Callable[[], None]) -> Iterator[Callable[[], BinaryIO]]:
        """Gives what opens the content, as often as needed; fetches it at the first time if it is elsewhere.

        Args:
            check: Called whenever a piece is read; what it raises is raised.

        Raises:
            BuildError: The registry does not give it, or this disk does not take it.
        """
        content = self.content
        if isinstance(content, bytes):
            yield lambda: io.BytesIO(content)
        elif isinstance(content, Path):
            yield lambda: _Watched(content, check)
        else:
            content.scratch.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".blob-", dir=content.scratch) as scratch:
                place = Path(scratch, "content")
                yield lambda: _Watched(_fetched(self.digest, content, place, check), check)


class _Watched(io.BufferedReader):
    """A file whose reader may be told to stop."""

    def __init__(self, path: Path, check: Callable[[], None]) -> None:
        super().__init__(io.FileIO(path))
        self._check = check

    def read(self, size: int | None = -1, /) -> bytes:
        self._check()
        return super().read(size)


def _fetched(digest: str, origin: Origin, place: Path, check: Callable[[], None]) -> Path:
    if not place.exists():
        try:
            with whole(place) as file:
                for piece in origin.registry.blob_stream(origin.repository, digest):
                    check()
                    file.write(piece)
        except OSError as error:
            raise disk_error(place.parent, error) from error
    return place


class Shelf(Protocol):
    """Where machines leave layers for each other."""

    def find_layers(self, key: str) -> tuple[Layer, ...]:
        """The layers that somebody left under a key; empty where nobody did."""

    def leave_layers(self, key: str, layers: Sequence[Layer], check: Callable[[], None]) -> int:
        """Leaves layers under a key, and gives the bytes sent; those that are there already are not sent again."""


class Store(Shelf, Protocol):
    """Where images go."""

    def repository(self, name: str) -> str:
        """How an image is called there, without tag and digest."""

    def find(self, name: str, tag: str) -> str | None:
        """The digest behind a tag, None where there is none."""

    def foundation(self, name: str, key: str) -> Image | None:
        """What an earlier image stood on: base and requirements; None where nobody kept it."""

    def keep_foundation(self, name: str, key: str, image: Image, check: Callable[[], None]) -> None:
        """Keeps what an image stands on, for the next one; its layers are there already."""

    def blob_of(self, layer: Layer) -> Blob:
        """The content of a layer, wherever it is."""

    def put(self, name: str, blob: Blob, check: Callable[[], None]) -> int:
        """Brings a blob there if it is not; gives the bytes that were sent for it."""

    def publish(self, name: str, tag: str, manifest: bytes) -> str:
        """Makes an image visible, all at once; everything it points to is there already. Gives its digest."""


def copy_verified(blob: Blob, target: Path, check: Callable[[], None]) -> None:
    """Writes a blob to a file that appears only when it is whole and right.

    Raises:
        DigestMismatchError: The content is another one.
        BuildError: The registry does not give it, or the disk does not take it.
    """
    try:
        with blob.opening(check) as reopen, reopen() as source, whole(target) as file:
            found = hashlib.sha256()
            while piece := source.read(1 << 20):
                found.update(piece)
                file.write(piece)
            if f"sha256:{found.hexdigest()}" != blob.digest:
                raise mismatch("a layer", blob.digest, f"sha256:{found.hexdigest()}")
    except OSError as error:
        raise disk_error(target.parent, error) from error
