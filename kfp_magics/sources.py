"""Files that are named where a pipeline is meant: Python or compiled, by people who never heard of magics."""

from __future__ import annotations

import re
import shlex
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from kfp_magics.errors import KfpMagicsError, NotFoundError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kfp_magics.model import Pipeline

COMPILED = (".yaml", ".yml", ".json", ".zip", ".tgz", ".gz")
_SPECIAL = re.compile(r"""[\s'"$`\\&|;<>()*?!#\[\]{}]""")
_SUFFIXES = (".py", *COMPILED)


def split(name: str) -> tuple[str, str]:
    """Splits ``pipelines.py:train`` into the file and the function; the function is empty when none is named."""
    file, colon, function = name.rpartition(".py:")
    return (f"{file}.py", function) if colon else (name, "")


def quoted(name: str) -> str:
    """A name as it is typed, in quotes where it needs them."""
    return shlex.quote(name) if _SPECIAL.search(name) else name


def is_file(name: str) -> bool:
    """Whether a user who writes this means a file, be it there or not."""
    return split(name)[0].endswith(_SUFFIXES) or "/" in name


def existing(name: str, *, also: tuple[str, ...] = ()) -> Path:
    """Finds a file.

    Args:
        name: As a user writes it; ``~`` is their home.
        also: More kinds of files that would do.

    Raises:
        NotFoundError: There is none; the hint says what was probably meant.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    kinds = (*also, *_SUFFIXES)
    if path.is_dir():
        what, folder, word = f"{name!r} is a folder.", path, "."
    else:
        what, folder, word = f"There is no file {name!r}.", path.parent, path.name
    if not folder.is_dir():
        raise NotFoundError(what, f"There is no folder {str(folder)!r} either.")
    beside = [one for one in folder.iterdir() if one.name.endswith(kinds) and one.is_file() and one.name[0] != "_"]
    raise NotFoundError(what, did_you_mean(str(folder / word), map(str, beside)) or f"It would be {path.absolute()}.")


def pipeline_of(name: str) -> Pipeline:
    """Reads the pipeline of a file.

    Args:
        name: The file; with ``:FUNCTION`` behind it, if it is Python and has several.

    Raises:
        NotFoundError: There is no such file or function.
        DefinitionError: It has no pipeline, or several, or one that does not compile.
    """
    file, function = split(name)
    path = existing(file)
    if path.suffix == ".py":
        from kfp_magics.compiler_files import pipeline_of_file  # noqa: PLC0415  (imports kfp)

        return pipeline_of_file(path, function)
    from kfp_magics.compiler import load_pipeline  # noqa: PLC0415  (imports kfp)

    return load_pipeline(path)


@contextmanager
def called(what: object, pipeline: str) -> Iterator[None]:
    """Has hints call a pipeline as the user does, who may know it as a file or as a function.

    Args:
        what: What the user wrote.
        pipeline: The pipeline's own name.
    """
    try:
        yield
    except KfpMagicsError as error:
        if isinstance(what, str):
            error.hint = error.hint.replace(f"%kfp_run {pipeline} ", f"%kfp_run {quoted(what)} ")
        raise
