"""A step's folder in a repository, read back: the same folder gives the same image as the notebook did."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from kfp_magics.delivery.config import without_tag
from kfp_magics.errors import BuildError, DeliveryError
from kfp_magics.images.base import ImageSpec
from kfp_magics.images.context import Base, Content, image_name, image_spec
from kfp_magics.images.folders import CLOUDBUILD, DOCKERFILES, digest_of, read_folder
from kfp_magics.images.ignore import Rules, read_rules
from kfp_magics.model import Component
from kfp_magics.options import PLATFORMS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from kfp_magics.images.base import Platform
    from kfp_magics.model import Json

STEPS = "steps"
"""Where the folders of steps are."""
DESCRIPTION = "step.json"
"""What a step's folder says of itself, beside what enters the image."""
_OURS = (".dockerignore", "Dockerfile", "requirements.txt")
COMPONENT = "component.yaml"
"""What others load, naming the image."""
CONFIG = "cloudbuild.yaml"
BESIDE = frozenset({DESCRIPTION, COMPONENT})
"""What is written into folders that a person brought, beside what is theirs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What a step asked for when its requirements were locked and its base image was pinned.

    Attributes:
        base_image: As the notebook names it.
        requirements: As the notebook has them.
        kfp: Version of KFP whose runtime part was added; empty for none.
        platform: What it runs on.
    """

    base_image: str
    requirements: tuple[str, ...]
    kfp: str
    platform: str

    def to_json(self) -> dict[str, Json]:
        """The same as JSON."""
        return {
            "base_image": self.base_image,
            "requirements": list(self.requirements),
            "kfp": self.kfp,
            "platform": self.platform,
        }


def description(component: Component, content: Content, base: Base, asked: Asked) -> bytes:
    """Writes what a folder says of itself, so that it can be appended to its base image without its notebook."""
    what = {
        "step": component.name,
        "kind": component.language,
        "base": base.reference,
        "user": base.user,
        "interpreter": base.python,
        "python": content.python,
        "kfp_runtime": content.kfp,
        "entrypoint": list(content.entrypoint),
        "asked": asked.to_json(),
    }
    return (json.dumps(what, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def locked_before(folder: Path, asked: Asked) -> tuple[Base, tuple[str, ...]] | None:
    """What was locked for the same wishes: an export must not change because an index has something newer.

    Args:
        folder: The step's folder as it was exported before.
        asked: What the step asks for now.
    """
    found = _described(folder)
    if found is None or found.get("asked") != asked.to_json():
        return None
    locked = _locked(folder)
    return None if locked is None else (_base(found), locked)


def folder_description(component: Component, platform: Platform) -> bytes:
    """Writes what the folder of a step that was brought with a Dockerfile of its own says of itself."""
    return (
        json.dumps({"step": component.name, "kind": component.language, "platform": platform}, indent=1, sort_keys=True)
        + "\n"
    ).encode()


def folder_spec(folder: Path, *, strip: bool = False) -> ImageSpec:
    """Says what enters the image of a step's folder.

    A folder whose Dockerfile is as it was exported is appended to its base image. Any other Dockerfile is carried out.

    Args:
        folder: ``steps/NAME``.
        strip: The folder is a copy: what stands beside the image, which builders do not see, is taken out of it.

    Raises:
        BuildError: The folder cannot be read.
        DeliveryError: It is no step's.
    """
    ours = _generated_spec(folder)
    if ours is not None:
        return ours
    name = image_name(Component(name=folder.name, language="context", source=""))
    found = _json(folder)
    platform = found["platform"] if found.get("platform") in PLATFORMS else PLATFORMS[0]
    config = without_tag(_bytes(folder / CONFIG) or b"", name, platform)
    # A configuration of ours does not make it a folder that is built by steps of its own.
    whole = read_folder(folder, None if config is None else read_rules(folder, like_cloud_build=False))
    if not whole.first((*DOCKERFILES, *CLOUDBUILD)):
        raise DeliveryError(
            f"The folder {str(folder)!r} has neither a Dockerfile nor a {DESCRIPTION} that reads.",
            "Export the notebook again: kfp-magics export NOTEBOOK DIR",
        )
    # What others load with kfp.components stands beside the image and names it: it cannot be part of it.
    beside = BESIDE if config is None else BESIDE | {CONFIG}
    if strip:
        for one in beside:
            (folder / one).unlink(missing_ok=True)
    return ImageSpec(
        name=name,
        files={} if config is None else {CONFIG: config},
        folder=str(whole.root),
        folder_digest=digest_of(replace(whole, entries=tuple(one for one in whole.entries if one.path not in beside))),
        platform=platform,
        secret_names=whole.secrets,
    )


def _generated_spec(folder: Path) -> ImageSpec | None:
    found = _described(folder)
    locked = _locked(folder)
    if found is None or locked is None:
        return None
    component = Component(name=str(found.get("step", folder.name)), language="python", source="")
    content = Content(
        files=_sources(folder / "src"),
        python=bool(found.get("python")),
        kfp=bool(found.get("kfp_runtime")),
        entrypoint=tuple(found.get("entrypoint", ())),
    )
    platform = found["asked"]["platform"]
    spec = image_spec(component, content, base=_base(found), locked=locked, platform=platform)
    if any(_bytes(folder / name) != spec.files[name] for name in _OURS):
        return None
    text = _bytes(folder / CONFIG)
    files = {path: content for path, content in spec.files.items() if path != CONFIG}
    if text is not None:
        own = without_tag(text, spec.name, platform)
        files[CONFIG] = text if own is None else own
    return replace(spec, files=files)


def _sources(folder: Path) -> Mapping[str, bytes]:
    if not folder.is_dir():
        return {}
    found = {}
    for entry in read_folder(folder, Rules()).entries:
        path = folder / entry.path
        if entry.link:
            raise BuildError(f"{str(path)!r} is a link, which no image gets.", "Put a copy in its place.")
        found[f"src/{entry.path}"] = path.read_bytes()
    return found


def _json(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads(_bytes(folder / DESCRIPTION) or b"")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _described(folder: Path) -> dict[str, Any] | None:
    found = _json(folder)
    whole = isinstance(found.get("asked"), dict) and found["asked"].get("platform") in PLATFORMS
    return found if whole and "base" in found else None


def _base(found: Mapping[str, Any]) -> Base:
    return Base(reference=found["base"], python=found.get("interpreter", ""), user=found.get("user", ""))


def _locked(folder: Path) -> tuple[str, ...] | None:
    text = _bytes(folder / "requirements.txt")
    if text is None:
        return None
    lines = text.decode("utf-8", "replace").replace(" \\\n    --hash", " --hash").splitlines()
    return tuple(lines) if all(" --hash=" in line for line in lines) else None


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() and not path.is_symlink() else None
