"""Handlers: what tasks wrote, logs and artifacts."""

from __future__ import annotations

import asyncio
import os
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from kfp_magics.backends.base import GivesContent
from kfp_magics.server import artifacts, logs
from kfp_magics.server.base import Handler, operation
from kfp_magics.server.streaming import head, send_file, send_remote, send_stream, wanted_range

if TYPE_CHECKING:
    from collections.abc import Callable

    from kfp_magics.model import Artifact, Json, Run, Task

_LOOK = 0.2  # seconds between two looks at a log that is followed


class LogHandler(Handler):
    """A log, piece by piece."""

    _gone = False

    def on_connection_close(self) -> None:
        """Ends the waiting when nobody waits for the answer."""
        self._gone = True
        super().on_connection_close()

    @operation("readLog")
    async def get(self, asked: dict[str, Json], run_id: str) -> None:
        """Reads a piece, and waits for it when more may come."""
        deadline = time.monotonic() + asked["follow"]
        piece = await self.service.call(self._look, run_id, asked)
        while not (piece["text"] or piece["ended"] or self._gone or time.monotonic() > deadline):
            await asyncio.sleep(_LOOK)
            piece = await self.service.call(self._look, run_id, asked)
        self.answer(piece)

    def _look(self, run_id: str, asked: dict[str, Json]) -> dict[str, Json]:
        # Whether the task has ended is asked before its log is read: what it wrote last is then in the file.
        run, task = self.service.store.run_of_task(run_id, asked["task"])
        attempt = asked["attempt"] or task.attempt
        ended = task.state.final or run.state.final or attempt < task.attempt
        path = self.service.logs.path(run, task, attempt)
        piece = logs.read_piece(path, asked["offset"], asked["limit"], ended=ended)
        place = {"start": piece.start, "end": piece.end, "size": piece.size, "text": piece.text}
        return {"task": task.id, "attempt": attempt, "attempts": task.attempt, "ended": ended, **place}


class LogSearchHandler(Handler):
    """Where a text stands in a log."""

    @operation("searchLog")
    async def get(self, asked: dict[str, Json], run_id: str) -> None:
        """Finds a text."""
        run, task = await self.service.call(self.service.store.run_of_task, run_id, asked["task"])
        attempt = asked["attempt"] or task.attempt
        path = await self.service.call(self.service.logs.path, run, task, attempt)
        found = await self.service.call(logs.search, path, asked["text"], asked["offset"], asked["limit"])
        self.answer({"attempt": attempt, **found})


class LogFileHandler(Handler):
    """A whole log to save."""

    @operation("downloadLog")
    async def get(self, asked: dict[str, Json], run_id: str) -> None:
        """Sends the file."""
        run, task = await self.service.call(self.service.store.run_of_task, run_id, asked["task"])
        path = await self.service.call(self.service.logs.path, run, task, asked["attempt"] or task.attempt)
        file = await self.service.call(artifacts.open_file, path)
        head(self, f"{task.name}.log", "text/plain", download=True)
        with file:
            await send_file(self, file)


class ArtifactHandler(Handler):
    """An artifact's content."""

    @operation("readArtifact")
    async def get(self, asked: dict[str, Json], run_id: str) -> None:
        """Sends a file, a folder as a tar archive, or what a backend gives."""
        run, task = await self.service.call(self.service.store.run_of_task, run_id, asked["task"])
        artifact = artifacts.choose(task, asked["name"], asked["io"], asked["index"])
        backend = self.service.backends[run.backend]
        if isinstance(backend, GivesContent):
            await self._send_remote(backend, run, task, artifact, asked)
            return
        path = await self.service.call(artifacts.place, self.service.settings, artifact, asked["path"])
        if path.is_dir():
            await self._send_folder(path, asked)
            return
        schema = "" if asked["path"] else artifact.type
        kind = await self.service.call(artifacts.media_type, path, schema)
        file = await self.service.call(artifacts.open_file, path)
        head(self, path.name, kind, download=asked["download"], scripts=asked["scripts"])
        with file:
            await send_file(self, file)

    async def _send_folder(self, folder: Path, asked: dict[str, Json]) -> None:
        await self._send_tar(folder.name, asked, partial(artifacts.write_tar, folder))

    async def _send_tar(self, name: str, asked: dict[str, Json], write: Callable[[int], None]) -> None:
        source, target = os.pipe()
        writing = asyncio.ensure_future(asyncio.to_thread(write, target))
        head(self, f"{name}.tar", "application/x-tar", download=asked["download"])
        with os.fdopen(source, "rb") as pipe:
            await send_stream(self, pipe)
        await writing

    async def _send_remote(
        self, backend: GivesContent, run: Run, task: Task, artifact: Artifact, asked: dict[str, Json]
    ) -> None:
        """Sends what lies elsewhere: only that of the artifact which the run names, and only through its backend."""
        inside = asked["path"]
        content = await self.service.call(backend.content, run, task, artifact)
        if content.files is not None and not inside:
            write = partial(artifacts.write_remote_tar, backend, run, task, artifact)
            await self._send_tar(Path(artifact.uri).name or artifact.name, asked, write)
            return
        size = content.size if content.files is None else content.files.get(inside)
        wanted = wanted_range(self, size)
        file = await self.service.call(backend.open, run, task, artifact, inside, start=wanted.start if wanted else 0)
        with file:
            start = await self.service.call(artifacts.read_whole, file, artifacts.LOOKED_AT)
            kind = artifacts.remote_type(artifact, inside, b"" if wanted and wanted.start else start)
            name = Path(inside or artifact.uri).name or artifact.name
            head(self, name, kind, download=asked["download"], scripts=asked["scripts"])
            await send_remote(self, start, file, wanted, size)


class ArtifactInfoHandler(Handler):
    """What an artifact is."""

    @operation("describeArtifact")
    async def get(self, asked: dict[str, Json], run_id: str) -> None:
        """Says how large it is and how it may be shown."""
        run, task = await self.service.call(self.service.store.run_of_task, run_id, asked["task"])
        artifact = artifacts.choose(task, asked["name"], asked["io"], asked["index"])
        backend = self.service.backends[run.backend]
        found = await self.service.call(artifacts.describe, self.service.settings, backend, run, task, artifact)
        self.answer(found)
