"""The embedded engine, with a home of its own that is removed in the end."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any, Self

from kfp import compiler

from kfp_magics.backends.base import SubmitOptions
from kfp_magics.backends.local import LocalBackend
from kfp_magics.model import State
from kfp_magics.runs.store import Store
from kfp_magics.settings import Settings

_LOOK = 0.002  # seconds between two looks at the store


class Ours:
    """Runs pipelines and takes their time."""

    def __enter__(self) -> Self:
        self._home = Path(tempfile.mkdtemp(prefix="bench-"))
        self._settings = Settings(home=str(self._home), backend="local")
        self._store = Store(self._settings.store_path)
        self._backend = LocalBackend(self._settings, self._store)
        return self

    def __exit__(self, *_: object) -> None:
        self._store.close()
        shutil.rmtree(self._home, ignore_errors=True)

    def run(self, pipeline: Any, *, cache: bool = False) -> float:
        """Seconds from the call until the end of the run is seen."""
        path = self._home / "pipeline.yaml"
        compiler.Compiler().compile(pipeline, str(path))
        text = path.read_text(encoding="utf-8")
        start = time.perf_counter()
        run = self._backend.submit(text, {}, SubmitOptions(cache=cache))
        while not run.state.final:
            number = self._store.change()
            run = self._backend.poll(run)
            while not run.state.final and self._store.change() == number:
                time.sleep(_LOOK)
        taken = time.perf_counter() - start
        if run.state is not State.SUCCEEDED:
            raise RuntimeError(f"the run {run.state}: {run.error}")
        return taken

    def forget_environments(self) -> None:
        """Makes the next task that has requirements the first one."""
        shutil.rmtree(self._home / "envs", ignore_errors=True)
