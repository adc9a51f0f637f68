"""Helpers and constants of the notebook, copied into a step with all that they need themselves."""

from __future__ import annotations

import ast
import inspect
import symtable
import textwrap
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from kfp_magics.cells.names import unavailable
from kfp_magics.errors import DefinitionError, did_you_mean
from kfp_magics.model import COPIED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_TITLE = f"\n\n{COPIED}\n"


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
    wanted = list(dict.fromkeys(names))
    if not wanted:
        return source
    _refuse_early_reads(source, wanted, label)
    copies: dict[str, str] = {}
    for name in wanted:
        _copy(name, source, namespace, copies, set())
    return source.rstrip("\n") + _TITLE + "".join(code.rstrip("\n") + "\n" for code in copies.values())


def _copy(name: str, source: str, namespace: Mapping[str, object], copies: dict[str, str], begun: set[str]) -> None:
    """Copies a name behind what it needs itself: decorators and base classes are read when it is defined."""
    if name in copies or name in begun:
        return
    begun.add(name)
    code = _code(name, namespace)
    missing = unavailable(f"{source}\n{code}")
    for needed in unavailable(code):
        if needed in missing and needed in namespace:
            _copy(needed, source, namespace, copies, begun)
    copies[name] = code


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
    if isinstance(value, FunctionType | type) or hasattr(value, "__wrapped__"):
        return _definition(name, value, namespace)
    if inspect.isbuiltin(value) and value.__module__:
        return f"from {value.__module__} import {value.__name__} as {name}"
    return _constant(name, value)


def _definition(name: str, value: Any, namespace: Mapping[str, object]) -> str:  # noqa: ANN401  (wrappers of functions, too)
    if value.__module__ not in {"__main__", None} and not value.__module__.startswith("kfp_magics_step_"):
        return f"from {value.__module__} import {value.__qualname__} as {name}"
    inner = inspect.unwrap(value)
    if free := getattr(getattr(inner, "__code__", None), "co_freevars", ()):
        raise DefinitionError(
            f"{name!r} keeps {', '.join(map(repr, free))} of the function that made it and cannot be copied as text.",
            "Define it in the cell.",
        )
    code = _text(name, inner, namespace)
    if value.__name__ == "<lambda>":
        return _lambda(name, code)
    return code if value.__name__ == name else f"{code}\n{name} = {value.__name__}"


def _text(name: str, value: Any, namespace: Mapping[str, object]) -> str:  # noqa: ANN401  (a function or a class)
    try:
        return textwrap.dedent(inspect.getsource(value))
    except (OSError, TypeError) as error:
        found = _class_in_history(value.__name__, namespace) if isinstance(value, type) else ""
        if not found:
            raise DefinitionError(
                f"The code of {name!r} is not known any more.", "Run the cell that defines it again."
            ) from error
        return found


def _class_in_history(name: str, namespace: Mapping[str, object]) -> str:
    """In a kernel `inspect` knows the code of functions, not that of classes; IPython's ``In`` has the cells."""
    history = namespace.get("In")
    for cell in reversed(history if isinstance(history, list) else []):
        try:
            tree = ast.parse(cell)
        except (SyntaxError, ValueError):
            continue
        for node in reversed(tree.body):
            if isinstance(node, ast.ClassDef) and node.name == name:
                first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
                return "\n".join(cell.splitlines()[first - 1 : node.end_lineno])
    return ""


def _lambda(name: str, code: str) -> str:
    try:
        statements = ast.parse(code).body
    except SyntaxError:
        statements = []
    match statements:
        case [ast.Assign(targets=[ast.Name(id=target)], value=ast.Lambda())] if target == name:
            return code
    raise DefinitionError(
        f"{name!r} is a lambda whose text cannot be cut out.", f"Write it as: def {name}(…): return …"
    )


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
