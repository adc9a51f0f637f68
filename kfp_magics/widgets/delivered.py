"""What delivery shows: what an export wrote, and how notebook and repository differ."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kfp_magics.widgets.cards import Text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kfp_magics.delivery.writing import Written


@dataclass(frozen=True, repr=False)
class ExportCard(Text):
    """What an export did.

    Attributes:
        done: It.
    """

    done: Written

    def __repr__(self) -> str:
        done = self.done
        lines = [f"  wrote    {path}" for path in (done.written if done.same else _together(done.written))]
        lines += [f"  removed  {path}" for path in done.removed]
        lines += [f"  kept     {path}: it was changed by hand; --replace overwrites it" for path in done.kept]
        lines += done.remarks
        what = f"{len(done.same)} files are as they were" if done.same else "new"
        return "\n".join([f"export → {done.target}  ({what})", *lines])


def _together(paths: Sequence[str]) -> list[str]:
    """Names the folders of steps, in which everything is new, and the other files one by one."""
    folders = Counter("/".join(path.split("/")[:2]) for path in paths if path.startswith("steps/"))
    named = [f"{folder}/  ({count} file{'s' if count != 1 else ''})" for folder, count in folders.items()]
    return sorted([*named, *(path for path in paths if not path.startswith("steps/"))])


@dataclass(frozen=True, repr=False)
class DifferencesCard(Text):
    """How a notebook and what was exported from it differ.

    Attributes:
        found: Path → unified diff from the folder to the notebook.
    """

    found: Mapping[str, str]

    def __repr__(self) -> str:
        return "".join(self.found.values()).rstrip("\n") or "The notebook and the exported files agree."


@dataclass(frozen=True, repr=False)
class AuthCard(Text):
    """Who needs which rights on Google Cloud, and how they are given.

    Attributes:
        text: A script of bash, a file of Terraform, or where that was written to.
    """

    text: str

    def __repr__(self) -> str:
        return self.text.rstrip("\n")
