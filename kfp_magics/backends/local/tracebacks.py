"""What a Python step in a container died of, read from what it printed: the exception and the line of its cell."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kfp_magics.backends.local.endings import cell_of, tail
from kfp_magics.model import Failure

if TYPE_CHECKING:
    from kfp_magics.backends.local.executor import Launch

_SEEN = 200_000  # bytes at the end of a log in which the traceback must begin
_LONGEST = 20_000  # characters of it that are kept
_START = "Traceback (most recent call last):"
_FRAME = re.compile(r'^  File "(?P<file>[^"]+)", line (?P<line>\d+)(?:, in (?P<name>.+))?$')
_ERROR = re.compile(r"^(?P<type>[A-Za-z_][\w.]*)(?::|$)")
# Where a step's own module lies: in its image, or where KFP's command writes it.
_MODULE = re.compile(r"^/opt/kfpm/src/[^/]+\.py$|/ephemeral_component\.py$")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Traceback:
    """The last traceback of a log: its frames, and the lines of the exception."""

    frames: list[tuple[str, int, list[str]]]
    error: list[str]


def read_traceback(launch: Launch) -> Failure | None:
    """Reads the last traceback in the log of an attempt.

    Args:
        launch: The attempt, ended.

    Returns:
        The failure with the line of the step's cell, or None when the log holds no traceback of the step.
    """
    found = _last(tail(launch.log, _SEEN))
    if found is None:
        return None
    own = [frame for frame in found.frames if _MODULE.search(frame[0])]
    source = launch.source
    line = own[-1][1] + source.line_offset if own and source else None
    cell = (source.source if source else "").splitlines()
    if line is not None and not 0 < line <= len(cell):
        line = None
    text = cell[line - 1].strip() if line is not None else ""
    shown = [_shown(frame, launch) for frame in own]
    return Failure(
        message=found.error[0],
        hint=_hint(found.error[0]),
        cell_id=cell_of(launch),
        line=line,
        text=text,
        traceback="\n".join([_START, *shown, *found.error])[-_LONGEST:] if own else "",
    )


def _last(text: str) -> _Traceback | None:
    lines = text.splitlines()
    start = next((n for n in reversed(range(len(lines))) if lines[n].strip() == _START), None)
    if start is None:
        return _syntax_error(lines)
    frames: list[tuple[str, int, list[str]]] = []
    position = start + 1
    while position < len(lines) and lines[position].startswith(" "):
        match = _FRAME.match(lines[position])
        if match:
            frames.append((match["file"], int(match["line"]), []))
        elif frames:
            frames[-1][2].append(lines[position])
        position += 1
    rest = lines[position:]
    if not rest or _ERROR.match(rest[0]) is None:
        return None
    return _Traceback(frames=frames, error=rest[:20])


def _syntax_error(lines: list[str]) -> _Traceback | None:
    for position in reversed(range(len(lines))):
        match = _FRAME.match(lines[position])
        if match and match["name"] is None:
            after = lines[position + 1 :]
            error = next((n for n, line in enumerate(after) if not line.startswith(" ")), None)
            if error is None:
                return None
            return _Traceback(frames=[(match["file"], int(match["line"]), after[:error])], error=after[error:][:20])
    return None


def _shown(frame: tuple[str, int, list[str]], launch: Launch) -> str:
    _, line, text = frame
    source = launch.source
    where = f'"<{source.label}>", line {line + source.line_offset}' if source else f'"<step>", line {line}'
    return "\n".join([f"  File {where}", *text])


def _hint(error: str) -> str:
    kind, _, message = error.partition(": ")
    if kind == "ModuleNotFoundError" and (match := re.search(r"'([^'.]+)", message)):
        return f"The step's image has no {match[1]!r}: import it in the cell, or name it with --packages, and rebuild."
    if kind == "MemoryError":
        return "The step needs more memory than it may have: give it more with --memory."
    return ""
