"""Building images: ``%kfp_build``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from IPython.core.magic import line_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments

from kfp_magics.magics.arguments import build_arguments
from kfp_magics.magics.shell import KfpMagics, parse
from kfp_magics.model import State
from kfp_magics.options import BuildOptions

if TYPE_CHECKING:
    from argparse import Namespace

    from kfp_magics.widgets.cards import FoldersCard
    from kfp_magics.widgets.live import LiveRun

_PATIENCE = 2.0  # seconds in which most builds have ended; the cell then shows the end at once


@magics_class
class BuildMagics(KfpMagics):
    """Building images."""

    @magic_arguments()
    @argument("names", nargs="*", help="Steps, or pipelines for all of theirs; every step when left out.")
    @build_arguments
    @argument(
        "--dry-run",
        nargs="?",
        const="kfp-build",
        default="",
        metavar="DIR",
        help="Build nothing: write the folder of each step to DIR (kfp-build when left out) and show it.",
    )
    @argument("--wait", action="store_true", help="Wait until all images are built, and fail when one is not.")
    @line_magic
    def kfp_build(self, line: str) -> LiveRun | FoldersCard:
        """Builds the images of steps and shows it live; what exists already is not built again.

        The kernel stays free while images are built. An interrupt (or %kfp_cancel) ends the build.
        """
        words = parse(self.kfp_build, line)
        options = build_options(words)
        if words.dry_run:
            from kfp_magics.widgets.cards import FoldersCard  # noqa: PLC0415  (drawn only now)

            return FoldersCard(self.session.images.folders(words.names, options, Path(words.dry_run)))
        build = self.session.build(words.names, options)
        ended = build.wait(_PATIENCE)
        live = self.follow_build(build, wait=words.wait)
        if ended and build.run.state is not State.SUCCEEDED:
            live.show()
            raise self.session.failure(build.run)
        return live


def build_options(words: Namespace) -> BuildOptions:
    """The options of ``build_arguments`` as a value."""
    return BuildOptions(
        builder=words.builder,
        registry=words.registry,
        platform=words.platform,
        python=words.python,
        upgrade=words.upgrade,
        force=words.force,
    )
