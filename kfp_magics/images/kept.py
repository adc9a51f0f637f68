"""What is looked up once and then kept in a file: by one of all who need it at once, whole or not at all."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

if TYPE_CHECKING:
    from collections.abc import Callable


def kept(file: Path, find: Callable[[], str], *, anew: bool = False) -> str:
    """Reads what is kept, or finds it and keeps it.

    Args:
        file: Where it is kept; its folder is made when it is not there.
        find: Finds it; what it raises leaves nothing behind.
        anew: Finds it in any case.
    """
    if not anew and file.is_file():
        return file.read_text(encoding="utf-8")
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with FileLock(file.with_suffix(".lock")):
        if anew or not file.is_file():  # somebody else may have been first
            found = find()
            with tempfile.NamedTemporaryFile("w", dir=file.parent, encoding="utf-8", delete=False) as draft:
                draft.write(found)
            Path(draft.name).replace(file)
        return file.read_text(encoding="utf-8")
