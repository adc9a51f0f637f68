"""What is said of triggers as they are made, listed, run and deleted: the same in a notebook and in a shell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kfp_magics.delivery.git import Repository
from kfp_magics.delivery.steps import STEPS
from kfp_magics.delivery.triggers import Source, Triggers, refuse_elsewhere, repository_name
from kfp_magics.errors import DeliveryError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from google.cloud.devtools import cloudbuild_v1 as cb

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
    refuse_elsewhere(folder, registry)
    triggers = Triggers.from_settings(settings)
    changes = triggers.changes(folder, source)
    for one in changes:
        yield f"{one.what:7} {one.name}{'  (changed by hand meanwhile)' if one.by_hand else ''}"
        yield from one.diff.splitlines()
    if apply:
        triggers.apply(changes)
    elif any(one.what != "same" for one in changes):
        yield "Nothing was done yet; --apply does it."


_STANDS = {"same": "as exported", "update": "stale", "delete": "its step is gone", "create": "missing"}


def listed(settings: Settings, folder: Path) -> Iterator[str]:
    """Lists triggers, and how they stand to an exported folder.

    Args:
        settings: Where Cloud Build is.
        folder: The exported folder; where it is none, triggers are listed as they are.

    Yields:
        Lines for a person.
    """
    triggers = Triggers.from_settings(settings)
    found = triggers.list()
    if not any((folder / STEPS).glob("*/cloudbuild.y*ml")):
        yield from (_line(one) for one in found)
        if not found:
            yield "There are no triggers of kfp-magics."
        return
    repository = Repository(folder)
    sources = {one.name: one for one in (Source.of(trigger, repository.prefix) for trigger in found)}
    known = {repository_name(one) for one in repository.remotes()} & set(sources)
    mine = known or (set(sources) if len(sources) == 1 else set())
    for name in sorted(mine):
        for one in triggers.changes(folder, sources[name]):
            how = "changed by hand" if one.by_hand and one.what == "update" else _STANDS[one.what]
            trigger = one.found or one.wanted
            assert trigger is not None
            yield f"{_line(trigger)}  {how}"
    yield from (f"{_line(one)}  another repository" for one in found if Source.of(one, "").name not in mine)
    if not mine:
        yield "No trigger listens to this folder; kfp-magics ci create makes them."


def _line(trigger: cb.BuildTrigger) -> str:
    return f"{trigger.name}  {', '.join(trigger.included_files)}{'  (disabled)' if trigger.disabled else ''}"


def others(settings: Settings, verb: str, names: Sequence[str], branch: str) -> Iterator[str]:
    """Deletes triggers, or runs some now.

    Args:
        settings: Where Cloud Build is.
        verb: ``delete`` or ``fire``.
        names: Triggers or steps.
        branch: Which branch is built when they are run.

    Yields:
        Lines for a person.
    """
    triggers = Triggers.from_settings(settings)
    if not names:
        raise DeliveryError(f"It is not said which trigger to {verb}.", "Name it; list shows what there is.")
    for name in names:
        if verb == "delete":
            triggers.delete(name)
            yield f"Deleted {name}"
        else:
            yield f"Started: {triggers.fire(name, branch)}"
