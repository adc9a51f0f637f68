"""A cell as a module: what it defines, which function is the step, and the function itself to call."""

from __future__ import annotations

import ast
import re

from kfp_magics.errors import DefinitionError, did_you_mean

HEADER = "# A step of a Kubeflow pipeline, written in a notebook cell.\n"
_SHELL = re.compile(r"^\s*(?:[\w.,\s\[\]'\"]+=\s*)?(!|%%?)(?=[\w.{$/~(])")
_HELP = re.compile(r"^\s*(\?{1,2}[\w.]+|[\w.]+\?{1,2})\s*$")
_INDENT = re.compile(r"^(\s*).*$")
_NO_LONGER_FUNCTIONS = {"cache", "lru_cache", "singledispatch", "contextmanager", "asynccontextmanager"}
_KFP_DECORATORS = {"component", "container_component", "pipeline", "notebook_component"}


def parse_cell(body: str, label: str) -> ast.Module:
    """Parses a cell below its magic line; line numbers count the magic's line as the first.

    Args:
        body: The cell without its magic line.
        label: How to name it in a message.

    Raises:
        DefinitionError: It is no Python; shell lines and magics are named as such.
    """
    source = "\n" + body
    try:
        tree = ast.parse(source)
        compile(source, f"<{label}>", "exec", dont_inherit=True)  # finds what parses and yet is no module
    except SyntaxError as error:
        _refuse_ipython(body, label, error.lineno or 0)
        line = source.splitlines()[(error.lineno or 0) - 1 :][:1]
        text = (error.text or "".join(line)).strip()
        raise DefinitionError(
            f"The {label} does not parse: {error.msg} (line {error.lineno}).",
            f"Look at: {text}" if text else "Look at its last lines.",
        ) from error
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module == "__future__":
            raise DefinitionError(
                f"The {label} imports from __future__ (line {node.lineno}), and KFP puts its own lines before it.",
                "Leave the line out; Python 3.11 does not need it in a step.",
            )
    for one in ast.walk(tree):
        if isinstance(one, ast.ImportFrom) and one.level:
            raise DefinitionError(
                f"The {label} imports from {'.' * one.level}{one.module or ''} (line {one.lineno}), and a step is in "
                "no package.",
                "Import it in the notebook, without the dots, and copy what you need with --include.",
            )
    return tree


def _refuse_ipython(body: str, label: str, error_line: int) -> None:
    """A cell that does not parse may hold what only IPython understands, which is then what is to be mended.

    Such a line is to blame where the parser stops at it, or where the cell parses without all of them: what looks like
    one may as well be a line of a text or the rest of an expression, with the mistake elsewhere.
    """
    lines = body.splitlines()
    found = {n: line for n, line in enumerate(lines, start=2) if _SHELL.match(line) or _HELP.match(line)}
    if error_line not in found:
        rest = [_INDENT.sub(r"\1pass", line) if n in found else line for n, line in enumerate(lines, start=2)]
        if not found or not _parses("\n".join(rest)):
            return
        error_line = min(found)
    line = found[error_line]
    mark = shell[1] if (shell := _SHELL.match(line)) else ""
    kind = {"!": "runs a shell command", "%": "runs a magic", "%%": "runs a magic"}.get(mark, "asks IPython for help")
    fix = (
        "Use subprocess.run(…) in the step, or --lang bash for a whole script; --packages installs requirements."
        if mark == "!"
        else "Move the line to a cell of its own: a step runs without IPython."
    )
    raise DefinitionError(f"Line {error_line} of the {label} {kind}: {line.strip()}", fix) from None


def _parses(text: str) -> bool:
    try:
        ast.parse(text)
    except SyntaxError:
        return False
    return True


def entry_function(tree: ast.Module, wanted: str, label: str) -> ast.FunctionDef:
    """Finds the function that is the step: the last one of the cell, or the one asked for.

    Raises:
        DefinitionError: There is none.
    """
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    if wanted and wanted not in functions:
        raise DefinitionError(f"The {label} defines no function {wanted!r}.", did_you_mean(wanted, functions))
    if not functions:
        raise DefinitionError(
            f"The {label} defines no function.",
            "Write the step as a function, or declare what its statements take and give with --in and --out.",
        )
    found = functions[wanted] if wanted else list(functions.values())[-1]
    if isinstance(found, ast.AsyncFunctionDef):
        raise DefinitionError(
            f"The function {found.name!r} is asynchronous (line {found.lineno}).",
            "Make it an ordinary function; asyncio.run(…) inside it runs asynchronous code.",
        )
    if any(isinstance(node, ast.Yield | ast.YieldFrom) for node in _own_nodes(found)):
        raise DefinitionError(f"The function {found.name!r} is a generator.", "Return a value, or write an artifact.")
    for decorator in found.decorator_list:
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        name = called.attr if isinstance(called, ast.Attribute) else called.id if isinstance(called, ast.Name) else ""
        if name in _NO_LONGER_FUNCTIONS:
            raise DefinitionError(
                f"@{name} makes something of {found.name!r} that KFP cannot call (line {decorator.lineno}).",
                "Put it on a helper function that the step calls.",
            )
        if name in functions and _hides_its_function(functions[name]):
            raise DefinitionError(
                f"The decorator @{name} hides the inputs of {found.name!r} from KFP (line {decorator.lineno}).",
                "Write @functools.wraps(…) above the function that it returns.",
            )
    return found


def _hides_its_function(decorator: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether it returns a function that takes anything, and does not say whose place that takes."""
    nodes = [one for one in ast.walk(decorator) if one is not decorator]
    words = {one.id for one in nodes if isinstance(one, ast.Name)} | {
        one.attr for one in nodes if isinstance(one, ast.Attribute)
    }
    return not words & {"wraps", "update_wrapper", "__wrapped__", "wrapt"} and any(
        isinstance(one, ast.FunctionDef | ast.Lambda) and (one.args.vararg or one.args.kwarg) for one in nodes
    )


def _own_nodes(function: ast.FunctionDef) -> list[ast.AST]:
    found: list[ast.AST] = []
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        found.append(node)
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            waiting.extend(ast.iter_child_nodes(node))
    return found


def decorated_functions(body: str) -> list[ast.FunctionDef]:
    """Finds the functions of a cell that kfp's own decorators make components or pipelines of."""
    try:
        tree = ast.parse("\n" + body)
    except SyntaxError:
        return []
    imported = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("kfp")
        for alias in node.names
    }
    return [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and any(_is_kfp(one, imported) for one in node.decorator_list)
    ]


def _is_kfp(decorator: ast.expr, imported: set[str]) -> bool:
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    if isinstance(called, ast.Name):
        return called.id in _KFP_DECORATORS & imported
    if not isinstance(called, ast.Attribute) or called.attr not in _KFP_DECORATORS:
        return False
    owner = called.value
    return (isinstance(owner, ast.Name) and (owner.id in {"dsl", "kfp"} or owner.id in imported)) or (
        isinstance(owner, ast.Attribute) and owner.attr == "dsl"
    )
