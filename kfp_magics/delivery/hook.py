"""A git hook that rebuilds what a commit changed."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING

from kfp_magics.delivery.git import Repository
from kfp_magics.errors import DeliveryError

if TYPE_CHECKING:
    from pathlib import Path

_MARK = "# kfp-magics: rebuild the images of the steps that a commit changed"
_END = "# kfp-magics: end"


def install(folder: Path, registry: str) -> Path:
    """Makes each commit rebuild the images that it changed; what the hook did before, it still does.

    Args:
        folder: The exported repository.
        registry: Where images go.

    Returns:
        The hook.

    Raises:
        DeliveryError: The hook that is there is no shell script.
    """
    repository = Repository(folder)
    path = repository.hooks() / "post-commit"
    text = path.read_text(encoding="utf-8") if path.is_file() else "#!/bin/sh\n"
    first = text.splitlines()[0] if text else ""
    if not first.startswith("#!") or first.split("/")[-1].split()[-1] not in {"sh", "bash", "dash", "zsh"}:
        raise DeliveryError(
            f"The hook {str(path)!r} is no shell script, so nothing was added to it.",
            "Call from it: kfp-magics ci run --since HEAD^ --or-all",
        )
    if _MARK in text:
        head, _, rest = text.partition(_MARK)
        text = head.rstrip("\n") + "\n" + rest.partition(f"{_END}\n")[2]
    words = [sys.executable, "-m", "kfp_magics.cli", "ci", "run", "--since", "HEAD^", "--or-all", "--dir"]
    command = shlex.join([*words, str(folder.resolve()), "--registry", registry])
    # Hooks are told by variables where git works, which would hide the folder from the git that we ask.
    block = f"{_MARK}\n(unset GIT_DIR GIT_INDEX_FILE GIT_WORK_TREE; {command})\n{_END}\n"
    shebang, _, rest = text.partition("\n")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{shebang}\n{block}{rest}", encoding="utf-8")  # first: what was there may end with exec or exit
    path.chmod(0o755)
    return path
