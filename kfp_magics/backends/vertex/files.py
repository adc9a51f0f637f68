"""Whether runs can write to a bucket, as far as can be told from here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kfp_magics.backends.vertex.service import FILE_WORDS
from kfp_magics.errors import NotFoundError

if TYPE_CHECKING:
    from kfp_magics.backends.vertex.service import Service


def trouble_with(service: Service, root: str) -> str:
    """Why runs could not write to a folder of a bucket, as far as can be told from here; empty when it looks well."""
    bucket, _, folder = root.removeprefix("gs://").partition("/")
    try:
        with FILE_WORDS.said(f"look into {root}"):
            next(iter(service.storage.list_blobs(bucket, prefix=folder, max_results=1, timeout=service.timeout)), None)
    except (NotFoundError, FILE_WORDS.refused) as error:
        return str(error.message)
    return ""
