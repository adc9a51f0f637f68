"""A notebook as a repository: a folder for each step, pipelines, tests, README and a workflow."""

from __future__ import annotations

import importlib.metadata
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from kfp_magics import __version__, compiler
from kfp_magics.delivery import texts, writing
from kfp_magics.delivery.config import trigger_config, without_tag
from kfp_magics.delivery.module import pipeline_module
from kfp_magics.delivery.steps import (
    BESIDE,
    COMPONENT,
    CONFIG,
    DESCRIPTION,
    STEPS,
    Asked,
    description,
    folder_description,
    folder_spec,
    locked_before,
)
from kfp_magics.errors import DefinitionError, DeliveryError
from kfp_magics.images.context import content_of, image_name, image_spec
from kfp_magics.images.folders import CLOUDBUILD

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kfp_magics.building.plan import Planner
    from kfp_magics.definitions import Definitions
    from kfp_magics.images.base import ImageSpec
    from kfp_magics.images.context import Content
    from kfp_magics.model import Component
    from kfp_magics.options import BuildOptions


class Export:
    """What a notebook is as a repository.

    Args:
        definitions: What the notebook defined.
        planner: Pins base images and locks requirements.
        options: How images are built; complete.
        notebook: Path of the notebook, for the README's title.
    """

    def __init__(
        self, definitions: Definitions, planner: Callable[[], Planner], options: BuildOptions, notebook: str
    ) -> None:
        self._definitions = definitions
        self._planner = planner
        self._options = options
        self._title = Path(notebook).stem or "Pipelines"

    def write(self, target: Path, *, force: bool = False) -> writing.Written:
        """Writes the repository, or brings it up to date.

        Args:
            target: The folder.
            force: Also replace what somebody changed.

        Raises:
            DeliveryError: There is nothing to export, or the folder stands in the way.
            BuildError: A step has no image, or something in its way.
        """
        if target.exists() and not target.is_dir():
            raise DeliveryError(f"{str(target)!r} is no folder.", "Name another one.")
        done = writing.write(target, self.files(target), once=self._once(), force=force)
        if not self._options.registry and self._steps():
            done.remarks.append("component.yaml names no registry; --registry HOST/PATH or KFP_MAGICS_REGISTRY does")
        return done

    def differences(self, target: Path) -> dict[str, str]:
        """Compares the notebook with what was exported: path → a unified diff."""
        if not (target / writing.LOCK).is_file():
            raise DeliveryError(
                f"Nothing was exported to {str(target)!r}.", f"Do it first: kfp-magics export NOTEBOOK {target}"
            )
        return writing.differences(target, self.files(target))

    def files(self, target: Path) -> dict[str, bytes]:
        """Everything that is ours in the repository.

        Args:
            target: The folder; what was locked there stays locked while the notebook asks for the same.
        """
        definitions = self._definitions
        steps = self._steps()
        if not steps and not definitions.pipelines:
            raise DeliveryError("There is nothing to export.", "Define a step with %%kfp_component.")
        for reason in definitions.undefined.values():  # a repository without it would look whole
            raise reason
        files: dict[str, bytes] = {}
        for component in steps.values():
            place = f"{STEPS}/{image_name(component)}"
            if f"{place}/{COMPONENT}" in files:
                raise DefinitionError(f"Two steps would be in the folder {place!r}.", "Rename one of them.")
            found = self._step_files(component, target / place)
            files |= {f"{place}/{path}": content for path, content in found.items()}
        for name, component in self._alone().items():
            files[f"tests/steps/{name}.yaml"] = compiler.single_step(component).ir.encode()
        files |= self._pipelines(steps)
        files["README.md"] = texts.readme(self._title, steps, definitions.pipelines, self._options.registry)
        files["requirements.txt"] = (
            f"kfp=={importlib.metadata.version('kfp')}\nkfp-magics=={__version__}\npytest\npyyaml\n".encode()
        )
        files["tests/test_everything.py"] = texts.tests()
        files[".github/workflows/images.yml"] = texts.workflow(self._options.registry, "3.11")
        return files

    def _once(self) -> dict[str, bytes]:
        return {"tests/arguments.json": texts.arguments(self._definitions.pipelines, self._alone())}

    def _steps(self) -> dict[str, Component]:
        return {name: step.component for name, step in self._definitions.steps.items()}

    def _alone(self) -> dict[str, Component]:
        """The steps that run alone with plain values; folders run in images only."""
        return {
            name: component
            for name, component in self._steps().items()
            if component.language != "context"
            and all(port.is_parameter and port.type != "TaskFinalStatus" for port in component.inputs)
        }

    def _step_files(self, component: Component, before: Path) -> dict[str, bytes]:
        content = content_of(component, as_it_is=True)
        if content.folder is not None:
            return self._folder_files(component, content, before)
        asked = Asked(
            base_image=component.base_image,
            requirements=tuple(content.requirements),
            kfp=importlib.metadata.version("kfp") if content.kfp else "",
            platform=self._options.platform,
        )
        known = None if self._options.upgrade else locked_before(before, asked)
        base, locked = known or self._planner().foundation(component, content, self._options)
        spec = image_spec(component, content, base=base, locked=locked, platform=self._options.platform)
        return {
            **spec.files,
            DESCRIPTION: description(component, content, base, asked),
            **self._naming(component, spec),
        }

    def _folder_files(self, component: Component, content: Content, target: Path) -> dict[str, bytes]:
        folder = content.folder
        assert folder is not None
        in_place = folder.root == target.resolve()  # what stands beside the image there is ours already
        files: dict[str, bytes] = {}
        for entry in folder.entries:
            if entry.link:
                raise DeliveryError(
                    f"The folder of the step {component.name!r} holds a link, {entry.path!r}, which is not exported.",
                    "Put a copy in its place.",
                )
            if entry.path in BESIDE and not in_place:
                raise DeliveryError(
                    f"The folder of the step {component.name!r} holds {entry.path!r}, which an export writes itself.",
                    f"Rename it, or name it in {folder.root / '.dockerignore'}.",
                )
            text = (folder.root / entry.path).read_bytes()
            files[entry.path] = writing.Content.of(text, executable=entry.mode == 0o755)
        name, platform = image_name(component), self._options.platform
        has_own = folder.first(CLOUDBUILD) and without_tag(files.get(CONFIG, b""), name, platform) is None
        files[DESCRIPTION] = folder_description(component, platform)
        if not has_own:
            files[CONFIG] = trigger_config(name, platform, self._options.registry, "c-" + 40 * "0")
        naming = self._naming(component, _spec_of(files, name))
        return files | (naming if not has_own else {COMPONENT: naming[COMPONENT]})

    def _naming(self, component: Component, spec: ImageSpec) -> dict[str, bytes]:
        """The files that name the image of a step by its content."""
        registry = self._options.registry
        place = f"{registry}/{spec.name}" if registry else spec.name
        return {
            COMPONENT: compiler.component_text(component, f"{place}:{spec.tag}").encode(),
            CONFIG: trigger_config(spec.name, spec.platform, registry, spec.tag),
        }

    def _pipelines(self, steps: Mapping[str, Component]) -> dict[str, bytes]:
        definitions = self._definitions
        files = (
            {"pipelines/__init__.py": b'"""Pipelines, exported from a notebook."""\n'} if definitions.pipelines else {}
        )
        for function in list(definitions.pipelines):
            fresh = definitions.resolve(function)  # composed again where a step was defined anew
            files[f"pipelines/{function}.yaml"] = fresh.ir.encode()
            files[f"pipelines/{function}.py"] = pipeline_module(
                function,
                definitions.pipelines[function],
                steps=steps,
                taken=definitions.taken,
                pipelines=definitions.pipelines,
                namespace=definitions.namespace,
            )
        return files


def _spec_of(files: Mapping[str, bytes], name: str) -> ImageSpec:
    """What enters the image of a folder once it is written; to be named, not to be built."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, name)
        for path, content in files.items():
            place = folder / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
            place.chmod(writing.mode_of(content))
        return folder_spec(folder)
