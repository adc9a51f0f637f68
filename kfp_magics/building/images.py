"""What a session can do about images: build them, write their folders, run pipelines in them, tell how they stand."""

from __future__ import annotations

import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from kfp_magics.building.build import Work
from kfp_magics.building.plan import Looked, Planned, Planner, difference
from kfp_magics.errors import BuildError, KfpMagicsError, NotFoundError, did_you_mean
from kfp_magics.handles import kfp_components
from kfp_magics.images.base import ImageRef
from kfp_magics.options import FOLDERS, BuildOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from kfp_magics.building.build import Build
    from kfp_magics.building.choice import Builders
    from kfp_magics.definitions import Definitions
    from kfp_magics.delivery.export import Export
    from kfp_magics.delivery.plan import CIPlan
    from kfp_magics.images.base import ImageSpec
    from kfp_magics.images.registry import Registries
    from kfp_magics.model import Component, Pipeline, Run
    from kfp_magics.options import RunOptions
    from kfp_magics.runs.store import Store
    from kfp_magics.settings import Settings

_AT_ONCE = 8  # questions to a registry


@dataclass(frozen=True, kw_only=True, slots=True)
class StepFolder:
    """A step's folder as it was written.

    Attributes:
        planned: What enters the image.
        path: The folder.
        files: What was written, sorted.
        difference: What is new since the last image.
    """

    planned: Planned
    path: Path
    files: Sequence[Path]
    difference: str


class Images:
    """The images of what a notebook defined.

    Args:
        settings: Where images go, and how they are made.
        definitions: What the notebook defined.
        store: Gives where builds and images are remembered.
    """

    def __init__(self, settings: Settings, definitions: Definitions, store: Callable[[], Store]) -> None:
        self._settings = settings
        self._definitions = definitions
        self._open_store = store

    @property
    def _store(self) -> Store:
        return self._open_store()

    @cached_property
    def _registries(self) -> Registries:
        from kfp_magics.images.registry import Registries  # noqa: PLC0415  (imports httpx)

        registries = Registries(self._settings)
        weakref.finalize(self, registries.close)  # connections end with the session, whoever forgets it
        return registries

    @cached_property
    def builders(self) -> Builders:
        """What builds images, each made once."""
        from kfp_magics.building.choice import Builders  # noqa: PLC0415  (not needed to author)

        return Builders(self._settings, self._registries)

    def planner(self, *, asks: bool = True) -> Planner:
        """What finds out what enters images; it asks registries and indexes unless told not to."""
        return Planner(self._settings, self._registries, asks=asks)

    def components(self, names: Iterable[str]) -> list[Component]:
        """Finds the steps of names, of steps and of pipelines; all that the notebook defined when there are none.

        Raises:
            NotFoundError: There is no step or pipeline of a name.
            BuildError: There is nothing to build.
        """
        steps = {name: step.component for name, step in self._definitions.steps.items()}
        found: dict[str, Component] = {} if names else dict(steps)
        for name in names:
            if name in steps:
                found[name] = steps[name]
            elif name in self._definitions.pipelines:
                found |= _buildable(self._definitions.resolve(name))
            elif name in kfp_components(self._definitions.namespace):
                raise BuildError(
                    f"The step {name!r} is kfp's own and brings its image itself.",
                    "Write it with %%kfp_component and without kfp's decorator to have an image built.",
                )
            else:
                known = {*steps, *self._definitions.pipelines}
                raise NotFoundError(f"There is no step or pipeline {name!r}.", did_you_mean(name, known))
        if not found:
            raise BuildError("There is no step to build.", "Define one with %%kfp_component.")
        return list(found.values())

    def build(self, components: Sequence[Component], options: BuildOptions, *, notebook: str = "") -> Build:
        """Builds images in the background: what takes long in a process of its own, which a kernel's end does not end.

        Args:
            components: Of which steps.
            options: How.
            notebook: Path of the notebook.

        Returns:
            The build as it starts.

        Raises:
            BuildError: It is not said where images go.
        """
        from kfp_magics.building.choice import check_destination  # noqa: PLC0415  (not needed to author)
        from kfp_magics.building.record import Record  # noqa: PLC0415

        options = options.complete(self._settings)
        check_destination(options.registry)
        record = Record.begin(
            self._settings,
            self._store,
            components,
            target=options.registry,
            notebook=notebook,
            started_by=options.started_by,
        )
        if _takes_long(components, options):
            from kfp_magics.building import detached  # noqa: PLC0415  (only for these)

            return detached.start(record, components, options, self._settings, lambda: self._look(record.run.id))
        return Work(
            record, components, options, planner=self.planner(), builders=self.builders, store=self._store
        ).in_background()

    def _look(self, run_id: str) -> Run:
        from kfp_magics.backends.known import Backends  # noqa: PLC0415  (not needed to author)
        from kfp_magics.runs import actions  # noqa: PLC0415  (as above)

        return actions.current(self._store, Backends(self._settings, self._store), run_id)

    def folders(self, names: Iterable[str], options: BuildOptions, target: Path) -> list[StepFolder]:
        """Writes the folders from which images would be built, and builds nothing.

        Args:
            names: Of steps and pipelines, as in `components`.
            options: How.
            target: A folder for each of them is made in it.

        Raises:
            BuildError: A step has no image, or something in its way.
        """
        from kfp_magics import compiler  # noqa: PLC0415  (imports kfp)
        from kfp_magics.images.context import write_folder  # noqa: PLC0415  (not needed to author)

        options = options.complete(self._settings)
        planner = self.planner()
        written = []
        for component in self.components(names):
            planned = planner.plan(component, options)
            place = planned.place(options)
            beside = {"component.yaml": compiler.component_text(component, f"{place}:{planned.spec.tag}").encode()}
            path = target / planned.spec.name
            files = write_folder(planned.spec, path, beside)
            new = difference(planned, self._store.image(place))
            written.append(StepFolder(planned=planned, path=path, files=files, difference=new))
        return written

    def exported(self, options: BuildOptions, *, notebook: str = "") -> Export:
        """The notebook as a repository, to be written or compared.

        Args:
            options: How its images are built.
            notebook: Path of the notebook.
        """
        from kfp_magics.delivery.export import Export  # noqa: PLC0415  (imports kfp)

        return Export(self._definitions, self.planner, options.complete(self._settings), notebook)

    def destination(self, options: BuildOptions) -> str:
        """Where images go.

        Raises:
            BuildError: It is not said.
        """
        from kfp_magics.building.choice import check_destination  # noqa: PLC0415  (not needed to author)

        registry = options.complete(self._settings).registry
        check_destination(registry)
        return registry

    def complete(self, options: BuildOptions) -> BuildOptions:
        """How images are built, with the settings' words where nothing else was said."""
        return options.complete(self._settings)

    def find(self, spec: ImageSpec, options: BuildOptions) -> ImageRef | None:
        """The image of a spec, if it is where images go."""
        from kfp_magics.building.choice import find_image  # noqa: PLC0415  (not needed to author)

        return find_image(self._registries, options.registry, spec)

    def rebuild(
        self, plan: CIPlan, options: BuildOptions, tell: Callable[[str], None], *, notebook: str = ""
    ) -> list[tuple[str, ImageRef]]:
        """Builds what a change of a repository rebuilds; see `kfp_magics.delivery.run.rebuild`.

        Args:
            plan: The change.
            options: How.
            tell: Told what happens, a line at a time.
            notebook: Path of the notebook, if it is one that asks.
        """
        from kfp_magics.delivery.run import rebuild  # noqa: PLC0415  (only for CI)

        images = rebuild(
            plan,
            settings=self._settings,
            store=self._store,
            builders=self.builders,
            options=options.complete(self._settings),
            tell=tell,
            notebook=notebook,
        )
        return list(images.items())

    def for_run(
        self, pipeline: Pipeline, options: RunOptions, on_build: Callable[[Build], None], *, notebook: str = ""
    ) -> Pipeline:
        """Makes a pipeline ready for where it runs: in images where tasks run in containers, as it is otherwise.

        Args:
            pipeline: A compiled pipeline.
            options: How it will run.
            on_build: Told of the build, if there is one.
            notebook: Path of the notebook.

        Raises:
            BuildError: An image cannot be built.
        """
        return self.finished(self.looked(pipeline, options), options, on_build, notebook=notebook)

    def looked(self, pipeline: Pipeline, options: RunOptions) -> Looked:
        """Looks which images a pipeline would run in where it runs, and builds none.

        Args:
            pipeline: A compiled pipeline.
            options: How it will run.

        Raises:
            BuildError: There is no place for images.
        """
        settings = self._settings
        local = (options.backend or settings.backend) == "local"
        contained = not local or (options.executor or settings.executor) == "container"
        in_folder = settings.registry.startswith(FOLDERS)
        if not (bool(settings.registry) and contained and not in_folder if options.build is None else options.build):
            return Looked(pipeline=pipeline)
        if contained and in_folder:
            raise BuildError(
                f"Containers get their images from a registry, not from {settings.registry!r}.",
                "Name one: KFP_MAGICS_REGISTRY=HOST/PATH; or run with --executor process.",
            )
        found = self._looked(pipeline, BuildOptions(started_by=options.started_by))
        return found if contained else replace(found, pipeline=pipeline, contained=False)

    def finished(
        self, looked: Looked, options: RunOptions, on_build: Callable[[Build], None], *, notebook: str = ""
    ) -> Pipeline:
        """Builds the images that a pipeline lacks, and has its steps run in them.

        Args:
            looked: The pipeline, looked at.
            options: How it will run.
            on_build: Told of the build, if there is one.
            notebook: Path of the notebook.

        Raises:
            BuildError: An image cannot be built.
        """
        return self._finished(looked, BuildOptions(started_by=options.started_by), on_build, notebook=notebook)

    def _looked(self, pipeline: Pipeline, options: BuildOptions) -> Looked:
        from kfp_magics.compiler_images import with_images  # noqa: PLC0415  (not needed to author)

        components = list(_buildable(pipeline).values())
        images = self._existing(components, options.complete(self._settings)) if components else {}
        missing = tuple(component for component in components if component.name not in images)
        return Looked(pipeline=with_images(pipeline, images), missing=missing)

    def _finished(
        self, looked: Looked, options: BuildOptions, on_build: Callable[[Build], None], *, notebook: str
    ) -> Pipeline:
        from kfp_magics.compiler_images import with_images  # noqa: PLC0415  (not needed to author)

        if not looked.missing:
            return looked.pipeline
        build = self.build(looked.missing, options, notebook=notebook)
        on_build(build)
        images = build.result()
        return with_images(looked.pipeline, images) if looked.contained else looked.pipeline  # a process has no image

    def in_images(
        self, pipeline: Pipeline, options: BuildOptions, on_build: Callable[[Build], None], *, notebook: str = ""
    ) -> Pipeline:
        """Makes the steps of a pipeline run in their images; those that are missing are built first.

        Args:
            pipeline: A compiled pipeline.
            options: How images are built.
            on_build: Told of the build, if there is one.
            notebook: Path of the notebook.

        Returns:
            The pipeline, with images by digest.

        Raises:
            BuildError: An image cannot be built.
        """
        return self._finished(self._looked(pipeline, options), options, on_build, notebook=notebook)

    def _existing(self, components: Sequence[Component], options: BuildOptions) -> dict[str, ImageRef]:
        """The images that are up to date and where they should be."""
        from kfp_magics.building.choice import check_destination, find_image  # noqa: PLC0415

        check_destination(options.registry)
        planner = self.planner(asks=False)

        def look(component: Component) -> ImageRef | None:
            with suppress(KfpMagicsError):  # what stands in the way is told by the build
                planned = planner.plan(component, options)
                known = self._store.image(planned.place(options), planned.spec.tag)
                if known is not None and not options.registry.startswith(FOLDERS):
                    return find_image(self._registries, options.registry, planned.spec)
                if known is not None:
                    return ImageRef(repository=known.repository, digest=known.digest, tag=known.tag)
            return None

        with ThreadPoolExecutor(min(_AT_ONCE, len(components))) as pool:
            found = zip(components, pool.map(look, components), strict=True)
            return {component.name: ref for component, ref in found if ref is not None}

    def notes(self, run: Run) -> Mapping[str, str]:
        """Tells for each step of a run how its code, its image and the run stand to each other.

        Args:
            run: A run whose steps may have run in images.

        Returns:
            Component → a few words; steps without an image and steps of other notebooks are left out.
        """
        from kfp_magics import ir as irs  # noqa: PLC0415  (reads YAML, which authoring does not)

        options = BuildOptions().complete(self._settings)
        planner = self.planner(asks=False)
        notes: dict[str, str] = {}
        for task in run.tasks:
            step = irs.look_up(self._definitions.steps, task.component)
            if step is None or "@sha256:" not in task.image or task.component in notes:
                continue
            note = self._note(step.component, task.image, planner, options)
            notes |= {task.component: note} if note else {}
        return notes

    def _note(self, component: Component, image: str, planner: Planner, options: BuildOptions) -> str:
        repository, _, digest = image.partition("@")
        tag, places = "", [repository]
        with suppress(KfpMagicsError):  # a step that cannot be built as it is now has changed
            planned = planner.plan(component, options)
            tag, places = planned.spec.tag, [planned.place(options), repository]
        last = next((found for place in places if (found := self._store.image(place))), None)
        if last is None or last.repository != repository:
            return ""  # not an image of ours: the step's base image, or one that the user named
        built = next((found for place in places if tag and (found := self._store.image(place, tag))), None)
        if built is None:
            return "code newer than image: %kfp_build rebuilds it"
        return "image in sync" if built.digest == digest else "image newer than this run"


def _takes_long(components: Sequence[Component], options: BuildOptions) -> bool:
    """Whether something is carried out to build an image, as a Dockerfile is."""
    return options.builder not in {"auto", "append"} or any(
        component.language == "context" and not component.entry for component in components
    )


def _buildable(pipeline: Pipeline) -> dict[str, Component]:
    """The steps that bring no image themselves, as kfp's own and folders with --image do."""
    return {
        name: component
        for name, component in pipeline.components.items()
        if component.language != "kfp"
        and (component.language != "context" or component.entry or component.base_image == f"{name}:latest")
    }
