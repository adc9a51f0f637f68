"""What KFP refuses costs two lines: its reason with the line of the cell, and what to do."""

from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from kfp_magics.errors import DefinitionError, NamesError, NotFoundError
from kfp_magics.model import Pipeline
from kfp_magics.session import Session

STEPS = (
    "def make(n: int, data: Output[Dataset]) -> int:\n    return n\n",
    "def read(data: Input[Dataset], word: str = 'x') -> str:\n    return word\n",
)


@pytest.fixture
def with_steps(session: Session, define: Any) -> Session:
    for text in STEPS:
        define(text)
    return session


@pytest.mark.parametrize(
    ("body", "message", "hint"),
    [
        ("make()", r"\(line 3\): make\(\) missing 1 required argument: n", "Write make(n=…)."),
        ("make(m=1)", r"\(line 3\): make\(\) got an unexpected", "A cell with make alone shows"),
        ("make(3)", r"\(line 3\): Components must be instantiated using keyword", "Write make(NAME=…)."),
        ("make(n='x')", r"\(line 3\): Incompatible argument passed to the input 'n'", "of that type"),
        (
            "read(data='/x.csv')",
            r"\(line 3\): Incompatible argument",
            "dsl.importer(artifact_uri=…, artifact_class=dsl.D",
        ),
        ("x = make(n=1)\n    read(data=x)", r"\(line 4\): a task stands where its output is meant", "task.output"),
        ("x = make(n=1)\n    return x", "a task is returned where its output is meant", "task.output"),
        (
            "x = make(n=1)\n    read(data=x.output)",
            r"\(line 4\): The task has multiple outputs",
            "task.outputs['NAME']",
        ),
        ("x = make(n=1)\n    read(data=x.outputs['dta'])", r"\(line 4\): there is no output 'dta'", "'data'"),
        ("x = make(n=1)\n    read(data=x.ouput)", r"\(line 4\): a task has no 'ouput'", "'output'"),
        ("x = make(n=1)\n    read(data=x.outputs['Output'])", r"\(line 4\): Incompatible argument", "dsl.importer"),
        ("with dsl.If(n == 1):\n        x = make(n=1)\n    make(n=x.outputs['Output'])", "Illegal task", "dsl.OneOf"),
        ("with dsl.If(n):\n        make(n=1)", "a condition compares two values", "dsl.If(value == 'yes')"),
        ("for i in n:\n        make(n=i)", r"\(line 3\): what is looped over is known only when", "dsl.ParallelFor"),
        ("make(n=n + 1)", r"\(line 3\): a value is known only when the pipeline runs", "in a step"),
        ("make(n=n['a'])", r"\(line 3\): a value is known only when the pipeline runs", "in a step"),
        ("make(n=n())", r"\(line 3\): a value is known only when the pipeline runs", "in a step"),
        ("pass", "it has no step", "Call a step in it"),
    ],
)
def test_a_pipeline_that_does_not_compose(with_steps: Session, body: str, message: str, hint: str) -> None:
    with pytest.raises(DefinitionError, match=f"The pipeline 'p' does not compose.*{message}") as caught:
        with_steps.pipeline(f"def p(n: int = 1):\n    {body}\n")
    assert len(str(caught.value).splitlines()) == 2
    assert hint in caught.value.hint
    assert "p" not in with_steps.definitions.namespace


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        ("def p(n: int):\n    mkae(n=n)\n", NamesError, r"reads 'mkae' \(line 3\)"),
        ("limit = LIMT\ndef p(n: int):\n    make(n=n)\n", NamesError, r"reads 'LIMT' \(line 2\)"),
        ("def p(n: int):\n    make(n=n\n", DefinitionError, r"does not parse: .* \(line 3\)"),
        ("x = 3\n", DefinitionError, "defines no function"),
        ("def p(x: float = float('nan')):\n    make(n=1)\n", DefinitionError, "does not compose: Failed to serialize"),
        ("def p(n):\n    make(n=n)\n", DefinitionError, "Missing type annotation for argument: n"),
        ("def p(n: complex):\n    make(n=1)\n", DefinitionError, "does not compose"),
        ("def p(n: int):\n    with dsl.ParallelFor(3) as i:\n        make(n=i)\n", DefinitionError, "does not compose"),
    ],
)
def test_a_cell_that_is_no_pipeline(with_steps: Session, body: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message) as caught:
        with_steps.pipeline(body)
    assert len(str(caught.value).splitlines()) <= 2


@pytest.mark.parametrize(
    "line",
    [
        "if n > 3:",
        "if n:",
        "while not n == 3:",
        "with dsl.If(n > 1 and n < 3):",
        "with dsl.If(1 < n < 3):",
        "if 3 in [n]:",
        "assert made.outputs['Output'] == 3; x = 1\n    if True:",
    ],
)
def test_what_is_known_only_later_is_not_taken_for_true(with_steps: Session, line: str) -> None:
    with pytest.raises(DefinitionError, match=r"known only when the pipeline runs; .* \(line 4\)") as caught:
        with_steps.pipeline(f"def p(n: int):\n    made = make(n=n)\n    {line}\n        make(n=n)\n")
    assert "with dsl.If(…):" in caught.value.hint


def test_what_is_no_condition_of_the_pipelines_own_may_be_asked(with_steps: Session) -> None:
    body = (
        "def p(n: int):\n    made = make(n=n)\n    if FAST and made is not None and n is not None:\n        make(n=n)\n"
    )
    composed = with_steps.pipeline(f"FAST = True\n{body}")
    assert composed.pipeline.ir.count("componentRef") == 2


def test_what_the_cell_itself_raises_keeps_its_stack(with_steps: Session) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        with_steps.pipeline("def p(n: int = 1):\n    make(n=1 // 0)\n")
    assert caught.traceback[-1].path == "<pipeline 'p'>" or str(caught.traceback[-1].path).endswith("<pipeline 'p'>")
    assert caught.traceback[-1].lineno == 2


def test_a_pipeline_that_was_wrong_leaves_the_earlier_one(with_steps: Session) -> None:
    with_steps.pipeline("def p(n: int = 1):\n    make(n=n)\n")
    before = with_steps.resolve("p")
    with pytest.raises(DefinitionError):
        with_steps.pipeline("def p(n: int = 1):\n    make()\n")
    assert with_steps.resolve("p") == before


def test_called_outside_of_a_pipeline(with_steps: Session) -> None:
    steps = with_steps.definitions.steps
    with pytest.raises(DefinitionError, match="'make' was called outside of a pipeline") as caught:
        steps["make"](n=1)
    assert "%kfp_try make" in caught.value.hint
    composed = with_steps.pipeline("def p(n: int = 1):\n    make(n=n)\n")
    with pytest.raises(DefinitionError, match="'p' was called outside of a pipeline") as caught:
        composed(n=1)
    assert "%kfp_run p" in caught.value.hint


def test_steps_compose_in_pipelines_of_kfps_own(with_steps: Session) -> None:
    make = with_steps.definitions.steps["make"]

    @dsl.pipeline(name="theirs")
    def theirs(n: int = 1):
        make(n=n)

    assert with_steps.resolve(theirs).name == "theirs"


def test_a_step_that_only_an_exit_handler_can_run(session: Session, define: Any) -> None:
    define("def tell(status: dsl.PipelineTaskFinalStatus):\n    pass\n")
    with pytest.raises(DefinitionError, match="takes the status of a pipeline and cannot run alone") as caught:
        session.resolve("tell")
    assert "ExitHandler" in caught.value.hint


def test_what_is_no_pipeline(with_steps: Session, tmp_path: Path) -> None:
    for what, message in (
        ("maek", "no pipeline or step 'maek'"),
        ("no.yaml", "no file 'no.yaml'"),
        (tmp_path / "no.yaml", "There is no file"),
        (3, "A int is not a pipeline"),
    ):
        with pytest.raises((DefinitionError, NotFoundError), match=message):
            with_steps.resolve(what)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("a: [", "is no YAML"),
        ("- 1", "no YAML mapping"),
        ("apiVersion: v1\nkind: Pod", "a Kubernetes Pod"),
        ("implementation: {}", "component of version 1"),
        ("root: {}", "no 'root' with a 'dag'"),
        ("root: {dag: {tasks: {a: {componentRef: {name: b}}}}}", "component 'b' that is not there"),
        (
            "components: {c: {dag: {tasks: {a: {componentRef: {name: c}}}}}}\n"
            "root: {dag: {tasks: {a: {componentRef: {name: c}}}}}",
            "nests itself",
        ),
        (
            "components: {c: {executorLabel: e}}\ndeploymentSpec: {executors: {e: {container: {image: i}}}}\n"
            "root: {dag: {tasks: {a: {componentRef: {name: c}, dependentTasks: [b]},"
            " b: {componentRef: {name: c}, dependentTasks: [a]}}}}",
            "wait for each other",
        ),
    ],
)
def test_a_file_that_is_no_ir(session: Session, tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DefinitionError, match=message) as caught:
        session.resolve(str(path))
    assert len(str(caught.value).splitlines()) == 2


def test_compiled_whole_or_not_at_all(with_steps: Session, tmp_path: Path) -> None:
    path = tmp_path / "größe.yaml"
    assert with_steps.compile("make", path) == path
    loaded = with_steps.resolve(str(path))
    assert isinstance(loaded, Pipeline)
    assert loaded.ir == with_steps.resolve("make").ir
    assert [port.name for port in loaded.parameters] == ["n"]
    with pytest.raises(NotFoundError):
        with_steps.compile("mkae", tmp_path / "other.yaml")
    assert list(tmp_path.iterdir()) == [path]


def test_defaults_of_a_compiled_pipeline_have_their_types(with_steps: Session) -> None:
    composed = with_steps.pipeline("def p(n: int = 1, rate: float = 2.0, on: bool = True):\n    make(n=n)\n")
    assert repr(composed) == "pipeline p(n: int = 1, on: bool = True, rate: float = 2.0)"


CHOICE = """
def p(n: int = 3):
    with dsl.If(n > 1):
        one = say(word='one')
    with dsl.Else():
        two = say(word='two')
    chosen = dsl.OneOf(one.output, two.output)
    with dsl.If(chosen == 'one'):
        make(n=1)
"""


def test_a_condition_on_a_choice_that_kfp_does_not_hand_out(with_steps: Session, define: Any, tmp_path: Path) -> None:
    define("def say(word: str) -> str:\n    return word\n")
    with pytest.raises(DefinitionError, match="'condition-4' reads what 'condition-branches-1' does not") as caught:
        with_steps.pipeline(CHOICE)
    assert caught.value.hint.startswith("Let a step take it as well")
    inside = CHOICE.replace("        make(n=1)", "        make(n=1)\n    with dsl.Else():\n        make(n=2)")
    with pytest.raises(DefinitionError, match="'condition-5' reads what 'condition-branches-1' does not"):
        with_steps.pipeline(inside)
    with_steps.pipeline(CHOICE.replace("make(n=1)", "say(word=chosen)"))
    ir = with_steps.resolve("p").ir
    output = " pipelinechannel--condition-branches-1-oneof-1:\n"
    assert output in ir
    compiled = tmp_path / "by_kfp.yaml"  # somebody else's compiler forgot it
    compiled.write_text(ir.replace(output, " forgotten:\n"), encoding="utf-8")
    with pytest.raises(DefinitionError, match="does not hand out"):
        with_steps.run(str(compiled))
    assert not with_steps.store.list()
