"""The process that watches one folder, made by ``daemon.py``; it belongs to no kernel, and SIGTERM ends it."""

from __future__ import annotations

import fcntl
import os
import signal
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import watchfiles

from kfp_magics.backends.known import Backends
from kfp_magics.delivery.newdata.courier import PASSING, Courier
from kfp_magics.delivery.newdata.folder import Folder
from kfp_magics.delivery.newdata.ledger import Ledger, Watch
from kfp_magics.errors import KfpMagicsError
from kfp_magics.runs.store import Store
from kfp_magics.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from kfp_magics.backends.base import Backend
    from kfp_magics.delivery.newdata.rules import NewObject

_TICK = 100  # milliseconds between two looks when the system tells of no change
_GATHER = 50  # milliseconds for which changes are gathered
_SCAN = 10.0  # seconds between two looks at all files, whatever the system tells of
_SCAN_SHARE = 50  # how many times longer than such a look the pause after it is at least
_CHECK = 0.5  # seconds between two looks at whether the folder and the watch are still what they were
_LONGEST_PAUSE = 30.0  # seconds after what failed


class Watcher:
    """Watches a folder, and starts a run for each new file.

    Args:
        name: Of the watch.
        ledger: Where it and its files are remembered.
        backends: Start runs.
        home: Our own folder, whose files start nothing.
        tell: Told what happens.
    """

    def __init__(
        self, name: str, ledger: Ledger, backends: Mapping[str, Backend], home: Path, tell: Callable[[str], None]
    ) -> None:
        self._name = name
        self._ledger = ledger
        self._home = f"{os.path.realpath(home)}/"
        self._tell = tell
        self._courier = Courier(ledger, backends, tell)
        self._polls = False
        self._said = ""
        self._pause = 0.0

    def run(self, stop: threading.Event) -> None:
        """Watches until it is asked to end, or the watch is forgotten.

        Args:
            stop: Set when it is to end.
        """
        while not stop.wait(self._pause):
            try:
                version = self._ledger.version(self._name)
                if version is None:
                    self._tell("The watch was deleted.")
                    return
                self._follow(self._ledger.watch(self._name), version, stop)
            except FileNotFoundError as error:
                self._say(f"There is no folder {error.filename}; it is watched as soon as it is there.")
                self._pause = _CHECK
            except PASSING as error:
                self._pause = min(max(2 * self._pause, 1.0), _LONGEST_PAUSE)
                self._say(f"{' '.join(str(error).split(chr(10)))} It is tried again.")

    def _say(self, text: str) -> None:
        if text != self._said:
            self._tell(text)
        self._said = text

    def _follow(self, watch: Watch, version: int, stop: threading.Event) -> None:
        """Watches until the folder or the watch is another one."""
        keys = self._ledger.keys(self._name)

        def wanted(one: NewObject) -> bool:
            return one.key not in keys and watch.rule.matches(one) and not one.uri.startswith(self._home)

        folder = Folder(watch.folder, wanted, self._tell)
        identity = _identity(watch.folder)
        waits, scan, check = True, 0.0, time.monotonic() + _CHECK
        for changed in self._changes(watch.folder, stop):
            for path in changed:
                folder.look(path)
            if time.monotonic() >= scan:
                began = time.monotonic()
                folder.scan()
                scan = began + max(_SCAN, _SCAN_SHARE * (time.monotonic() - began))
            if found := folder.ready():
                self._courier.receive(watch, found)
                keys |= {one.key for one in found}
                folder.taken(found)
            if found or waits:
                waits = self._courier.deliver(watch)
            self._said, self._pause = "", 0.0
            if time.monotonic() >= check:
                check = time.monotonic() + _CHECK
                now = self._ledger.version(self._name)
                if now not in {None, version}:
                    self._tell("The watch was changed.")
                if now != version or _identity(watch.folder) != identity:
                    return

    def _changes(self, folder: str, stop: threading.Event) -> Iterator[list[str]]:
        """Yields the paths that the system says have changed, and nothing now and then."""
        try:
            for changes in watchfiles.watch(
                folder,
                watch_filter=None,
                debounce=_GATHER,
                step=_GATHER // 2,
                rust_timeout=_TICK,
                yield_on_timeout=True,
                stop_event=stop,
                raise_interrupt=False,
                force_polling=self._polls or None,
                ignore_permission_denied=True,
            ):
                yield [path for _, path in changes]
        except FileNotFoundError as error:
            raise FileNotFoundError(2, "", folder) from error
        except (OSError, RuntimeError) as error:
            if self._polls:
                raise
            self._polls = True
            self._tell(f"The system does not tell of changes ({error}); the folder is looked at now and then instead.")


def _identity(folder: str) -> tuple[int, int]:
    status = os.stat(folder)  # noqa: PTH116  (the same call as for files)
    return status.st_dev, status.st_ino


def _log(text: str) -> None:
    with suppress(OSError):  # a full disk keeps nothing from being started later
        os.write(1, f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n".encode("utf-8", "backslashreplace"))


def main(folder: Path, held: int) -> None:
    """Watches for the watch that a folder is called after.

    Args:
        folder: The watcher's own folder.
        held: Descriptor of the lock that was taken for this process.
    """
    fcntl.fcntl(held, fcntl.F_SETFD, fcntl.FD_CLOEXEC)  # no run may keep the lock when this process is gone
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})  # blocked since the process began
    os.environ.pop("_KFP_RUNTIME", None)  # this process is no step
    store = Store(folder.parent.parent / "runs.sqlite")
    ledger = Ledger(store)
    watch = ledger.watch(folder.name)
    settings = Settings(**{name: value for name, value in watch.settings.items() if Settings.class_traits().get(name)})
    backends = Backends(settings, store)
    with suppress(KfpMagicsError):  # what it complains of is said when a run is due
        backends[watch.backend]  # which takes a second to import, and no file should wait for it
    _log(f"Watching {watch.folder} (process {os.getpid()}).")
    try:
        Watcher(folder.name, ledger, backends, settings.home_path, _log).run(stop)
    finally:
        store.close()
    _log("Ended.")
