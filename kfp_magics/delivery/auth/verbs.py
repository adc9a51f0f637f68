"""Setting up rights: shown, written as Terraform, or done; the same in a notebook and in a shell."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kfp_magics.backends.connections import Connections
from kfp_magics.delivery.auth.apply import apply
from kfp_magics.delivery.auth.commands import commands
from kfp_magics.delivery.auth.functions import functions_in
from kfp_magics.delivery.auth.needs import needs_of
from kfp_magics.delivery.auth.plan import make_plan
from kfp_magics.delivery.auth.text import terraform_file
from kfp_magics.delivery.cloud.options import FOLDER
from kfp_magics.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable

    from kfp_magics.delivery.auth.plan import Plan
    from kfp_magics.delivery.auth.words import Options
    from kfp_magics.session import Session


def plan_of(session: Session, options: Options) -> Plan:
    """Makes the plan of a notebook.

    Args:
        session: What the notebook defined, and where its runs go.
        options: What the user said.

    Raises:
        ArgumentError: No project is known, or something is no name.
        DeliveryError: A function that was written here does not read.
    """
    settings = session.settings
    connection = None
    if settings.backend != "local":
        connection = Connections(settings.home_path).get(settings.backend, settings.connection)
    functions = functions_in(Path(FOLDER))
    return make_plan(needs_of(session.definitions), options, settings, connection, functions)


def written(plan: Plan, how: str, path: Path | None) -> str:
    """Gives a plan as Terraform, or writes it to a file and tells so.

    Raises:
        ArgumentError: The file cannot be written.
    """
    text = terraform_file(plan, how)
    if path is None:
        return text
    draft = path.with_name(f".{path.name}.part")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        raise ArgumentError(f"{str(path)!r} cannot be written: {error.strerror}.", "Name another file.") from error
    return f"Wrote {path}. Look at it with: terraform plan\n"


def done(plan: Plan, tell: Callable[[str], None]) -> None:
    """Does what a plan says.

    Args:
        plan: The plan.
        tell: Told what happens, a line at a time.

    Raises:
        DeliveryError: A command failed; those behind it did not run.
    """
    apply(commands(plan), tell)
    for line in plan.following:
        tell(line)
