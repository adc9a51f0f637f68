"""Rebuilding on this machine what a change rebuilds."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kfp_magics.building.choice import check_destination

if TYPE_CHECKING:
    from collections.abc import Callable

    from kfp_magics.building.choice import Builders
    from kfp_magics.delivery.plan import Change, CIPlan
    from kfp_magics.images.base import ImageRef
    from kfp_magics.options import BuildOptions

_AT_ONCE = 8


@dataclass(kw_only=True, slots=True)
class _Told:
    """The log of one image: what a person wants to see on a CI machine, one line at a time."""

    folder: str
    tell: Callable[[str], None]
    facts: dict[str, str | float] = field(default_factory=dict)

    def write(self, text: str) -> None:
        for line in text.splitlines():
            self.tell(f"{self.folder}: {line}")

    def step(self, what: str, done: float | None = None) -> None:
        pass

    def fact(self, name: str, value: str | float) -> None:
        self.facts[name] = value

    def check(self) -> None:
        pass


def rebuild(
    plan: CIPlan, builders: Builders, options: BuildOptions, tell: Callable[[str], None]
) -> dict[str, ImageRef]:
    """Builds the images that a change rebuilds, several at once.

    Args:
        plan: Made by `planned`, whose context must not have ended.
        builders: Build them.
        options: How; complete.
        tell: Told what happens, a line at a time.

    Returns:
        Folder → image.

    Raises:
        BuildError: One cannot be built; the others are.
    """
    check_destination(options.registry)
    wanted = [change for change in plan.changes if change.builds]

    def one(change: Change) -> ImageRef:
        assert change.spec is not None
        return builders.choose(change.spec, options).build(change.spec, _Told(folder=change.folder, tell=tell))

    if not wanted:
        return {}
    with ThreadPoolExecutor(min(_AT_ONCE, len(wanted))) as pool:
        jobs = {change.folder: pool.submit(one, change) for change in wanted}
    return {folder: job.result() for folder, job in jobs.items()}
