"""What names of a Python module stand for: which of them are Google's clients, and what is got from those."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from kfp_magics.delivery.auth.services import DISCOVERED, SERVICES, service_of

if TYPE_CHECKING:
    from collections.abc import Iterator

_HARMLESS = frozenset(["print", "len", "isinstance", "repr", "str", "bool", "id", "type"])
_PASSES = frozenset(["list", "sorted", "tuple", "set", "next", "iter", "enumerate", "zip"])


class Values:
    """Follows Google's clients through the names of a module: imports, assignments, loops, its own functions.

    It does not know in which order things happen: a name that stands for a client somewhere stands for it everywhere.

    Args:
        tree: The module.
    """

    def __init__(self, tree: ast.AST) -> None:
        self.tree = tree
        self.imports: list[tuple[str, int]] = []
        self.unknown: list[tuple[str, int]] = []
        self._names: dict[str, str] = {}
        self._functions = {one.name: one for one in ast.walk(tree) if isinstance(one, ast.FunctionDef)}
        self._texts: dict[str, str | None] = {}
        self._import()
        self._follow()
        self._remember_texts()

    def service(self, node: ast.AST | None) -> str:  # noqa: PLR0911  (a kind of expression each)
        """The key of `SERVICES` of what an expression gives; empty when it is no client, nor got from one as one."""
        match node:
            case ast.Name(id=name):
                return self._names.get(name, "")
            case ast.Attribute(value=owner, attr=attr):
                key = self.service(owner)
                return key if key and _stays(key, attr) else self._module(node)
            case ast.Call(func=ast.Name(id=name), args=arguments) if name in _PASSES:
                return next(filter(None, map(self.service, arguments)), "")
            case ast.Call(func=function):
                return self._discovered(node) or self._called(function)
            case ast.Await(value=inner) | ast.Starred(value=inner) | ast.Subscript(value=inner):
                return self.service(inner)
            case ast.NamedExpr(value=inner):
                return self.service(inner)
            case ast.IfExp(body=one, orelse=other):
                return self.service(one) or self.service(other)
            case ast.Tuple(elts=several) | ast.List(elts=several):
                return next(filter(None, map(self.service, several)), "")
            case ast.ListComp(elt=inner) | ast.GeneratorExp(elt=inner):
                return self.service(inner)
        return ""

    def text(self, node: ast.AST | None) -> str | None:
        """The text that an expression is for certain; None when it cannot be told."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return node.value
        return self._texts.get(node.id) if isinstance(node, ast.Name) else None

    def escapes(self) -> Iterator[tuple[str, ast.Call]]:
        """Clients that are given to functions which are not seen here: what becomes of them cannot be told."""
        for node in ast.walk(self.tree):
            if not isinstance(node, ast.Call) or self.service(node.func) or self._is_own(node.func):
                continue
            if isinstance(node.func, ast.Attribute) and self.service(node.func.value):
                continue
            for given in (*node.args, *(one.value for one in node.keywords)):
                if key := self.service(given):
                    yield key, node

    def _is_own(self, function: ast.expr) -> bool:
        return isinstance(function, ast.Name) and function.id in {*self._functions, *_HARMLESS, *_PASSES}

    def _import(self) -> None:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    self._take(alias.name, alias.asname or "", node.lineno)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                for alias in node.names:
                    self._take(f"{node.module}.{alias.name}", alias.asname or alias.name, node.lineno)
            elif isinstance(node, ast.Call) and _is_import(node.func) and node.args:
                named = node.args[0]
                self._take(str(named.value) if isinstance(named, ast.Constant) else "", "", node.lineno)

    def _take(self, module: str, name: str, line: int) -> None:
        key, service = service_of(module)
        if service is not None:
            self.imports.append((key, line))
            if name:
                self._names[name] = key
        elif key and not key.startswith("google.cloud.exceptions"):
            self.unknown.append((".".join(key.split(".")[:3]), line))

    def _module(self, node: ast.AST) -> str:
        """A module that is written whole: ``google.cloud.storage``."""
        text = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
        return text if text in SERVICES and text in {key for key, _ in self.imports} else ""

    def _called(self, function: ast.expr) -> str:
        if _is_import(function):
            return ""
        if isinstance(function, ast.Name) and function.id in self._functions:
            returns = (one for one in ast.walk(self._functions[function.id]) if isinstance(one, ast.Return))
            return next((key for one in returns if not _is_inside(one, function) and (key := self._shallow(one))), "")
        return self.service(function)

    def _shallow(self, found: ast.Return) -> str:
        """What a function returns, as far as it is a name or made there; no function is followed into itself."""
        value = found.value
        calls_own = (
            isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id in self._functions
        )
        return "" if calls_own else self.service(value)

    def _discovered(self, call: ast.Call) -> str:
        named = isinstance(call.func, ast.Attribute | ast.Name) and ast.unparse(call.func).endswith("build")
        if named and call.args and isinstance(call.args[0], ast.Constant):
            key = DISCOVERED.get(str(call.args[0].value), "")
            return key if any("googleapiclient" in ast.unparse(one) for one in self._import_nodes()) else ""
        return ""

    def _import_nodes(self) -> Iterator[ast.AST]:
        return (one for one in ast.walk(self.tree) if isinstance(one, ast.Import | ast.ImportFrom))

    def _follow(self) -> None:
        before = -1
        while before != len(self._names):
            before = len(self._names)
            for node in ast.walk(self.tree):
                for target, value in self._bindings(node):
                    if key := self.service(value):
                        for name in (one.id for one in ast.walk(target) if isinstance(one, ast.Name)):
                            self._names.setdefault(name, key)

    def _bindings(self, node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
        match node:
            case ast.Assign(targets=targets, value=value):
                yield from ((target, value) for target in targets)
            case ast.AnnAssign(target=target, value=ast.expr() as value) | ast.NamedExpr(target=target, value=value):
                yield target, value
            case ast.AnnAssign(target=target, annotation=kind):
                yield target, kind
            case ast.For(target=target, iter=value) | ast.AsyncFor(target=target, iter=value):
                yield target, value
            case ast.comprehension(target=target, iter=value):
                yield target, value
            case ast.withitem(context_expr=value, optional_vars=ast.expr() as target):
                yield target, value
            case ast.FunctionDef(args=arguments):
                for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
                    if one.annotation is not None:
                        yield ast.Name(one.arg), one.annotation
            case ast.Call(func=ast.Name(id=name)) if name in self._functions:
                yield from self._given(node, self._functions[name])

    def _given(self, call: ast.Call, function: ast.FunctionDef) -> Iterator[tuple[ast.expr, ast.expr]]:
        names = [one.arg for one in (*function.args.posonlyargs, *function.args.args)]
        yield from ((ast.Name(name), value) for name, value in zip(names, call.args, strict=False))
        yield from ((ast.Name(one.arg), one.value) for one in call.keywords if one.arg)

    def _remember_texts(self) -> None:
        """Names that are assigned exactly once, to a text."""
        for node in ast.walk(self.tree):
            targets: list[ast.expr] = []
            text: str | None = None
            if isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                value = node.value.value if isinstance(node.value, ast.Constant) else None
                text = value if isinstance(value, str) else None
            elif isinstance(node, ast.AugAssign | ast.For | ast.NamedExpr):
                targets = [node.target]
            elif isinstance(node, ast.arg):
                targets = [ast.Name(node.arg)]
            for name in (one.id for target in targets for one in ast.walk(target) if isinstance(one, ast.Name)):
                self._texts[name] = text if name not in self._texts else None


def _stays(key: str, attr: str) -> bool:
    """Whether what an attribute of a client is can be asked again, as a bucket can, or is data."""
    service = SERVICES[key]
    is_class_or_module = attr[:1].isupper() or attr.startswith("from_service_account") or attr == "transfer_manager"
    return is_class_or_module or attr in service.resources


def _is_import(function: ast.AST) -> bool:
    return ast.unparse(function) in {"importlib.import_module", "import_module", "__import__"}


def _is_inside(found: ast.Return, function: ast.Name) -> bool:
    return any(isinstance(one, ast.Name) and one.id == function.id for one in ast.walk(found))
