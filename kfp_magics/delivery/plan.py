"""Which images a change rebuilds, and why: by the content tag of each step's folder before and after."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kfp_magics.delivery.config import named_tag
from kfp_magics.delivery.git import Repository
from kfp_magics.delivery.steps import BESIDE, COMPONENT, STEPS, folder_spec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kfp_magics.images.base import ImageSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """What becomes of the image of one step.

    Attributes:
        folder: Name of its folder in ``steps/``.
        what: ``new``, ``rebuilt``, ``same`` (files changed that enter no image) or ``gone``.
        why: For a person.
        files: What changed in the folder.
        spec: What enters the image; None when it is gone.
        named: The tag of the image that component.yaml names; empty when it names none by its content.
    """

    folder: str
    what: str
    why: str
    files: tuple[str, ...]
    spec: ImageSpec | None
    named: str = ""

    @property
    def builds(self) -> bool:
        """Whether there is an image to build."""
        return self.what in {"new", "rebuilt"}

    @property
    def strays(self) -> bool:
        """Whether pipelines would use another image than the one of this folder, which somebody changed by hand."""
        return self.spec is not None and self.named not in {"", self.spec.tag}


@dataclass(frozen=True, kw_only=True, slots=True)
class CIPlan:
    """What a change means for images.

    Attributes:
        changes: Of steps, by folder; those of which nothing changed are left out.
        outside: Changed files that belong to no step.
        untouched: Steps of which nothing changed.
    """

    changes: tuple[Change, ...]
    outside: tuple[str, ...]
    untouched: tuple[str, ...]

    def __str__(self) -> str:
        width = max((len(one.folder) for one in self.changes), default=0)
        lines = [f"{one.what:8} {one.folder:{width}}  {one.why}" for one in self.changes]
        lines += [
            f"{one.folder}/{COMPONENT} names another image than this folder's: kfp-magics ci pin writes it anew"
            for one in self.changes
            if one.strays
        ]
        lines += [f"{len(self.untouched)} steps stay as they are"] if self.untouched else []
        if self.outside:
            more = f" and {len(self.outside) - 3} more" if len(self.outside) > 3 else ""
            lines.append(f"belongs to no step: {', '.join(self.outside[:3])}{more}")
        return "\n".join(lines) or "Nothing changed."


@contextmanager
def planned(folder: Path, since: str = "HEAD", until: str = "", *, or_all: bool = False) -> Iterator[CIPlan]:
    """Says which images a change rebuilds. The specs can be built until the context ends.

    Args:
        folder: The exported repository, or a part of a repository that it is.
        since: Commit before the change.
        until: Commit after it; the files as they lie there when empty.
        or_all: Take everything when `since` is not in this clone.

    Raises:
        DeliveryError: There is no such commit, or a step's folder does not read.
        BuildError: As above.
    """
    repository = Repository(folder)
    before = repository.commit(since, or_all=or_all)
    after = repository.commit(until) if until else ""
    with tempfile.TemporaryDirectory(prefix="kfp-magics-ci-") as scratch:
        yield _plan(repository, before, after, Path(scratch))


def _plan(repository: Repository, before: str, after: str, scratch: Path) -> CIPlan:
    inside, beyond = repository.changed(before, after)
    touched: dict[str, list[str]] = {}
    outside = [*beyond]
    for path in inside:
        parts = path.split("/")
        if len(parts) > 2 and parts[0] == STEPS:
            touched.setdefault(parts[1], []).append("/".join(parts[2:]))
        else:
            outside.append(path)
    for name in touched:
        repository.copy(before, f"{STEPS}/{name}", scratch / "before")
        repository.copy(after, f"{STEPS}/{name}", scratch / "after")
    there = repository.folders(after, STEPS)
    return CIPlan(
        changes=tuple(_change(name, tuple(files), scratch) for name, files in sorted(touched.items())),
        outside=tuple(sorted(outside)),
        untouched=tuple(sorted(there - set(touched))),
    )


def _change(name: str, files: tuple[str, ...], scratch: Path) -> Change:
    old, new = scratch / "before" / STEPS / name, scratch / "after" / STEPS / name
    if not new.is_dir():
        return Change(folder=name, what="gone", why="its folder was removed", files=files, spec=None)
    named = named_tag((new / COMPONENT).read_bytes()) if (new / COMPONENT).is_file() else ""
    spec = folder_spec(new, strip=True)

    def change(what: str, why: str) -> Change:
        return Change(folder=name, what=what, why=why, files=files, spec=spec, named=named)

    if not old.is_dir():
        return change("new", "its folder is new")
    last = folder_spec(old)
    if last.tag == spec.tag:
        return change("same", f"{', '.join(files[:3])} {'enters' if len(files) == 1 else 'enter'} no image")
    return change("rebuilt", _why(last, spec, files))


def _why(last: ImageSpec, spec: ImageSpec, files: tuple[str, ...]) -> str:
    reasons = []
    if last.base != spec.base:
        reasons.append("another base image")
    if last.requirements != spec.requirements:
        reasons.append("other requirements")
    changed = [path for path in files if path not in {"requirements.txt", "cloudbuild.yaml", *BESIDE}]
    if changed and (not reasons or any(path.startswith("src/") for path in changed)):
        named = [path for path in changed if path.startswith("src/")] or changed
        reasons.append(", ".join(named[:3]) + (f" and {len(named) - 3} more" if len(named) > 3 else ""))
    return "; ".join(reasons) or ", ".join(files[:3])
