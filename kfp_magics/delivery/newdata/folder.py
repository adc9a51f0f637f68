"""Looking at a folder: which files in it are new, and done being written."""

from __future__ import annotations

import fcntl
import os
import signal
import stat
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from errno import EAGAIN
from typing import TYPE_CHECKING, Literal

from kfp_magics.delivery.newdata.rules import NewObject, RuleError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

QUIET = 0.25
"""Seconds for which a file that nobody has open for writing must stay as it is before it is taken."""

QUIET_BLIND = 3.0
"""The same where the system does not tell who writes: on a network's file systems, and for other people's files."""

_Stamp = tuple[int, int]  # bytes, time of the last write


@dataclass(slots=True)
class _Seen:
    """How a file looked, since when (on the monotonic clock), and what was said of it."""

    stamp: _Stamp
    since: float
    told: str = ""


class Folder:
    """Finds the new files of a folder and of those below it. Linked folders are not followed, linked files are.

    Args:
        path: The folder, absolute.
        wanted: Whether a version of a file is new and wanted.
        tell: Told once of each file that cannot be taken, and why.
    """

    def __init__(self, path: str, wanted: Callable[[NewObject], bool], tell: Callable[[str], None]) -> None:
        self._path = path
        self._wanted = wanted
        self._tell = tell
        self._seen: dict[str, _Seen] = {}
        self._refused: set[str] = set()

    def scan(self) -> None:
        """Looks at every file.

        Raises:
            OSError: The folder is not there, or cannot be read.
        """
        for path in _files(self._path):
            self._look(path)

    def look(self, path: str) -> None:
        """Looks at a file that is new, or has changed, or is gone; at the files of a folder that was moved here."""
        if not os.path.isdir(path) or os.path.islink(path):  # noqa: PTH112, PTH114  (of many paths, and often)
            self._look(path)
            return
        with suppress(OSError):  # gone meanwhile, or not to be entered
            for inside in _files(path):
                self._look(inside)

    def _look(self, path: str) -> None:
        now = time.monotonic()
        found = self._object(path)
        if found is None or not self._wanted(found):
            self._seen.pop(path, None)
            return
        stamp, written = _stamp(found), _written(found)
        seen = self._seen.get(path)
        if seen is None or seen.stamp != stamp:
            # A file that was moved here was not written here: what its last write is long ago for, it is finished for.
            self._seen[path] = _Seen(stamp, now - min(max(time.time() - written, 0.0), QUIET))

    def ready(self) -> list[NewObject]:
        """The files that are done, in the order in which they were last written. They stay until `taken`."""
        found = [one for path in list(self._seen) if (one := self._done(path)) is not None]
        return sorted(found, key=lambda one: (_written(one), one.name))

    def taken(self, objects: Iterable[NewObject]) -> None:
        """Forgets files that somebody else remembers now."""
        for one in objects:
            self._seen.pop(one.uri, None)

    @property
    def waits(self) -> bool:
        """Whether there are files that will soon be done."""
        return bool(self._seen)

    def lying(self) -> list[NewObject]:
        """Every wanted file as it is now, done or not; none when there is no folder."""
        with suppress(FileNotFoundError):
            found = (self._object(path) for path in _files(self._path))
            return [one for one in found if one is not None and self._wanted(one)]
        return []

    def _done(self, path: str) -> NewObject | None:
        self._look(path)
        seen, now = self._seen.get(path), time.monotonic()
        if seen is None or now - seen.since < QUIET:
            return None
        state = _writer(path)
        if state == "unreadable":
            if not seen.told:
                seen.told = "unreadable"
                self._tell(f"{path} cannot be read; it is taken when it can.")
            return None
        if state == "open":
            seen.since = now
            return None
        if state == "unknown" and now - seen.since < QUIET_BLIND:
            return None
        found = self._object(path)
        return found if found is not None and _stamp(found) == seen.stamp else None

    def _object(self, path: str) -> NewObject | None:
        try:
            status = os.stat(path)  # noqa: PTH116  (of many files, and often)
        except OSError:  # gone meanwhile, a link to nothing, or in a folder that may not be entered
            return None
        if not stat.S_ISREG(status.st_mode):
            return None
        try:
            return NewObject(
                bucket=self._path,
                name=os.path.relpath(path, self._path),
                generation=f"{status.st_size}-{status.st_mtime_ns}",
                size=status.st_size,
                time=_rfc3339(status.st_mtime),
            )
        except RuleError as error:
            if path not in self._refused:
                self._refused.add(path)
                self._tell(f"{error.message} It starts nothing; rename it.")
            return None


def _files(folder: str) -> Iterator[str]:
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda one: one.name)
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            with suppress(OSError):  # gone meanwhile, or not to be entered
                yield from _files(entry.path)
        else:
            yield entry.path


def _stamp(found: NewObject) -> _Stamp:
    return found.size, int(found.generation.partition("-")[2])


def _written(found: NewObject) -> float:
    return int(found.generation.partition("-")[2]) / 1e9


def _rfc3339(seconds: float) -> str:
    with suppress(ValueError, OverflowError, OSError):  # file systems take times that no calendar has
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return ""


def _writer(path: str) -> Literal["none", "open", "unknown", "unreadable"]:
    """Whether somebody has a file open for writing: Linux grants a lease for reading only when nobody has."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return "unreadable"
    try:
        if not hasattr(fcntl, "F_SETLEASE"):
            return "unknown"
        fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)  # ignored; who opens the file now would send us SIGIO
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return "open" if error.errno == EAGAIN else "unknown"
    finally:
        os.close(file)  # and with it the lease
    return "none"
