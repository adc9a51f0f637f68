"""What tasks printed and wrote."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool

from kfp_magics.backends.base import KeepsFiles
from kfp_magics.backends.local.logs import read_piece
from kfp_magics.errors import NotFoundError
from kfp_magics.gateway.nodes import find

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from kfp_magics.backends.base import Backend
    from kfp_magics.gateway.runs import Runs
    from kfp_magics.model import Run, Task

_LOOK = 0.2  # seconds between two looks at a log that is followed
_PIECE = 3 << 14  # bytes read at once; threes become fours in base64 without a rest


class Content:
    """Logs and artifacts.

    Args:
        runs: The runs.
        backend: The engine, which keeps files on this machine.
    """

    def __init__(self, runs: Runs, backend: Backend) -> None:
        self._runs = runs
        self._backend = backend

    def _find(self, run_id: str, node: str) -> tuple[Run, Task, int]:
        run = self._runs.run(run_id)
        found = find(run, node)
        if found is None:
            raise NotFoundError(f"The run {run_id!r} has no node {node!r}.", "Its task_details list them.")
        return run, *found

    def _log(self, run: Run, task: Task, attempt: int) -> Path:
        if not isinstance(self._backend, KeepsFiles):
            raise NotFoundError(f"The engine {self._backend.name!r} keeps no logs here.")
        return self._backend.log_file(run, task, attempt)

    async def log(self, run_id: str, node: str, *, follow: bool) -> AsyncIterator[bytes]:
        """Opens a log.

        Args:
            run_id: The run.
            node: A node of the task; that of one attempt gives that attempt's.
            follow: Goes on until the task has ended.

        Returns:
            What it says, in pieces.

        Raises:
            NotFoundError: There is no such run or node, or it prints nothing.
        """
        run, task, attempt = await run_in_threadpool(self._find, run_id, node)
        if not task.has_log:
            raise NotFoundError(f"{task.id!r} is a group of tasks and has no log.", "Ask for one of its steps.")
        if not attempt and not follow:
            raise NotFoundError(f"The step {task.id!r} has not begun, so there is no log.", "Ask again later.")
        return self._pieces(run_id, node, self._log(run, task, max(attempt, 1)), follow=follow)

    async def _pieces(self, run_id: str, node: str, path: Path, *, follow: bool) -> AsyncIterator[bytes]:
        position = 0
        while True:
            run, task, _ = await run_in_threadpool(self._find, run_id, node)
            over = not follow or task.state.final or run.state.final
            while piece := await run_in_threadpool(read_piece, path, position, _PIECE):
                position += len(piece)
                yield piece
            if over:
                return
            await asyncio.sleep(_LOOK)

    def artifact(self, run_id: str, node: str, name: str) -> Iterator[bytes]:
        """Opens an artifact.

        Returns:
            A JSON object with its content in base64, in pieces; a folder comes as a tar archive.

        Raises:
            NotFoundError: There is none of that name, or its content is gone.
        """
        run, task, _ = self._find(run_id, node)
        file = self._backend.artifact(run, task, name)

        def pieces() -> Iterator[bytes]:
            with file:
                yield b'{"data":"'
                while piece := file.read(_PIECE):
                    yield base64.b64encode(piece)
                yield b'"}'

        return pieces()
