"""Compiled pipelines in files, also packed as KFP's own client takes them: ``.zip``, ``.tar.gz``, ``.gz``."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
import zlib
from typing import IO, TYPE_CHECKING

from kfp_magics import ir as irs
from kfp_magics.errors import DefinitionError

if TYPE_CHECKING:
    from pathlib import Path

LARGEST = 32 << 20
"""Bytes that a compiled pipeline may have, unpacked."""
HINT = "Compile it with the KFP 2 SDK: kfp dsl compile --py FILE --output pipeline.yaml"


def read(path: Path) -> str:
    """Reads the compiled pipeline of a file.

    Raises:
        DefinitionError: It cannot be read, or there is no compiled pipeline in it.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DefinitionError(
            f"The file {str(path)!r} cannot be read: {error.strerror}.", "Give an IR file (.yaml)."
        ) from error
    return unpack(path.name, data)


def unpack(name: str, data: bytes) -> str:
    """Reads a compiled pipeline, or an archive that holds it.

    Args:
        name: Of the file, for messages.
        data: What is in it.

    Raises:
        DefinitionError: There is no compiled pipeline in it.
    """
    try:
        if data[:2] == b"\x1f\x8b":
            found = _from_gzip(name, data)
        elif data[:4] in {b"PK\x03\x04", b"PK\x05\x06"}:
            found = _from_zip(name, data)
        else:
            found = data
        text = found.decode("utf-8")
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, gzip.BadGzipFile, EOFError, RuntimeError) as error:
        # RuntimeError: the zip has a password
        raise DefinitionError(f"The archive {name!r} cannot be unpacked: {error}.", HINT) from error
    except UnicodeDecodeError as error:
        raise DefinitionError(f"{name!r} is neither YAML nor an archive of it.", HINT) from error
    irs.parse(text)
    return text


def _from_gzip(name: str, data: bytes) -> bytes:
    with gzip.open(io.BytesIO(data)) as file:
        plain = _read(name, file)
    if not tarfile.is_tarfile(io.BytesIO(plain)):
        return plain
    with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
        members = {one.name: one for one in archive if one.isfile()}
        member = archive.extractfile(members[_choose(name, list(members))])
        return member.read() if member is not None else b""


def _from_zip(name: str, data: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive, archive.open(_choose(name, archive.namelist())) as file:
        return _read(name, file)


def _choose(name: str, members: list[str]) -> str:
    found = [one for one in members if one.endswith((".yaml", ".yml"))]
    if "pipeline.yaml" in found:
        return "pipeline.yaml"
    if len(found) != 1:
        raise DefinitionError(f"The archive {name!r} holds {len(found)} YAML files.", "Put one in: pipeline.yaml")
    return found[0]


def _read(name: str, file: IO[bytes] | gzip.GzipFile) -> bytes:
    data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise DefinitionError(f"The pipeline in {name!r} is larger than {LARGEST >> 20} MB.", "Make it smaller.")
    return data
