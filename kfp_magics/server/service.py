"""What the handlers of one Jupyter Server share."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from kfp_magics.backends.known import Backends
from kfp_magics.runs.store import Store
from kfp_magics.server.logs import Logs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from kfp_magics.model import Json
    from kfp_magics.settings import Settings

P = ParamSpec("P")
T = TypeVar("T")
_PATIENCE = 3.0  # seconds to wait for a locked store: a person waits for the answer
_THREADS = 8


class Service:
    """The store, the backends and the threads in which they are asked.

    Args:
        settings: Where things are kept and how they run.
        root: The folder that Jupyter's contents API shows; empty when it shows something else.
    """

    def __init__(self, settings: Settings, root: str = "") -> None:
        self.settings = settings
        self.store = Store(settings.store_path, patience=_PATIENCE)
        self.backends = Backends(settings, self.store)
        self.logs = Logs(self.backends)
        self._root = os.path.realpath(root) if root else ""
        self._threads = ThreadPoolExecutor(_THREADS, "kfp-magics")

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Calls what blocks in a thread, so that the server goes on meanwhile."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(function, *args, **kwargs))

    async def close(self) -> None:
        """Waits for what is under way, and lets go of everything."""
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)
        self.store.close()
        self.logs.close()

    # Notebooks are absolute paths in the store and relative ones in Jupyter's contents API.

    def with_paths(self, rows: Iterable[dict[str, Json]]) -> list[dict[str, Any]]:
        """Puts the path by which Jupyter knows the notebook to each run."""
        return [row | {"notebook_path": self.contents_path(row["notebook"])} for row in rows]

    def contents_path(self, notebook: str) -> str:
        """The path by which Jupyter knows a notebook; empty when it does not."""
        if not notebook or not self._root:
            return ""
        path = Path(os.path.realpath(Path(self._root, notebook)))
        return path.relative_to(self._root).as_posix() if path.is_relative_to(self._root) else ""

    def notebook_names(self, contents_path: str) -> tuple[str, ...]:
        """How runs may name the notebook that Jupyter knows by a path."""
        path = contents_path.strip("/")
        absolute = os.path.join(self._root, path)  # noqa: PTH118  (as text, like Jupyter writes it)
        return tuple(dict.fromkeys((path, absolute, os.path.realpath(absolute))))
