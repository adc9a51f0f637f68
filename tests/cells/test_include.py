"""Copying what the notebook has into a step."""

from __future__ import annotations

import functools
import inspect
import linecache
import math
import os.path
import subprocess
import sys
from pathlib import Path

import pytest

from kfp_magics.authoring import load_function
from kfp_magics.errors import DefinitionError

from .conftest import make

STEP = "def step(x: int) -> int:\n    return helper(x)\n"


def kernel(text: str) -> dict[str, object]:
    """Names as a notebook has them: of the module ``__main__``, with their text in linecache."""
    filename = f"<kernel {abs(hash(text))}>"
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
    names: dict[str, object] = {"__name__": "__main__", "In": ["", text]}
    exec(compile(text, filename, "exec", dont_inherit=True), names)
    return names


def result(code: str, include: str, body: str = STEP) -> object:
    component = make(body, kernel(code), include=tuple(include.split(",")))
    return load_function(component)(20)


def test_a_function_with_all_that_it_needs() -> None:
    code = """
import math
from math import floor
FACTOR = {"by": [2, 0.5]}
def halve(x):
    return floor(x * FACTOR["by"][1])

def helper(x):
    '''Text
  of several lines.'''
    return halve(x) + math.ceil(0.5)
"""
    assert result(code, "helper") == 11


def test_recursive_helpers() -> None:
    assert (
        result("def helper(x): return 0 if x == 0 else 1 + other(x - 1)\ndef other(x): return helper(x)\n", "helper")
        == 20
    )


def test_another_name_of_a_function() -> None:
    assert result("def original(x): return x + 2\nhelper = original\n", "helper") == 22


def test_a_lambda() -> None:
    assert result("helper = lambda x: x + 3\n", "helper") == 23
    with pytest.raises(DefinitionError, match="'helper' is a lambda whose text cannot be cut out") as caught:
        result("helper, other = (lambda x: x), (lambda x: -x)\n", "helper")
    assert "def helper" in caught.value.hint


def test_a_decorated_function() -> None:
    assert (
        result("import functools\n@functools.lru_cache\ndef helper(x):\n    return x + 4\n", "helper,functools") == 24
    )
    assert result("from functools import cache\n@cache\ndef helper(x):\n    return x + 4\n", "helper,cache") == 24


def test_a_function_that_keeps_names_of_its_maker() -> None:
    code = "n = 5\ndef maker(n):\n    def helper(x):\n        return x + n\n    return helper\nhelper = maker(1)\n"
    with pytest.raises(DefinitionError, match="'helper' keeps 'n' of the function that made it"):
        result(code, "helper")


def test_a_class_of_the_kernel() -> None:
    code = """
class Base:
    pass
from dataclasses import dataclass
@dataclass
class Row(Base):
    x: int
    @property
    def more(self):
        return self.x + 6
"""
    body = "def step(x: int) -> int:\n    return Row(x).more\n"
    assert result(code, "Row", body) == 26
    assert result(code, "Row,Base,dataclass", body) == 26


def test_classes_and_functions_are_found_in_a_real_kernel_session(tmp_path: Path) -> None:
    program = """
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.run_cell("class Row:\\n    size = 1", store_history=True)
shell.run_cell("class Row:\\n    size = 2", store_history=True)
shell.run_cell("def helper(x): return x + Row.size", store_history=True)
from kfp_magics.cells import component_from_cell
from kfp_magics.cells.options import CellOptions
made, _ = component_from_cell("def step(x: int) -> int:\\n    return helper(x)", CellOptions(include=("helper",)),
                              shell.user_ns, taken={})
names = {}
exec(made.source, names)
print(names["step"](1))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"IPYTHONDIR": str(tmp_path)},
    )
    assert done.stdout.strip().endswith("3"), done.stdout + done.stderr


def test_modules_and_what_is_imported() -> None:
    body = "def step(x: int) -> int:\n    return m.floor(math.sqrt(x)) + size(join('a', 'b')) + fold(max, [x])\n"
    names: dict[str, object] = {
        "math": math,
        "m": math,
        "join": os.path.join,
        "size": len,
        "fold": functools.reduce,
    }
    component = make(body, names, include=("math", "m", "join", "size", "fold"))
    assert "import math\nimport math as m\n" in component.source
    assert load_function(component)(20) == 4 + 3 + 20


@pytest.mark.parametrize("value", [0, -1.5, True, None, "ü\n'\"", b"\x00", [1, (2, {"a": {3}})], 1e300, 2j], ids=repr)
def test_constants(value: object) -> None:
    component = make("def step() -> int:\n    return CONST\n", {"CONST": value}, include=("CONST",))
    assert load_function(component)() == value


@pytest.mark.parametrize(
    "value",
    [object(), math.nan, Path("x"), range(3), memoryview(b""), (lambda: (yield))()],
    ids=lambda one: type(one).__name__,
)
def test_live_objects_are_refused(value: object) -> None:
    with pytest.raises(DefinitionError, match=f"'CONST' is a {type(value).__name__} and cannot be copied") as caught:
        make("def step() -> int:\n    return CONST\n", {"CONST": value}, include=("CONST",))
    assert "CONST: Input[Dataset]" in caught.value.hint
    if inspect.isgenerator(value):
        value.close()


def test_tables_are_refused() -> None:
    pandas = pytest.importorskip("pandas")
    with pytest.raises(DefinitionError, match="'df' is a DataFrame"):
        make("def step() -> int:\n    return len(df)\n", {"df": pandas.DataFrame({"a": [1]})}, include=("df",))


def test_what_is_not_there() -> None:
    with pytest.raises(DefinitionError, match="There is no 'helpr' to include") as caught:
        make(STEP, {"helper": len}, include=("helpr",))
    assert caught.value.hint == "Did you mean 'helper'?"


def test_code_that_is_not_known_any_more() -> None:
    names: dict[str, object] = {"__name__": "__main__"}
    exec(compile("def helper(x): return x\nclass Row: pass\n", "<a cell that is gone>", "exec"), names)
    for name in ("helper", "Row"):
        with pytest.raises(DefinitionError, match=f"The code of '{name}' is not known any more"):
            make("def step(x: int) -> int:\n    return x\n", names, include=(name,))


def test_names_that_are_read_before_they_are_there() -> None:
    with pytest.raises(DefinitionError, match="reads 'LIMIT' outside its functions"):
        make("HALF = LIMIT / 2\ndef step() -> float:\n    return HALF\n", {"LIMIT": 2}, include=("LIMIT",))


def test_the_cells_own_lines_keep_their_numbers() -> None:
    component = make(STEP, kernel("def helper(x):\n    return x\n"), include=("helper",))
    assert component.source.splitlines()[1:3] == STEP.splitlines()


def test_what_the_copies_miss_is_named() -> None:
    with pytest.raises(DefinitionError, match="reads 'nowhere'"):
        make(STEP, kernel("def helper(x): return nowhere(x)\n"), include=("helper",))


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file beside the notebook."""
    (tmp_path / "kfpm_helpers.py").write_text(
        "import math\nfrom dataclasses import dataclass\nLIMIT = 3\n\n@dataclass\nclass Box:\n    size: int\n\n"
        "def _clip(x):\n    return min(math.floor(x), LIMIT)\n\ndef helper(x):\n    return _clip(Box(x).size)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "kfpm_helpers", raising=False)
    return "from kfpm_helpers import helper\n"


def test_helpers_of_a_file_beside_the_notebook_travel_with_what_they_read_there(beside: str) -> None:
    component = make(STEP, kernel(beside), include=("helper",))
    assert "kfpm_helpers" not in component.source
    assert load_function(component)(20) == 3


@pytest.mark.parametrize(
    ("code", "include", "body", "message"),
    [
        ("import kfpm_helpers\n", "kfpm_helpers", STEP, "'kfpm_helpers' is a file beside the notebook"),
        ("LIMIT = 4\ndef mine(): return LIMIT\n", "mine,helper", STEP, "Two different 'LIMIT'"),
        ("", "helper", f"LIMIT = 5\n{STEP}", "'_clip' reads the 'LIMIT' of its own file"),
    ],
)
def test_a_file_beside_the_notebook_is_not_mixed_up_with_it(
    beside: str, code: str, include: str, body: str, message: str
) -> None:
    with pytest.raises(DefinitionError, match=message) as caught:
        result(beside + code, include, body)
    assert caught.value.hint
