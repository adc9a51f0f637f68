"""Acting on runs: cancel, retry, clone, archive, delete, replay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from IPython.core.magic import line_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments

from kfp_magics.magics.arguments import start_arguments
from kfp_magics.magics.run import run_options
from kfp_magics.magics.shell import KfpMagics, parse

if TYPE_CHECKING:
    from kfp_magics.widgets.cards import ReplayCard
    from kfp_magics.widgets.live import LiveRun
    from kfp_magics.widgets.servers import Note

_RUN = "Id, start of an id, name of a run or of its pipeline; 'last' or nothing for the newest."
_RUNS = "Ids, starts of ids, or names of runs; 'last' for the newest."


@magics_class
class ActMagics(KfpMagics):
    """Acting on runs."""

    @magic_arguments()
    @argument("run", nargs="?", default="", help=_RUN)
    @line_magic
    def kfp_cancel(self, line: str) -> LiveRun:
        """Ends a run; exit handlers still run."""
        return self.follow(self.session.cancel(parse(self.kfp_cancel, line).run))

    @magic_arguments()
    @argument("run", nargs="?", default="", help=_RUN)
    @argument("--wait", action="store_true", help="Wait until the run has ended, and fail when it fails.")
    @line_magic
    def kfp_retry(self, line: str) -> LiveRun:
        """Resumes a failed or cancelled run: what succeeded is kept, the rest runs again."""
        words = parse(self.kfp_retry, line)
        return self.follow(self.session.retry(words.run), wait=words.wait)

    @magic_arguments()
    @argument("run", nargs="?", default="", help=_RUN)
    @argument("values", nargs="*", help="parameter=value to change; None for no value.")
    @start_arguments
    @line_magic
    def kfp_clone(self, line: str) -> LiveRun:
        """Starts a run of the same compiled pipeline with the same arguments, but for those given."""
        words = parse(self.kfp_clone, line)
        if "=" in words.run:  # no run is named so, and the newest one is meant
            words.run, words.values = "", [words.run, *words.values]
        return self.follow(self.session.clone(words.run, words.values, run_options(words)), wait=words.wait)

    @magic_arguments()
    @argument("runs", nargs="+", help=_RUNS)
    @argument("--undo", action="store_true", help="Put them back into the list.")
    @line_magic
    def kfp_archive(self, line: str) -> Note:
        """Takes runs out of the list, here and on their server; nothing is lost."""
        from kfp_magics.runs import actions  # noqa: PLC0415  (only when something is put away)
        from kfp_magics.widgets.servers import Note  # noqa: PLC0415  (drawn only now)

        words = parse(self.kfp_archive, line)
        session, found = self.session, [self.session.find(one) for one in words.runs]
        for run in found:
            actions.archive(session.store, session.backends, run.id, archived=not words.undo)
        return Note(f"{'back in the list' if words.undo else 'archived'}: {', '.join(run.name for run in found)}")

    @magic_arguments()
    @argument("runs", nargs="+", help=_RUNS)
    @line_magic
    def kfp_delete(self, line: str) -> Note:
        """Deletes runs that have ended, with what they left on this machine, and on their server."""
        from kfp_magics.runs import actions  # noqa: PLC0415  (only when something is deleted)
        from kfp_magics.widgets.servers import Note  # noqa: PLC0415  (drawn only now)

        words = parse(self.kfp_delete, line)
        session, found = self.session, [self.session.find(one) for one in words.runs]
        for run in found:
            actions.delete(session.store, session.backends, run.id)
        return Note(f"deleted: {', '.join(run.name for run in found)}")

    @magic_arguments()
    @argument("run", help=_RUN)
    @argument("step", help="Step, by name or id.")
    @line_magic
    def kfp_replay(self, line: str) -> ReplayCard:
        """Loads a step's real inputs and its code, as they were in a run, into the notebook.

        The inputs become variables; the code comes as the next cell, ready to be executed and changed.
        """
        from kfp_magics.widgets.cards import ReplayCard  # noqa: PLC0415  (drawn only now)

        words = parse(self.kfp_replay, line)
        replay = self.session.replay(words.run, words.step)
        self.shell.push(dict(replay.names))
        self.shell.set_next_input(replay.source)
        return ReplayCard(replay)
