"""What a step's imports require, pinned to what the kernel has."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import json
import sys
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from kfp_magics.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_PROVIDED = frozenset({"kfp", "__main__", "__future__"})
_FAMOUS = {
    "sklearn": "scikit-learn",
    "cv2": "opencv-python-headless",
    "PIL": "Pillow",
    "yaml": "PyYAML",
    "bs4": "beautifulsoup4",
    "dateutil": "python-dateutil",
    "skimage": "scikit-image",
    "Crypto": "pycryptodome",
    "dotenv": "python-dotenv",
    "attr": "attrs",
}


def requirements(tree: ast.AST, packages: Iterable[str], *, infer: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Finds what a step requires.

    Args:
        tree: The step's module.
        packages: What the user named; it wins over what is inferred.
        infer: Whether imports count.

    Returns:
        PEP 508 lines, sorted; and remarks about those that could not be pinned.

    Raises:
        DefinitionError: A package that the user named does not read.
    """
    named = {_name_of(line): line for line in packages}
    found: dict[str, str] = {}
    remarks: list[str] = []
    for module, optional in _imports(tree) if infer else ():
        for distribution in _distributions(module):
            line, remark = _pin(distribution)
            if canonicalize_name(distribution) not in named:
                found[canonicalize_name(distribution)] = line
                remarks.extend([remark] if remark else [])
        if not _distributions(module) and not optional:
            line, remark = _unknown(module)
            if line and canonicalize_name(line) not in named:
                found[canonicalize_name(line)] = line
            if remark and not (line and canonicalize_name(line) in named):
                remarks.append(remark)
    return tuple(sorted({**found, **named}.values(), key=str.lower)), tuple(dict.fromkeys(remarks))


def _name_of(line: str) -> str:
    if line.startswith(("git+", "http://", "https://", "file:", "/", "./")):
        return line
    try:
        return canonicalize_name(Requirement(line).name)
    except InvalidRequirement as error:
        raise DefinitionError(
            f"--packages {line!r} is no requirement: {str(error).splitlines()[0]}.",
            "Write it as for pip: pandas, pandas==2.2.3, 'scikit-learn>=1.5'.",
        ) from error


def _imports(tree: ast.AST) -> Iterator[tuple[str, bool]]:
    """Yields each imported module once, and whether the code can do without it."""
    guarded = {id(node) for block in ast.walk(tree) if _is_guard(block) for node in ast.walk(block)}
    seen: set[str] = set()
    for node in ast.walk(tree):
        for module in _modules(node):
            top = module.partition(".")[0]
            if module not in seen and top not in sys.stdlib_module_names and top not in _PROVIDED:
                seen.add(module)
                yield module, id(node) in guarded


def _modules(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        spread = _is_spread(node.module.partition(".")[0])
        return [f"{node.module}.{alias.name}" for alias in node.names] if spread else [node.module]
    return []


def _is_guard(node: ast.AST) -> bool:
    if isinstance(node, ast.If):
        test = node.test
        return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
            isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
        )
    if not isinstance(node, ast.Try):
        return False
    caught = [one for handler in node.handlers for one in ast.walk(handler.type or ast.Name("Exception"))]
    return any(isinstance(one, ast.Name) and one.id in {"ImportError", "ModuleNotFoundError"} for one in caught)


def _by_package() -> dict[str, list[str]]:
    folders = [Path(one or ".") for one in sys.path]
    return _installed(tuple((str(one), one.stat().st_mtime_ns) for one in folders if one.exists()))


@lru_cache(maxsize=1)
def _installed(_places: tuple[tuple[str, int], ...]) -> dict[str, list[str]]:
    """Looks once and again after an installation, which changes a folder of the path."""
    return {name: sorted(set(found)) for name, found in importlib.metadata.packages_distributions().items()}


def _is_spread(top: str) -> bool:
    """Whether several distributions share a package, as those of ``google.cloud`` do."""
    return len(_by_package().get(top, ())) > 1


def _distributions(module: str) -> tuple[str, ...]:
    top = module.partition(".")[0]
    found = _by_package().get(top, [])
    if len(found) < 2:
        return tuple(found)
    for length in range(module.count(".") + 1, 0, -1):
        path = "/".join(module.split(".")[:length])
        owners = [name for name in found if _owns(name, path)]
        if len(owners) == 1:
            return tuple(owners)
    return ()


def _owns(distribution: str, path: str) -> bool:
    files = {str(one) for one in importlib.metadata.files(distribution) or ()}
    return f"{path}/__init__.py" in files or f"{path}.py" in files


def pinned(distribution: str) -> str:
    """A requirement of a distribution as it is installed here; without a pin where it is not."""
    try:
        return _pin(distribution)[0]
    except importlib.metadata.PackageNotFoundError:
        return distribution


def _pin(distribution: str) -> tuple[str, str]:
    found = importlib.metadata.distribution(distribution)
    name = found.metadata["Name"]
    origin = json.loads(found.read_text("direct_url.json") or "{}")
    if origin.get("dir_info", {}).get("editable"):
        return name, f"{name} is installed in editable mode here; the step takes the published one, without a pin."
    if origin:
        return name, f"{name} was installed from {origin.get('url', 'a file')}; the step takes the published one."
    public, _, local = found.version.partition("+")
    if local:
        return f"{name}=={public}", f"{name} is {found.version} here; the step takes {public}."
    return f"{name}=={public}", ""


def _unknown(module: str) -> tuple[str, str]:
    top = module.partition(".")[0]
    if top not in _FAMOUS and is_local(top):
        return "", (
            f"{top!r} is a file beside the notebook and does not travel: import what you need from it in the notebook "
            "and copy that with --include, or make it a package."
        )
    name = _FAMOUS.get(top, top)
    return name, f"{top!r} is not installed here; the step requires {name!r} without a pin."


def is_local(module: str) -> bool:
    """Whether a module is a file of the user's own, which no package brings."""
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names or top in _PROVIDED or _by_package().get(top):
        return False
    try:
        return importlib.util.find_spec(top) is not None
    except (ImportError, ValueError):
        return False
