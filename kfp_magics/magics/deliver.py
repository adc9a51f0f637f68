"""From the notebook to production: ``%kfp_export``, ``%kfp_ci``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from IPython.core.magic import line_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments

from kfp_magics.magics.arguments import build_arguments
from kfp_magics.magics.build import build_options
from kfp_magics.magics.shell import KfpMagics, parse

if TYPE_CHECKING:
    from kfp_magics.widgets.delivered import ExportCard


@magics_class
class DeliverMagics(KfpMagics):
    """From the notebook to production."""

    @magic_arguments()
    @argument("folder", metavar="DIR", help="Folder of the repository; made when it is not there.")
    @build_arguments
    @argument("--replace", action="store_true", help="Also replace files that were changed by hand.")
    @line_magic
    def kfp_export(self, line: str) -> ExportCard:
        """Writes the notebook as a repository: a folder for each step, pipelines, tests and a CI workflow.

        The same notebook gives the same files. What is not ours in the folder stays as it is.
        """
        from kfp_magics.widgets.delivered import ExportCard  # noqa: PLC0415  (drawn only now)

        words = parse(self.kfp_export, line)
        exported = self.session.images.exported(build_options(words), notebook=self.session.notebook)
        return ExportCard(exported.write(Path(words.folder), force=words.replace))
