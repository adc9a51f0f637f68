"""What a step reads and will not have, found without executing it."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys

import pytest

from kfp_magics.cells.names import KFP_RUNTIME_NAMES, unavailable
from kfp_magics.errors import DefinitionError, NamesError

from .conftest import make

COMPLETE = {
    "helpers, constants and classes of the cell": """
        LIMIT = 3
        class Row:
            size = LIMIT
            def area(self): return self.size
        def helper(x): return Row().area() + x
        def step(x: int) -> int: return helper(x)
    """,
    "a helper that is defined below": """
        def step(x: int) -> int: return helper(x)
        def helper(x): return x
    """,
    "imports of every form": """
        import os.path, numpy as np
        from json import dumps as write
        def step():
            import re
            return os, np, write, re
    """,
    "a guarded import": """
        try:
            import ujson as json
        except ImportError:
            import json
        def step(): return json
    """,
    "nested functions and nonlocal": """
        def step():
            n = 0
            def inner():
                nonlocal n
                n += 1
                return n
            return inner()
    """,
    "a global that a function declares": """
        def set_up():
            global model
            model = 1
        def step():
            set_up()
            return model
    """,
    "comprehensions, lambdas and generators": """
        def step(n: int):
            rows = [[y for y in range(x)] for x in range(n)]
            return sorted(rows, key=lambda row: len(row)), {k: v for k, v in rows}, set(z for z in rows)
    """,
    "a walrus, also within a comprehension": """
        def step(n: int):
            if (half := n // 2) > 1:
                return [last := x for x in range(half)], last
    """,
    "with, except, for, match, star and del": """
        def step(what: list):
            with open("x") as file, file as (a, *b):
                pass
            try:
                pass
            except ValueError as error:
                print(error)
            for c in what:
                pass
            match what:
                case [d, *e]: print(d, e)
                case {"k": f, **g}: print(f, g)
            del c
            print(a, b)
    """,
    "builtins and what KFP puts before a step": """
        def step(raw: Input[Dataset], clean: Output[Dataset]) -> Optional[int]:
            print(__name__, dsl, kfp, len(raw.path), NamedTuple, List)
    """,
    "a class whose body reads itself": """
        class A:
            x = 1
            y = x + 1
            name = __qualname__
            module = __module__
            def me(self): return __class__
        def step(): return A
    """,
    "non-ASCII names": """
        def größe(naïve): return naïve
        def step(ñ: int) -> int: return größe(ñ)
    """,
    "a star import, which may bring anything": """
        from math import *
        def step(): return sqrt(unknown_name)
    """,
    "type hints in quotes": """
        def step(x: int) -> int:
            y: "Unknown" = x
            return y
    """,
}


def dedent(text: str) -> str:
    return "\n".join(line[8:] for line in text.strip("\n").splitlines()) + "\n"


@pytest.mark.parametrize("source", COMPLETE.values(), ids=COMPLETE)
def test_nothing_is_missing(source: str) -> None:
    assert unavailable(dedent(source)) == {}


MISSING = {
    "in the function": ("def step():\n    return helper()\n", {"helper": 2}),
    "in a nested function": ("def step():\n    def inner():\n        return deep\n    return inner\n", {"deep": 3}),
    "in a default": ("def step(x=DEFAULT):\n    return x\n", {"DEFAULT": 1}),
    "in a decorator": ("@cached\ndef step():\n    return 1\n", {"cached": 1}),
    "in a base class": ("class A(Base):\n    pass\n", {"Base": 1}),
    "in a comprehension": ("def step():\n    return [f(x) for x in xs]\n", {"f": 2, "xs": 2}),
    "in an f-string": ("def step():\n    return f'{who}'\n", {"who": 2}),
    "what another function has for itself": (
        "def other():\n    mine = 1\n\ndef step():\n    return mine\n",
        {"mine": 5},
    ),
    "a name of a class's body, which its methods do not see": (
        "class A:\n    size = 1\n    def area(self):\n        return size\n",
        {"size": 4},
    ),
    "the first line of several": ("def step():\n    a = 1\n    use(a)\n    use(b)\n    return b\n", {"use": 3, "b": 4}),
    "what only IPython has": (
        "def step():\n    display(1)\n    get_ipython()\n",
        {"display": 2, "get_ipython": 3},
    ),
}


@pytest.mark.parametrize(("source", "expected"), MISSING.values(), ids=MISSING)
def test_what_is_missing_and_where(source: str, expected: dict[str, int]) -> None:
    assert unavailable(source) == expected


def test_a_comprehensions_variable_does_not_outlive_it() -> None:
    assert set(unavailable("def step():\n    [x for x in ()]\n    return x\n")) == {"x"}


def test_what_ipython_adds_to_the_builtins_is_not_taken_for_pythons_own() -> None:
    program = """
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.run_cell("from kfp_magics.cells.names import unavailable")
shell.run_cell("found = unavailable('display(get_ipython())')")
print(sorted(shell.user_ns["found"]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("['display', 'get_ipython']"), done.stdout


def test_lines_count_the_magics_own_line() -> None:
    with pytest.raises(NamesError, match=r"The cell 'step' reads 'helper' \(line 3\), which is not in it\."):
        make("def step() -> int:\n    return helper()\n")


def test_several_names_are_named_at_once() -> None:
    with pytest.raises(NamesError, match=r"'a' \(line 3\), 'b' \(line 4\), which are not in it"):
        make("def step():\n    a\n    b\n")


def hint(body: str, namespace: dict[str, object]) -> str:
    with pytest.raises(NamesError) as caught:
        make(body, namespace)
    return caught.value.hint


def test_a_module_of_the_kernel_is_to_be_imported() -> None:
    assert hint("def step():\n    math.pi\n", {"math": math}) == "Add to the cell: import math."
    assert hint("def step():\n    m.pi\n", {"m": math}) == "Add to the cell: import math as m."
    assert hint("def step():\n    p.join\n", {"p": os.path}) == f"Add to the cell: import {os.path.__name__} as p."


def test_other_names_of_the_kernel_are_to_be_included() -> None:
    text = hint(
        "def step():\n    return helper(LIMIT)\n", {"helper": test_a_module_of_the_kernel_is_to_be_imported, "LIMIT": 3}
    )
    assert text == "Copy from the notebook with --include helper,LIMIT, or make them inputs of the step."


def test_a_misspelt_name_is_guessed() -> None:
    assert hint("def step():\n    pritn(1)\n", {}).startswith("Did you mean 'print'? Otherwise define")
    assert hint("def step():\n    umsatzz\n", {"umsatz": 1}).startswith("Did you mean 'umsatz'? Otherwise")
    assert hint("def step():\n    qqqqqq\n", {}) == "Define 'qqqqqq' in the cell, or make it an input of the step."


def test_the_fixes_stand_together() -> None:
    text = hint("def step():\n    math.sqrt(LIMIT + qqqqqq)\n", {"math": math, "LIMIT": 1})
    assert text.startswith("Add to the cell: import math. Copy from the notebook with --include LIMIT,")
    assert "Define 'qqqqqq'" in text


def test_names_are_the_ones_that_kfp_gives_to_a_step() -> None:
    program = (
        "import kfp\nfrom kfp import dsl\nfrom kfp.dsl import *\nimport json\n"
        "print(json.dumps([n for n in globals() if not n.startswith('__') and n != 'json']))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        env=os.environ | {"_KFP_RUNTIME": "true"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(json.loads(done.stdout)) == KFP_RUNTIME_NAMES


def test_errors_are_definition_errors() -> None:
    assert issubclass(NamesError, DefinitionError)
