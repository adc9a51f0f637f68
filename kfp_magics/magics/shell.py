"""What every magic shares: its session, the cell it stands in, and words that are read with help."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics

from kfp_magics.errors import DefinitionError, did_you_mean
from kfp_magics.magics.words import split
from kfp_magics.model import State
from kfp_magics.session import Session

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from IPython.core.interactiveshell import InteractiveShell

    from kfp_magics.building.build import Build
    from kfp_magics.model import Artifact, Run, Task
    from kfp_magics.widgets.live import LiveRun

_ATTRIBUTE = "_kfp_magics_session"
_ELSEWHERE = {"--service-account": "All steps have that of the connection: %kfp_connect WHERE --service-account NAME"}
"""Options that belong to another magic → where they are said."""


def current_session(shell: InteractiveShell) -> Session:
    """The session of a shell, made with the first magic."""
    session = getattr(shell, _ATTRIBUTE, None)
    if session is None:
        session = Session(namespace=shell.user_ns, notebook=os.environ.get("JPY_SESSION_NAME", ""))
        setattr(shell, _ATTRIBUTE, session)
        shell.events.register("pre_run_cell", _CellIds(session))
    assert isinstance(session, Session)
    return session


class _CellIds:
    """Remembers which cell runs, as the front end names it."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def __call__(self, info: Any) -> None:  # noqa: ANN401  (IPython's ExecutionInfo)
        self.session.cell_id = getattr(info, "cell_id", None) or ""


class KfpMagics(Magics):  # type: ignore[misc]  # IPython is untyped
    """A family of magics over one session."""

    def __init__(self, shell: InteractiveShell, session: Session) -> None:
        super().__init__(shell)
        self.session = session

    def follow(self, run: Run, *, wait: bool = False) -> LiveRun:
        """Shows a run live, and waits for it if asked to.

        Args:
            run: The run.
            wait: Blocks until it has ended.

        Raises:
            RunFailedError: It was waited for and did not succeed.
        """
        from kfp_magics.widgets.live import LiveRun  # noqa: PLC0415  (drawn only now)

        live = LiveRun(
            run,
            follow=self.session.watcher.follow,
            tail=self.session.log_tail,
            notes=self.session.images.notes,
            fetch=self._fetch,
        )
        if wait:
            live.show()
            try:
                self.session.wait(run, live.update)
            finally:
                live.update(self.session.find(run.id))
        return live

    def _fetch(self, run: Run, task: Task, artifact: Artifact) -> str:
        from kfp_magics.runs.fetch import fetch  # noqa: PLC0415  (only when somebody asks for a file)

        return fetch(self.session.settings, self.session.backend(run.backend), run, task, artifact)

    def follow_build(self, build: Build, *, wait: bool = False) -> LiveRun:
        """Shows a build live, and waits for it if asked to; an interrupt ends it.

        Args:
            build: The build.
            wait: Blocks until it has ended.

        Raises:
            RunFailedError: It was waited for and did not succeed.
        """
        live = self.follow(build.run)
        if wait:
            live.show()
            try:
                build.wait()
            finally:
                live.update(self.session.find(build.run.id))
            if build.run.state is not State.SUCCEEDED:
                raise self.session.failure(build.run)
        return live

    def show_build(self, build: Build) -> None:
        """Shows a build that a run waits for."""
        self.follow(build.run).show()

    def write(self, text: str) -> None:
        """Writes a piece of text to the cell's output at once."""
        sys.stdout.write(text)
        sys.stdout.flush()


def parse(magic: Any, line: str) -> Namespace:  # noqa: ANN401  (what IPython's decorators made of a method)
    """Reads the words of a magic line as the magic declares them.

    Args:
        magic: The decorated magic.
        line: The words.

    Raises:
        DefinitionError: A word does not fit; the hint names the nearest option.
    """
    try:
        words = split(line)
    except ValueError as error:
        raise DefinitionError(f"The magic line does not read: {error}.", "Close each quote that opens.") from error
    parser = magic.parser
    try:
        found: Namespace = parser.parse_intermixed_args(words)  # parameter=value may stand behind options
    except UsageError as error:
        raise _refusal(parser, str(error)) from error
    return found


def _refusal(parser: ArgumentParser, said: str) -> DefinitionError:
    """What argparse said about a line, with what to type next."""
    magic = f"%{parser.prog.lstrip('%')}"
    actions = parser._actions  # noqa: SLF001  (argparse has no public list)
    wanted = [one.dest for one in actions if one.required and not one.option_strings and one.nargs != "*"]
    if "arguments are required" in said and wanted:
        form = " ".join(one.upper() for one in wanted)
        return DefinitionError(f"{magic} wants {' and '.join(wanted)}.", f"{magic} {form}; {magic}? shows the rest.")
    wrong = next(iter(re.findall(r"(?<!\S)(--?[\w-]+)", said)), "")
    options = [option for one in actions for option in one.option_strings]
    hint = did_you_mean(wrong, options, _ELSEWHERE.get(wrong, "")) if wrong and wrong not in options else ""
    if choice := re.search(r"argument (\S+): invalid choice: '(.*)' \(", said):
        choices = next((one.choices for one in actions if choice[1] in (*one.option_strings, one.dest)), None) or ()
        close = did_you_mean(choice[2], [str(one) for one in choices])
        hint = close if close.startswith("Did") else hint
    return DefinitionError(f"{magic}: {said}", hint or f"{magic}? shows what it takes.")
