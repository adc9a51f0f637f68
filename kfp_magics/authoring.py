"""Cells that are Python as it stands, executed so that their lines can be named: pipelines and kfp's own decorators."""

from __future__ import annotations

import ast
import linecache
import sys
import typing
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from kfp_magics.errors import DefinitionError, NamesError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, MutableMapping

    from kfp_magics.model import Component


def execute(body: str, label: str, namespace: MutableMapping[str, Any]) -> None:
    """Executes a cell below its magic line, so that line N of the code is line N of the cell.

    Args:
        body: The cell without its magic line.
        label: How tracebacks name it.
        namespace: Where it is executed; changed by it.

    Raises:
        DefinitionError: The cell does not parse.
        NamesError: The cell itself, not a function in it, reads a name that does not exist.
    """
    source = "\n" + body
    filename = f"<{label}>"
    try:
        code = compile(source, filename, "exec", dont_inherit=True)
    except SyntaxError as error:
        raise DefinitionError(
            f"The {label} does not parse: {error.msg} (line {error.lineno}).",
            f"Look at: {(error.text or '').strip()}",
        ) from error
    # inspect and kfp read the text of a function through linecache; an entry without a time is never dropped.
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    try:
        exec(code, cast("dict[str, Any]", namespace))  # noqa: S102  (executing the user's cell is the point)
    except NameError as error:
        raise unknown_name(error, label, namespace) from error


def unknown_name(error: NameError, label: str, known: Iterable[str]) -> NamesError:
    """Says which name does not exist, on which line of the cell, and which one was probably meant."""
    line, frame = None, error.__traceback__
    while frame is not None:
        if frame.tb_frame.f_code.co_filename == f"<{label}>":
            line = frame.tb_lineno
        frame = frame.tb_next
    where = f" (line {line})" if line else ""
    words = (name for name in known if not name.startswith("_"))
    return NamesError(
        f"The {label} reads {error.name!r}{where}, which does not exist here.",
        did_you_mean(error.name or "", words, "Run the cell that defines it first."),
    )


def last_function(body: str, entry: str, label: str) -> str:
    """Names the function of a cell that is the pipeline: the last one, or the one asked for.

    Raises:
        DefinitionError: There is none.
    """
    try:
        tree = ast.parse(body)
    except SyntaxError as error:  # named with its line by `execute`
        raise DefinitionError(f"The {label} does not parse: {error.msg} (line {(error.lineno or 0) + 1}).") from error
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    if entry and entry not in names:
        raise DefinitionError(f"The {label} defines no function {entry!r}.", did_you_mean(entry, names))
    if not names:
        raise DefinitionError(
            f"The {label} defines no function.",
            "Write the pipeline as a function: def my_pipeline(year: int = 2000): …",
        )
    return entry or names[-1]


def load_function(component: Component) -> Callable[..., object]:
    """Executes a step's module here and gives its plain function.

    Raises:
        DefinitionError: The step is not made of Python.
    """
    if component.language not in {"python", "statements"}:
        raise DefinitionError(
            f"The step {component.name!r} is no Python function.", f"Run it alone with %kfp_try {component.name}."
        )
    from kfp_magics.compiler import pipeline_names  # noqa: PLC0415  (imports kfp; the step's annotations need it)

    label = f"<cell {component.name!r}>"
    module = ModuleType(f"kfp_magics_step_{component.name}")
    module.__file__ = label
    sys.modules[module.__name__] = module  # so that its classes can be pickled
    names = module.__dict__
    names.update(pipeline_names())
    names.update({name: getattr(typing, name) for name in typing.__all__})
    source = component.source
    linecache.cache[label] = (len(source), None, source.splitlines(keepends=True), label)
    exec(compile(source, label, "exec", dont_inherit=True), names)  # noqa: S102  (the user's own cell)
    found: Callable[..., object] = names[component.entry]
    return found
