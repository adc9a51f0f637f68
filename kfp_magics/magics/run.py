"""Trying and running: ``%kfp_try``, ``%kfp_run``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from IPython.core.magic import line_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments

from kfp_magics.magics.arguments import part_arguments, start_arguments
from kfp_magics.magics.shell import KfpMagics, parse
from kfp_magics.options import RunOptions

if TYPE_CHECKING:
    from argparse import Namespace

    from kfp_magics.widgets.cards import TrialCard
    from kfp_magics.widgets.live import LiveRun
    from kfp_magics.widgets.plan import PlanCard


@magics_class
class RunMagics(KfpMagics):
    """Trying and running."""

    @magic_arguments()
    @argument("step", help="Name of the step.")
    @argument("values", nargs="*", help="input=value; an artifact's value is a variable of the notebook or a path.")
    @argument("--container", action="store_true", help="In a container of the step's image, not in a process.")
    @line_magic
    def kfp_try(self, line: str) -> TrialCard:
        """Runs one step alone in a clean process, fed with live objects, and brings its outputs back as variables."""
        from kfp_magics.widgets.cards import TrialCard  # noqa: PLC0415  (drawn only now)

        words = parse(self.kfp_try, line)
        options = RunOptions(cache=False, executor="container" if words.container else "")
        trial = self.session.try_step(words.step, words.values, options)
        self.shell.push(dict(trial.outputs))
        return TrialCard(trial)

    @magic_arguments()
    @argument("pipeline", help="Name of a pipeline, a step or a kfp function, or the path of an IR file.")
    @argument("values", nargs="*", help="parameter=value; None for no value, \"'None'\" for the word.")
    @start_arguments
    @part_arguments
    @line_magic
    def kfp_run(self, line: str) -> LiveRun | PlanCard:
        """Says what will run and why, runs the pipeline, and shows it live; gives the cell back at once.

        A kernel restart does not end the run. With --wait the cell waits, and fails when the run fails.
        """
        from kfp_magics.widgets.plan import PlanCard  # noqa: PLC0415  (drawn only now)

        words = parse(self.kfp_run, line)
        options = replace(
            run_options(words), start_from=words.start_from, reuse=words.reuse, only_changed=words.only_changed
        )
        ready = self.session.prepare(words.pipeline, words.values, options)
        card = PlanCard(ready.plan())
        if words.dry_run:
            return card
        self.write(f"{card!r}\n")
        return self.follow(self.session.start(ready, self.show_build), wait=words.wait)


def run_options(words: Namespace) -> RunOptions:
    """The options of ``start_arguments`` as a value."""
    return RunOptions(
        backend=words.backend,
        name=words.name,
        experiment=words.experiment,
        cache=not words.no_cache,
        executor=words.executor,
        build=words.build,
    )
