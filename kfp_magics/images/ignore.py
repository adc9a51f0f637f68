"""What a folder's own ignore file leaves out of an image: ``.dockerignore``, ``.gcloudignore`` or ``.gitignore``."""

from __future__ import annotations

import os.path
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kfp_magics.errors import BuildError

if TYPE_CHECKING:
    from pathlib import Path

    import pathspec

_INCLUDE = "#!include:"


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """The rules of one ignore file.

    Attributes:
        name: The file; empty when the folder has none.
        spec: Its patterns; None leaves nothing out.
        whole: Whether a folder that is left out is left out whole, so that nobody has to look into it.
    """

    name: str = ""
    spec: pathspec.PathSpec[Any] | None = None
    whole: bool = True

    def leaves_out(self, path: str) -> bool:
        """Whether a file stays out of the image."""
        return self.spec is not None and self.spec.match_file(path)

    def leaves_out_folder(self, path: str) -> bool:
        """Whether a folder stays out with everything in it."""
        return self.whole and self.leaves_out(f"{path}/")


def read_rules(root: Path, *, like_cloud_build: bool) -> Rules:
    """Reads the one ignore file that counts: docker's, else gcloud's, else git's.

    Args:
        root: The folder.
        like_cloud_build: gcloud's comes first, since the folder is built by steps of its own.

    Raises:
        BuildError: The file cannot be read.
    """
    docker, gcloud = ".dockerignore", ".gcloudignore"
    for name in (*((gcloud, docker) if like_cloud_build else (docker, gcloud)), ".gitignore"):
        if (root / name).is_file():
            lines = _lines(root, name)
            try:
                return _docker(lines) if name == docker else _git(root, name, lines)
            except ValueError as error:
                raise BuildError(f"A line of {name} in {str(root)!r} does not read: {error}.", "Mend it.") from error
    return Rules()


def _lines(root: Path, name: str) -> list[str]:
    try:
        return (root / name).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BuildError(f"The file {name} in {str(root)!r} cannot be read: {error}.", "Mend it.") from error


def _git(root: Path, name: str, lines: list[str]) -> Rules:
    found: list[str] = []
    for line in lines:
        included = line.removeprefix(_INCLUDE).strip() if line.startswith(_INCLUDE) else ""
        if included and "/" not in included and (root / included).is_file():
            found += _lines(root, included)
        else:
            found.append(line)
    from pathspec import GitIgnoreSpec  # noqa: PLC0415  (only where there is such a file)

    return Rules(name=name, spec=GitIgnoreSpec.from_lines(found))


def _docker(lines: list[str]) -> Rules:
    """Docker's patterns start at the top of the folder, and what a later line takes back is in, wherever it lies."""
    patterns = []
    for line in lines:
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        back = "!" if text.startswith("!") else ""
        path = os.path.normpath(text.removeprefix("!").strip().lstrip("/") or ".")
        if path != ".":
            patterns += [f"{back}/{path}", f"{back}/{path}/**"]
    from pathspec import PathSpec  # noqa: PLC0415  (only where there is such a file)

    whole = not any(pattern.startswith("!") for pattern in patterns)
    return Rules(name=".dockerignore", spec=PathSpec.from_lines("gitignore", patterns), whole=whole)
