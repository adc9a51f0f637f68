"""What KFP's command for a Python function says: which packages, which code, which function.

KFP compiles a Python function to a shell line that installs packages with pip and then runs the function's text. The
engine reads that line instead of running it, makes the environment with uv once, and runs the text in it.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_RUNNER = "kfp.dsl.executor_main"
_ENDS = {"&&", "||", ";", "|", "&", ")"}
_VALUED = {"--index-url": "index", "-i": "index", "--extra-index-url": "index", "--trusted-host": "host"}
_HARMLESS = {"--quiet", "-q", "--no-warn-script-location", "--user", "--no-cache-dir", "--upgrade"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How a Python step is carried out.

    Attributes:
        packages: Requirements, as pip reads them.
        index_urls: Package indexes, the first one instead of PyPI.
        trusted_hosts: Hosts whose certificate is not checked.
        kfp: Requirement of KFP's runtime; empty when the image is expected to have it.
        source: The module.
        function: The function in it that is the step.
    """

    packages: tuple[str, ...]
    index_urls: tuple[str, ...]
    trusted_hosts: tuple[str, ...]
    kfp: str
    source: str
    function: str


def recognise(command: Sequence[str], args: Sequence[str]) -> Recipe | None:
    """Reads the command of a step.

    Args:
        command: The container's command.
        args: The container's arguments.

    Returns:
        The recipe, or None when the command is anything else than KFP's own.
    """
    match list(command):
        case ["sh", "-c", install, "sh", "-ec", run, source] if _RUNNER in run and "pip install" in install:
            pass
        case ["sh", "-ec", run, source] if _RUNNER in run:
            install = ""
        case _:
            return None
    function = _argument(args, "--function_to_execute")
    if not function or "base64" in run:  # an embedded archive is unpacked by the shell line itself
        return None
    packages: list[str] = []
    kfp, found = "", {"index": {}, "host": {}}  # type: ignore[var-annotated]
    for words in _installs(install):
        requirements = []
        rest = iter(words)
        for word in rest:
            if word in _VALUED:
                found[_VALUED[word]][next(rest, "")] = None
            elif not word.startswith("-"):
                requirements.append(word)
            elif word != "--no-deps" and word not in _HARMLESS:
                return None
        if "--no-deps" in words:
            kfp = requirements[0]
        else:
            packages.extend(requirements)
    return Recipe(
        packages=tuple(packages),
        index_urls=tuple(found["index"]),
        trusted_hosts=tuple(found["host"]),
        kfp=kfp,
        source=source,
        function=function,
    )


def _argument(args: Sequence[str], name: str) -> str:
    position = list(args).index(name) + 1 if name in args else len(args)
    return args[position] if position < len(args) else ""


def _installs(script: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(script, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    words = list(lexer)
    for position in range(2, len(words)):
        if words[position - 2 : position + 1] == ["-m", "pip", "install"]:
            end = next((n for n in range(position, len(words)) if words[n] in _ENDS), len(words))
            yield words[position + 1 : end]
