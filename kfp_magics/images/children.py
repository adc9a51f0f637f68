"""A command whose output is followed line by line, and which ends when whoever waits for it wants to."""

from __future__ import annotations

import codecs
import os
import selectors
import signal
import subprocess
from collections import deque
from contextlib import suppress
from typing import IO, TYPE_CHECKING

from kfp_magics.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import psutil

_LOOK = 0.25  # seconds between two questions whether to go on
_TIDY = 3.0  # seconds that an engine may take to tidy up after a container that is gone
_GRACE = 5.0  # seconds between the polite and the hard end
_PIECE = 1 << 16
_KEPT = 40  # last lines, to say what went wrong


def follow(
    command: Sequence[str],
    on_line: Callable[[str], None],
    check: Callable[[], None],
    environment: Mapping[str, str] | None = None,
) -> tuple[int, list[str]]:
    """Runs a command to its end.

    Args:
        command: Program and arguments.
        on_line: Given each line of what it prints, without its end.
        check: Called several times a second; what it raises ends the command and all that it started.
        environment: Variables besides those of this process.

    Returns:
        Exit code, and the last lines that it printed.

    Raises:
        EngineError: It cannot be started.
    """
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=os.environ | dict(environment or {}),
        )
    except OSError as error:
        raise EngineError(f"{command[0]} cannot be started: {error.strerror}.", "Install it anew.") from error
    last: deque[str] = deque(maxlen=_KEPT)

    def take(line: str) -> None:
        last.append(line)
        on_line(line)

    assert child.stdout is not None
    with child.stdout:
        try:
            _read(child.stdout, take, check)
            code = child.wait()
        except BaseException:
            _end(child)
            raise
    return code, list(last)


def _read(output: IO[bytes], take: Callable[[str], None], check: Callable[[], None]) -> None:
    decoder, rest = codecs.getincrementaldecoder("utf-8")("replace"), ""
    with selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        while True:
            check()
            if not selector.select(_LOOK):
                continue
            piece = os.read(output.fileno(), _PIECE)
            *lines, rest = (rest + decoder.decode(piece, final=not piece)).split("\n")
            for line in lines:
                take(line.rstrip("\r"))
            if not piece:
                if rest:
                    take(rest)
                return


def _end(child: subprocess.Popen[bytes]) -> None:
    """Ends a command with all that it started: what runs in containers first, so that the engine itself tidies up."""
    started = _descendants(child.pid)
    for one in started:
        if _group(one.pid) != child.pid:
            _kill(one)
    for pause, number in ((_TIDY if started else 0.0, signal.SIGTERM), (_GRACE, signal.SIGKILL)):
        with suppress(subprocess.TimeoutExpired):
            child.wait(pause)
            break
        with suppress(ProcessLookupError):
            os.killpg(child.pid, number)
    child.wait()
    for one in started:
        _kill(one)


def _descendants(pid: int) -> list[psutil.Process]:
    import psutil  # noqa: PLC0415  (only when a command is ended before its time)

    with suppress(psutil.Error):
        return psutil.Process(pid).children(recursive=True)
    return []


def _group(pid: int) -> int:
    with suppress(ProcessLookupError, PermissionError):
        return os.getpgid(pid)
    return 0


def _kill(process: psutil.Process) -> None:
    import psutil  # noqa: PLC0415  (as above)

    with suppress(psutil.Error):
        process.kill()
