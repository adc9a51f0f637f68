"""Pipelines in Python files whose authors never heard of magics."""

from __future__ import annotations

import linecache
import sys
from types import ModuleType
from typing import TYPE_CHECKING

from kfp.dsl import base_component, graph_component

from kfp_magics.compiler import compile_pipeline
from kfp_magics.errors import DefinitionError, NotFoundError, did_you_mean

if TYPE_CHECKING:
    from pathlib import Path

    from kfp_magics.model import Pipeline


def pipeline_of_file(path: Path, function: str = "") -> Pipeline:
    """Compiles a pipeline of a Python file, which is executed for that as if it was imported.

    Args:
        path: The file.
        function: The function with ``@dsl.pipeline``; may be left out when there is one.

    Raises:
        NotFoundError: There is no such file or function.
        DefinitionError: It has no pipeline, or several, or one that does not compile.
    """
    if not path.is_file():
        raise NotFoundError(f"There is no file {str(path)!r}.", f"It would be {path.absolute()}.")
    module = _executed(path)
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
    module.__file__ = str(path.absolute())
    linecache.checkcache(module.__file__)  # kfp asks there for the source of steps
    folder = str(path.absolute().parent)
    sys.modules[name] = module  # kfp and dataclasses look their authors up there
    sys.path.insert(0, folder)  # what stands beside the file is imported as if it ran
    try:
        exec(compile(path.read_bytes(), module.__file__, "exec", dont_inherit=True), vars(module))  # noqa: S102  (the user's own file, as they asked)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        sys.path.remove(folder)
    return module
