"""Which names a step's code reads that it will not have when it runs away from the notebook."""

from __future__ import annotations

import ast
import builtins
import symtable
import typing
from types import ModuleType
from typing import TYPE_CHECKING

from kfp_magics.errors import NamesError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

KFP_RUNTIME_NAMES = frozenset(
    {
        "kfp",
        "dsl",
        "Input",
        "Output",
        "InputPath",
        "OutputPath",
        "PipelineTaskFinalStatus",
        "TaskConfig",
        "Artifact",
        "ClassificationMetrics",
        "Dataset",
        "HTML",
        "Markdown",
        "Metrics",
        "Model",
        "SlicedClassificationMetrics",
        "get_uri",
        "run_notebook",
        "PIPELINE_JOB_NAME_PLACEHOLDER",
        "PIPELINE_JOB_RESOURCE_NAME_PLACEHOLDER",
        "PIPELINE_JOB_ID_PLACEHOLDER",
        "PIPELINE_TASK_NAME_PLACEHOLDER",
        "PIPELINE_TASK_ID_PLACEHOLDER",
        "PIPELINE_TASK_EXECUTOR_OUTPUT_PATH_PLACEHOLDER",
        "PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER",
        "PIPELINE_ROOT_PLACEHOLDER",
        "PIPELINE_JOB_CREATE_TIME_UTC_PLACEHOLDER",
        "PIPELINE_JOB_SCHEDULE_TIME_UTC_PLACEHOLDER",
        "WORKSPACE_PATH_PLACEHOLDER",
    }
)
"""What KFP puts before the module of every Python step."""

_OF_MODULES_AND_CLASSES = frozenset(
    {
        "__name__",
        "__file__",
        "__doc__",
        "__builtins__",
        "__annotations__",
        "__spec__",
        "__class__",
        "__module__",
        "__qualname__",
    }
)
_OF_IPYTHON = frozenset({"__IPYTHON__", "display", "get_ipython"})  # which it puts among the builtins of a kernel

AVAILABLE = (
    (frozenset(dir(builtins)) - _OF_IPYTHON) | KFP_RUNTIME_NAMES | frozenset(typing.__all__) | _OF_MODULES_AND_CLASSES
)


def unavailable(source: str) -> dict[str, int]:
    """Finds the names that a module reads and does not have.

    Args:
        source: A module that parses.

    Returns:
        Name → the first line that reads it. Empty when the module imports ``*`` from somewhere.
    """
    tree = ast.parse(source)
    if any(isinstance(node, ast.ImportFrom) and node.names[0].name == "*" for node in ast.walk(tree)):
        return {}  # what it brings is known only when it runs; a wrong refusal is worse than a late error
    table = symtable.symtable(source, "cell", "exec")
    defined = {symbol.get_name() for symbol in table.get_symbols() if is_bound(symbol)}
    defined |= {name for scope in _scopes(table) for name in _declared_global(scope)}
    missing: dict[str, int] = {}
    for scope in _scopes(table):
        for symbol in scope.get_symbols():
            name = symbol.get_name()
            is_outer = symbol.is_global() or scope is table
            if symbol.is_referenced() and is_outer and name not in defined and name not in AVAILABLE:
                line = _line(tree, name, scope.get_lineno())
                missing[name] = min(line, missing.get(name, line))
    return dict(sorted(missing.items(), key=lambda item: item[1]))


def _scopes(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    yield table
    for child in table.get_children():
        yield from _scopes(child)


def is_bound(symbol: symtable.Symbol) -> bool:
    """Whether its scope gives the name a value: assigns, imports or defines it."""
    return symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace()


def _declared_global(scope: symtable.SymbolTable) -> set[str]:
    return {one.get_name() for one in scope.get_symbols() if one.is_declared_global() and is_bound(one)}


def _line(tree: ast.Module, name: str, start: int) -> int:
    lines = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == name]
    return min((line for line in lines if line >= start), default=min(lines, default=start))


def refuse_unavailable(source: str, namespace: Mapping[str, object], label: str) -> None:
    """Refuses a module that reads names which it will not have.

    Args:
        source: A module that parses; line N of it is line N of the cell.
        namespace: The kernel's names, for the advice.
        label: How to name the cell in the message.

    Raises:
        NamesError: Each name, its line, and what to do about it.
    """
    missing = unavailable(source)
    if not missing:
        return
    listed = ", ".join(f"{name!r} (line {line})" for name, line in missing.items())
    raise NamesError(
        f"The {label} reads {listed}, which {'is' if len(missing) == 1 else 'are'} not in it.",
        " ".join(_fixes(missing, namespace)),
    )


def _fixes(missing: Mapping[str, int], namespace: Mapping[str, object]) -> Iterator[str]:
    modules = [name for name in missing if isinstance(namespace.get(name), ModuleType)]
    copied = [name for name in missing if name in namespace and name not in modules]
    unknown = [name for name in missing if name not in namespace]
    for name in modules:
        module = getattr(namespace[name], "__name__", name)
        yield f"Add to the cell: import {module}{'' if module == name else f' as {name}'}."
    if copied:
        yield f"Copy from the notebook with --include {','.join(copied)}, or make them inputs of the step."
    for name in unknown:
        close = did_you_mean(name, AVAILABLE | {key for key in namespace if not key.startswith("_")})
        define = f"efine {name!r} in the cell, or make it an input of the step."
        yield f"{close} Otherwise d{define}" if close.startswith("Did") else f"D{define}"
