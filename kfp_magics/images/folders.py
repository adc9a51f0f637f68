"""Folders that people bring: what of them enters an image, by the ignore rules they hold, read a piece at a time."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import stat
import tarfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO

from kfp_magics.errors import BuildError
from kfp_magics.images.ignore import Rules, read_rules

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

DOCKERFILES = ("Dockerfile", "Containerfile")
CLOUDBUILD = ("cloudbuild.yaml", "cloudbuild.yml", "cloudbuild.json")
_PIECE = 1 << 20
_LARGE = 1 << 20  # bytes from which a file's digest is kept in memory
_LOOKED_AT = 1 << 16  # bytes of a file in which a private key is looked for
_NEVER = frozenset({".git", ".hg", ".svn", "__pycache__", ".ipynb_checkpoints", ".DS_Store"})
_SECRET_NAMES = re.compile(
    r"\.env(\..+)?|\.netrc|\.pypirc|\.git-credentials|\.dockercfg|\.htpasswd|id_(rsa|dsa|ecdsa|ed25519)(_sk)?|kubeconfig|"
    r"application_default_credentials\.json|.+\.(p12|pfx|jks|keystore)"
)
_SAMPLES = re.compile(r"\.env\.(example|sample|template|dist)")
_SECRET_PATHS = re.compile(r"(.*/)?(\.docker/config\.json|\.aws/credentials|\.kube/config|\.ssh/(?!.*\.pub$).+)")
_KEPT_IN = frozenset({"", ".asc", ".crt", ".json", ".key", ".pem", ".priv", ".txt"})
_PRIVATE_KEY = re.compile(rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----")


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A file, or a link to one, that enters the image.

    Attributes:
        path: In the folder, POSIX.
        mode: 0o644 or 0o755.
        size: Bytes; 0 for a link.
        link: What a symbolic link points to; empty for a file.
    """

    path: str
    mode: int
    size: int
    link: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Folder:
    """What of a folder enters an image.

    Attributes:
        root: The folder, absolute.
        entries: Sorted by path.
        secrets: Paths that were left out because they look like secrets.
        rules: Name of the ignore file that was obeyed; empty when there is none.
    """

    root: Path
    entries: tuple[Entry, ...]
    secrets: tuple[str, ...] = ()
    rules: str = ""

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(entry.size for entry in self.entries)

    def first(self, names: Iterable[str]) -> str:
        """The first of several names that the folder has at its top; empty when it has none."""
        paths = {entry.path for entry in self.entries}
        return next((name for name in names if name in paths), "")


def read_folder(folder: str | Path, rules: Rules | None = None) -> Folder:
    """Looks what of a folder enters an image: everything but what its ignore file names, and secrets.

    Args:
        folder: The folder.
        rules: What to leave out; what its own ignore file names when left out.

    Raises:
        BuildError: It is none, or holds what no image can: links that lead out of it, devices, unreadable files.
    """
    root = Path(folder).resolve()
    if not root.is_dir():
        raise BuildError(f"There is no folder {str(folder)!r}.", f"It would be {root}.")
    rules = rules or read_rules(root, like_cloud_build=any((root / name).is_file() for name in CLOUDBUILD))
    entries: list[Entry] = []
    secrets: list[str] = []
    for path, found in _walk(root, rules):
        if _looks_secret(root, path, found):
            secrets.append(path)
        else:
            entries.append(_entry(root, path, found))
    return Folder(
        root=root,
        entries=tuple(sorted(entries, key=lambda entry: entry.path)),
        secrets=tuple(sorted(secrets)),
        rules=rules.name,
    )


def _walk(root: Path, rules: Rules) -> Iterator[tuple[str, os.stat_result]]:
    waiting = [""]
    while waiting:
        inside = waiting.pop()
        try:
            with os.scandir(root / inside) as found:
                children = list(found)
        except OSError as error:
            raise _unreadable(root, inside or ".", error) from error
        for child in children:
            if child.name in _NEVER:
                continue
            path = f"{inside}/{child.name}" if inside else child.name
            if child.is_dir(follow_symlinks=False):
                if not rules.leaves_out_folder(path):
                    waiting.append(path)
            elif path in _ALWAYS or not rules.leaves_out(path):
                yield path, child.stat(follow_symlinks=False)


_ALWAYS = frozenset({*DOCKERFILES, *CLOUDBUILD, ".dockerignore", ".gcloudignore"})


def _entry(root: Path, path: str, found: os.stat_result) -> Entry:
    if stat.S_ISLNK(found.st_mode):
        link = str((root / path).readlink())
        target = PurePosixPath(os.path.normpath(PurePosixPath(path).parent / link))
        if target.is_absolute() or ".." in target.parts:
            raise BuildError(
                f"{path!r} in the folder {str(root)!r} is a link that leads out of it: {link}",
                "Copy what it points to into the folder, or name the link in .dockerignore.",
            )
        return Entry(path=path, mode=0o755, size=0, link=link)
    if not stat.S_ISREG(found.st_mode):
        raise BuildError(
            f"{path!r} in the folder {str(root)!r} is neither a file nor a folder.", "Name it in .dockerignore."
        )
    return Entry(path=path, mode=0o755 if found.st_mode & stat.S_IXUSR else 0o644, size=found.st_size)


def _open(path: Path) -> io.BufferedReader:
    """Opens a file, and never what a link leads to that was put in its place meanwhile."""
    return open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW))


def _unreadable(root: Path, path: str, error: OSError) -> BuildError:
    return BuildError(
        f"{path!r} in the folder {str(root)!r} cannot be read: {error.strerror}.",
        "Mend its permissions, or name it in .dockerignore.",
    )


def _looks_secret(root: Path, path: str, found: os.stat_result) -> bool:
    name = path.rpartition("/")[2]
    if _SECRET_NAMES.fullmatch(name):
        return not _SAMPLES.fullmatch(name)
    if _SECRET_PATHS.fullmatch(path):
        return True
    if PurePosixPath(name).suffix.lower() not in _KEPT_IN or not stat.S_ISREG(found.st_mode):
        return False
    if found.st_size > _LARGE:
        return False
    try:
        with _open(root / path) as file:
            head = file.read(_LOOKED_AT)
    except OSError as error:
        raise _unreadable(root, path, error) from error
    return bool(_PRIVATE_KEY.search(head)) or (name.endswith(".json") and _holds_login(head))


def _holds_login(head: bytes) -> bool:
    """Whether a JSON file is a login as Google's tools write it; service accounts' keys are found by their PEM."""
    try:
        value = json.loads(head)
    except ValueError:
        return False
    return isinstance(value, dict) and ("refresh_token" in value or "client_secret" in str(value.get("installed", "")))


def digest_of(folder: Folder) -> str:
    """Hex SHA-256 of the paths, modes and contents of what enters the image; nothing is held in memory whole.

    Args:
        folder: What `read_folder` found.

    Raises:
        BuildError: A file cannot be read.
    """
    total = hashlib.sha256()
    for entry in folder.entries:
        content = _link_digest(entry.link) if entry.link else _file_digest(folder.root, entry)
        _add(total, entry, content)
    return total.hexdigest()


def _add(total: hashlib._Hash, entry: Entry, content: str) -> None:
    total.update(os.fsencode(entry.path) + b"\0" + f"{entry.mode:o} {'l' if entry.link else 'f'} {content}\n".encode())


def _link_digest(link: str) -> str:
    return hashlib.sha256(os.fsencode(link)).hexdigest()


def _file_digest(root: Path, entry: Entry) -> str:
    path = root / entry.path
    try:
        if entry.size < _LARGE:
            with _open(path) as file:
                return hashlib.sha256(file.read()).hexdigest()
        found = path.stat()
        return _large_digest(str(path), found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
    except OSError as error:
        raise _unreadable(root, entry.path, error) from error


@lru_cache(maxsize=4096)
def _large_digest(path: str, _size: int, _modified: int, _changed: int, _inode: int) -> str:
    """Reads a large file once for as long as the system says that it is the same."""
    with _open(Path(path)) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def pack(folder: Folder, beside: Mapping[str, bytes], out: BinaryIO, *, digest: str = "") -> None:
    """Writes what enters an image as a tar stream: the same bytes for the same content, a piece at a time.

    Args:
        folder: What `read_folder` found.
        beside: Generated files, which stand for those of the folder that have the same path.
        out: Where the stream goes; it is written from front to back.
        digest: What `digest_of` said before.

    Raises:
        BuildError: A file cannot be read, or the folder is not what `digest` says any more.
    """
    total = hashlib.sha256()
    with tarfile.open(fileobj=out, mode="w|", bufsize=_PIECE, format=tarfile.PAX_FORMAT) as tar:
        tar.copybufsize = _PIECE  # type: ignore[attr-defined]  # unknown to typeshed, documented since Python 3.7
        for entry in folder.entries:
            content = _pack_entry(tar, folder.root, entry, write=entry.path not in beside)
            _add(total, entry, content)
        for path in sorted(beside):
            info = _info(path, len(beside[path]), 0o755 if beside[path].startswith(b"#!") else 0o644)
            tar.addfile(info, io.BytesIO(beside[path]))
    if digest and total.hexdigest() != digest:
        raise BuildError(f"The folder {str(folder.root)!r} changed while it was read.", "Build again: %kfp_build.")


def _pack_entry(tar: tarfile.TarFile, root: Path, entry: Entry, *, write: bool) -> str:
    if entry.link:
        info = _info(entry.path, 0, entry.mode)
        info.type, info.linkname = tarfile.SYMTYPE, entry.link
        if write:
            tar.addfile(info)
        return _link_digest(entry.link)
    try:
        with _open(root / entry.path) as file:
            read = _Hashing(file)
            if write:
                tar.addfile(_info(entry.path, entry.size, entry.mode), read)
            while read.read(_PIECE):  # what was appended meanwhile is not packed, but told by the digest
                pass
    except OSError as error:  # tarfile's word for a file that has become shorter is an OSError as well
        raise _unreadable(root, entry.path, error) from error
    return read.total.hexdigest()


class _Hashing(io.RawIOBase):
    """A file that is hashed as it is read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.total = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        piece = self._file.read(size)
        self.total.update(piece)
        return piece


def _info(path: str, size: int, mode: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(path)
    info.size, info.mode = size, mode
    return info
