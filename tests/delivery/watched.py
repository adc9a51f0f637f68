"""A folder that is watched, and what came of the files that were dropped there."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kfp_magics.delivery.newdata.ledger import Ledger, Watch
from kfp_magics.delivery.newdata.rules import Rule, literal
from kfp_magics.delivery.newdata.watchers import Watchers
from kfp_magics.model import Run
from kfp_magics.runs.store import Store
from kfp_magics.settings import Settings
from tests.backends.pipelines import ir_of

PATIENCE = 90.0


class Place:
    """A folder to drop files in, and what came of them."""

    def __init__(self, settings: Settings, store: Store, folder: Path) -> None:
        self.settings, self.store, self.folder = settings, store, folder
        self.watchers = Watchers(settings)

    def drop(self, name: str, text: str = "1,2\n") -> Path:
        """Puts a finished file into the folder, as a careful program does."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}")
        draft.write_text(text)
        draft.rename(path)
        return path

    def watch(self, **rule: Any) -> Watch:
        """Has the folder watched by a process that is not started yet: each file's size is what a run adds to."""
        made = Watch(
            rule=Rule(
                name="retrain",
                on=f"{literal(str(self.folder))}/",
                pipeline="add",
                templates={"first": "$size"},
                as_json=("first",),
                **rule,
            ),
            folder=str(self.folder),
            ir=ir_of("add"),
            settings={"home": self.settings.home},
        )
        Ledger(self.store).put(made, [])
        return made

    def runs(self, count: int) -> list[Run]:
        """The runs, the first one first, as soon as there are so many; and no more come."""
        self.until(lambda: len(self.store.list()) >= count)
        found = self.store.list()[::-1]
        assert len(found) == count, [run.name for run in found]
        return found

    def until(self, reached: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE
        while not reached():
            assert time.monotonic() < end, self.log()
            time.sleep(0.05)

    def log(self) -> str:
        return "".join(self.watchers.log_file(one.rule.name).read_text() for one in Ledger(self.store).watches())

    def kill(self, name: str = "incoming-train") -> None:
        """Ends a watcher without a warning."""
        self.until(lambda: (self.watchers.holder(name) or (0, ""))[0])
        holder = self.watchers.holder(name)
        assert holder is not None
        os.kill(holder[0], signal.SIGKILL)
        self.until(lambda: self.watchers.holder(name) is None)
