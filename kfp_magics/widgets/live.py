"""The live view of a run: a widget while it runs, HTML when it has ended, text in a terminal."""

from __future__ import annotations

import contextlib
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from kfp_magics.errors import KfpMagicsError, NotFoundError, did_you_mean
from kfp_magics.live import ArtifactFile
from kfp_magics.model import State
from kfp_magics.runs.text import MARKS, lasted, run_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from kfp_magics.model import Artifact, Json, Run, Task

    Follow = Callable[[str, Callable[[Run], None]], Callable[[], None]]
    Tail = Callable[[Run, Task], str]

STATIC = Path(__file__).with_name("static")
_LOG_INTERVAL = 1.0  # seconds between two looks at the log that is shown


class LiveRun:
    """A run, shown as it goes.

    Args:
        run: The run.
        follow: Calls back with each change of a run; gives what ends it.
        tail: Gives the end of a task's log.
        notes: Tells how code and image of each step stand to the run.
        fetch: Gives the path at which an artifact is on this machine.
    """

    def __init__(
        self,
        run: Run,
        *,
        follow: Follow,
        tail: Tail,
        notes: Callable[[Run], Mapping[str, str]] | None = None,
        fetch: Callable[[Run, Task, Artifact], str] | None = None,
    ) -> None:
        self.run = run
        self._fetch = fetch
        self._follow = follow
        self._tail = tail
        self._notes = notes
        self._told: Mapping[str, str] | None = None
        self._widget: Any = None
        self._display_id = uuid4().hex
        self._shown = False
        self._cell: object = None
        self._ended = threading.Event()
        self._guard = threading.RLock()

    def __repr__(self) -> str:
        return run_tree(self._noted())

    def _noted(self) -> Run:
        """The run as it is shown: a step that has nothing else to say tells how its image stands."""
        if self._notes is None:
            return self.run
        if self._told is None or self.run.state.final:  # big folders are not read again with each change
            self._told = self._notes(self.run)
        told = self._told
        tasks = [task if task.reason else replace(task, reason=told.get(task.component, "")) for task in self.run.tasks]
        return replace(self.run, tasks=tuple(tasks))

    @property
    def outputs(self) -> Mapping[str, Json]:
        """The pipeline's outputs, once the run has succeeded."""
        return self.run.outputs

    def artifact(self, step: str, name: str) -> ArtifactFile:
        """Finds what a step wrote: ``.path``, ``.metadata`` and ``.load()``; reports show themselves.

        Args:
            step: Id or name of the step.
            name: Name of the output.

        Raises:
            NotFoundError: There is no such step or artifact, or not yet.
        """
        tasks = [task for task in self.run.tasks if step in {task.id, task.name}]
        found = {one.name: (task, one) for task in tasks for one in task.artifacts if one.io == "output"}
        if name not in found:
            known = found or {task.name for task in self.run.tasks}
            raise NotFoundError(f"Step {step!r} has written no artifact {name!r}.", did_you_mean(name, known))
        task, one = found[name]
        path = self._fetch(self.run, task, one) if self._fetch is not None else one.uri
        return ArtifactFile(name=one.name, path=path, type=one.type, metadata=one.metadata)

    def _ipython_display_(self) -> None:
        if self._shown and _cell() != self._cell:  # asked for again, in another cell
            LiveRun(self.run, follow=self._follow, tail=self._tail, fetch=self._fetch).show()
        else:
            self.show()

    def show(self) -> None:
        """Shows the run where the cell's output goes; a second call shows nothing new."""
        if self._shown:
            return
        self._shown, self._cell = True, _cell()
        if not _has_front_end():
            sys.stdout.write(f"{self!r}\n")
            return
        from IPython.display import display  # noqa: PLC0415  (only in a notebook)

        if not self.run.state.final and (STATIC / "widget.js").is_file():
            from kfp_magics.widgets.run_widget import RunWidget  # noqa: PLC0415  (imports anywidget)

            self._widget = RunWidget(run=self._noted().to_json())
            self._widget.observe(lambda _: self._send_tail(), "selected")
        display(self._bundle(), raw=True, display_id=self._display_id)
        if not self.run.state.final:
            self._follow(self.run.id, self.update)
            threading.Thread(target=self._keep_tail, name="kfp-magics log", daemon=True).start()

    def update(self, run: Run) -> None:
        """Shows what has changed; called from any thread.

        Args:
            run: The run as it is now.
        """
        with self._guard:
            if self._ended.is_set() or not self._shown or run == self.run:
                return
            before, self.run = self.run, run
            if run.state.final:
                self._ended.set()
            if not _has_front_end():
                sys.stdout.write(f"{self!r}\n" if run.state.final else "".join(_news(before, run)))
                return
            if self._widget is not None:
                self._widget.run = self._noted().to_json()
                self._send_tail()
            if run.state.final or self._widget is None:
                from IPython.display import display  # noqa: PLC0415  (only in a notebook)

                # What is saved with the notebook must not need a kernel: the end is HTML, without the widget.
                display(self._bundle(), raw=True, display_id=self._display_id, update=True)

    def _bundle(self) -> dict[str, Any]:
        from kfp_magics.widgets.html import run_html  # noqa: PLC0415  (networkx only when something is drawn)

        bundle: dict[str, Any] = {"text/plain": repr(self), "text/html": run_html(self._noted(), self._tails())}
        if self._widget is not None and not self.run.state.final:
            view = self._widget._repr_mimebundle_()
            bundle |= view[0] if isinstance(view, tuple) else view or {}
            bundle["text/plain"] = repr(self)
        return bundle

    def _tails(self) -> dict[str, str]:
        if not self.run.state.final:
            return {}
        return {task.id: self._tail_of(task) for task in self.run.tasks if task.has_log and task.attempt}

    def _tail_of(self, task: Task) -> str:
        with contextlib.suppress(KfpMagicsError):
            return self._tail(self.run, task)[-20_000:]
        return ""

    def _send_tail(self) -> None:
        task = self.run.task(self._widget.selected) or _most_telling(self.run)
        if task is not None and task.has_log and task.attempt:
            self._widget.tail = {"task": task.id, "text": self._tail_of(task)}

    def _keep_tail(self) -> None:
        while self._widget is not None and not self._ended.wait(_LOG_INTERVAL):
            self._send_tail()


def _news(before: Run, now: Run) -> Iterator[str]:
    """Writes a line for each step that has started or ended since the last look."""
    known = {task.id: task.state for task in before.tasks}
    for task in now.tasks:
        if task.has_log and task.state not in {known.get(task.id), State.PENDING}:
            yield f"  {MARKS[task.state]} {task.id}  {lasted(task) if task.state.final else ''}".rstrip() + "\n"


def _most_telling(run: Run) -> Task | None:
    started = [task for task in run.tasks if task.has_log and task.started]
    ranks = {State.FAILED: 2, State.RUNNING: 1}  # as the front end ranks them
    return max(started, key=lambda task: (ranks.get(task.state, 0), task.started or 0.0), default=None)


def _cell() -> object:
    """Which cell is being executed, as IPython counts them."""
    from IPython import get_ipython  # noqa: PLC0415  (only when something is shown)

    return getattr(get_ipython(), "execution_count", None)


def _has_front_end() -> bool:
    """Whether output goes to a notebook rather than to a terminal."""
    from IPython import get_ipython  # noqa: PLC0415  (only when something is shown)

    shell = get_ipython()
    return shell is not None and hasattr(shell, "kernel")
