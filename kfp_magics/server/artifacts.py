"""Artifacts as they may be given out: only what tasks wrote, and nothing that a link leads to elsewhere."""

from __future__ import annotations

import mimetypes
import os
import stat
import tarfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from kfp_magics.backends.base import GivesContent, KeepsFiles
from kfp_magics.errors import NotFoundError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kfp_magics.backends.base import Backend
    from kfp_magics.model import Artifact, Json, Run, Task
    from kfp_magics.settings import Settings

_FILES_SHOWN = 1000
LOOKED_AT = 4096
"""Bytes from which the type of a file without an ending is told."""
_BEGINNING = 65_536  # bytes of a file elsewhere that are read to tell what it is, and how large a small one
_UNKNOWN = "application/octet-stream"
_BY_SCHEMA = {"system.HTML": "text/html", "system.Markdown": "text/markdown"}
_BY_START = {
    b"\x89PNG\r\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"%PDF": "application/pdf",
    b"PAR1": "application/vnd.apache.parquet",
    b"PK\x03\x04": "application/zip",
}
_MORE_TYPES = {".md": "text/markdown", ".parquet": "application/vnd.apache.parquet", ".ipynb": "application/json"}


def choose(task: Task, name: str, io: str, index: int) -> Artifact:
    """Finds an artifact of a task.

    Raises:
        NotFoundError: It has none of that name.
    """
    found = [one for one in task.artifacts if one.name == name and one.io == io]
    if index < len(found):
        return found[index]
    if found:
        raise NotFoundError(f"The {io} {name!r} of step {task.name!r} has only {len(found)} artifacts.")
    known = {one.name for one in task.artifacts if one.io == io}
    raise NotFoundError(f"The step {task.name!r} has no {io} artifact {name!r}.", did_you_mean(name, known))


def place(settings: Settings, artifact: Artifact, inside: str = "") -> Path:
    """Where the content of an artifact is on this machine, links followed to their end.

    Args:
        settings: Where runs are kept.
        artifact: The artifact.
        inside: A file inside an artifact that is a folder.

    Raises:
        NotFoundError: There is no content, or no task of a run wrote it.
    """
    runs = Path(os.path.realpath(settings.home_path / "runs"))
    uri = artifact.uri.removeprefix("file://")
    if not uri.startswith("/") or "\0" in uri + inside:
        raise NotFoundError(f"The content of {artifact.name!r} is not on this machine: {artifact.uri}")
    whole = Path(os.path.realpath(uri))
    path = Path(os.path.realpath(whole / inside)) if inside else whole
    # <runs>/<run>/tasks/… is what tasks write; what lies beside it, such as the request, is not theirs to show.
    words = path.relative_to(runs).parts if path.is_relative_to(runs) else ()
    if len(words) < 3 or words[1] != "tasks" or not path.is_relative_to(whole):
        raise NotFoundError(
            f"The content of {artifact.name!r} is not among what tasks wrote: {artifact.uri}",
            "Only files in the folders of runs are given out; open others where they are.",
        )
    if not path.exists():
        raise NotFoundError(
            f"The content of {artifact.name!r} is gone or was never written: {artifact.uri}",
            "Metrics live in the metadata.",
        )
    return path


def open_file(path: Path) -> BinaryIO:
    """Opens a regular file; a pipe, a device or a link that has just been put there is none.

    Raises:
        NotFoundError: It is none.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise NotFoundError(f"{path.name!r} cannot be read: {error.strerror}.") from error
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise NotFoundError(f"{path.name!r} is no file.")
    return os.fdopen(file, "rb")


def media_type(path: Path, schema: str = "") -> str:
    """Tells what a file is: by the artifact's type, its name's ending, or its first bytes.

    A page that runs scripts is never told from bytes, only from what the step said it is.
    """
    if schema in _BY_SCHEMA:
        return _BY_SCHEMA[schema]
    by_name = _MORE_TYPES.get(path.suffix.lower()) or mimetypes.guess_type(path.name)[0]
    if by_name:
        return by_name
    with suppress(NotFoundError), open_file(path) as file:
        return _by_content(file.read(LOOKED_AT))
    return _UNKNOWN


def _by_content(start: bytes) -> str:
    for magic, kind in _BY_START.items():
        if start.startswith(magic):
            return kind
    try:
        text = start.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(start) - 3:  # else the last character was cut
            return _UNKNOWN
        text = start[: error.start].decode("utf-8")
    if "\0" in text:
        return _UNKNOWN
    if text.lstrip()[:1] in {"{", "["}:
        return "application/json"
    lines = text.splitlines()[:5]
    commas = {line.count(",") for line in (lines[:-1] if len(start) == LOOKED_AT else lines)}
    return "text/csv" if len(lines) > 1 and len(commas) == 1 and commas != {0} else "text/plain"


def describe(settings: Settings, backend: Backend, run: Run, task: Task, artifact: Artifact) -> dict[str, Json]:
    """Says how large an artifact is and how it may be shown."""
    found: dict[str, Json] = {
        **{name: getattr(artifact, name) for name in ("name", "io", "type", "uri")},
        "metadata": dict(artifact.metadata),
        "kind": "remote",
        "media_type": remote_type(artifact),
        "size": None,
        "files": [],
    }
    if isinstance(backend, GivesContent):
        return found | _elsewhere(backend, run, task, artifact)
    if not isinstance(backend, KeepsFiles):
        return found
    try:
        path = place(settings, artifact)
    except NotFoundError:
        return found | {"kind": "none"}
    if path.is_dir():
        files = list(_files(path))
        return found | {"kind": "folder", "media_type": "application/x-tar", "files": files}
    return found | {"kind": "file", "media_type": media_type(path, artifact.type), "size": path.stat().st_size}


def remote_type(artifact: Artifact, inside: str = "", start: bytes | None = None) -> str:
    """Tells what a file elsewhere is; see `media_type`."""
    name = inside or artifact.uri
    if not inside and artifact.type in _BY_SCHEMA:
        return _BY_SCHEMA[artifact.type]
    by_name = _MORE_TYPES.get(Path(name).suffix.lower()) or mimetypes.guess_type(name)[0]
    return by_name or (_UNKNOWN if start is None else _by_content(start[:LOOKED_AT]))


def _elsewhere(backend: GivesContent, run: Run, task: Task, artifact: Artifact) -> dict[str, Json]:
    if artifact.type.endswith("Metrics"):  # their values stand in the metadata, and steps write no file
        return {"kind": "none"}
    content = backend.content(run, task, artifact)
    if content.files is not None:
        files = [
            {"path": path, "size": size, "media_type": remote_type(artifact, path)}
            for path, size in content.files.items()
        ]
        return {"kind": "folder", "media_type": "application/x-tar", "files": files}
    with backend.open(run, task, artifact) as file:
        start = read_whole(file, _BEGINNING)
    size = len(start) if content.size is None and len(start) < _BEGINNING else content.size
    kind = {"kind": "file"} if size is not None else {}
    return {**kind, "size": size, "media_type": remote_type(artifact, "", start)}


def read_whole(file: BinaryIO, count: int) -> bytes:
    """Reads so many bytes, in as many pieces as it takes; fewer only at the end."""
    found = b""
    while len(found) < count and (piece := file.read(count - len(found))):
        found += piece
    return found


def write_remote_tar(backend: GivesContent, run: Run, task: Task, artifact: Artifact, target: int) -> None:
    """Writes the files of a folder elsewhere as a tar archive to an open pipe, and closes it; see `write_tar`."""
    files = backend.content(run, task, artifact).files or {}
    folder = Path(artifact.uri).name or artifact.name
    with suppress(BrokenPipeError), os.fdopen(target, "wb") as pipe, tarfile.open(fileobj=pipe, mode="w|") as archive:
        for path, size in files.items():
            member = tarfile.TarInfo(f"{folder}/{path}")
            member.size = size
            with backend.open(run, task, artifact, path) as file:
                archive.addfile(member, file)


def _files(folder: Path) -> Iterator[dict[str, Json]]:
    shown = 0
    for here, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(here, name)
            if not path.is_file() or not _is_inside(path, folder):
                continue
            if shown == _FILES_SHOWN:
                return
            shown += 1
            yield {
                "path": path.relative_to(folder).as_posix(),
                "size": path.stat().st_size,
                "media_type": _MORE_TYPES.get(path.suffix.lower()) or mimetypes.guess_type(name)[0] or _UNKNOWN,
            }


def write_tar(folder: Path, target: int) -> None:
    """Writes the files of a folder as a tar archive to an open pipe, and closes it; links that lead out stay out.

    Whoever reads may go away in the middle; that ends it.
    """

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        if member.issym():
            return member if _is_inside(folder.parent / member.name, folder) else None
        return member if member.isreg() or member.isdir() or member.islnk() else None

    with suppress(BrokenPipeError), os.fdopen(target, "wb") as pipe, tarfile.open(fileobj=pipe, mode="w|") as archive:
        archive.add(folder, arcname=folder.name, filter=plain)


def _is_inside(path: Path, folder: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(folder)
