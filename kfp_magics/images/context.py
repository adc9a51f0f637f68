"""A step as an image: what enters it, and the self-contained folder that builds the same image anywhere."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from kfp_magics.errors import BuildError
from kfp_magics.images.base import ImageSpec
from kfp_magics.images.folders import CLOUDBUILD, DOCKERFILES, digest_of, read_folder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kfp_magics.images.base import Platform
    from kfp_magics.images.folders import Folder
    from kfp_magics.model import Component

HOME = "/opt/kfpm"
SITE, SOURCES = f"{HOME}/site", f"{HOME}/src"
INSTALL = (
    "COPY requirements.txt /tmp/requirements.txt\n"
    "RUN python3 -m pip install --quiet --no-cache-dir --disable-pip-version-check --root-user-action=ignore \\\n"
    f"    --no-deps --require-hashes --target {SITE} --requirement /tmp/requirements.txt\n"
)
"""How a generated Dockerfile installs the requirements."""
_MOST = 64 << 20  # bytes of a folder without a Dockerfile; more is a matter for a Dockerfile
_CONTROL = {*CLOUDBUILD, ".dockerignore", ".gcloudignore", ".gitignore"}
_IGNORE = b"*\n!src\n!requirements.txt\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """What a step brings to its image, before anything is looked up anywhere.

    Attributes:
        files: Path in the step's folder → content; ``src/…``.
        requirements: Lines as pip reads them, not locked yet.
        python: Whether the image needs an interpreter.
        kfp: Whether KFP's runtime part is needed.
        entrypoint: What the image runs.
        folder: The folder that a person brought with a Dockerfile of its own, or None.
        secrets: Files that were left out.
        remarks: For the user, a line each.
    """

    files: Mapping[str, bytes] = field(default_factory=dict)
    requirements: tuple[str, ...] = ()
    python: bool = False
    kfp: bool = False
    entrypoint: tuple[str, ...] = ()
    folder: Folder | None = None
    secrets: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Base:
    """A base image as it was found.

    Attributes:
        reference: ``host/repository@sha256:…``
        python: Minor version of its interpreter; empty when it does not say.
        user: Whom its processes run as; empty for root.
    """

    reference: str
    python: str = ""
    user: str = ""


def image_name(component: Component) -> str:
    """Last part of the image's repository: the step's name as registries allow it."""
    name = re.sub(r"[^a-z0-9]+", "-", component.name.lower()).strip("-")
    if component.name.isascii() and name:
        return name
    mark = hashlib.sha256(component.name.encode()).hexdigest()[:8]  # two names must not become one
    return f"{name}-{mark}" if name else f"step-{mark}"


def source_path(component: Component) -> str:
    """Where a step's own file is in its image."""
    # The prefix keeps a step called `types` or `numpy` from standing in the way of what it imports.
    suffix = "sh" if component.language == "bash" else "py"
    return f"{SOURCES}/step_{component.name}.{suffix}"


def content_of(component: Component, *, as_it_is: bool = False) -> Content:
    """Gathers what a step brings to its image.

    Args:
        component: The step.
        as_it_is: A folder with a cloudbuild.yaml is built by that, also when it has no Dockerfile.

    Raises:
        BuildError: The step has no image of its own, or its folder cannot be read.
    """
    if component.language == "kfp":
        raise BuildError(
            f"The step {component.name!r} is kfp's own and brings its image itself.",
            "Write it with %%kfp_component and without kfp's decorator to have an image built.",
        )
    if component.language == "context":
        return _folder_content(component, as_it_is=as_it_is)
    import kfp_magics.cells  # noqa: F401, PLC0415  (whole: threads that import parts of it at once may see half of one)
    from kfp_magics.cells.bash import bash_command  # noqa: PLC0415  (only from a notebook, not from a folder)
    from kfp_magics.cells.module import step_module  # noqa: PLC0415  (as above)

    path = f"src/{PurePosixPath(source_path(component)).name}"
    if component.language == "bash":
        script = bash_command(component)[0][2]
        return Content(files={path: script.encode()})
    return Content(
        files={path: step_module(component).encode()}, requirements=component.requirements, python=True, kfp=True
    )


def _folder_content(component: Component, *, as_it_is: bool) -> Content:
    folder = read_folder(component.context)
    own = folder.first(CLOUDBUILD)
    if folder.first(DOCKERFILES) or (own and as_it_is):
        rules = f", by the rules of {folder.rules}" if folder.rules else ""
        remark = f"{len(folder.entries)} files of the folder, {folder.size / 1e6:.1f} MB{rules}."
        return Content(folder=folder, secrets=folder.secrets, remarks=(remark,))
    import kfp_magics.cells  # noqa: F401, PLC0415  (whole: threads that import parts of it at once may see half of one)
    from kfp_magics.cells.context import entrypoint_of_folder  # noqa: PLC0415  (only from a notebook)

    words = entrypoint_of_folder(component)
    files = _read_sources(folder)
    text = files.pop("src/requirements.txt", b"").decode("utf-8", "replace")
    requirements = (*component.requirements, *_requirement_lines(text, folder.root))
    return Content(
        files=files,
        requirements=requirements,
        python=words[0].startswith("python") or bool(requirements),
        entrypoint=("sh", "-c", f'cd {SOURCES} && exec "$0" "$@"', *words),
        secrets=folder.secrets,
        remarks=(f"{own} is used by the builder cloudbuild only.",) if own else (),
    )


def _read_sources(folder: Folder) -> dict[str, bytes]:
    if folder.size > _MOST:
        raise BuildError(
            f"The folder {str(folder.root)!r} has {folder.size / 1e6:.0f} MB and no Dockerfile.",
            "Name what the step does not need in .dockerignore, or write a Dockerfile.",
        )
    files = {}
    for entry in folder.entries:
        path = (folder.root / entry.path).resolve()
        if not path.is_file() or not path.is_relative_to(folder.root):
            raise BuildError(
                f"{entry.path!r} in the folder {str(folder.root)!r} is a link, which needs a Dockerfile.",
                "Put a copy in its place, or write a Dockerfile.",
            )
        if entry.path not in _CONTROL:
            files[f"src/{entry.path}"] = path.read_bytes()
    return files


def _requirement_lines(text: str, root: Path) -> list[str]:
    lines = [re.sub(r"(^|\s)#.*", "", line).strip() for line in text.replace("\\\n", " ").splitlines()]
    found = [re.sub(r"\s--hash=\S+", "", line).strip() for line in lines if line]
    options = next((line for line in found if line.startswith("-")), "")
    if options:
        raise BuildError(
            f"The requirements.txt in {str(root)!r} says {options!r}; without a Dockerfile only requirements count.",
            "Write them out there, or write a Dockerfile.",
        )
    return found


def image_spec(
    component: Component, content: Content, *, base: Base, locked: tuple[str, ...], platform: Platform
) -> ImageSpec:
    """Says everything that enters the image of a step.

    Args:
        component: The step.
        content: What `content_of` gathered.
        base: Its base image; not looked at for folders with a Dockerfile.
        locked: What `Locks.lock` made of its requirements.
        platform: What it runs on.
    """
    name = image_name(component)
    if content.folder is not None:
        own = content.folder.first(CLOUDBUILD)
        return ImageSpec(
            name=name,
            files={} if own else {"cloudbuild.yaml": cloudbuild_text(name, platform)},
            folder=str(content.folder.root),
            folder_digest=digest_of(content.folder),
            platform=platform,
            secret_names=content.secrets,
        )
    env = {"PYTHONPATH": f"{SOURCES}:{SITE}", "PYTHONUNBUFFERED": "1"} if content.python else {}
    env |= {"_KFP_RUNTIME": "true"} if content.kfp else {}
    files = dict(content.files) | {
        ".dockerignore": _IGNORE,
        "Dockerfile": _dockerfile(base, env, content.entrypoint, installs=bool(locked)),
        "cloudbuild.yaml": cloudbuild_text(name, platform),
        "requirements.txt": _requirements(locked),
    }
    return ImageSpec(
        name=name,
        base=base.reference,
        requirements=locked,
        files=files,
        python=base.python if content.python else "",
        platform=platform,
        env=env,
        entrypoint=content.entrypoint,
        secret_names=content.secrets,
    )


def _requirements(locked: tuple[str, ...]) -> bytes:
    lines = [line.replace(" --hash", " \\\n    --hash") for line in sorted(locked)]
    return "".join(f"{line}\n" for line in lines).encode()


def _dockerfile(base: Base, env: Mapping[str, str], entrypoint: tuple[str, ...], *, installs: bool) -> bytes:
    # What the base has on its path stays behind what is ours.
    behind = "${PYTHONPATH:+:$PYTHONPATH}"
    variables = [f"{name}={value}{behind if name == 'PYTHONPATH' else ''}" for name, value in sorted(env.items())]
    restricted = bool(base.user) and base.user not in {"root", "0"}
    lines = [
        f"FROM {base.reference}\n",
        f"ENV {' '.join(variables)}\n" if variables else "",
        "USER root\n" if restricted else "",
        INSTALL if installs else "",
        f"COPY src {SOURCES}\n",
        f"USER {base.user}\n" if restricted else "",
        f"ENTRYPOINT {json.dumps(list(entrypoint))}\n" if entrypoint else "",
    ]
    return "".join(lines).encode()


def cloudbuild_text(name: str, platform: Platform) -> bytes:
    """The build of a step's folder by Google Cloud Build."""
    image = f'"${{_REGISTRY}}/{name}:${{_TAG}}"'
    where = "" if platform == "linux/amd64" else f"--platform, {platform}, "
    return f"""\
# Builds the image of this step and pushes it. A trigger of a repository names the step's folder in _DIR.
steps:
  - id: build
    name: gcr.io/cloud-builders/docker
    dir: ${{_DIR}}
    args: [build, {where}--tag, {image}, .]
images: [{image}]
substitutions:
  _DIR: "."
  _REGISTRY: gcr.io/$PROJECT_ID
  _TAG: latest
options:
  dynamicSubstitutions: true
""".encode()


def write_folder(spec: ImageSpec, target: Path, beside: Mapping[str, bytes] | None = None) -> list[Path]:
    """Writes a step's folder: what is generated, for a person to read or to keep in a repository.

    Args:
        spec: The image.
        target: The folder; made when it is not there, and files in it are replaced.
        beside: Further files, such as the component's description.

    Returns:
        The files written, sorted.

    Raises:
        BuildError: A path leads out of the folder.
    """
    files = {**spec.files, **(beside or {})}
    for path in files:
        parts = PurePosixPath(path).parts
        if not parts or path.startswith("/") or ".." in parts or "\\" in path or "\0" in path:
            raise BuildError(f"The path {path!r} leads out of the step's folder.", "Use plain relative paths.")
    written = []
    for path, content in sorted(files.items()):
        place = target / path
        if not place.parent.resolve().is_relative_to(target.resolve()) or place.is_symlink():
            raise BuildError(f"{str(place)!r} is a link, or behind one.", "Remove it, or write to another folder.")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        place.chmod(0o755 if content.startswith(b"#!") else 0o644)
        written.append(place)
    return written
