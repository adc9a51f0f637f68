"""The function as an image: its folder and what it requires on a base image, started as Google's builds start it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kfp_magics.delivery.cloud.folder import ENTRY, RUNTIME
from kfp_magics.images.context import Content, image_spec
from kfp_magics.images.layers import SOURCE
from kfp_magics.model import Component

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kfp_magics.building.images import Images
    from kfp_magics.images.base import ImageSpec
    from kfp_magics.options import BuildOptions

BASE = f"python:{RUNTIME}-slim"
_COMMAND = (  # it listens at $PORT, which Cloud Run sets
    *("python3", "-m", "functions_framework", "--source", f"{SOURCE}/main.py", "--target", ENTRY),
    *("--signature-type", "cloudevent"),
)


@dataclass(frozen=True, slots=True)
class _Log:
    """The log of a build that nobody watches: its lines are told."""

    tell: Callable[[str], None]

    def write(self, text: str) -> None:
        for line in text.splitlines():
            self.tell(line)

    def step(self, what: str, done: float | None = None) -> None:
        pass

    def fact(self, name: str, value: str | float) -> None:
        pass

    def check(self) -> None:
        pass


@dataclass(frozen=True, kw_only=True, slots=True)
class FunctionImage:
    """The image of a function.

    Attributes:
        spec: What enters it.
        images: Builds it.
        options: How; complete.
    """

    spec: ImageSpec
    images: Images
    options: BuildOptions

    @property
    def place(self) -> str:
        """Its repository and its tag, which is that of its content."""
        return f"{self.options.registry}/{self.spec.name}:{self.spec.tag}"

    def reference(self) -> str:
        """The image by digest if it exists; else its place, and that it is still to be built."""
        found = self.images.find(self.spec, self.options)
        return str(found) if found is not None else f"{self.place} (not built yet)"

    def build(self, tell: Callable[[str], None]) -> str:
        """Builds it where it does not exist, and gives it by digest."""
        builder = self.images.builders.choose(self.spec, self.options)
        return str(builder.build(self.spec, _Log(tell)))


def function_image(
    name: str, files: Mapping[str, bytes], images: Images, options: BuildOptions, base_image: str = ""
) -> FunctionImage:
    """Says what enters the image of a function.

    Args:
        name: The function.
        files: Its folder.
        images: Finds base images, locks requirements and builds.
        options: Where images go.
        base_image: What it stands on; `BASE` when empty.

    Raises:
        BuildError: It is not said where images go, or the base image cannot be found.
        RequirementsError: What it requires cannot be locked.
    """
    images.destination(options)
    options = images.complete(options)
    component = Component(name=f"new-data-{name}", language="python", source="", base_image=base_image or BASE)
    content = Content(
        files={f"src/{path}": content for path, content in files.items()},
        requirements=tuple(files["requirements.txt"].decode().split()),
        python=True,
        entrypoint=_COMMAND,
    )
    base, locked = images.planner().foundation(component, content, options)
    spec = image_spec(component, content, base=base, locked=locked, platform=options.platform)
    return FunctionImage(spec=spec, images=images, options=options)
