"""Exported files on disk: what is ours is replaced, what is somebody else's is left alone."""

from __future__ import annotations

import difflib
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from kfp_magics.errors import DeliveryError

if TYPE_CHECKING:
    from collections.abc import Mapping

LOCK = "kfp-magics.lock"
"""The list of what an export wrote, with its hashes."""


class Content(bytes):
    """What a file holds, where its mode is known; otherwise what starts with ``#!`` is executable.

    Attributes:
        executable: Whether it is.
    """

    executable: bool

    @classmethod
    def of(cls, content: bytes, *, executable: bool) -> Content:
        """The content with its mode."""
        made = cls(content)
        made.executable = executable
        return made


def mode_of(content: bytes) -> int:
    """The mode that a file gets."""
    executable = content.executable if isinstance(content, Content) else content.startswith(b"#!")
    return 0o755 if executable else 0o644


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """What an export did to a folder.

    Attributes:
        target: The folder.
        written: Paths that are new or changed.
        removed: Paths that were ours and are not needed any more.
        kept: Paths that somebody changed, which therefore stay as they are.
        same: Paths that were as they should be.
        remarks: For the user, a line each.
    """

    target: Path
    written: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    same: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def write(target: Path, files: Mapping[str, bytes], *, once: Mapping[str, bytes], force: bool = False) -> Written:
    """Brings a folder up to date.

    Args:
        target: The folder; made when it is not there.
        files: Path → content, all that is ours.
        once: Path → content that is written where nothing is yet, and belongs to the user from then on.
        force: Also what somebody changed.

    Raises:
        DeliveryError: A path is behind a link, or the folder cannot be written.
    """
    ours = read_lock(target)
    for path in {*files, *ours}:
        _place(target, path)
    done = Written(target=target)
    hashes: dict[str, str] = {}
    try:
        for path, content in sorted(files.items()):
            hashes |= _write_one(target, path, content, ours, done, force=force)
        for path in sorted(set(ours) - set(files)):
            hashes |= _remove_one(target, path, ours[path], done, force=force)
        for path, content in sorted(once.items()):
            if not (target / path).exists():
                _put(_place(target, path), content)
                done.written.append(path)
        _put(target / LOCK, _lock_text(hashes))
    except OSError as error:
        raise DeliveryError(
            f"The folder {str(target)!r} cannot be written: {error.strerror} ({error.filename}).",
            "Mend that and export again; nothing that is there is lost.",
        ) from error
    return done


def _write_one(
    target: Path, path: str, content: bytes, ours: Mapping[str, str], done: Written, *, force: bool
) -> dict[str, str]:
    place = target / path
    now = _read(place)
    if now == content and place.stat().st_mode & 0o100 == mode_of(content) & 0o100:
        done.same.append(path)
    elif now in {None, content} or force or _hash(now) == ours.get(path):
        _put(place, content)
        done.written.append(path)
    else:
        done.kept.append(path)
        return {path: ours[path]} if path in ours else {}
    return {path: _hash(content)}


def _remove_one(target: Path, path: str, known: str, done: Written, *, force: bool) -> dict[str, str]:
    place = target / path
    now = _read(place)
    if now is None:
        return {}
    if _hash(now) != known and not force:
        done.kept.append(path)
        return {path: known}
    place.unlink()
    done.removed.append(path)
    for parent in place.parents:
        if parent == target or any(parent.iterdir()):
            break
        parent.rmdir()
    return {}


def differences(target: Path, files: Mapping[str, bytes]) -> dict[str, str]:
    """Compares a folder with what an export would write.

    Args:
        target: The folder.
        files: Path → content.

    Returns:
        Path → a unified diff from the folder to the notebook; empty when they agree.
    """
    found = {}
    for path, content in sorted(files.items()):
        now = _read(_place(target, path))
        if now != content:
            found[path] = _diff(path, now, content)
    for path in sorted(set(read_lock(target)) - set(files)):
        now = _read(_place(target, path))
        if now is not None:
            found[path] = _diff(path, now, None)
    return found


def _diff(path: str, old: bytes | None, new: bytes | None) -> str:
    try:
        before, after = ((one or b"").decode().splitlines(keepends=True) for one in (old, new))
    except UnicodeDecodeError:
        return f"Binary file {path} differs\n"
    names = ("/dev/null" if old is None else f"a/{path}", "/dev/null" if new is None else f"b/{path}")
    lines = difflib.unified_diff(before, after, *names)
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def read_lock(target: Path) -> dict[str, str]:
    """Reads which files are ours.

    Raises:
        DeliveryError: The list does not read.
    """
    text = _read(target / LOCK)
    if text is None:
        return {}
    try:
        files = json.loads(text)["files"]
        return {str(path): str(digest) for path, digest in files.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DeliveryError(
            f"The file {str(target / LOCK)!r} does not read: {error}",
            f"Take it back from the repository: git checkout -- {LOCK}",
        ) from error


def _lock_text(hashes: Mapping[str, str]) -> bytes:
    return (json.dumps({"files": dict(sorted(hashes.items()))}, indent=1, ensure_ascii=False) + "\n").encode()


def _place(target: Path, path: str) -> Path:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path or "\0" in path:
        raise DeliveryError(f"The path {path!r} leads out of the exported folder.", "Use plain relative paths.")
    place = target / path
    if not place.parent.resolve().is_relative_to(target.resolve()) or place.is_symlink():
        raise DeliveryError(f"{str(place)!r} is a link, or behind one.", "Remove it, or export to another folder.")
    return place


def _put(place: Path, content: bytes) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    draft = place.with_name(f".{place.name}.part")
    draft.write_bytes(content)
    draft.chmod(mode_of(content))
    draft.replace(place)


def _read(place: Path) -> bytes | None:
    return place.read_bytes() if place.is_file() else None


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
