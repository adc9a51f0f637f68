"""The house rules that a machine can check."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import kfp_magics

ROOT = Path(kfp_magics.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
COMPILER = {"compiler"} | {f"compiler_{part}" for part in ("files", "images", "parts", "pods", "refusals")}
LAYERS = (
    {"model", "pods", "errors", "settings", "options", "addresses"},
    {"ir", "ir_yaml", "engines", "google", "installer", "mlmd", "outputs", "cutting", "packages", "reusing"},
    COMPILER | {"cells", "compiler_channels", "parts", "images", "backends", "runs", "arguments", "live"} | {"sources"},
    {"handles", "authoring", "building", "trying", "definitions", "estimating", "planning", "servers", "starting"}
    | {"server", "gateway", "delivery", "doctor"},
    {"session", "scheduling"},
    {"magics", "widgets"},
    {"cli_delivery", "cli_runs", "cli_servers", "cli_setup"},
    {"cli"},
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
GOOGLE = {
    ("backends", "buckets.py"),
    ("backends", "kfp"),
    ("delivery", "cloud"),
    ("delivery", "newdata", "claims.py"),
    ("delivery", "newdata", "submit.py"),
    ("delivery", "triggers.py"),
    ("images", "cloudbuild"),
    ("images", "google.py"),
    ("backends", "vertex"),
    ("google.py",),
}  # the adapters that may import Google's clients
SAME_LEVEL_APART = {("runs", "cells"), ("cells", "backends"), ("runs", "compiler"), ("backends", "cells")}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").parts[0]


def imported(path: Path) -> set[tuple[str, int]]:
    """Modules that run-time code imports, with their lines; what only type checkers read is left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    hidden = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            found |= {(alias.name, node.lineno) for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add((node.module, node.lineno))
            if node.module == "kfp_magics":
                found |= {(f"kfp_magics.{alias.name}", node.lineno) for alias in node.names}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downward(path: Path) -> None:
    here = name_of(path)
    if here == "__init__":
        return
    for module, line in imported(path):
        if not module.startswith("kfp_magics."):
            continue
        there = module.split(".")[1]
        if there not in LEVEL:
            continue
        allowed = LEVEL[there] <= LEVEL[here] and (here, there) not in SAME_LEVEL_APART
        handles_may_compile = (here, there) == ("handles", "authoring")
        assert allowed or handles_may_compile, f"{path.name}:{line} imports {module}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_heavy_imports_stay_where_they_belong(path: Path) -> None:
    here = name_of(path)
    for module, line in imported(path):
        top = module.partition(".")[0]
        where = f"{path.name}:{line} imports {module}"
        if top in {"kfp", "kfp_server_api"}:
            assert here in COMPILER | {"backends"}, where
        if top in {"IPython", "ipywidgets", "anywidget"}:
            assert here in {"magics", "widgets", "cli"}, where
        if top in {"jupyter_server", "jupyter_events", "tornado", "jsonschema"}:
            assert here == "server", where
        if top in {"starlette", "uvicorn", "croniter"}:
            assert here == "gateway", where
        if here in {"server", "gateway"}:  # they watch what others do, whatever they wrote it with
            assert not module.startswith(("kfp_magics.cells", "kfp_magics.compiler")), where
            assert not module.startswith(tuple(f"kfp_magics.{one}" for one in LAYERS[3] - {here})), where
        if module.startswith(("google.cloud", "google.api_core", "google.auth", "grpc")):
            parts = path.relative_to(ROOT).parts
            assert parts[:2] in GOOGLE or parts in GOOGLE, where


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_and_functions_stay_readable(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 420, "split the module"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, f"{node.name} is long"
    assert "TO" + "DO" not in text


def test_the_public_names_are_exactly_these() -> None:
    assert set(kfp_magics.__all__) == {
        "Artifact",
        "Component",
        "KfpMagicsError",
        "Pipeline",
        "Port",
        "Run",
        "Session",
        "Settings",
        "State",
        "Task",
        "__version__",
        "load_ipython_extension",
    }
    for name in kfp_magics.__all__:
        assert getattr(kfp_magics, name) is not None
    assert dir(kfp_magics) == sorted(kfp_magics.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = kfp_magics.nothing


def test_loading_the_extension_imports_nothing_heavy() -> None:
    program = """
import sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.run_line_magic("load_ext", "kfp_magics")
assert "kfp_run" in shell.magics_manager.magics["line"]
# Google's packages put an empty 'google' into every interpreter: what counts is what is inside.
heavy = {"kfp", "google.auth", "google.protobuf", "grpc", "anywidget", "ipywidgets"}
heavy |= {"pandas", "networkx", "celpy", "nbclient", "httpx"}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]"), done.stdout
