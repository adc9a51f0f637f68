"""What runs write to Cloud Storage, read piece by piece."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, BinaryIO, cast

from google.api_core import exceptions

from kfp_magics.backends.vertex.service import FILE_WORDS
from kfp_magics.errors import NotFoundError

if TYPE_CHECKING:
    from google.cloud import storage

    from kfp_magics.backends.vertex.service import Service

_PIECE = 1 << 20  # bytes that are asked for at once


def open_uri(service: Service, uri: str) -> BinaryIO:
    """Opens an object.

    Args:
        service: Whose storage it is in.
        uri: ``gs://bucket/name``.

    Raises:
        NotFoundError: It is not there, or a folder.
        LoginError: This login may not read it.
    """
    bucket_name, _, name = uri.removeprefix("gs://").partition("/")
    if not uri.startswith("gs://") or not name:
        raise NotFoundError(f"{uri or 'Nothing'} is not in a bucket, so it cannot be read from here.")
    with FILE_WORDS.said(f"read {uri}"):
        bucket = service.storage.bucket(bucket_name)
        try:
            blob = bucket.get_blob(name, timeout=service.timeout)
        except exceptions.NotFound:
            blob = None
        if blob is None:
            inside = next(iter(service.storage.list_blobs(bucket_name, prefix=f"{name}/", max_results=1)), None)
            if inside is not None:
                raise NotFoundError(f"{uri} is a folder.", f"gcloud storage cp -r {uri} . fetches it.")
            raise NotFoundError(f"{uri} is not there: it was deleted, or the step wrote nothing.")
    return cast("BinaryIO", io.BufferedReader(_Content(blob, uri), _PIECE))


class _Content(io.RawIOBase):
    """An object of a bucket as a file, read with one request for each piece."""

    def __init__(self, blob: storage.Blob, uri: str) -> None:
        super().__init__()
        self._file = blob.open("rb", chunk_size=_PIECE)
        self._uri = uri

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # the base class names a protocol
        with FILE_WORDS.said(f"read {self._uri}"):
            piece: bytes = self._file.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        self._file.close()
        super().close()


def trouble_with(service: Service, root: str) -> str:
    """Why runs could not write to a folder of a bucket, as far as can be told from here; empty when it looks well."""
    bucket, _, folder = root.removeprefix("gs://").partition("/")
    try:
        with FILE_WORDS.said(f"look into {root}"):
            next(iter(service.storage.list_blobs(bucket, prefix=folder, max_results=1, timeout=service.timeout)), None)
    except (NotFoundError, FILE_WORDS.refused) as error:
        return str(error.message)
    return ""
