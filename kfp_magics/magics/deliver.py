"""From the notebook to production: ``%kfp_export``, ``%kfp_ci``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from IPython.core.magic import line_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments

from kfp_magics.errors import DeliveryError
from kfp_magics.magics.arguments import build_arguments
from kfp_magics.magics.build import build_options
from kfp_magics.magics.shell import KfpMagics, parse

if TYPE_CHECKING:
    from kfp_magics.options import BuildOptions
    from kfp_magics.widgets.delivered import DifferencesCard, ExportCard


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

    @magic_arguments()
    @argument("verb", choices=("plan", "run", "check", "hook"), help="What to do.")
    @argument("--dir", default=".", help="The exported folder; this one when left out.")
    @argument("--since", default="HEAD", help="Commit before the change.")
    @argument("--until", default="", help="Commit after it; plan takes the files as they lie there, run takes HEAD.")
    @build_arguments
    @line_magic
    def kfp_ci(self, line: str) -> DifferencesCard | None:
        """Tells which images a change rebuilds (plan), rebuilds them here (run), or with every commit (hook).

        check fails when the notebook and what was exported from it differ, and shows how.
        """
        words = parse(self.kfp_ci, line)
        options = build_options(words)
        folder = Path(words.dir)
        if words.verb == "check":
            return self._check(folder, options)
        if words.verb == "hook":
            from kfp_magics.delivery.hook import install  # noqa: PLC0415  (only for CI)

            registry = self.session.images.destination(options)
            self.write(f"Each commit now rebuilds what it changed: {install(folder, registry)}\n")
            return None
        from kfp_magics.delivery.plan import planned  # noqa: PLC0415  (only for CI)

        with planned(folder, words.since, words.until or ("HEAD" if words.verb == "run" else "")) as plan:
            self.write(f"{plan}\n")
            if words.verb == "run":
                for name, image in self.session.images.rebuild(plan, options, lambda text: self.write(f"{text}\n")):
                    self.write(f"{name} {image}\n")
        return None

    def _check(self, folder: Path, options: BuildOptions) -> DifferencesCard:
        from kfp_magics.widgets.delivered import DifferencesCard  # noqa: PLC0415  (drawn only now)

        found = self.session.images.exported(options, notebook=self.session.notebook).differences(folder)
        card = DifferencesCard(found)
        if found:
            self.write(f"{card}\n")
            raise DeliveryError(
                f"The notebook and {len(found)} exported file{'s' if len(found) > 1 else ''} differ.",
                f"Export again: %kfp_export {folder}",
            )
        return card
