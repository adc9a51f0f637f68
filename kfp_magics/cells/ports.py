"""Inputs and outputs of a step, from annotations or from ``--in`` and ``--out``; nothing is executed for it."""

from __future__ import annotations

import ast
import keyword
import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from kfp_magics.errors import DefinitionError, did_you_mean
from kfp_magics.model import ARTIFACT_TYPES, MISSING, PARAMETER_TYPES, Json, Missing, Port

if TYPE_CHECKING:
    from collections.abc import Iterable

_PLAIN = {name: name for name in PARAMETER_TYPES} | {"List": "list", "Dict": "dict"}
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_WRAPPERS = ("Input", "Output", "InputPath", "OutputPath")


@dataclass(frozen=True, slots=True)
class _Type:
    """A type as an annotation says it."""

    name: str
    optional: bool = False
    is_list: bool = False


class PortReader:
    """Reads the ports of functions of one module.

    Args:
        tree: The module.
        label: How to name the cell in a message.
    """

    def __init__(self, tree: ast.Module, label: str) -> None:
        self._label = label
        self._classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
        self._values = {
            target.id: node.value
            for node in tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }

    def read(self, function: ast.FunctionDef) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
        """Reads a function's inputs and outputs.

        Raises:
            DefinitionError: A parameter has no annotation, or one that KFP does not know.
        """
        arguments = function.args
        if arguments.vararg or arguments.kwarg or arguments.posonlyargs:
            raise DefinitionError(
                f"The function {function.name!r} takes *args, **kwargs or positional-only parameters.",
                "A step's inputs have a name and a type each: year: int, raw: Input[Dataset].",
            )
        inputs: list[Port] = []
        outputs: list[Port] = []
        for argument, default in _with_defaults(arguments):
            port, is_output = self._parameter(function, argument, default)
            (outputs if is_output else inputs).append(port)
        outputs.extend(self._returned(function))
        for port in (*inputs, *outputs):
            _check_name(port.name, f"The function {function.name!r} (line {function.lineno})")
        twice = {port.name for port in inputs} & {port.name for port in outputs}
        if twice:
            raise DefinitionError(
                f"The function {function.name!r} has an input and an output called {min(twice)!r}.", "Rename one."
            )
        return tuple(inputs), tuple(outputs)

    def _parameter(self, function: ast.FunctionDef, argument: ast.arg, default: ast.expr | None) -> tuple[Port, bool]:
        where = f"The parameter {argument.arg!r} of {function.name!r} (line {argument.lineno})"
        if argument.annotation is None:
            raise DefinitionError(
                f"{where} has no type.",
                f"Annotate it: {argument.arg}: int, {argument.arg}: Input[Dataset], …",
            )
        node = _unquote(argument.annotation)
        wrapper, inner = _unwrap(_present(node))
        if wrapper in {"InputPath", "OutputPath"}:
            kind = self._type(inner, where) if inner is not None else _Type("Artifact")
            port = Port(name=argument.arg, type=kind.name, as_path=True)
        elif wrapper:
            assert inner is not None
            kind = self._type(inner, where)
            if kind.name in PARAMETER_TYPES:
                raise DefinitionError(
                    f"{where} is {wrapper}[{kind.name}], which is no artifact.",
                    f"Write {argument.arg}: {kind.name}" + (", or return the value." if wrapper == "Output" else "."),
                )
            port = Port(name=argument.arg, type=kind.name, is_list=kind.is_list)
        else:
            kind = self._type(node, where)
            port = Port(name=argument.arg, type=kind.name, optional=kind.optional)
            if not port.is_parameter:
                raise DefinitionError(
                    f"{where} is a {kind.name}, and steps pass artifacts as Input[…] or Output[…].",
                    f"Write {argument.arg}: Input[{kind.name}] or {argument.arg}: Output[{kind.name}].",
                )
        if default is not None:
            value = self._default(default, where)
            port = replace(port, default=MISSING if value is None else value, optional=value is None or port.optional)
        elif port.optional:
            port = replace(port, optional=False)  # "int | None" without a default must be given
        return port, wrapper in {"Output", "OutputPath"}

    def _default(self, node: ast.expr, where: str) -> Json | Missing:
        if isinstance(node, ast.Name) and node.id in self._values:
            node = self._values[node.id]
        try:
            value: Json = ast.literal_eval(node)
        except ValueError:
            raise DefinitionError(
                f"{where} has a default that is no plain value: {ast.unparse(node)}.",
                "Write the value itself: a number, a text, True, None, a list or a dict.",
            ) from None
        _check_finite(value, f"{where} has the default")
        return value

    def _type(self, node: ast.expr, where: str) -> _Type:
        node = _unquote(node)
        if (present := _present(node)) is not node:
            return replace(self._type(present, where), optional=True)
        if isinstance(node, ast.Subscript):
            return self._subscript(node, where)
        name = _last_name(node)
        if name in _PLAIN:
            return _Type(_PLAIN[name])
        if name in ARTIFACT_TYPES:
            return _Type(name)
        if name == "PipelineTaskFinalStatus":
            return _Type("TaskFinalStatus")
        if schema := _schema(self._classes.get(name)):
            return _Type(schema)
        raise DefinitionError(f"{where} has the type {ast.unparse(node)}, which KFP does not know.", _advice(name))

    def _subscript(self, node: ast.Subscript, where: str) -> _Type:
        outer = _last_name(node.value)
        if outer in {"List", "list"}:
            inner = _last_name(_unquote(node.slice))
            if inner in ARTIFACT_TYPES or inner in self._classes:
                return replace(self._type(node.slice, where), is_list=True)
            return _Type("list")
        if outer in {"Dict", "dict"}:
            return _Type("dict")
        if outer == "Annotated" and isinstance(node.slice, ast.Tuple):
            return self._type(node.slice.elts[0], where)
        raise DefinitionError(f"{where} has the type {ast.unparse(node)}, which KFP does not know.", _advice(outer))

    def _returned(self, function: ast.FunctionDef) -> list[Port]:
        if function.returns is None or _is_none(node := _unquote(function.returns)):
            return []
        where = f"The result of {function.name!r} (line {function.lineno})"
        fields = self._fields(node)
        if fields is not None:
            kinds = [(name, self._type(kind, where)) for name, kind in fields]
            return [Port(name=name, type=kind.name, is_list=kind.is_list) for name, kind in kinds]
        kind = self._type(node, where)
        return [Port(name="Output", type=kind.name, is_list=kind.is_list)]

    def _fields(self, node: ast.expr) -> list[tuple[str, ast.expr]] | None:
        if isinstance(node, ast.Name) and node.id in self._values:
            node = self._values[node.id]
        if isinstance(node, ast.Name) and (found := self._classes.get(node.id)) is not None:
            if any(_last_name(base) == "NamedTuple" for base in found.bases):
                return [
                    (line.target.id, line.annotation)
                    for line in found.body
                    if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
                ]
            return None
        if not isinstance(node, ast.Call) or _last_name(node.func) != "NamedTuple":
            return None
        listed = [
            (pair.elts[0].value, pair.elts[1])
            for argument in node.args[1:]
            if isinstance(argument, ast.List | ast.Tuple)
            for pair in argument.elts
            if isinstance(pair, ast.Tuple) and isinstance(pair.elts[0], ast.Constant)
        ]
        return [*((str(name), kind) for name, kind in listed), *((one.arg or "", one.value) for one in node.keywords)]


def _check_name(name: str, where: str) -> None:
    """Refuses what KFP has no name for, or needs itself."""
    if name == "self" or not _NAME.fullmatch(name):
        raise DefinitionError(
            f"{where} has a port called {name!r}, which KFP does not take.",
            "Begin with a letter from a to z; digits and _ may follow." if name != "self" else "Give it another name.",
        )


def _check_finite(value: Json, what: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise DefinitionError(f"{what} {value}, which no compiled pipeline can hold.", "Use None, or a large number.")


def _with_defaults(arguments: ast.arguments) -> list[tuple[ast.arg, ast.expr | None]]:
    missing = len(arguments.args) - len(arguments.defaults)
    positional: list[tuple[ast.arg, ast.expr | None]] = [
        (one, arguments.defaults[n - missing] if n >= missing else None) for n, one in enumerate(arguments.args)
    ]
    return [*positional, *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]


def _unwrap(node: ast.expr) -> tuple[str, ast.expr | None]:
    """Splits ``Input[Dataset]`` and ``OutputPath(str)`` into the wrapper and what is in it."""
    if isinstance(node, ast.Subscript) and (name := _last_name(node.value)) in {"Input", "Output"}:
        return name, node.slice
    if isinstance(node, ast.Call) and (name := _last_name(node.func)) in {"InputPath", "OutputPath"}:
        return name, node.args[0] if node.args else None
    return "", None


def _present(node: ast.expr) -> ast.expr:
    """What is in ``Optional[…]``, ``… | None`` and ``Union[…, None]``; anything else as it is."""
    sides: list[ast.expr] = []
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        sides = [node.left, node.right]
    elif isinstance(node, ast.Subscript) and _last_name(node.value) == "Optional":
        return _unquote(node.slice)
    elif isinstance(node, ast.Subscript) and _last_name(node.value) == "Union" and isinstance(node.slice, ast.Tuple):
        sides = node.slice.elts
    given = [one for one in sides if not _is_none(one)]
    return _unquote(given[0]) if len(given) == 1 and len(given) < len(sides) else node


def _unquote(node: ast.expr) -> ast.expr:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        try:
            return ast.copy_location(ast.parse(node.value, mode="eval").body, node)
        except SyntaxError:
            return node
    return node


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _schema(found: ast.ClassDef | None) -> str:
    if found is None:
        return ""
    values = {
        target.id: node.value.value
        for node in found.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    title = str(values.get("schema_title", ""))
    return f"{title}@{values.get('schema_version', '0.0.1')!s}" if title else ""


def _advice(name: str) -> str:
    if name in _WRAPPERS:
        return f"Say of what: {name}[Dataset]." if name in {"Input", "Output"} else f"Say of what: {name}(str)."
    if name in {"DataFrame", "Series", "ndarray", "array", "Table"}:
        return "Pass it as an artifact: raw: Input[Dataset] and pd.read_csv(raw.path), or clean: Output[Dataset]."
    if name in {"Path", "PathLike"}:
        return "Pass files as artifacts: raw: Input[Dataset], and Path(raw.path) in the step."
    if name in {"tuple", "set", "Tuple", "Set"}:
        return "Use list, or a NamedTuple for several outputs."
    close = did_you_mean(name, [*_PLAIN, *ARTIFACT_TYPES])
    return close if close.startswith("Did") else "Types are str, int, float, bool, list, dict, Input[…] and Output[…]."


def option_ports(words: Iterable[str], option: str) -> tuple[Port, ...]:
    """Reads ``--in`` and ``--out``.

    Args:
        words: ``name:type``, with ``=default`` for inputs and ``=file`` for outputs of scripts.
        option: ``--in`` or ``--out``.

    Raises:
        DefinitionError: A word does not read, or a name stands twice.
    """
    found: dict[str, Port] = {}
    for word in words:
        port = _option_port(word, option)
        if port.name in found:
            raise DefinitionError(f"{option} {port.name!r} stands twice.", "Give each port its own name.")
        found[port.name] = port
    return tuple(found.values())


def _option_port(word: str, option: str) -> Port:
    head, equals, tail = word.partition("=")
    name, _, kind = head.partition(":")
    if not name.isidentifier() or keyword.iskeyword(name):
        raise DefinitionError(f"{option} cannot be {word!r}.", f"Write {option} name:type, e.g. {option} raw:Dataset.")
    _check_name(name, option)
    try:
        node = ast.parse(kind or "str", mode="eval").body
    except SyntaxError:
        raise DefinitionError(
            f"{option} {word!r} has a type that does not read.", "Write e.g. year:int=2000."
        ) from None
    found = PortReader(ast.Module(body=[], type_ignores=[]), "magic line")._type(node, f"{option} {name!r}")  # noqa: SLF001
    port = Port(name=name, type=found.name, is_list=found.is_list)
    if not equals:
        return replace(port, optional=found.optional)
    if option == "--out":
        return replace(port, file=tail)
    if not port.is_parameter:
        raise DefinitionError(f"{option} {name!r} is an artifact and has no default.", f"Write {option} {head}.")
    if tail == "None":
        return replace(port, optional=True)
    return replace(port, default=_typed_default(tail, port, option))


def _typed_default(text: str, port: Port, option: str) -> Json:
    if port.type == "str":
        return text
    literal = {"true": "True", "false": "False"}.get(text, text)
    try:
        value = ast.literal_eval(literal)
    except (ValueError, SyntaxError):
        value = None
    wanted: Any = {"int": int, "float": (int, float), "bool": bool, "list": list, "dict": dict}[port.type]
    if not isinstance(value, wanted) or (isinstance(value, bool) and port.type != "bool"):
        raise DefinitionError(
            f"{option} {port.name!r} has the default {text!r}, which is no {port.type}.", "Give one of its type."
        )
    _check_finite(value, f"{option} {port.name!r} has the default")
    return float(value) if port.type == "float" else value
