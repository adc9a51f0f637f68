"""A cell as a module: what does not parse, what only IPython understands, which function is the step."""

from __future__ import annotations

import pytest

from kfp_magics.cells.source import HEADER, decorated_functions, parse_cell
from kfp_magics.errors import DefinitionError

from .conftest import make

STEP = "def step() -> int:\n    return 1\n"
LEGAL = {
    "modulo at a line's start": "x = (7\n  %b\n)\n",
    "unequal": "x = a != y\n",
    "unequal at a line's start": "x = (a\n  != y)\n",
    "a shell line in a text": "x = '''\n!ls\n%time\nfoo?\n'''\n",
    "a shell line in a comment": "# !ls\n#%time\n",
    "formatting": "x = '%s' %b\n",
    "matrix": "x = a @b\n",
}


@pytest.mark.parametrize("text", LEGAL.values(), ids=LEGAL)
def test_ordinary_python_passes(text: str) -> None:
    assert make(f"a, b, y = 1, 2, 3\n{text}{STEP}").entry == "step"


IPYTHON = {
    "!pip install pandas": "runs a shell command",
    "    !ls": "runs a shell command",
    "files = !ls": "runs a shell command",
    "!{command}": "runs a shell command",
    "!echo it's": "runs a shell command",
    "!(cd x; ls)": "runs a shell command",
    "%matplotlib inline": "runs a magic",
    "x = %timeit 1": "runs a magic",
    "%%time": "runs a magic",
    "df?": "asks IPython for help",
    "?df.head": "asks IPython for help",
    "df.head??": "asks IPython for help",
}


@pytest.mark.parametrize(("line", "kind"), IPYTHON.items(), ids=list(IPYTHON))
def test_what_only_ipython_understands(line: str, kind: str) -> None:
    body = f"x = 'ü'\ndef step() -> int:\n{line if line.startswith(' ') else '    pass'}\n    return 1\n"
    number = 4
    if not line.startswith(" "):
        body, number = f"x = 1\n\n{line}\n{STEP}", 4
    with pytest.raises(DefinitionError, match=f"^Line {number} of the cell {kind}: ") as caught:
        make(body)
    assert line.strip() in caught.value.message
    assert ("subprocess.run" in caught.value.hint) is ("!" in line)


def test_the_first_of_several_is_named() -> None:
    with pytest.raises(DefinitionError, match=r"^Line \d of the cell runs a"):
        make(f"%cd /tmp\n!echo it's\n{STEP}")


@pytest.mark.parametrize(
    "text", ["x = '''\n!ls\n'''\ny = (1 +\n", "a, b = 1, 2\nx = (a\n  %b)\ny = 1 +\n", "x = '''\ndf?\n'''\ndef f(:\n"]
)
def test_a_mistake_elsewhere_is_not_blamed_on_what_looks_like_ipython(text: str) -> None:
    with pytest.raises(DefinitionError, match="does not parse") as caught:
        make(text)
    assert "magic" not in str(caught.value)


BROKEN = {
    "x = 1\ndef f(:\n": 3,
    "def step(x: int, x: int):\n    pass\n": 2,
    "x = 1\nreturn 2\n": 3,
    "def step():\n    break\n": 3,
    "nonlocal x\n": 2,
    "def step():\n    x = 1\n    global x\n": 4,
    "def step():\n    await f()\n": 3,
    "x = 'ü\n": 2,
    "if True:\nx = 1\n": 3,
}


@pytest.mark.parametrize(("body", "line"), BROKEN.items(), ids=list(BROKEN))
def test_what_does_not_parse_is_named_with_its_line(body: str, line: int) -> None:
    with pytest.raises(DefinitionError, match=rf"The cell does not parse: .+ \(line {line}\)") as caught:
        make(body)
    assert caught.value.hint == f"Look at: {body.splitlines()[line - 2].strip()}"


def test_future_imports() -> None:
    with pytest.raises(DefinitionError, match=r"imports from __future__ \(line 2\)"):
        make("from __future__ import annotations\n" + STEP)


@pytest.mark.parametrize("line", ["from . import x", "from .helpers import f", "from ..a.b import c"])
def test_relative_imports(line: str) -> None:
    with pytest.raises(DefinitionError, match=r"imports from \.+\S* \(line 3\), and a step is in no package") as caught:
        make(f"def step() -> int:\n    {line}\n    return 1\n")
    assert "--include" in caught.value.hint


@pytest.mark.parametrize("decorator", ["functools.cache", "lru_cache(maxsize=3)", "contextmanager"])
def test_decorators_that_leave_no_function(decorator: str) -> None:
    body = f"import functools\nfrom functools import lru_cache\nfrom contextlib import contextmanager\n@{decorator}\n"
    helper = f"{body}def helper():\n    return 1\n"
    assert make(helper + STEP).entry == "step"
    with pytest.raises(DefinitionError, match=r"makes something of 'step' that KFP cannot call \(line 5\)") as caught:
        make(body + STEP)
    assert "helper function" in caught.value.hint


def test_a_decorator_that_hides_the_function() -> None:
    hides = (
        "import functools\ndef hides(f):\n    {0}def g(*a, **k):\n        return f(*a, **k)\n    return g\n\n@hides\n"
    )
    with pytest.raises(DefinitionError, match=r"@hides hides the inputs of 'step' from KFP \(line 8\)") as caught:
        make(hides.format("") + STEP)
    assert "@functools.wraps" in caught.value.hint
    assert make(hides.format("@functools.wraps(f)\n    ") + STEP).entry == "step"
    assert make("def marks(f, *rest):\n    return f\n\n@marks\n" + STEP).entry == "step"


def test_the_module_keeps_the_cells_line_numbers() -> None:
    component = make(STEP)
    assert component.source == HEADER + STEP
    assert parse_cell(STEP, "cell").body[0].lineno == 2  # type: ignore[attr-defined]


def test_the_last_function_is_the_step_unless_another_is_named() -> None:
    body = "def first() -> int:\n    return 1\n\ndef second() -> str:\n    return ''\n"
    assert make(body).entry == "second"
    assert make(body, entry="first").entry == "first"
    with pytest.raises(DefinitionError, match="defines no function 'frist'") as caught:
        make(body, entry="frist")
    assert caught.value.hint == "Did you mean 'first'?"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("x = 1\n", "The cell defines no function"),
        ("class A:\n    def f(self): pass\n", "The cell defines no function"),
        ("async def step(): pass\n", r"'step' is asynchronous \(line 2\)"),
        ("def step():\n    yield 1\n", "'step' is a generator"),
        ("def step():\n    if 1:\n        x = yield from []\n", "'step' is a generator"),
        ("", "The cell is empty"),
        ("\n  \n", "The cell is empty"),
        ("# nothing\n", "The cell defines no function"),
    ],
)
def test_cells_without_a_step(body: str, message: str) -> None:
    with pytest.raises(DefinitionError, match=message) as caught:
        make(body)
    assert caught.value.hint


def test_generators_and_coroutines_inside_a_step_are_its_own_business() -> None:
    body = "def step() -> int:\n    def inner():\n        yield 1\n    async def more(): ...\n    return sum(inner())\n"
    assert make(body).entry == "step"


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ("@dsl.component\ndef a(): pass\n", ["a"]),
        ("@dsl.component(base_image='x')\ndef a(): pass\n@kfp.dsl.pipeline(name='p')\ndef b(): pass\n", ["a", "b"]),
        ("@kfp.dsl.container_component\ndef a(): pass\n", ["a"]),
        ("from kfp.dsl import component\n@component\ndef a(): pass\n", ["a"]),
        ("from kfp import dsl as d\n@d.component\ndef a(): pass\n", ["a"]),
        ("@component\ndef a(): pass\n", []),
        ("@other.component\ndef a(): pass\n", []),
        ("@dsl.something\ndef a(): pass\n", []),
        ("def f():\n    @dsl.component\n    def a(): pass\n", []),
        ("def broken(:\n", []),
        ("", []),
    ],
)
def test_functions_that_kfp_decorates(body: str, names: list[str]) -> None:
    assert [function.name for function in decorated_functions(body)] == names
