"""Looking at runs: ``%kfp_runs``, ``%kfp_logs``, ``%kfp_artifacts``, ``%kfp_diff``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from IPython.core.magic import line_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments

from kfp_magics.errors import ArgumentError
from kfp_magics.magics.shell import KfpMagics, parse
from kfp_magics.model import State

if TYPE_CHECKING:
    from kfp_magics.widgets.cards import ArtifactsTable, ComparisonCard, RunsTable
    from kfp_magics.widgets.live import LiveRun

_RUN = "Id, start of an id, name of a run or of its pipeline; 'last' or nothing for the newest, -2 for the one before."


@magics_class
class LookMagics(KfpMagics):
    """Looking at runs."""

    @magic_arguments()
    @argument("run", nargs="?", default="", help="One run to show whole; all are listed when left out.")
    @argument("--search", default="", help="Text in the name, the pipeline or the id.")
    @argument("--state", action="append", default=[], choices=[str(one) for one in State], help="Only these states.")
    @argument("--pipeline", default="", help="Only runs of this pipeline.")
    @argument("--experiment", default="", help="Only runs of this experiment.")
    @argument("--limit", type=int, default=20, help="At most so many.")
    @argument("--archived", action="store_true", help="Also those that were put away.")
    @argument("--server", action="store_true", help="Runs of the server, whoever started them.")
    @line_magic
    def kfp_runs(self, line: str) -> RunsTable | LiveRun:
        """Lists runs, newest first, or shows one of them live."""
        from kfp_magics.widgets.cards import RunsTable  # noqa: PLC0415  (drawn only now)

        words = parse(self.kfp_runs, line)
        if words.run:
            return self.follow(self.session.find(words.run))
        states = [State(one) for one in words.state]
        every = not (words.search or states or words.pipeline or words.experiment)
        if words.server:
            for option in ("pipeline", "experiment"):
                if getattr(words, option):
                    raise ArgumentError(
                        f"A server's runs are not looked for by --{option}.", "Use --search TEXT or --state STATE."
                    )
            found = self.session.servers.recent(limit=words.limit, search=words.search, states=states)
            return RunsTable(found, every)
        return RunsTable(
            self.session.runs(
                search=words.search,
                states=states,
                pipeline=words.pipeline,
                experiment=words.experiment,
                limit=words.limit,
                archived=words.archived,
            ),
            every,
        )

    @magic_arguments()
    @argument("run", nargs="?", default="", help=_RUN)
    @argument("step", nargs="?", default="", help="Step, by name or id; all when left out.")
    @argument("-f", "--follow", action="store_true", help="Go on until the step, or the run, has ended.")
    @line_magic
    def kfp_logs(self, line: str) -> None:
        """Prints what steps printed."""
        words = parse(self.kfp_logs, line)
        for piece in self.session.logs(self.session.find(words.run), words.step, follow=words.follow):
            self.write(piece)

    @magic_arguments()
    @argument("run", nargs="?", default="", help=_RUN)
    @argument("step", nargs="?", default="", help="Step, by name or id; all when left out.")
    @line_magic
    def kfp_artifacts(self, line: str) -> ArtifactsTable:
        """Lists the artifacts and metrics of a run."""
        from kfp_magics.widgets.cards import ArtifactsTable  # noqa: PLC0415  (drawn only now)

        words = parse(self.kfp_artifacts, line)
        run = self.session.find(words.run)
        tasks = (self.session.find_task(run, words.step),) if words.step else run.tasks
        return ArtifactsTable(run, tasks)

    @magic_arguments()
    @argument("a", nargs="?", default="-2", help=_RUN + " The one before the newest when left out.")
    @argument("b", nargs="?", default="-1", help="The other one; the newest when left out.")
    @line_magic
    def kfp_diff(self, line: str) -> ComparisonCard:
        """Shows what differs between two runs: parameters, metrics, durations, images and source."""
        from kfp_magics.widgets.cards import ComparisonCard  # noqa: PLC0415  (drawn only now)

        words = parse(self.kfp_diff, line)
        return ComparisonCard(self.session.compare(self.session.find(words.a), self.session.find(words.b)))
