"""Helpers and constants of the notebook, copied into a step with all that they need themselves."""

from __future__ import annotations

import ast
import inspect
import re
import symtable
import sys
import textwrap
from contextlib import suppress
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from kfp_magics.cells.names import unavailable
from kfp_magics.cells.requirements import is_local
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
    copies = _Copies(source, namespace)
    for name in wanted:
        copies.add(name, namespace)
    return source.rstrip("\n") + _TITLE + "".join(code.rstrip("\n") + "\n" for code in copies.code.values())


class _Copies:
    """What is copied into one step.

    Args:
        source: The step's module.
        notebook: The kernel's names.
    """

    def __init__(self, source: str, notebook: Mapping[str, object]) -> None:
        self.code: dict[str, str] = {}
        self._source = source
        self._notebook = notebook
        self._values: dict[str, object] = {}

    def add(self, name: str, namespace: Mapping[str, object]) -> None:
        """Copies a name behind what it needs itself: decorators and base classes are read when it is defined.

        Args:
            name: Of a function, class, module or constant.
            namespace: The names that it is one of: the notebook's, or those of a file beside it.
        """
        value = namespace.get(name)
        if name in self._values:
            if self._values[name] is not value:
                raise DefinitionError(f"Two different {name!r} would be copied into the step.", "Rename one of them.")
            return
        self._values[name] = value
        code = _code(name, namespace)
        around = _names_around(value, self._notebook)
        missing = unavailable(f"{self._source}\n{code}")
        for needed in unavailable(code):
            if needed in missing and needed in around:
                self.add(needed, around)
            elif around is not self._notebook and not isinstance(around.get(needed, sys), ModuleType):
                raise DefinitionError(
                    f"{name!r} reads the {needed!r} of its own file, and the cell defines another.", "Rename one."
                )
        self.code[name] = code


def _names_around(value: object, notebook: Mapping[str, object]) -> Mapping[str, object]:
    """The names that a definition reads: those of its file where it comes from one that does not travel."""
    module = getattr(value, "__module__", None) if isinstance(value, FunctionType | type) else None
    return vars(sys.modules[module]) if module in sys.modules and is_local(module) else notebook


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
        if is_local(value.__name__):
            raise DefinitionError(
                f"{name!r} is a file beside the notebook and does not travel as a whole.",
                f"In the notebook: from {value.__name__} import …, and copy those names with --include.",
            )
        return f"import {value.__name__}" + ("" if value.__name__ == name else f" as {name}")
    if isinstance(value, FunctionType | type) or hasattr(value, "__wrapped__"):
        return _definition(name, value, namespace)
    if inspect.isbuiltin(value) and value.__module__:
        return f"from {value.__module__} import {value.__name__} as {name}"
    return _constant(name, value)


def _definition(name: str, value: Any, namespace: Mapping[str, object]) -> str:  # noqa: ANN401  (wrappers of functions, too)
    module = value.__module__
    if module not in {"__main__", None} and not module.startswith("kfp_magics_step_") and not is_local(module):
        return f"from {module} import {value.__qualname__} as {name}"
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
    found = ""
    with suppress(OSError, TypeError):
        found = textwrap.dedent(inspect.getsource(value))
    if isinstance(value, type) and not re.search(rf"^class {value.__name__}\b", found, re.MULTILINE):
        found = _class_in_history(value.__name__, namespace)
    if not found:
        raise DefinitionError(f"The code of {name!r} is not known any more.", "Run the cell that defines it again.")
    return found


def _class_in_history(name: str, namespace: Mapping[str, object]) -> str:
    """In a kernel `inspect` knows the code of functions; of classes none, or lines of the program that runs.

    IPython's ``In`` has the cells.
    """
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
