"""What is true of every builder: nothing is built that exists, and nothing twice at once."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from contextlib import contextmanager
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from kfp_magics.errors import BuildCancelledError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from kfp_magics.images.base import Builder, ImageRef, ImageSpec, Log

_PAUSE = 0.1  # seconds between two looks whether the build is to end


class Cached:
    """Builds only what does not exist.

    Args:
        builder: Builds the rest.
        find: Tells the image of a spec where it exists already.
    """

    def __init__(self, builder: Builder, find: Callable[[ImageSpec], ImageRef | None]) -> None:
        self.name = builder.name
        self._builder = builder
        self._find = find

    def build(self, spec: ImageSpec, log: Log) -> ImageRef:
        """Builds an image, or finds it; see `Builder.build`."""
        log.step("looking whether it exists", 0.0)
        found = self._find(spec)
        if found is None:
            return self._builder.build(spec, log)
        log.fact("did", "unchanged")
        log.write(f"{found} is there already.\n")
        return found


class Shared:
    """Lets one build of an image run at a time, in this process and in all others of the same home folder.

    Who comes second in this process gets what the first one gets; who comes second in another one waits, and then most
    likely finds it built.

    Args:
        builder: Builds.
        folder: Where locks are kept.
        destination: Where images go; builds for other destinations do not wait.
    """

    def __init__(self, builder: Builder, folder: Path, destination: str) -> None:
        self.name = builder.name
        self._builder = builder
        self._folder = folder
        self._destination = destination
        self._guard = threading.Lock()
        self._running: dict[str, Future[ImageRef]] = {}

    def build(self, spec: ImageSpec, log: Log) -> ImageRef:
        """Builds an image, or waits for whoever builds it; see `Builder.build`."""
        while True:
            with self._guard:
                running = self._running.get(spec.tag)
                if running is None:
                    mine = self._running[spec.tag] = Future()
            if running is None:
                return self._build(spec, log, mine)
            log.step("waiting for another build of the same image")
            try:
                found = _wait(running, log)
            except BuildCancelledError:
                log.check()  # ours is to end as well, or only the other one was
                continue
            log.fact("did", "unchanged")
            return found

    def _build(self, spec: ImageSpec, log: Log, mine: Future[ImageRef]) -> ImageRef:
        try:
            with self._locked(spec, log):
                ref = self._builder.build(spec, log)
        except BaseException as error:
            self._forget(spec)
            mine.set_exception(error if isinstance(error, Exception) else BuildCancelledError("It was interrupted."))
            raise
        self._forget(spec)
        mine.set_result(ref)
        return ref

    def _forget(self, spec: ImageSpec) -> None:
        with self._guard:
            del self._running[spec.tag]

    @contextmanager
    def _locked(self, spec: ImageSpec, log: Log) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # A lock for each step and not for each content: their number stays small.
        key = hashlib.sha256(f"{self._destination}/{spec.name}".encode()).hexdigest()[:32]
        lock = FileLock(self._folder / f"{key}.lock")
        waits = False
        while True:
            try:
                lock.acquire(timeout=_PAUSE if waits else 0, poll_interval=_PAUSE / 2)
                break
            except Timeout:
                if not waits:
                    log.step("waiting for another process that builds this step")
                waits = True
                log.check()
        try:
            yield
        finally:
            lock.release()


def _wait(running: Future[ImageRef], log: Log) -> ImageRef:
    while True:
        try:
            return running.result(timeout=_PAUSE)
        except NotYet:
            log.check()
