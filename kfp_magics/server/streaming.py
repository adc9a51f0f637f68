"""Files to the browser: in pieces, by range, and in a sandbox that no script leaves."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import quote

from tornado.iostream import StreamClosedError

if TYPE_CHECKING:
    from kfp_magics.server.base import Handler

_PIECE = 1 << 18  # bytes that are read and sent at once
_LARGEST_PART = 32 << 20  # bytes of a file of unknown size that are held at once
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_SANDBOX = (
    "default-src 'none'; img-src data: blob:; media-src data: blob:; font-src data:; style-src 'unsafe-inline' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
_SCRIPTS = "; script-src 'unsafe-inline' 'unsafe-eval' data: blob:; worker-src blob:"


def sandbox(*, scripts: bool) -> str:
    """The policy under which an artifact is shown: an origin of its own, and no network, with or without scripts."""
    return f"sandbox allow-scripts; {_SANDBOX}{_SCRIPTS}" if scripts else f"sandbox; {_SANDBOX}"


def head(handler: Handler, name: str, kind: str, *, download: bool, scripts: bool = False) -> None:
    """Sets the headers of content that somebody else made.

    Args:
        handler: The request.
        name: What the file is called when it is saved.
        kind: Its media type.
        download: Whether it is saved rather than shown.
        scripts: Whether its scripts may run, in an origin of their own.
    """
    text = kind.startswith("text/") or kind == "application/json"
    handler.set_header("Content-Type", f"{kind}; charset=utf-8" if text else kind)
    plain = re.sub(r"[^\w. -]", "_", name, flags=re.ASCII)
    how = "attachment" if download else "inline"
    handler.set_header("Content-Disposition", f"{how}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}")
    handler.set_header("Content-Security-Policy", sandbox(scripts=scripts))
    handler.set_header("X-Content-Type-Options", "nosniff")
    handler.set_header("Cross-Origin-Resource-Policy", "same-origin")
    handler.set_header("Referrer-Policy", "no-referrer")


async def send_file(handler: Handler, file: BinaryIO) -> None:
    """Sends a file or the range of it that was asked for; its size is the one that it has now."""
    status = os.fstat(file.fileno())
    handler.set_header("Accept-Ranges", "bytes")
    version = f"{status.st_mtime_ns:x}-{status.st_size:x}"
    if handler.unchanged(version):
        return
    asked = handler.request.headers.get("Range", "")
    if handler.request.headers.get("If-Range", version).strip('W/"') != version:
        asked = ""
    start, end = _range(asked, status.st_size)
    if start >= end and status.st_size and asked:
        handler.set_status(416)
        handler.set_header("Content-Range", f"bytes */{status.st_size}")
        await handler.finish()
        return
    if (start, end) != (0, status.st_size):
        _say_part(handler, start, end, str(status.st_size))
    handler.set_header("Content-Length", str(end - start))
    file.seek(start)
    await send_stream(handler, file, end - start)


def _range(asked: str, size: int) -> tuple[int, int]:
    """First byte and the one behind the last; everything when the range cannot be read, as HTTP wants it."""
    match = _RANGE.fullmatch(asked.strip())
    if match is None or match[0] == "bytes=-":
        return 0, size
    if not match[1]:
        return max(0, size - int(match[2])), size
    start = int(match[1])
    return start, min(size, int(match[2]) + 1) if match[2] else size


def wanted_range(handler: Handler, size: int | None) -> range | None:
    """The part of a file elsewhere that was asked for; None for everything, and for what cannot be told.

    Args:
        handler: The request.
        size: Of the file; None when nobody says, and then only a part with an end can be asked for.
    """
    match = _RANGE.fullmatch(handler.request.headers.get("Range", "").strip())
    if match is None or not (match[1] and (match[2] or size is not None)):
        return None
    start = int(match[1])
    end = int(match[2]) + 1 if match[2] else size or 0
    found = range(start, end if size is None else min(size, end))
    return found if 0 < len(found) <= _LARGEST_PART or (found and size is not None) else None


async def send_remote(handler: Handler, start: bytes, rest: BinaryIO, wanted: range | None, size: int | None) -> None:
    """Sends a file that lies elsewhere, or the part of it that was asked for.

    Args:
        handler: The request.
        start: The first bytes of that part, which have been read already.
        rest: What follows them.
        wanted: The part.
        size: Of the whole file; None when nobody says.
    """
    if wanted is None:
        if size is not None:
            handler.set_header("Content-Length", str(size))
        handler.write(start)
        await send_stream(handler, rest)
        return
    if size is not None:
        _say_part(handler, wanted.start, wanted.stop, str(size))
        handler.set_header("Content-Length", str(len(wanted)))
        handler.write(start[: len(wanted)])
        await send_stream(handler, rest, max(0, len(wanted) - len(start)))
        return
    left = len(wanted) - len(start)
    part = start[: len(wanted)]
    while left > 0 and (piece := await handler.service.call(rest.read, left)):
        part, left = part + piece, left - len(piece)
    if part or wanted.start:
        # Only who has come to the end knows where it is.
        end = wanted.start + len(part)
        _say_part(handler, wanted.start, end, str(end) if left > 0 else "*")
    if not part and wanted.start:
        handler.set_status(416)
        handler.set_header("Content-Range", "bytes */*")
    handler.write(part)
    await handler.finish()


def _say_part(handler: Handler, start: int, end: int, size: str) -> None:
    handler.set_status(206)
    handler.set_header("Content-Range", f"bytes {start}-{end - 1}/{size}")


async def send_stream(handler: Handler, source: BinaryIO, length: int | None = None) -> None:
    """Sends what a stream gives, never faster than the client takes it.

    Args:
        handler: The request.
        source: What is sent; closed by whoever opened it.
        length: At most so many bytes; everything when None.
    """
    left = length
    try:
        while left is None or left > 0:
            piece = await handler.service.call(source.read, _PIECE if left is None else min(_PIECE, left))
            if not piece:
                break
            left = None if left is None else left - len(piece)
            handler.write(piece)
            await handler.flush()
        await handler.finish()
    except StreamClosedError:
        return  # the client went away
