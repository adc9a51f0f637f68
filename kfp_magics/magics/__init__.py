"""IPython magics, one module per family."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell


def register(shell: InteractiveShell) -> None:
    """Registers every family of magics with one session for the shell; again, it reads the settings anew."""
    from kfp_magics.magics.act import ActMagics  # noqa: PLC0415  (IPython only when a shell asks)
    from kfp_magics.magics.author import AuthorMagics  # noqa: PLC0415
    from kfp_magics.magics.build import BuildMagics  # noqa: PLC0415
    from kfp_magics.magics.cd import NewDataMagics  # noqa: PLC0415
    from kfp_magics.magics.complete import offer  # noqa: PLC0415
    from kfp_magics.magics.deliver import DeliverMagics  # noqa: PLC0415
    from kfp_magics.magics.look import LookMagics  # noqa: PLC0415
    from kfp_magics.magics.run import RunMagics  # noqa: PLC0415
    from kfp_magics.magics.servers import ServerMagics  # noqa: PLC0415
    from kfp_magics.magics.setup import SetupMagics  # noqa: PLC0415
    from kfp_magics.magics.shell import current_session  # noqa: PLC0415

    session = current_session(shell)
    session.settings.read_again()
    families = (AuthorMagics, BuildMagics, RunMagics, LookMagics, ActMagics, ServerMagics, DeliverMagics)
    for family in (*families, NewDataMagics, SetupMagics):
        made = family(shell, session)
        shell.register_magics(made)
        offer(shell, session, {name: magic for kind in made.magics.values() for name, magic in kind.items()})
