"""The cloudbuild.yaml and component.yaml of a step's folder: both name its image by what the folder holds."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kfp_magics.images.context import cloudbuild_text

if TYPE_CHECKING:
    from kfp_magics.images.base import Platform

_TAG = re.compile(rb"(?m)^  _TAG: (c-[0-9a-f]{40})$")
_REGISTRY = re.compile(rb"(?m)^  _REGISTRY: (\S+)$")
_IMAGE = re.compile(rb"(?m)^(\s+image: \S+):(c-[0-9a-f]{40})$")


def trigger_config(name: str, platform: Platform, registry: str, tag: str) -> bytes:
    """Writes the build that a trigger starts.

    The image is pushed as component.yaml names it, so that pipelines find it, and by the commit, so that people do.

    Args:
        name: Last part of the image's repository.
        platform: What it runs on.
        registry: Where images go; the project's own registry when empty.
        tag: The content of the folder.
    """
    where = "" if platform == "linux/amd64" else f"--platform, {platform}, "
    images = [f'"${{_REGISTRY}}/{name}:${{{tag}}}"' for tag in ("_TAG", "_COMMIT")]
    tags = ", ".join(f"--tag, {image}" for image in images)
    return f"""\
# Builds the image of this step and pushes it. A trigger of a repository names the step's folder in _DIR and the commit
# in _COMMIT. _TAG is what component.yaml names: after a change by hand, `kfp-magics ci pin` writes both anew.
steps:
  - id: build
    name: gcr.io/cloud-builders/docker
    dir: ${{_DIR}}
    args: [build, {where}{tags}, .]
images: [{", ".join(images)}]
substitutions:
  _DIR: "."
  _REGISTRY: {registry or "gcr.io/$PROJECT_ID"}
  _TAG: {tag}
  _COMMIT: latest
options:
  dynamicSubstitutions: true
  logging: CLOUD_LOGGING_ONLY
""".encode()


def without_tag(text: bytes, name: str, platform: Platform) -> bytes | None:
    """Takes the content's tag out of a build configuration, which cannot be part of the content.

    Args:
        text: The file.
        name: As in `trigger_config`.
        platform: As there.

    Returns:
        What the notebook has where nobody changed the file; the file without the tag where somebody did; None where it
        names no such tag, so that it is somebody's own.
    """
    tag, registry = _TAG.search(text), _REGISTRY.search(text)
    if tag is None:
        return None
    if registry and text == trigger_config(name, platform, registry[1].decode(), tag[1].decode()):
        return cloudbuild_text(name, platform)
    return _TAG.sub(b"  _TAG: latest", text)


def named_tag(component: bytes) -> str:
    """The tag of the image that a component.yaml names; empty when it names none by its content."""
    found = _IMAGE.search(component)
    return found[2].decode() if found else ""


def named_place(component: bytes) -> str:
    """The repository of that image; empty as there."""
    found = _IMAGE.search(component)
    return found[1].decode().strip().removeprefix("image: ") if found else ""


def pinned(text: bytes, tag: str) -> bytes:
    """Names another content, in a component.yaml or a cloudbuild.yaml."""
    return _TAG.sub(f"  _TAG: {tag}".encode(), _IMAGE.sub(rf"\1:{tag}".encode(), text))
