"""Logs as files that are read from any place, the end first: a log of any length opens at once."""

from __future__ import annotations

import codecs
import mmap
import re
import tempfile
import threading
import time
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from kfp_magics.backends.base import KeepsFiles

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kfp_magics.backends.base import Backend
    from kfp_magics.model import Json, Run, Task

_FRESH = 2.0  # seconds for which a log that another machine keeps is not asked for again
_KEPT = 32  # logs of other machines that are kept
_AROUND = 250  # bytes before and behind a match that are shown of a long line


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """A piece of a log.

    Attributes:
        start: Its first byte.
        end: The first byte behind it.
        size: Bytes of the log so far.
        text: What it says.
    """

    start: int
    end: int
    size: int
    text: str


def read_piece(path: Path, offset: int, limit: int, *, ended: bool) -> Piece:
    """Reads a piece that neither begins nor ends inside a character.

    Args:
        path: The log; a missing file is an empty log.
        offset: First byte; counted from the end when negative, and the piece then begins with a whole line if it can.
        limit: At most so many bytes.
        ended: Whether nothing more will be written, so that a cut character at the end stays one.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            start = min(size, offset) if offset >= 0 else max(0, size + offset)
            file.seek(start)
            data = file.read(limit)
    except (FileNotFoundError, NotADirectoryError):
        return Piece(start=0, end=0, size=0, text="")
    size = max(size, start + len(data))
    skipped = _skipped(data, whole_line=offset < 0) if start else 0
    start, data = start + skipped, data[skipped:]
    if not (ended and start + len(data) >= size):
        data = data[: len(data) - _cut(data)]
    return Piece(start=start, end=start + len(data), size=size, text=data.decode("utf-8", "replace"))


def _skipped(data: bytes, *, whole_line: bool) -> int:
    if whole_line and 0 <= (line := data.find(b"\n")) < len(data) - 1:
        return line + 1
    return next((at for at, byte in enumerate(data[:4]) if byte & 0xC0 != 0x80), 0)


def _cut(data: bytes) -> int:
    """How many bytes at the end begin a character that is not complete."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    decoder.decode(data[-4:])
    return len(decoder.getstate()[0])


def search(path: Path, text: str, offset: int, limit: int) -> dict[str, Json]:
    """Finds where a text stands, whatever the case of its ASCII letters.

    Args:
        path: The log.
        text: What is looked for.
        offset: First byte to look at.
        limit: At most so many matches.
    """
    matches: list[dict[str, Json]] = []
    try:
        size = path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        size = 0
    if offset >= size:
        return {"matches": matches, "next": None, "size": size}
    wanted = re.compile(re.escape(text.encode("utf-8", "replace")), re.IGNORECASE)
    with path.open("rb") as file, mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as log:
        for match in wanted.finditer(log, offset):
            if len(matches) == limit:
                return {"matches": matches, "next": match.start(), "size": size}
            matches.append(_found(log, match.start(), match.end()))
    return {"matches": matches, "next": None, "size": size}


def _found(log: mmap.mmap, start: int, end: int) -> dict[str, Json]:
    line_start = log.rfind(b"\n", 0, start) + 1
    line_end = log.find(b"\n", end)
    shown = log[max(line_start, start - _AROUND) : min(line_end if line_end >= 0 else len(log), start + _AROUND)]
    return {"start": start, "end": end, "line_start": line_start, "text": shown.decode("utf-8", "replace")}


class Logs:
    """Where the log of a task is; what another machine keeps is brought here first.

    Args:
        backends: By name.
    """

    def __init__(self, backends: Mapping[str, Backend]) -> None:
        self._backends = backends
        self._guard = threading.Lock()
        self._brought: dict[str, float] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def path(self, run: Run, task: Task, attempt: int) -> Path:
        """The file with the log of an attempt; it may not be there yet."""
        backend = self._backends[run.backend]
        if isinstance(backend, KeepsFiles):
            return backend.log_file(run, task, attempt)
        return self._bring(backend, run, task)

    def _bring(self, backend: Backend, run: Run, task: Task) -> Path:
        name = sha256(f"{run.id}\0{task.id}\0{task.attempt}\0{task.state.final}".encode()).hexdigest()
        with self._guard:
            if self._folder is None:
                self._folder = tempfile.TemporaryDirectory(prefix="kfp-magics-logs-")
            path = Path(self._folder.name, name)
            age = time.monotonic() - self._brought.get(name, float("-inf"))
            if path.exists() and (task.state.final or age < _FRESH):
                return path
        with tempfile.NamedTemporaryFile("wb", dir=path.parent, delete=False) as draft:
            for piece in backend.logs(run, task):
                draft.write(piece.encode("utf-8", "replace"))
        Path(draft.name).replace(path)
        with self._guard:
            self._brought.pop(name, None)
            self._brought[name] = time.monotonic()
            for old in list(self._brought)[:-_KEPT]:
                del self._brought[old]
                Path(path.parent, old).unlink(missing_ok=True)
        return path

    def close(self) -> None:
        """Removes what was brought here."""
        if self._folder is not None:
            self._folder.cleanup()
