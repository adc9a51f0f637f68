"""What is said of triggers as they are made, listed, run and deleted: the same in a notebook and in a shell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kfp_magics.delivery.git import Repository
from kfp_magics.delivery.triggers import Source, Triggers
from kfp_magics.errors import DeliveryError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from kfp_magics.settings import Settings


def create(
    settings: Settings, folder: Path, *, repository: str, branch: str, registry: str, apply: bool
) -> Iterator[str]:
    """Shows how triggers must change for an exported folder, and changes them if asked to.

    Args:
        settings: Where Cloud Build is.
        folder: The exported folder.
        repository: What triggers listen to, as `Source` says.
        branch: Regular expression of branches.
        registry: Where images go.
        apply: Whether to do it.

    Yields:
        Lines for a person.
    """
    account = settings.cloudbuild_service_account
    prefix = Repository(folder).prefix
    source = Source(repository=repository, prefix=prefix, branch=branch, registry=registry, service_account=account)
    triggers = Triggers.from_settings(settings)
    changes = triggers.changes(folder, source)
    for one in changes:
        yield f"{one.what:7} {one.name}{'  (changed by hand meanwhile)' if one.by_hand else ''}"
        yield from one.diff.splitlines()
    if apply:
        triggers.apply(changes)
    elif any(one.what != "same" for one in changes):
        yield "Nothing was done yet; --apply does it."


def others(settings: Settings, verb: str, names: Sequence[str], branch: str) -> Iterator[str]:
    """Lists triggers, deletes some, or runs some now.

    Args:
        settings: Where Cloud Build is.
        verb: ``list``, ``delete`` or ``fire``.
        names: Triggers or steps.
        branch: Which branch is built when they are run.

    Yields:
        Lines for a person.
    """
    triggers = Triggers.from_settings(settings)
    if verb == "list":
        for one in triggers.list():
            yield f"{one.name}  {', '.join(one.included_files)}{'  (disabled)' if one.disabled else ''}"
        return
    if not names:
        raise DeliveryError(f"It is not said which trigger to {verb}.", "Name it; list shows what there is.")
    for name in names:
        if verb == "delete":
            triggers.delete(name)
            yield f"Deleted {name}"
        else:
            yield f"Started: {triggers.fire(name, branch)}"
