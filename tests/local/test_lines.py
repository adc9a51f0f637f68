"""Whatever form a step has, its failure names the cell and the line that the person sees."""

import linecache
from collections.abc import Iterator

import pytest

from kfp_magics.cells.options import CellOptions
from kfp_magics.model import Failure, State
from kfp_magics.session import RunOptions, Session
from kfp_magics.settings import Settings

# The cell's first line is the magic itself, so that the first line of a body is line 2.
FUNCTION = """import json

LIMIT = 3

def check(n):
    if n > LIMIT:
        raise ValueError(f"größer als {LIMIT}")  # boom

def guarded(n: int) -> int:
    check(n)
    return n
"""
DEFAULTS = """def late(
    n: int,
    word: str = "x",
) -> int:
    '''Says nothing.'''
    return (
        n  # boom
        // (n - n)
    )
"""
STATEMENTS = """def half(x):
    return x / 0  # boom

for attempt in [n]:
    total = half(attempt)
"""
DECORATED = """from kfp import dsl

@dsl.component(
    base_image="python:3.11",
)
def decorated(n: int) -> int:
    words = {}
    return words[str(n)]  # boom
"""
METHOD = '''TEXT = """
several
lines
"""

class Counter:
    def __init__(self, n):
        self.n = n

    @property
    def value(self):
        assert self.n < 0, TEXT.split()[0]  # boom
        return self.n

def counted(n: int) -> int:
    return [Counter(n).value for _ in range(1)][0]
'''
FORMS: dict[str, tuple[str, CellOptions]] = {
    "guarded": (FUNCTION, CellOptions()),
    "late": (DEFAULTS, CellOptions()),
    "summed": (STATEMENTS, CellOptions(name="summed", inputs=("n:int",), outputs=("total:float",))),
    "decorated": (DECORATED, CellOptions(infer=False)),
    "counted": (METHOD, CellOptions()),
}


@pytest.fixture
def session(settings: Settings) -> Iterator[Session]:
    made = Session(settings=settings, namespace={})
    yield made
    made.store.close()


def failure_of(session: Session, name: str, fails: State = State.FAILED) -> Failure:
    session.pipeline(f"def fails(n: int = 7):\n    {name}(n=n)\n", name="fails")
    run = session.run("fails", options=RunOptions())
    session.watcher.wait(run.id)
    [task] = session.store.get(run.id).tasks
    assert task.state is fails
    assert task.error is not None
    return task.error


@pytest.mark.parametrize("name", FORMS)
def test_a_failure_points_to_its_cell_and_line(session: Session, name: str) -> None:
    body, options = FORMS[name]
    session.component(body, options, cell_id=f"cell-of-{name}")
    error = failure_of(session, name)
    lines = ["%%kfp_component", *body.splitlines()]
    assert error.cell_id == f"cell-of-{name}"
    assert error.line is not None
    assert "# boom" in lines[error.line - 1]
    assert error.text == lines[error.line - 1].strip()
    assert f"line {error.line}" in error.traceback
    assert "site-packages" not in error.traceback


def test_a_failure_in_an_included_helper(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    helper = "def shared(n):\n    return 1 / (n - n)  # boom\n"
    exec(compile(helper, "cell 'shared'", "exec"), session.definitions.namespace)
    entry = (len(helper), None, helper.splitlines(keepends=True), "cell 'shared'")
    monkeypatch.setitem(linecache.cache, "cell 'shared'", entry)
    body = "def caller(n: int) -> float:\n    return shared(n)  # here\n"
    session.component(body, CellOptions(include=("shared",)), cell_id="cell-of-caller")
    error = failure_of(session, "caller")
    assert (error.line, error.text) == (3, "return shared(n)  # here")
    assert "return 1 / (n - n)  # boom" in error.traceback


def test_a_wrong_result_names_its_cell(session: Session) -> None:
    session.component("def liar(n: int) -> int:\n    return 'seven'\n", CellOptions(), cell_id="cell-of-liar")
    error = failure_of(session, "liar")
    assert error.cell_id == "cell-of-liar"
    assert "int" in error.message


def test_a_script_names_its_cell(session: Session) -> None:
    options = CellOptions(name="script", lang="bash", inputs=("n:int",))
    session.component("echo before\necho 'gone wrong' >&2\nexit 4\n", options, cell_id="cell-of-script")
    error = failure_of(session, "script")
    assert error.cell_id == "cell-of-script"
    assert "exit code 4: gone wrong" in error.message
