"""Rebuilding on this machine what a change rebuilds."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kfp_magics.building.build import Build, Work
from kfp_magics.building.choice import Builders, check_destination
from kfp_magics.building.plan import Planned
from kfp_magics.building.record import Record
from kfp_magics.images.registry import Registries
from kfp_magics.model import Component
from kfp_magics.runs.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kfp_magics.delivery.plan import CIPlan
    from kfp_magics.images.base import ImageRef, ImageSpec
    from kfp_magics.options import BuildOptions
    from kfp_magics.settings import Settings


@dataclass(frozen=True, slots=True)
class _Committed:
    """What enters the images is what lies in the folders, whatever the notebook says now."""

    specs: Mapping[str, ImageSpec]

    def plan(self, component: Component, _options: BuildOptions) -> Planned:
        return Planned(component=component, spec=self.specs[component.name], remarks=())


def rebuild_here(
    plan: CIPlan, settings: Settings, options: BuildOptions, tell: Callable[[str], None]
) -> dict[str, ImageRef]:
    """Builds as `rebuild` does, with nothing of a notebook around: a commit waits for it."""
    options = options.complete(settings)
    with closing(Registries(settings)) as registries, closing(Store(settings.store_path)) as store:
        builders = Builders(settings, registries)
        return rebuild(plan, settings=settings, store=store, builders=builders, options=options, tell=tell)


def rebuild(
    plan: CIPlan,
    *,
    settings: Settings,
    store: Store,
    builders: Builders,
    options: BuildOptions,
    tell: Callable[[str], None],
    notebook: str = "",
) -> dict[str, ImageRef]:
    """Builds the images that a change rebuilds, several at once, seen as one run.

    Args:
        plan: Made by `planned`, whose context must not have ended.
        settings: Where the build is kept.
        store: Where it is remembered.
        builders: Build them.
        options: How; complete.
        tell: Told what happens, a line at a time.
        notebook: Path of the notebook, if it is one that asks.

    Returns:
        Folder → image.

    Raises:
        BuildError: One cannot be built; the others are.
    """
    check_destination(options.registry)
    specs = {one.folder: one.spec for one in plan.changes if one.builds and one.spec is not None}
    if not specs:
        return {}
    components = [Component(name=folder, language="context", source="") for folder in specs]
    record = Record.begin(
        settings,
        store,
        components,
        target=options.registry,
        notebook=notebook,
        started_by=options.started_by,
        tell=tell,
    )
    Work(record, components, options, planner=_Committed(specs), builders=builders, store=store).carry_out()
    return Build(lambda: record.run, lambda _: True, record.ask_to_end).result()
