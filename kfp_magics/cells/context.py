"""Folders as steps: with a Dockerfile, or with a program that runs on a base image."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from kfp_magics.cells.bash import arguments_by_flag, collecting
from kfp_magics.errors import DefinitionError, did_you_mean

if TYPE_CHECKING:
    from kfp_magics.model import Component

_DOCKERFILES = ("Dockerfile", "Containerfile")
_PROGRAMS = ("main.py", "__main__.py", "main.sh", "run.sh", "entrypoint.sh")
_RUNNERS = {".py": "python3", ".sh": "bash"}


def read_context(folder: str, entry: str = "") -> tuple[Path, str, str]:
    """Finds what a folder says about its image, or the program in it that is the step.

    Args:
        folder: The folder.
        entry: File that is the program, for folders without a Dockerfile; found when empty.

    Returns:
        The folder, absolute; the program's path in it, empty where a Dockerfile says what runs; and the text of the
        Dockerfile or the program.

    Raises:
        DefinitionError: There is no such folder, or neither a Dockerfile nor a program in it.
    """
    path = Path(folder).expanduser().resolve()
    if not path.is_dir():
        raise DefinitionError(f"There is no folder {folder!r}.", f"It would be {path}.")
    file = next((path / name for name in _DOCKERFILES if (path / name).is_file()), None)
    if file is not None and entry:
        raise DefinitionError(f"The folder {folder!r} has a Dockerfile, which says what runs.", "Leave --entry out.")
    program = "" if file is not None else _program(path, folder, entry)
    return path, program, (file or path / program).read_text(encoding="utf-8", errors="replace")


def _program(path: Path, folder: str, entry: str) -> str:
    names = sorted(one.name for one in path.iterdir() if one.is_file() and one.suffix in _RUNNERS)
    if entry:
        if (
            not (path / entry).is_file()
            or Path(entry).suffix not in _RUNNERS
            or not (path / entry).resolve().is_relative_to(path)
        ):
            raise DefinitionError(f"The folder {folder!r} has no program {entry!r}.", did_you_mean(entry, names))
        return entry
    found = [name for name in (*_PROGRAMS, f"{path.name}.py", f"{path.name}.sh") if name in names] or names
    if not found:
        raise DefinitionError(
            f"The folder {folder!r} has no Dockerfile and no program.",
            f"Write {path / 'Dockerfile'}, or main.py or main.sh to run on --base-image.",
        )
    if len(found) > 1 and found == names:
        raise DefinitionError(
            f"The folder {folder!r} has no Dockerfile and several programs: {', '.join(names)}.",
            "Name the one that is the step: --entry main.py",
        )
    return found[0]


def entrypoint_of_folder(component: Component) -> list[str]:
    """What the image of a folder runs: its program, or what its Dockerfile says.

    Raises:
        DefinitionError: The Dockerfile leaves that to its base image.
    """
    if component.entry:
        return [_RUNNERS[Path(component.entry).suffix], component.entry]
    found = _dockerfile_words(component.source)
    if not found:
        raise DefinitionError(
            f"The Dockerfile of the step {component.name!r} has no ENTRYPOINT: what writes the outputs is not known.",
            "Write one, or let the program write its outputs to the paths that it is given: --out NAME:TYPE.",
        )
    return found


def _dockerfile_words(text: str) -> list[str]:
    entrypoint: list[str] = []
    command: list[str] = []
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        word, _, rest = line.strip().partition(" ")
        match word.upper():
            case "FROM":
                entrypoint, command = [], []
            case "ENTRYPOINT":
                entrypoint, command = _words(rest), []
            case "CMD":
                command = _words(rest)
    return [*entrypoint, *command]


def _words(rest: str) -> list[str]:
    try:
        found = json.loads(rest)
    except ValueError:
        return ["sh", "-c", f'{rest.strip()} "$@"', "sh"] if rest.strip() else []
    return [str(word) for word in found] if isinstance(found, list) else []


def context_command(component: Component, sources: str = "") -> tuple[list[str] | None, list[str]]:
    """Writes the container's command and arguments: ``--name value`` for every port.

    Outputs that name a file are not passed: the file is collected when the program has ended.

    Args:
        component: A step that is a folder.
        sources: Where the folder is in the image, when its own program is the step.

    Returns:
        The command, None for the image's own; and its arguments.
    """
    files = [port for port in component.outputs if port.file]
    if not files:
        return None, list(arguments_by_flag(component))
    script, places = collecting(files)
    start = f"cd {shlex.quote(sources)}; " if sources and component.entry else ""
    words = entrypoint_of_folder(component)
    return ["sh", "-ec", start + script, component.name, *places, *words], list(arguments_by_flag(component))
