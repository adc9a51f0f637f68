"""Cells of plain statements as steps."""

from __future__ import annotations

import ast

import pytest

from kfp_magics.errors import DefinitionError, NamesError
from kfp_magics.handles import Step
from kfp_magics.model import Component

from .conftest import make


def step(body: str, **options: object) -> Component:
    return make(body, **{"name": "s", "infer": False, "inputs": ("x:int=2",), "outputs": ("y:int",), **options})


def test_line_n_of_the_function_is_line_n_of_the_cell() -> None:
    component = step("\ny = 1\nraise ValueError(x)\n")
    assert component.language == "statements"
    assert component.source.splitlines()[3].strip() == "raise ValueError(x)"
    assert component.source.splitlines()[0] == "def s(x: int = 2) -> NamedTuple('Outputs', [('y', int)]):"


def test_the_function_is_called_as_the_step_runs() -> None:
    assert Step(step("y = x * 3\n")).fn() == (6,)
    assert Step(step("y = x * 3")).fn(5) == (15,)


BODIES = {
    "texts over several lines keep their inside": 'y = """a\n  b\n"""\n',
    "and so do those with expressions": "z = 1\ny = f'''a\n{z}\n b'''\n",
    "bytes too": "y = b'''a\n b'''\n",
    "continued lines": "y = (1 +\n2)\nif y: \\\n  y += 1\n",
    "comments and blank lines": "# first\n\ny = 1  # two\n   # three\n",
    "nested blocks": "def f(n):\n    return n if n < 2 else f(n - 1)\ny = f(3)\nfor i in range(2):\n\n    y += i\n",
    "several on a line": "y = 1; y += 1\n",
    "a loop's variable": "for y in range(3): pass\n",
    "a with statement": "import contextlib\nwith contextlib.nullcontext(4) as y:\n    pass\n",
    "a walrus": "print(y := 3)\n",
    "unpacking": "(a, [y, *_]) = 1, [2, 3]\n",
    "non-ASCII": "größe = 'ü漢'\ny = größe\n",
    "no newline at the end": "y = 1",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_body_means_in_the_function_what_it_means_in_the_cell(body: str) -> None:
    expected: dict[str, object] = {}
    exec(compile(body, "cell", "exec"), expected)
    assert Step(step(body, outputs=("y:str",))).fn() == (expected["y"],)


@pytest.mark.parametrize(
    ("body", "options", "message", "hint"),
    [
        ("y = 1\n", {"name": ""}, "The step has no name", "%%kfp_component NAME"),
        ("# nothing\n", {}, "has no statements", ""),
        ("z = 1\n", {}, "never assigns its output 'y'", "Write y = …"),
        ("y = 1\nreturn y\n", {}, "does not parse: 'return' outside function (line 3)", "return y"),
        ("y = (1\n", {}, "does not parse", ""),
        ("y = 1\n!ls\n", {}, "Line 3 of the cell 's' runs a shell command: !ls", "subprocess"),
        ("y = 1\n", {"inputs": ("y:int",)}, "an input and an output called 'y'", "Rename one"),
        ("y = 1\n", {"inputs": ("x:int", "x:str")}, "x", ""),
        ("y = 1\n", {"inputs": ("y:int", "class:int")}, "class", ""),
    ],
)
def test_mistakes(body: str, options: dict[str, object], message: str, hint: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        step(body, **options)
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert len(str(caught.value).splitlines()) <= 2


def test_names_that_it_will_not_have() -> None:
    with pytest.raises(NamesError, match=r"'scale' \(line 2\)") as caught:
        step("y = scale * x\n")
    assert "input" in caught.value.hint
    assert step("y = scale * x\n", namespace={"scale": 3}, include=("scale",)).source.startswith("def s(x")


def test_artifacts_are_parameters_of_the_function() -> None:
    component = step(
        "y = open(raw.path).read()\n",
        inputs=("raw:Dataset", "many:List[Model]", "note:Optional[str]"),
        outputs=("y:str", "page:HTML"),
    )
    tree = ast.parse(component.source).body[0]
    assert isinstance(tree, ast.FunctionDef)
    assert ast.unparse(tree.args) == (
        "raw: Input[Dataset], many: Input[List[Model]], page: Output[HTML], note: Optional[str]=None"
    )
