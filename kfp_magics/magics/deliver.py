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
    from argparse import Namespace
    from collections.abc import Iterable

    from kfp_magics.options import BuildOptions
    from kfp_magics.widgets.delivered import DifferencesCard, ExportCard


VERBS = ("plan", "run", "check", "pin", "hook", "create", "list", "delete", "fire")


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
    @argument("verb", choices=VERBS, help="What to do.")
    @argument("names", nargs="*", help="Triggers, or steps, to delete or to fire.")
    @argument("--dir", default=".", help="The exported folder; this one when left out.")
    @argument("--since", default="", help="Commit before the change; plan takes HEAD when it is left out.")
    @argument("--until", default="", help="Commit after it; plan takes the files as they lie there, run takes HEAD.")
    @argument("--repo", default="", help="What triggers listen to: OWNER/NAME, or a 2nd-generation repository.")
    @argument("--branch", default="", help="Branches that triggers listen to (^main$), or the one to fire for (main).")
    @argument("--apply", action="store_true", help="Make the triggers; without it they are only shown.")
    @build_arguments
    @line_magic
    def kfp_ci(self, line: str) -> DifferencesCard | None:
        """Rebuilds images when their steps change.

        plan tells which images a change rebuilds, and why; run --since REV rebuilds them here; hook does it with every
        commit. check fails when the notebook and what was exported from it differ; pin names images anew after a change
        by hand. create makes one Cloud Build trigger
        for each step's folder; list, delete and fire are about those.
        """
        words = parse(self.kfp_ci, line)
        options = build_options(words)
        if words.verb == "check":
            return self._check(Path(words.dir), options)
        if words.verb in {"plan", "run"}:
            self._change(words, options)
            return None
        for text in self._told(words, options):
            self.write(f"{text}\n")
        return None

    def _change(self, words: Namespace, options: BuildOptions) -> None:
        from kfp_magics.delivery.plan import planned  # noqa: PLC0415  (only for CI)

        builds = words.verb == "run"
        if builds and not words.since:
            raise DeliveryError("It is not said since when.", "The last commit: %kfp_ci run --since HEAD^")
        until = words.until or ("HEAD" if builds else "")
        with planned(Path(words.dir), words.since or "HEAD", until) as plan:
            self.write(f"{plan}\n")
            if builds:
                built = self.session.images.rebuild(
                    plan, options, lambda text: self.write(f"{text}\n"), notebook=self.session.notebook
                )
                for name, image in built:
                    self.write(f"{name} {image}\n")

    def _told(self, words: Namespace, options: BuildOptions) -> Iterable[str]:
        images, settings, folder = self.session.images, self.session.settings, Path(words.dir)
        if words.verb == "pin":
            from kfp_magics.delivery.pin import pin  # noqa: PLC0415  (only for CI)

            told = [f"{name}: {tag}" for name, tag in pin(folder).items()]
            return told or ["Each component.yaml names the image that its folder gives."]
        if words.verb == "hook":
            from kfp_magics.delivery.hook import install  # noqa: PLC0415  (only for CI)

            return [f"Each commit now rebuilds what it changed: {install(folder, images.destination(options))}"]
        from kfp_magics.delivery.verbs import create, listed, others  # noqa: PLC0415  (imports Google's clients)

        if words.verb == "list":
            return listed(settings, folder)
        if words.verb != "create":
            return others(settings, words.verb, words.names, words.branch or "main")
        if not words.repo:
            raise DeliveryError("It is not said what triggers listen to.", "Name it: %kfp_ci create --repo OWNER/NAME")
        return create(
            settings,
            folder,
            repository=words.repo,
            branch=words.branch or "^main$",
            registry=images.destination(options),
            apply=words.apply,
        )

    def _check(self, folder: Path, options: BuildOptions) -> DifferencesCard:
        from kfp_magics.widgets.delivered import DifferencesCard  # noqa: PLC0415  (drawn only now)

        found = self.session.images.exported(options, notebook=self.session.notebook).differences(folder)
        card = DifferencesCard(found)
        if found:
            self.write(f"{card}\n")
            raise DeliveryError(
                f"The notebook differs from {len(found)} exported file{'s' if len(found) > 1 else ''}.",
                f"Export again: %kfp_export {folder}",
            )
        return card
