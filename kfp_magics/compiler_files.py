"""Pipelines in Python files whose authors never heard of magics."""

from __future__ import annotations

import linecache
import sys
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from kfp.dsl import base_component, graph_component

from kfp_magics.compiler import compile_pipeline
from kfp_magics.compiler_refusals import translated
from kfp_magics.errors import DefinitionError, NotFoundError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kfp_magics.model import Pipeline


def pipeline_of_file(path: Path, function: str = "") -> Pipeline:
    """Compiles a pipeline of a Python file, which is executed for that as if it was imported.

    Args:
        path: The file.
        function: The function with ``@dsl.pipeline``; may be left out when there is one.

    Raises:
        NotFoundError: There is no such function.
        DefinitionError: It has no pipeline, or several, or one that does not compile.
    """
    module = _executed(path.absolute())
    known = {name: one for name, one in vars(module).items() if isinstance(one, base_component.BaseComponent)}
    pipelines = {name: one for name, one in known.items() if isinstance(one, graph_component.GraphComponent)}
    own = {name: one for name, one in pipelines.items() if one.pipeline_func.__module__ == module.__name__}
    if function and function not in known:
        raise NotFoundError(f"{path.name} has no pipeline {function!r}.", did_you_mean(function, known))
    chosen = function or next(iter(own or pipelines), "")
    if not chosen:
        raise DefinitionError(f"{path.name} has no function with @dsl.pipeline.", "Name a component: FILE.py:FUNCTION.")
    if not function and len(own or pipelines) > 1:
        names = " or ".join(f"{path}:{name}" for name in own or pipelines)
        raise DefinitionError(f"{path.name} has several pipelines.", f"Name one: {names}")
    return compile_pipeline(known[chosen], name=chosen, source="\n" + path.read_text(encoding="utf-8"))


def _executed(path: Path) -> ModuleType:
    name = f"_pipeline_file_{path.stem}"
    module = ModuleType(name)
    module.__file__ = str(path)
    linecache.checkcache(module.__file__)  # kfp asks there for the source of steps
    module.__package__, root = _package_of(path)
    sys.modules[name] = module  # kfp and dataclasses look their authors up there
    before = set(sys.modules)
    folders = [str(path.parent), str(root)]  # what stands beside the file is imported as if it ran
    sys.path[:0] = folders
    try:
        with _told(path), translated(path.name, file=module.__file__):
            exec(compile(path.read_bytes(), module.__file__, "exec", dont_inherit=True), vars(module))  # noqa: S102  (the user's own file, as they asked)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        for folder in folders:
            sys.path.remove(folder)
        _forget(set(sys.modules) - before - {name}, root)
    return module


def _package_of(path: Path) -> tuple[str, Path]:
    """The package that a file is part of, for its relative imports, and the folder that this is in."""
    names: list[str] = []
    folder = path.parent
    while (folder / "__init__.py").is_file():
        names.insert(0, folder.name)
        folder = folder.parent
    return ".".join(names), folder


def _forget(imported: set[str], root: Path) -> None:
    """Forgets modules from beside a file: next time they may have changed, or others of that name stand elsewhere."""
    for name in imported:
        file = getattr(sys.modules[name], "__file__", None)
        found = getattr(sys.modules[name], "__path__", None)
        places = [file] if file else list(found or ())
        if any(Path(place).is_relative_to(root) and "site-packages" not in place for place in places):
            del sys.modules[name]


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Says in two lines what keeps a file from being imported at all; what its code raises keeps its stack."""
    try:
        yield
    except SyntaxError as error:
        where = f"{Path(error.filename or path).name}, line {error.lineno}"
        raise DefinitionError(
            f"{path.name} does not parse: {error.msg} ({where}).", f"Look at: {(error.text or '').strip()}"
        ) from error
    except ModuleNotFoundError as error:
        raise DefinitionError(
            f"{path.name} imports {error.name!r}, which is not here.",
            f"Install it: pip install {(error.name or '').partition('.')[0]}",
        ) from error
    except SystemExit as error:
        raise DefinitionError(
            f"{path.name} ends Python when it is imported (sys.exit).",
            "Put what only a script does below: if __name__ == '__main__':",
        ) from error
