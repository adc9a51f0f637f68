"""Layers: files as a tar that is the same, byte for byte, wherever and whenever it is made."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, cast

from filelock import BaseFileLock, FileLock, Timeout

from kfp_magics.errors import BuildError
from kfp_magics.images.manifests import Descriptor
from kfp_magics.images.references import digest_of, mismatch

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from kfp_magics.images.compression import Compressor

ROOT = "opt/kfpm"
SITE = f"{ROOT}/site"
SOURCE = f"{ROOT}/src"
_REMARK = "dev.kfp-magics."
_PIECE = 1 << 20  # compressors make the same bytes only of the same pieces
KEPT = 20 << 30  # bytes
_IN_USE, _ABANDONED = 3600.0, 24 * 3600.0  # seconds
_LOOK = 0.25  # seconds between two questions whether to go on
_LARGEST = 8 << 30
_REST = bytes(100) + b"ustar\x0000" + bytes(247)  # no link, no names of users, no devices
_REST_SUM = sum(_REST)
_READ = 8 << 20
_END = bytes(2 * tarfile.BLOCKSIZE)


def _go_on() -> None:
    """Ends nothing."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a layer.

    Attributes:
        path: Where it is in the image, without the first slash; under ``opt/kfpm``.
        content: Its bytes, or the file that has them.
        executable: Whether it can be run.
    """

    path: str
    content: bytes | Path
    executable: bool = False


@dataclass(frozen=True, slots=True)
class Layer:
    """A packed layer.

    Attributes:
        what: Named in the image's history: ``numpy==2.4.6``.
        digest: Of the packed bytes.
        diff_id: Of the tar.
        size: Packed bytes.
        unpacked: Bytes of the tar.
        media_type: How it is packed.
        has_paths: Whether it has ``.pth`` files.
        content: The packed bytes or their file; None when only a registry has them.
    """

    what: str
    digest: str
    diff_id: str
    size: int
    unpacked: int
    media_type: str
    has_paths: bool = False
    content: bytes | Path | None = None

    def describe(self) -> Descriptor:
        """How a manifest points to it; its remarks say the rest, so that nobody need read it for that."""
        facts = {"diff-id": self.diff_id, "unpacked": str(self.unpacked), "what": self.what}
        facts |= {"path-files": "yes"} if self.has_paths else {}
        remarks = {f"{_REMARK}{name}": value for name, value in facts.items()}
        return Descriptor(media_type=self.media_type, digest=self.digest, size=self.size, annotations=remarks)

    @classmethod
    def described(cls, by: Descriptor) -> Layer:
        """The layer of such a pointer.

        Raises:
            KeyError, ValueError: It points to something else.
        """
        facts = {name.removeprefix(_REMARK): value for name, value in by.annotations.items()}
        return cls(
            what=facts["what"],
            digest=by.digest,
            diff_id=facts["diff-id"],
            size=by.size,
            unpacked=int(facts["unpacked"]),
            media_type=by.media_type,
            has_paths="path-files" in facts,
        )


def inside(path: str, folder: str) -> str:
    """Puts a relative path below a folder of the image.

    Raises:
        BuildError: It would leave the folder.
    """
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\0" in path:
        raise BuildError(f"The file {path!r} would leave its folder in the image.", "Name files relative to the step.")
    return f"{folder}/{'/'.join(parts)}"


def tar_pieces(entries: Iterable[Entry]) -> Generator[bytes, None, None]:
    """Writes entries as a tar: sorted, of no time and of root, with the folders that are ours and no others.

    Folders outside ``opt/kfpm`` are left out: an entry for one that is a symbolic link in the base image would replace
    the link.
    """
    files = {entry.path: entry for entry in entries}
    folders = {str(parent) for path in files for parent in PurePosixPath(path).parents}
    for path in sorted(files.keys() | {folder for folder in folders if f"{folder}/".startswith(f"{ROOT}/")}):
        entry = files.get(path)
        if entry is None:
            yield _header(path, tarfile.DIRTYPE, 0o755, 0)
            continue
        mode = 0o755 if entry.executable else 0o644
        if isinstance(entry.content, bytes):
            yield _header(path, tarfile.REGTYPE, mode, size := len(entry.content))
            yield entry.content
        else:
            with entry.content.open("rb", buffering=0) as file:
                yield _header(path, tarfile.REGTYPE, mode, size := os.fstat(file.fileno()).st_size)
                while piece := file.read(_READ):  # the libraries of some distributions are larger than memory
                    yield piece
        if rest := size % tarfile.BLOCKSIZE:
            yield bytes(tarfile.BLOCKSIZE - rest)
    yield _END


def _header(path: str, kind: bytes, mode: int, size: int) -> bytes:
    name = path + ("/" if kind == tarfile.DIRTYPE else "")
    if len(name) <= tarfile.LENGTH_NAME and name.isascii() and size < _LARGEST:  # nearly all; the other way is slow
        head = b"%s%07o\0%07o\0%07o\0%011o\0%011o\0" % (name.encode().ljust(100, b"\0"), mode, 0, 0, size, 0)
        checksum = sum(head) + 8 * ord(" ") + sum(kind) + _REST_SUM
        return b"%s%06o\0 %s%s" % (head, checksum, kind, _REST)
    info = tarfile.TarInfo(path)
    info.type, info.mode, info.size = kind, mode, size
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def write_layer(
    what: str, pieces: Iterable[bytes], out: BinaryIO, how: Compressor, check: Callable[[], None] = _go_on
) -> Layer:
    """Packs a tar in one pass and learns its digests on the way.

    Args:
        what: Named in the image's history.
        pieces: The tar.
        out: Gets the packed bytes.
        how: How to pack.
        check: Called now and then; what it raises is raised.
    """
    raw, packed, stream = hashlib.sha256(), hashlib.sha256(), how.pack()
    unpacked = size = 0
    for piece in _even(pieces):
        check()
        raw.update(piece)
        unpacked += len(piece)
        ready = stream.compress(piece)
        packed.update(ready)
        size += out.write(ready)
    ready = stream.flush()
    packed.update(ready)
    size += out.write(ready)
    return Layer(what, f"sha256:{packed.hexdigest()}", f"sha256:{raw.hexdigest()}", size, unpacked, how.media_type)


def _even(pieces: Iterable[bytes]) -> Iterator[bytes | memoryview]:
    """Cuts pieces anew, all of one size but the last."""
    held = bytearray()
    for piece in pieces:
        rest = memoryview(piece)
        if held:
            room = _PIECE - len(held)
            held += rest[:room]
            rest = rest[room:]
            if len(held) < _PIECE:
                continue
            yield bytes(held)
            held.clear()
        while len(rest) >= _PIECE:
            yield rest[:_PIECE]
            rest = rest[_PIECE:]
        held += rest
    if held:
        yield bytes(held)


def small_layer(what: str, entries: Iterable[Entry], how: Compressor) -> Layer:
    """Makes a layer in memory."""
    out = io.BytesIO()
    layer = write_layer(what, tar_pieces(entries), out, how)
    return replace(layer, content=out.getvalue())


class LayerCache:
    """Layers made on this machine, by the key of what they were made from. Shared by threads and processes.

    Args:
        folder: Where they are kept; made when needed.
        limit: Bytes to keep; beyond, those that were not used for longest go.
    """

    def __init__(self, folder: Path, limit: int = KEPT) -> None:
        self.folder = folder
        self._limit = limit

    def find(self, key: str) -> Layer | None:
        """The layer of a key, None where there is none or it is not whole."""
        told, packed = self._files(key)
        try:
            layer = Layer(**json.loads(told.read_text(encoding="utf-8")), content=packed)
            if packed.stat().st_size != layer.size:
                return None
            os.utime(packed)
        except (OSError, ValueError, TypeError):
            return None
        return layer

    def add(
        self,
        key: str,
        what: str,
        pieces: Iterable[bytes],
        how: Compressor,
        *,
        has_paths: bool = False,
        check: Callable[[], None] = _go_on,
    ) -> Layer:
        """Packs a layer and keeps it.

        Args:
            key: Under which.
            what: Named in the image's history.
            pieces: The tar.
            how: How to pack.
            has_paths: Whether it has ``.pth`` files.
            check: Called now and then; what it raises is raised.

        Raises:
            BuildError: The disk is full, or refuses otherwise; nothing half-written stays.
        """
        told, packed = self._files(key)
        try:
            with whole(packed) as file:
                layer = replace(write_layer(what, pieces, file, how, check), has_paths=has_paths)
            facts = {name: getattr(layer, name) for name in Layer.__slots__ if name != "content"}
            with whole(told) as file:
                file.write(json.dumps(facts).encode())
        except OSError as error:
            raise disk_error(self.folder, error) from error
        return replace(layer, content=packed)

    def entries(self, layer: Layer, how: Compressor) -> list[Entry]:
        """Reads the files of a small layer back.

        Raises:
            DigestMismatchError: Its file is not what it was.
        """
        assert isinstance(layer.content, Path)
        packed = layer.content.read_bytes()
        if digest_of(packed) != layer.digest:
            self.forget(layer.content)
            raise mismatch(f"the layer of {layer.what} in {self.folder}", layer.digest, digest_of(packed))
        with tarfile.open(fileobj=io.BytesIO(how.unpack().decompress(packed)), mode="r:") as tar:
            return [
                Entry(one.name, data.read(), bool(one.mode & 0o100))
                for one in tar
                if one.isreg() and (data := tar.extractfile(one)) is not None
            ]

    def forget(self, packed: Path) -> None:
        """Deletes a layer that is not what it was, so that it is made anew."""
        if packed.parent == self.folder:
            packed.with_suffix(".json").unlink(missing_ok=True)
            packed.unlink(missing_ok=True)

    @contextmanager
    def holding(self, names: Iterable[str], check: Callable[[], None] = _go_on) -> Iterator[None]:
        """Keeps others, here and in other processes, from making the same meanwhile.

        Args:
            names: Of what is made.
            check: Called several times a second while it waits; what it raises ends the wait.
        """
        with ExitStack() as held:
            try:
                (self.folder / "locks").mkdir(parents=True, exist_ok=True)
                for name in sorted(set(names)):  # one order for everybody, or two wait for each other
                    lock = FileLock(self.folder / "locks" / f"{name}.lock")
                    _acquire(lock, check)
                    held.callback(lock.release)
            except OSError as error:
                raise disk_error(self.folder, error) from error
            yield

    def prune(self) -> None:
        """Deletes what was not used for longest until the rest fits the limit, and what killed builds left."""
        prune(self.folder, "*.layer", self._limit)
        for left in self.folder.glob(".*"):
            if time.time() - left.lstat().st_mtime > _ABANDONED:
                shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)

    def _files(self, key: str) -> tuple[Path, Path]:
        return self.folder / f"{key}.json", self.folder / f"{key}.layer"


def prune(folder: Path, files: str, limit: int) -> None:
    """Deletes files that were not used for longest, with what is told about them, until the rest fits a limit.

    Args:
        folder: Where they are.
        files: Pattern of their names.
        limit: Bytes. What was used in the last hour stays in any case: somebody may be at it.
    """
    found = sorted((path.stat().st_mtime, path.stat().st_size, path) for path in folder.glob(files) if path.exists())
    total = sum(size for _, size, _ in found)
    for used, size, path in found:
        if total <= limit or time.time() - used < _IN_USE:
            return
        path.with_suffix(".json").unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        total -= size


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """Writes a file that appears only when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            yield cast("BinaryIO", file)
            file.flush()
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def _acquire(lock: BaseFileLock, check: Callable[[], None]) -> None:
    while True:
        try:
            lock.acquire(timeout=_LOOK, poll_interval=0.02)
        except Timeout:
            check()
        else:
            return


def disk_error(where: Path, error: OSError) -> BuildError:
    """Says that this machine's disk is in the way."""
    return BuildError(
        f"A layer cannot be written to {where}: {error.strerror or error}.",
        "Make room there, or name another folder with more of it.",
    )
