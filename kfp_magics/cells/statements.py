"""A cell of plain statements as a function: its ports become the signature, its variables the outputs."""

from __future__ import annotations

import io
import symtable
import tokenize
from typing import TYPE_CHECKING

from kfp_magics.cells.names import is_bound
from kfp_magics.errors import DefinitionError
from kfp_magics.model import MISSING, Port

if TYPE_CHECKING:
    import ast
    from collections.abc import Sequence


def as_function(name: str, body: str, tree: ast.Module, inputs: Sequence[Port], outputs: Sequence[Port]) -> str:
    """Writes the function; its first line stands where the magic's line stood.

    Args:
        name: Name of the step.
        body: The cell without its magic line.
        tree: The cell, parsed.
        inputs: What it takes.
        outputs: What it gives: artifacts are written, parameters are variables at its end.

    Raises:
        DefinitionError: The cell is empty, or never assigns an output.
    """
    if not tree.body:
        raise DefinitionError(
            f"The cell of step {name!r} has no statements.", "Write what the step does below the line."
        )
    twice = {port.name for port in inputs} & {port.name for port in outputs}
    if twice:
        raise DefinitionError(f"The step {name!r} has an input and an output called {min(twice)!r}.", "Rename one.")
    assigned = {one.get_name() for one in symtable.symtable(body, name, "exec").get_symbols() if is_bound(one)}
    results = [port for port in outputs if port.is_parameter]
    for port in results:
        if port.name not in assigned:
            raise DefinitionError(
                f"The cell of step {name!r} never assigns its output {port.name!r}.", f"Write {port.name} = … in it."
            )
    end = f"    return ({', '.join(port.name for port in results)},)\n" if results else ""
    return f"{signature(name, inputs, outputs)}\n{_indented(body)}\n{end}"


def signature(name: str, inputs: Sequence[Port], outputs: Sequence[Port]) -> str:
    """Writes the ``def`` line of a function with these ports."""
    required = [f"{port.name}: {_annotation(port)}" for port in inputs if not _default(port)]
    given = [f"{port.name}: {_annotation(port)} = {_default(port)}" for port in inputs if _default(port)]
    artifacts = [f"{port.name}: Output[{_kind(port)}]" for port in outputs if not port.is_parameter]
    fields = ", ".join(f"({port.name!r}, {port.type})" for port in outputs if port.is_parameter)
    arrow = f" -> NamedTuple('Outputs', [{fields}])" if fields else ""
    return f"def {name}({', '.join([*required, *artifacts, *given])}){arrow}:"


def _default(port: Port) -> str:
    if port.default is not MISSING:
        return repr(port.default)
    return "None" if port.optional else ""


def _annotation(port: Port) -> str:
    if not port.is_parameter:
        return f"Input[{_kind(port)}]"
    return f"Optional[{port.type}]" if _default(port) == "None" else port.type


def _kind(port: Port) -> str:
    return f"List[{port.type}]" if port.is_list else port.type


def _indented(body: str) -> str:
    """Indents statements, but not the inside of texts that go over several lines."""
    inside: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(body).readline):
        if token.type == tokenize.STRING or tokenize.tok_name[token.type] == "FSTRING_MIDDLE":
            inside.update(range(token.start[0] + 1, token.end[0] + 1))
    return "".join(
        line if number in inside or not line.strip() else f"    {line}"
        for number, line in enumerate(body.splitlines(keepends=True), start=1)
    )
