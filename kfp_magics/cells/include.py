"""Helpers and constants of the notebook, copied into a step with all that they need themselves."""

from __future__ import annotations

import ast
import inspect
import symtable
import textwrap
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING

from kfp_magics.cells.names import unavailable
from kfp_magics.errors import DefinitionError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_TITLE = "\n\n# Copied from the notebook.\n"


def include(source: str, names: Iterable[str], namespace: Mapping[str, object], label: str) -> str:
    """Appends the code of names of the notebook to a step's module, so that the cell's own lines keep their numbers.

    Args:
        source: The module.
        names: What to copy.
        namespace: The kernel's names.
        label: How to name the cell in a message.

    Returns:
        The module with the copies behind it.

    Raises:
        DefinitionError: A name does not exist or cannot be copied, or the cell reads it before it is defined.
    """
    waiting = list(dict.fromkeys(names))
    if not waiting:
        return source
    _refuse_early_reads(source, waiting, label)
    own_lines = source.count("\n") + 1
    result = source.rstrip("\n") + _TITLE
    copied: set[str] = set()
    while waiting:
        for name in waiting:
            result += _code(name, namespace) + "\n"
            copied.add(name)
        missing = unavailable(result)
        waiting = [one for one, line in missing.items() if line > own_lines and one in namespace and one not in copied]
    return result


def _refuse_early_reads(source: str, names: list[str], label: str) -> None:
    table = symtable.symtable(source, "cell", "exec")
    early = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_referenced()}
    for name in names:
        if name in early:
            raise DefinitionError(
                f"The {label} reads {name!r} outside its functions, before what is included is there.",
                f"Use {name!r} inside the function, or define it in the cell.",
            )


def _code(name: str, namespace: Mapping[str, object]) -> str:
    if name not in namespace:
        known = [one for one in namespace if not one.startswith("_")]
        raise DefinitionError(f"There is no {name!r} to include.", did_you_mean(name, known))
    value = namespace[name]
    if isinstance(value, ModuleType):
        return f"import {value.__name__}" + ("" if value.__name__ == name else f" as {name}")
    if isinstance(value, FunctionType | type):
        return _definition(name, value)
    if inspect.isbuiltin(value) and value.__module__:
        return f"from {value.__module__} import {value.__name__} as {name}"
    return _constant(name, value)


def _definition(name: str, value: FunctionType | type) -> str:
    if value.__module__ not in {"__main__", None} and not value.__module__.startswith("kfp_magics_step_"):
        return f"from {value.__module__} import {value.__qualname__} as {name}"
    try:
        code = textwrap.dedent(inspect.getsource(value))
    except (OSError, TypeError) as error:
        raise DefinitionError(
            f"The code of {name!r} is not known any more.", "Run the cell that defines it again."
        ) from error
    return code if value.__name__ == name else f"{code}\n{name} = {value.__name__}"


def _constant(name: str, value: object) -> str:
    text = repr(value)
    try:
        same = ast.literal_eval(text) == value
    except (ValueError, SyntaxError):
        same = False
    if not same:
        raise DefinitionError(
            f"{name!r} is a {type(value).__name__} and cannot be copied into a step as text.",
            f"Make it an input of the step: {name}: Input[Dataset], or compute it in the step.",
        )
    return f"{name} = {text}"
