"""What stands around a notebook: ``%kfp_doctor``, ``%kfp_setup_auth``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from IPython.core.magic import line_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments

from kfp_magics.delivery.auth.words import auth_options, typed
from kfp_magics.magics.arguments import auth_arguments
from kfp_magics.magics.shell import KfpMagics, parse

if TYPE_CHECKING:
    from kfp_magics.widgets.delivered import AuthCard


@magics_class
class SetupMagics(KfpMagics):
    """What stands around a notebook."""

    @magic_arguments()
    @argument("parts", nargs="*", metavar="PART", help="steps, ci, cd; all of them when left out.")
    @auth_arguments
    @line_magic
    def kfp_setup_auth(self, line: str) -> AuthCard | None:
        """Shows who needs which rights on Google Cloud, as commands and as Terraform; does it with --apply.

        The roles of the steps are found in their code: each says which step and line is the reason. Builds (ci) and
        functions that start runs (cd) have accounts of their own. On a cluster the steps get their rights by workload
        identity, or by a key in a secret.
        """
        from kfp_magics.delivery.auth import text, verbs  # noqa: PLC0415  (only when rights are set up)
        from kfp_magics.widgets.delivered import AuthCard  # noqa: PLC0415  (drawn only now)

        words = parse(self.kfp_setup_auth, line)
        plan = verbs.plan_of(self.session, auth_options(words))
        how = typed("%kfp_setup_auth", words)
        if words.terraform:
            path = None if words.terraform == "-" else Path(words.terraform)
            return AuthCard(verbs.written(plan, how, path))
        if words.apply:
            verbs.done(plan, lambda told: self.write(f"{told}\n"))
            return None
        return AuthCard(text.script(plan, how))

    @magic_arguments()
    @argument(
        "groups", nargs="*", metavar="GROUP", help="author, panel, build, run, ci, cd; all of them when left out."
    )
    @argument("--dir", default=".", help="The exported folder; this one when left out.")
    @line_magic
    def kfp_doctor(self, line: str) -> None:
        """Looks at what authoring, building, running and delivering need, and tells what mends what is missing.

        Nothing is changed. What is not set up counts as missing when its group is named: %kfp_doctor build.
        """
        from kfp_magics.doctor.checks import diagnose, groups  # noqa: PLC0415  (only when something is wrong)
        from kfp_magics.doctor.findings import Case  # noqa: PLC0415  (as above)
        from kfp_magics.widgets.doctor import show  # noqa: PLC0415  (drawn only now)

        words = parse(self.kfp_doctor, line)
        in_notebook = hasattr(self.shell, "kernel")
        case = Case(
            settings=self.session.settings,
            wanted=groups(words.groups),
            definitions=self.session.definitions,
            notebook=self.session.notebook,
            in_ipython=True,
            in_notebook=in_notebook,
            folder=Path(words.dir),
        )
        show(diagnose(case), in_ipython=True, in_notebook=in_notebook)
