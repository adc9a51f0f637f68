"""Building images of steps: several at once, seen as one run; the work itself, and whoever waits for it."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

from kfp_magics.building.plan import difference
from kfp_magics.errors import BuildCancelledError, BuildError, WaitInterrupted
from kfp_magics.images.base import ImageRef
from kfp_magics.model import State
from kfp_magics.runs.images import BuiltImage
from kfp_magics.runs.text import size_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kfp_magics.building.choice import Builders
    from kfp_magics.building.plan import Planned
    from kfp_magics.building.record import Record, TaskLog
    from kfp_magics.model import Component, Run
    from kfp_magics.options import BuildOptions
    from kfp_magics.runs.store import Store

_AT_ONCE = 8  # images; they mostly wait for others
_GOODBYE = 30.0  # seconds that an interrupted build may take to end


class Build:
    """A build that goes on somewhere else: in threads of this process, or in a process of its own.

    Args:
        look: Gives the build as a run, as it stands.
        ended: Waits so many seconds for the end, and says whether it has come.
        ask_to_end: Asks for the end.
    """

    def __init__(self, look: Callable[[], Run], ended: Callable[[float], bool], ask_to_end: Callable[[], None]) -> None:
        self._look = look
        self._ended = ended
        self._ask_to_end = ask_to_end

    @property
    def run(self) -> Run:
        """The build as a run, as it stands."""
        return self._look()

    @property
    def images(self) -> dict[str, ImageRef]:
        """Step → its image, as far as they are built."""
        found = {}
        for task in self.run.tasks:
            if task.state is State.SUCCEEDED:
                repository, _, digest = task.image.rpartition("@")
                found[task.id] = ImageRef(repository=repository, digest=digest, tag=task.outputs["tag"])
        return found

    def wait(self, seconds: float = float("inf")) -> bool:
        """Waits for the end; an interrupt ends the build.

        Args:
            seconds: At most so long.

        Returns:
            Whether it has ended.
        """
        deadline = time.monotonic() + seconds
        try:
            while not self._ended(max(0.0, min(0.1, deadline - time.monotonic()))):
                if time.monotonic() >= deadline:
                    return False
        except KeyboardInterrupt:
            self._ask_to_end()
            deadline = time.monotonic() + _GOODBYE
            while not self._ended(0.1) and time.monotonic() < deadline:
                pass
            raise WaitInterrupted("Interrupted; the build was ended.", "%kfp_build builds what is missing.") from None
        return True

    def result(self) -> dict[str, ImageRef]:
        """Waits for the images.

        Raises:
            BuildError: One could not be built.
        """
        self.wait()
        run = self.run
        failed = next((task for task in run.tasks if task.state is State.FAILED), None)
        if failed is not None and failed.error is not None:
            raise BuildError(
                f"The image of {failed.name!r} cannot be built: {failed.error.message}",
                failed.error.hint or f"%kfp_logs {run.id} {failed.id} shows more.",
            )
        if run.state is not State.SUCCEEDED:
            raise BuildCancelledError(f"The build {run.id} was cancelled.", "%kfp_build builds what is missing.")
        return self.images


class Plans(Protocol):
    """What finds out what enters an image."""

    def plan(self, component: Component, options: BuildOptions) -> Planned:
        """Says what enters the image of a step."""


class Work:
    """Carries out a build in this process.

    Args:
        record: Where it is written down.
        components: The steps.
        options: How; complete.
        planner: Finds out what enters the images.
        builders: Build them.
        store: Where images are remembered.
    """

    def __init__(
        self,
        record: Record,
        components: Sequence[Component],
        options: BuildOptions,
        *,
        planner: Plans,
        builders: Builders,
        store: Store,
    ) -> None:
        self._record = record
        self._components = components
        self._options = options
        self._planner = planner
        self._builders = builders
        self._store = store

    def in_background(self) -> Build:
        """Carries it out in threads: at once, and no longer than this process lives."""
        ended = threading.Event()

        def work() -> None:
            try:
                self.carry_out()
            finally:
                ended.set()

        threading.Thread(target=work, name="kfp-magics build", daemon=True).start()
        return Build(lambda: self._record.run, ended.wait, self._record.ask_to_end)

    def carry_out(self) -> None:
        """Builds everything, and writes how it ended."""
        try:
            with ThreadPoolExecutor(min(_AT_ONCE, len(self._components))) as pool:
                done = [pool.submit(self._one, component) for component in self._components]
            for one in done:
                one.result()  # what nobody foresaw keeps its stack
        finally:
            self._record.close()

    def _one(self, component: Component) -> None:
        started = time.monotonic()
        with self._record.task(component.name) as log:
            planned = self._planner.plan(component, self._options)
            for remark in planned.remarks:
                log.write(f"{remark}\n")
            for name in planned.spec.secret_names:
                log.write(f"Left out, since it looks like a secret: {name}\n")
            builder = self._builders.choose(planned.spec, self._options)
            log.write(f"{planned.spec.name}:{planned.spec.tag} by {builder.name}\n")
            ref = builder.build(planned.spec, log)
            self._tell_what_was_done(planned, log)
            self._store.remember_image(self._built(planned, ref, builder.name))
            log.built(ref, _reason(planned, ref, log, time.monotonic() - started))

    def _tell_what_was_done(self, planned: Planned, log: TaskLog) -> None:
        if log.facts.get("did") == "unchanged":
            return
        new = difference(planned, self._store.image(planned.place(self._options)))
        log.fact("did", "everything" if new == "unchanged" else new)  # it was gone, or was to be built again

    def _built(self, planned: Planned, ref: ImageRef, builder: str) -> BuiltImage:
        return BuiltImage(
            place=planned.place(self._options),
            repository=ref.repository,
            tag=planned.spec.tag,
            digest=ref.digest,
            component=planned.component.name,
            below=planned.below,
            builder=builder,
            created=time.time(),
            run_id=self._record.run.id,
        )


def _reason(planned: Planned, ref: ImageRef, log: TaskLog, seconds: float) -> str:
    sent = log.facts.get("bytes")
    secrets = len(planned.spec.secret_names)
    words = [
        str(log.facts["did"]),
        f"{size_text(float(sent))} sent" if sent is not None else "",
        f"{seconds:.2f} s",
        ref.digest[:19],
        f"{secrets} secret file{'s' if secrets > 1 else ''} left out" if secrets else "",
    ]
    return " · ".join(word for word in words if word)
