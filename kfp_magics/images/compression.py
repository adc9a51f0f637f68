"""How layers are packed: quickly, since a registry on a network is seldom waiting for the last percent."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from kfp_magics.errors import DefinitionError, did_you_mean
from kfp_magics.images.manifests import OCI_LAYER

if TYPE_CHECKING:
    from collections.abc import Callable

_GZIP = 31  # zlib's window bits for a gzip header and trailer, without a name and a time


class Packing(Protocol):
    """Packs one stream."""

    def compress(self, data: bytes | memoryview, /) -> bytes:
        """Takes in the next piece; gives what is ready."""

    def flush(self) -> bytes:
        """Gives the rest."""


class Unpacking(Protocol):
    """Unpacks one stream."""

    def decompress(self, data: bytes, /) -> bytes:
        """Takes in the next piece; gives what is ready."""


@dataclass(frozen=True, slots=True)
class Compressor:
    """One way to pack a layer.

    Attributes:
        name: What users say: ``gzip`` or ``zstd``.
        version: Who packs and how: the same version makes the same bytes of the same content.
        media_type: What a registry calls a layer packed so.
        pack: Starts a stream.
        unpack: Starts the way back.
    """

    name: str
    version: str
    media_type: str
    pack: Callable[[], Packing]
    unpack: Callable[[], Unpacking]


@lru_cache(maxsize=2)
def compressor(name: str = "gzip") -> Compressor:
    """The quickest way to pack a layer that is here.

    Args:
        name: ``gzip``, which every runtime reads; or ``zstd``, smaller and as quick, which Docker reads from version 23
            on and containerd from 1.5 on.

    Raises:
        DefinitionError: There is no such way, or what it needs is not installed.
    """
    if name == "gzip":
        return _gzip()
    if name == "zstd":
        return _zstd()
    raise DefinitionError(f"Layers cannot be packed by {name!r}.", did_you_mean(name, ("gzip", "zstd")))


def _gzip() -> Compressor:
    kind = f"{OCI_LAYER}+gzip"
    try:
        import isal  # noqa: PLC0415  (part of an extra)
        from isal import isal_zlib  # noqa: PLC0415
    except ImportError:
        version = f"zlib {zlib.ZLIB_RUNTIME_VERSION} -1"
        return Compressor(
            "gzip", version, kind, lambda: zlib.compressobj(1, wbits=_GZIP), lambda: zlib.decompressobj(_GZIP)
        )
    return Compressor(
        "gzip",
        f"isal {isal.__version__} -1",
        kind,
        lambda: isal_zlib.compressobj(1, wbits=_GZIP),
        lambda: isal_zlib.decompressobj(_GZIP),
    )


def _zstd() -> Compressor:
    try:
        import zstandard  # noqa: PLC0415  (part of an extra)
    except ImportError as error:
        raise DefinitionError(
            "Layers cannot be packed by 'zstd': the package zstandard is not installed.",
            "Type: %pip install 'kfp-magics[fast]'",
        ) from error
    version = ".".join(map(str, zstandard.ZSTD_VERSION))
    return Compressor(
        "zstd",
        f"zstd {version} -3",
        f"{OCI_LAYER}+zstd",
        lambda: zstandard.ZstdCompressor(level=3).compressobj(),
        lambda: zstandard.ZstdDecompressor().decompressobj(),
    )
