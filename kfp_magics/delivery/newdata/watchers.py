"""The processes that watch folders: started, looked for, ended."""

from __future__ import annotations

import os
import shutil
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from kfp_magics.backends.local import detached, lock
from kfp_magics.errors import DeliveryError

if TYPE_CHECKING:
    from pathlib import Path

    from kfp_magics.settings import Settings

_MODULE = "kfp_magics.delivery.newdata.watcher"
_LONGEST_LOG = 5_000_000  # bytes; what is longer is put aside when a watcher starts
_PATIENCE = 10.0  # seconds that a watcher may need to end


class Watchers:
    """The watchers of this machine.

    Args:
        settings: Where things are kept.
    """

    def __init__(self, settings: Settings) -> None:
        self._home = settings.home_path / "watchers"

    def start(self, name: str) -> bool:
        """Starts the watcher of a watch, which goes on when this process ends.

        Returns:
            False when there is one already.
        """
        folder = self._folder(name)
        held = lock.take(folder)
        if held is None:
            return False
        log = self.log_file(name)
        with suppress(FileNotFoundError):
            if log.stat().st_size > _LONGEST_LOG:
                log.replace(log.with_suffix(".old"))
        detached.start(folder, held, _MODULE, log)
        return True

    def holder(self, name: str) -> tuple[int, str] | None:
        """Which process on which machine watches; None when none does."""
        folder = self._home / name
        return lock.holder(folder) if folder.is_dir() else None

    def stop(self, name: str) -> None:
        """Ends a watcher, after what it is just starting; runs go on.

        Raises:
            DeliveryError: It lives on another machine, or does not end.
        """
        end = time.monotonic() + _PATIENCE
        signalled = 0
        while (held := self.holder(name)) is not None:
            pid, host = held
            if pid and host != os.uname().nodename:
                raise DeliveryError(f"The watcher of {name!r} runs on {host!r}.", f"There: kfp-magics cd delete {name}")
            if time.monotonic() > end:
                raise DeliveryError(f"The watcher of {name!r} does not end.", f"End it: kill -9 {pid}")
            if pid and pid != signalled:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
                signalled = pid
            time.sleep(0.02)

    def forget(self, name: str) -> None:
        """Removes what a watcher that has ended left behind."""
        if (self._home / name).is_dir():
            shutil.rmtree(self._home / name)

    def log_file(self, name: str) -> Path:
        """Where a watcher writes what it does; the file may not be there."""
        return self._home / name / "watcher.log"

    def _folder(self, name: str) -> Path:
        folder = self._home / name
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder
