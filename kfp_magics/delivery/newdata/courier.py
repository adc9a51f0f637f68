"""From files that are remembered to runs that are started: each file one run, whatever happens in between."""

from __future__ import annotations

import traceback
from dataclasses import replace
from typing import TYPE_CHECKING

from kfp_magics.delivery.newdata.rules import RuleError
from kfp_magics.errors import EngineError, KfpMagicsError, LoginError, StoreError, UnavailableError
from kfp_magics.model import TRIGGER

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from kfp_magics.backends.base import Backend
    from kfp_magics.delivery.newdata.ledger import Batch, Ledger, Watch
    from kfp_magics.delivery.newdata.rules import NewObject
    from kfp_magics.model import Json

PASSING = (UnavailableError, LoginError, EngineError, StoreError, OSError)
"""What will pass, or somebody will mend: the same is tried again."""


_LONGEST = 80  # characters of a file's name in the name of a run, of which servers take only so many


class Courier:
    """Starts the runs that are due for a watch.

    Which files start a run, and by what key it is known, is written down before it is started. Whoever dies in between
    leaves a claim; the next one submits it again with the same key, and the backend knows the run if there is one.

    Args:
        ledger: Where files are remembered.
        backends: Start runs.
        tell: Told of each step before the next one is taken.
    """

    def __init__(self, ledger: Ledger, backends: Mapping[str, Backend], tell: Callable[[str], None]) -> None:
        self._ledger = ledger
        self._backends = backends
        self._tell = tell

    def receive(self, watch: Watch, objects: Sequence[NewObject]) -> None:
        """Remembers new files; from here on they are not lost, and told of again they are not new."""
        if self._ledger.note(watch.rule.name, objects):
            for one in objects:
                self._tell(f"{one.uri} is new: {one.size} bytes, written {one.time}.")

    def deliver(self, watch: Watch) -> bool:
        """Starts the runs that are due.

        Returns:
            Whether files still wait to be gathered.

        Raises:
            KfpMagicsError, OSError: One of `PASSING`; what was not started is started the next time.
        """
        name = watch.rule.name
        for batch in self._ledger.claimed(name):
            self._start(watch, batch)
        while (claimed := self._ledger.claim(name, watch.rule.gather)) is not None:
            self._tell(f"{words(claimed.objects)} starts the run {claimed.key}.")
            self._start(watch, claimed)
        return self._ledger.counts(name)["waiting"] > 0

    def _start(self, watch: Watch, batch: Batch) -> None:
        try:
            values = watch.rule.parameters(batch.objects)
        except Exception as error:  # noqa: BLE001  (whatever the user's function fails with, other files go on)
            self._fail(batch, _why(error))
            return
        if values is None:
            self._ledger.close(batch, "declined")
            self._tell(f"{words(batch.objects)} starts no run: the function declined.")
            return
        try:
            run_id = self._submit(watch, batch, values)
        except PASSING:
            raise
        except KfpMagicsError as error:
            self._fail(batch, " ".join(str(error).split("\n")))
            return
        self._tell(f"The run {run_id} was started for {words(batch.objects)}.")
        self._ledger.close(batch, "started", run_id=run_id)

    def _submit(self, watch: Watch, batch: Batch, values: Mapping[str, Json]) -> str:
        options = replace(
            watch.options,
            key=batch.key,
            name=f"{watch.rule.pipeline} {words(batch.objects, short=True)}",
            started_by=f"{TRIGGER}{words(batch.objects)}",
        )
        return self._backends[watch.backend].submit(watch.ir, values, options).id

    def _fail(self, batch: Batch, why: str) -> None:
        self._ledger.close(batch, "failed", error=why)
        self._tell(f"{words(batch.objects)} starts no run: {why}")


def words(objects: Sequence[NewObject], *, short: bool = False) -> str:
    """Names files for a person: the newest, and how many more there are."""
    newest = objects[-1]
    name = newest.name.rpartition("/")[2] if short else newest.uri
    if short and len(name) > _LONGEST:
        name = f"{name[: _LONGEST - 1]}…"
    return name if len(objects) == 1 else f"{name} and {len(objects) - 1} more"


def _why(error: Exception) -> str:
    if isinstance(error, RuleError):
        return " ".join(str(error).split("\n"))
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "<new data>"]
    where = f" (line {lines[-1]})" if lines else ""
    return f"the function failed{where}: {type(error).__name__}: {error}"
