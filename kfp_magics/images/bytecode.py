"""Byte-code for what is installed: a step that starts in a fresh container need not compile pandas each time.

Run as a script, this is a worker: it reads lines of JSON, pairs of a source file and its path in the image, and answers
each line when their byte-code is written.
"""

from __future__ import annotations

import importlib.util
import json
import marshal
import queue
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

_UNCHECKED = (1).to_bytes(4, "little")  # PEP 552: valid by the hash of its source, never looked at again
_PLAIN = 2  # a format of marshal without references: those depend on what else the compiling process holds


def fits(python: str) -> bool:
    """Whether this interpreter writes byte-code for that minor version."""
    return python == f"{sys.version_info.major}.{sys.version_info.minor}"


def is_worth(path: str) -> bool:
    """Whether a file is a module that a step may import: tests are not."""
    return path.endswith(".py") and not {"test", "tests"} & set(path.split("/"))


def place(source: Path) -> Path:
    """Where the byte-code of a source file goes."""
    return Path(importlib.util.cache_from_source(str(source), optimization=""))


class Workers:
    """A few processes that compile. Used by threads, each of which waits for a free one.

    Args:
        number: How many.
    """

    def __init__(self, number: int) -> None:
        self._idle: queue.Queue[subprocess.Popen[str] | None] = queue.Queue()
        for _ in range(number):
            self._idle.put(None)  # started by whoever needs it first
        self._started = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, stack: TracebackType | None
    ) -> None:
        self._started.close()

    def compile(self, files: Sequence[tuple[Path, str]]) -> None:
        """Writes the byte-code of some files beside them; leaves out what is no Python of this version.

        Args:
            files: Each source file with its path in the image, which tracebacks name.
        """
        if not files:
            return
        worker = self._idle.get()
        try:
            worker = worker or self._start()
            pipes = worker.stdin, worker.stdout
            assert pipes[0] is not None
            assert pipes[1] is not None
            pipes[0].write(json.dumps([(str(path), name) for path, name in files]) + "\n")
            pipes[0].flush()
            if not pipes[1].readline():
                raise RuntimeError(f"the process that compiles byte-code ended with {worker.wait()}")
        finally:
            self._idle.put(worker)

    def _start(self) -> subprocess.Popen[str]:
        worker = subprocess.Popen(
            [sys.executable, "-I", "-S", "-X", "utf8", "-W", "ignore", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="surrogateescape",
        )
        self._started.callback(_end, worker)
        return worker


def _end(worker: subprocess.Popen[str]) -> None:
    with worker:  # waits
        assert worker.stdin is not None
        worker.stdin.close()


def _compile(source: Path, name: str) -> None:
    content = source.read_bytes()
    try:
        code = compile(content, name, "exec", dont_inherit=True, optimize=0)
    except (SyntaxError, ValueError, RecursionError):
        return  # a template, or for another version: it may stay what it is
    try:
        body = marshal.dumps(code, _PLAIN)
    except ValueError:  # a constant that the plain format does not know
        body = marshal.dumps(code)
    target = place(source)
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(importlib.util.MAGIC_NUMBER + _UNCHECKED + importlib.util.source_hash(content) + body)


def _work() -> None:
    for line in sys.stdin:
        for source, name in json.loads(line):
            _compile(Path(source), name)
        sys.stdout.write("done\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _work()
