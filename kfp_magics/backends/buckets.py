"""What runs write to Cloud Storage: looked at, and read piece by piece."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, cast

from google.api_core import exceptions

from kfp_magics.backends.base import Content
from kfp_magics.errors import NotFoundError

if TYPE_CHECKING:
    from google.cloud import storage

    from kfp_magics.google import Words

_PIECE = 1 << 20  # bytes that are asked for at once
_FILES = 1000  # of a folder that are listed


@dataclass(frozen=True, kw_only=True, slots=True)
class Buckets:
    """The buckets that one login may read.

    Attributes:
        client: Google's client.
        words: How its refusals are said.
        timeout: Seconds that one answer may take.
    """

    client: storage.Client
    words: Words
    timeout: float

    def content(self, uri: str) -> Content:
        """Says what is there.

        Args:
            uri: ``gs://bucket/name`` of a file or a folder.

        Raises:
            NotFoundError: Nothing is there.
            KfpMagicsError: This login may not read it, or Google does not answer.
        """
        bucket, name = _parts(uri)
        with self.words.said(f"read {uri}"):
            found = self._blob(bucket, name)
            if found is not None:
                return Content(size=found.size)
            files = {
                one.name.removeprefix(f"{name}/"): int(one.size or 0)
                for one in self.client.list_blobs(bucket, prefix=f"{name}/", max_results=_FILES, timeout=self.timeout)
                if not one.name.endswith("/")
            }
        if not files:
            raise NotFoundError(f"{uri} is not there: it was deleted, or the step wrote nothing.")
        return Content(files=files)

    def open(self, uri: str, inside: str = "", *, start: int = 0) -> BinaryIO:
        """Opens a file.

        Args:
            uri: ``gs://bucket/name`` of a file or a folder.
            inside: A file inside the folder.
            start: The first byte that is wanted.

        Raises:
            NotFoundError: Nothing is there, or a folder.
            KfpMagicsError: This login may not read it, or Google does not answer.
        """
        bucket, name = _parts(uri)
        if inside:
            name = f"{name}/{checked(inside)}"
        with self.words.said(f"read {uri}"):
            blob = self._blob(bucket, name)
        if blob is None:
            if not inside and self.content(uri).files is not None:
                raise NotFoundError(f"{uri} is a folder.", f"gcloud storage cp -r {uri} . fetches it.")
            raise NotFoundError(f"{inside or uri} is not there: it was deleted, or the step wrote nothing.")
        file = io.BufferedReader(_Content(blob, uri, self.words), _PIECE)
        if start:
            file.seek(start)
        return cast("BinaryIO", file)

    def _blob(self, bucket: str, name: str) -> storage.Blob | None:
        try:
            return self.client.bucket(bucket).get_blob(name, timeout=self.timeout)
        except exceptions.NotFound:
            return None


def _parts(uri: str) -> tuple[str, str]:
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    if not uri.startswith("gs://") or not bucket or not name.strip("/"):
        raise NotFoundError(f"{uri or 'Nothing'} is not in a bucket, so it cannot be read from here.")
    return bucket, name.rstrip("/")


def checked(inside: str) -> str:
    """A path inside a folder that stays there.

    Raises:
        NotFoundError: It leads out of it.
    """
    if any(part in {"", ".", ".."} for part in inside.split("/")) or "\0" in inside or "\\" in inside:
        raise NotFoundError(f"There is no file {inside!r} inside.")
    return inside


class _Content(io.RawIOBase):
    """An object of a bucket as a file, read with one request for each piece."""

    def __init__(self, blob: storage.Blob, uri: str, words: Words) -> None:
        super().__init__()
        self._file = blob.open("rb", chunk_size=_PIECE)
        self._uri = uri
        self._words = words

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        found: int = self._file.seek(offset, whence)
        return found

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # the base class names a protocol
        with self._words.said(f"read {self._uri}"):
            piece: bytes = self._file.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        self._file.close()
        super().close()
