"""Which steps of a notebook are others than in a commit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kfp_magics.delivery.git import Repository

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kfp_magics.model import Component


class Since:
    """A notebook, compared with what it was.

    Args:
        notebook: Its path.
        revision: A commit; zeros or nothing for one before the first.

    Raises:
        DeliveryError: The notebook is in no repository, or there is no such commit.
    """

    def __init__(self, notebook: Path, revision: str) -> None:
        self._notebook = notebook.resolve()
        self._repository = Repository(self._notebook.parent)
        self._commit = self._repository.commit(revision)

    def text(self) -> str:
        """The notebook in the commit; empty when it was not there yet."""
        return self._repository.read(self._commit, self._notebook.name).decode("utf-8", "replace")

    def changed(self, before: Mapping[str, Component], now: Mapping[str, Component]) -> list[str]:
        """Names the steps that are new, or whose image is made of something else.

        Args:
            before: Name → step, of the notebook in the commit.
            now: The same, as it is.
        """
        inside, outside = self._repository.changed(self._commit)
        paths = [*(self._repository.folder / one for one in inside), *(self._repository.top / one for one in outside)]
        return [name for name, step in now.items() if _differs(before.get(name), step, paths)]


def _differs(before: Component | None, now: Component, paths: list[Path]) -> bool:
    if before is None or before.digest != now.digest:
        return True
    return bool(now.context) and any(path.is_relative_to(Path(now.context).resolve()) for path in paths)
