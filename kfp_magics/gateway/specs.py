"""Compiled pipelines as clients send them, and as they are given back."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile
import zlib
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING

from kfp_magics import ir as irs
from kfp_magics.errors import DefinitionError
from kfp_magics.gateway.words import get

if TYPE_CHECKING:
    from kfp_magics.model import Json

LARGEST = 32 << 20
"""Bytes that a compiled pipeline may have, unpacked."""
_HINT = "Compile it with the KFP 2 SDK: kfp dsl compile --py FILE --output pipeline.yaml"


def ir_of(spec: Json) -> str:
    """A pipeline that stands in a request, as the text that the engine takes.

    Args:
        spec: A PipelineSpec, or an object that holds one as ``pipeline_spec`` beside a ``platform_spec``.

    Raises:
        DefinitionError: It is no compiled pipeline.
    """
    if not isinstance(spec, Mapping):
        raise DefinitionError("The pipeline_spec is no object.", _HINT)
    inner = get(spec, "pipeline_spec")
    documents = [spec] if inner is None else [inner, get(spec, "platform_spec")]
    text = "\n---\n".join(json.dumps(one) for one in documents if one)
    irs.parse(text)
    return text


def spec_of(ir: str) -> dict[str, Json]:
    """A compiled pipeline as it is given back, in the shape of `ir_of`."""
    found = irs.parse(ir)
    spec = dict(found.spec)
    return {"pipeline_spec": spec, "platform_spec": dict(found.platform)} if found.platform else spec


def unpack(name: str, data: bytes) -> str:
    """Reads a file that was uploaded: the compiled pipeline, or an archive that holds it.

    Args:
        name: Of the file, for messages.
        data: What is in it.

    Raises:
        DefinitionError: There is no compiled pipeline in it.
    """
    try:
        if data[:2] == b"\x1f\x8b":
            found = _from_tar(name, data)
        elif data[:4] == b"PK\x03\x04":
            found = _from_zip(name, data)
        else:
            found = data
        text = found.decode("utf-8")
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, gzip.BadGzipFile, EOFError) as error:
        raise DefinitionError(f"The archive {name!r} cannot be unpacked: {error}.", _HINT) from error
    except UnicodeDecodeError as error:
        raise DefinitionError(f"{name!r} is neither YAML nor an archive of it.", _HINT) from error
    irs.parse(text)
    return text


def _from_tar(name: str, data: bytes) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        members = {one.name: one for one in archive if one.isfile()}
        file = archive.extractfile(members[_choose(name, list(members))])
        return _read(name, file) if file is not None else b""


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


def _read(name: str, file: IO[bytes]) -> bytes:
    data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise DefinitionError(f"The pipeline in {name!r} is larger than {LARGEST >> 20} MB.", "Make it smaller.")
    return data
