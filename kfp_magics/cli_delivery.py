"""The command line's verbs of delivery: ``export`` and ``ci``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kfp_magics.options import PLATFORMS, BuildOptions

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from kfp_magics.session import Session

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001  (argparse has no public name for it)
    Author = Callable[[str], Session]


def add(commands: Commands, author: Author) -> None:
    """Adds the verbs.

    Args:
        commands: Where.
        author: Gives the session of a notebook, by its path.
    """
    export = commands.add_parser("export", help="write a notebook as a repository of steps and pipelines")
    export.add_argument("source", help="notebook (.ipynb)")
    export.add_argument("folder", metavar="DIR", help="folder of the repository")
    export.add_argument("--registry", default="", help="where images go: HOST/PATH")
    export.add_argument("--platform", default="", choices=PLATFORMS, metavar="OS/ARCH", help="linux/amd64, linux/arm64")
    export.add_argument("--upgrade", action="store_true", help="look anew for base images and requirements")
    export.add_argument("--replace", action="store_true", help="also replace files that were changed by hand")
    export.set_defaults(command=lambda words: _export(words, author))


def _export(words: argparse.Namespace, author: Author) -> int:
    from kfp_magics.widgets.delivered import ExportCard  # noqa: PLC0415  (only when something is exported)

    options = BuildOptions(registry=words.registry, platform=words.platform, upgrade=words.upgrade, started_by="cli")
    session = author(words.source)
    exported = session.images.exported(options, notebook=session.notebook)
    print(ExportCard(exported.write(Path(words.folder), force=words.replace)))
    return 0
