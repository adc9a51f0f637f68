"""If, Elif, Else, and OneOf."""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import Dataset

from tests.conformance.case import Case, artifact

from .steps import add, copy, echo, flag, join, number, real, step, write


@dsl.pipeline(name="if-int")
def if_int(n: int) -> str:
    with dsl.If(n == 1):
        one = echo(text="one")
    with dsl.Elif(n > 5):
        many = echo(text="many")
    with dsl.Else():
        some = echo(text="some")
    return dsl.OneOf(one.output, many.output, some.output)


@dsl.pipeline(name="if-str")
def if_str(word: str) -> str:
    given = echo(text=word)
    with dsl.If(given.output == "yes"):
        yes = echo(text="it was yes")
    with dsl.Elif(given.output == "größer als"):
        odd = echo(text="it was odd")
    with dsl.Else():
        no = echo(text="it was no")
    return dsl.OneOf(yes.output, odd.output, no.output)


@dsl.pipeline(name="if-bool")
def if_bool(good: bool) -> str:
    given = flag(value=good)
    with dsl.If(given.output == True):  # noqa: E712  (KFP's way to say it)
        yes = echo(text="good")
    with dsl.Else():
        no = echo(text="bad")
    return dsl.OneOf(yes.output, no.output)


@dsl.pipeline(name="if-float")
def if_float(value: float) -> str:
    given = real(value=value)
    with dsl.If(given.output >= 0.5):
        high = echo(text="high")
    with dsl.Elif(given.output < -0.5):
        low = echo(text="low")
    with dsl.Else():
        middle = echo(text="middle")
    return dsl.OneOf(high.output, low.output, middle.output)


@dsl.pipeline(name="whole-float")
def whole_float(value: float):
    """A float that is whole still compares with a whole number."""
    given = real(value=value)
    with dsl.If(given.output == 2.0):
        echo(text="equal")
    with dsl.If(given.output > 1):
        echo(text="more")


@dsl.pipeline(name="operators")
def operators(n: int, path: str):
    with dsl.If(n != 3):
        echo(text="differs")
    with dsl.If(n <= 3):
        echo(text="at most")
    with dsl.If(n >= 4):
        echo(text="at least")
    with dsl.If(n < 4):
        echo(text="less")
    echo(text=path)


@dsl.pipeline(name="two-outputs-compared")
def two_outputs_compared(a: int, b: int) -> str:
    left, right = number(value=a), number(value=b)
    with dsl.If(left.output > right.output):
        first = echo(text="left")
    with dsl.Else():
        second = echo(text="right")
    return dsl.OneOf(first.output, second.output)


CODE = "__import__('os').system('exit 3') or 'x' == 'x' || true"
PLACEHOLDER = "{{$.inputs.parameters['text']}} {{$.pipeline_job_name}}"


@step
def code() -> str:
    return "__import__('os').system('exit 3') or 'x' == 'x' || true"


@step
def placeholder() -> str:
    return "{{$.inputs.parameters['text']}} {{$.pipeline_job_name}}"


class Branch(NamedTuple):
    branch: str
    value: str


@dsl.pipeline(name="output-like-code")
def output_like_code() -> Branch:
    made = code()
    with dsl.If(made.output == "x"):
        taken = echo(text="taken for code")
    with dsl.Else():
        right = echo(text="taken for text")
    return Branch(dsl.OneOf(taken.output, right.output), echo(text=made.output).output)


@dsl.pipeline(name="output-like-placeholder")
def output_like_placeholder() -> Branch:
    made = placeholder()
    with dsl.If(made.output != "x"):
        right = echo(text=f"<{made.output}>")
    with dsl.Else():
        wrong = echo(text="wrong")
    return Branch(dsl.OneOf(right.output, wrong.output), echo(text=made.output).output)


@dsl.pipeline(name="nested-conditions")
def nested_conditions(n: int, word: str):
    first = number(value=n)
    with dsl.If(first.output > 0, name="outer"):
        second = add(a=first.output, b=1)
        with dsl.If(second.output == 3):
            echo(text="three")
            with dsl.If(word == "deep"):
                echo(text="deepest").after(second)
        with dsl.Else():
            echo(text="not three")
    with dsl.Else():
        echo(text="not positive")


@dsl.pipeline(name="one-of-artifacts")
def one_of_artifacts(n: int) -> Dataset:
    with dsl.If(n == 1):
        first = write(text="first")
    with dsl.Else():
        second = copy(data=write(text="second").outputs["out"])
    return dsl.OneOf(first.outputs["out"], second.outputs["out"])


@step
def wrap(text: str) -> str:
    return f"got {text}"


@dsl.pipeline(name="one-of-passed-on")
def one_of_passed_on(n: int) -> str:
    with dsl.If(n == 1):
        first = echo(text="first")
    with dsl.Else():
        second = echo(text="second")
    return wrap(text=dsl.OneOf(first.output, second.output)).output


@dsl.pipeline(name="one-of-in-one-of")
def one_of_in_one_of(n: int, m: int) -> str:
    with dsl.If(n == 1):
        with dsl.If(m == 1):
            a = echo(text="1 1")
        with dsl.Else():
            b = echo(text="1 x")
        inner = echo(text=dsl.OneOf(a.output, b.output))
    with dsl.Else():
        outer = echo(text="x x")
    return dsl.OneOf(inner.output, outer.output)


@dsl.pipeline(name="skipped-branch")
def skipped_branch(n: int):
    with dsl.If(n == 1):
        first = echo(text="a")
        echo(text=first.output)
    after = echo(text="b")
    join(texts=["x"]).after(after)


CASES = (
    *(
        Case(name=f"if-int-{n}", pipeline=if_int, arguments={"n": n}, outputs={"Output": word}, peer=n == 1)
        for n, word in ((1, "one"), (6, "many"), (3, "some"))
    ),
    *(
        Case(
            name=f"if-str-{name}",
            pipeline=if_str,
            arguments={"word": word},
            outputs={"Output": said},
            peer=name == "yes",
        )
        for name, word, said in (
            ("yes", "yes", "it was yes"),
            ("no", "YES", "it was no"),
            ("odd", "größer als", "it was odd"),
        )
    ),
    *(
        Case(name=f"if-bool-{n}", pipeline=if_bool, arguments={"good": n}, outputs={"Output": word}, peer=True)
        for n, word in ((True, "good"), (False, "bad"))
    ),
    *(
        Case(name=f"if-float-{n}", pipeline=if_float, arguments={"value": n}, outputs={"Output": word}, peer=n == 0.5)
        for n, word in ((0.5, "high"), (-0.75, "low"), (0.0, "middle"))
    ),
    Case(
        name="whole-float",
        pipeline=whole_float,
        arguments={"value": 2.0},
        states={"condition-1": "succeeded", "condition-2": "succeeded"},
    ),
    Case(
        name="operators",
        pipeline=operators,
        arguments={"n": 3, "path": "x"},
        states={
            "condition-1": "skipped",
            "condition-1/echo": "skipped",
            "condition-2": "succeeded",
            "condition-3": "skipped",
            "condition-4": "succeeded",
        },
        peer=True,
    ),
    Case(
        name="two-outputs-compared",
        pipeline=two_outputs_compared,
        arguments={"a": 10, "b": 9},
        outputs={"Output": "left"},
        peer=True,
    ),
    # No peer: kfp.local gives the step's output to eval.
    Case(name="output-like-code", pipeline=output_like_code, outputs={"branch": "taken for text", "value": CODE}),
    # No peer: kfp.local fills in what looks like a placeholder in a step's text and in what it returned.
    Case(
        name="output-like-placeholder",
        pipeline=output_like_placeholder,
        outputs={"branch": f"<{PLACEHOLDER}>", "value": PLACEHOLDER},
    ),
    Case(
        name="nested-conditions",
        pipeline=nested_conditions,
        arguments={"n": 2, "word": "deep"},
        states={
            "condition-branches-1/condition-6": "succeeded",
            "condition-branches-1/condition-6/condition-branches-2/condition-4/condition-3/echo-2": "succeeded",
            "condition-branches-1/condition-6/condition-branches-2/condition-5": "skipped",
            "condition-branches-1/condition-7": "skipped",
        },
        peer=True,
    ),
    Case(
        name="nested-conditions-else",
        pipeline=nested_conditions,
        arguments={"n": 0, "word": "deep"},
        states={
            "condition-branches-1/condition-6": "skipped",
            "condition-branches-1/condition-6/condition-branches-2": "skipped",
            "condition-branches-1/condition-7/echo-4": "succeeded",
        },
    ),
    *(
        Case(name=f"one-of-artifacts-{n}", pipeline=one_of_artifacts, arguments={"n": n}, outputs={"Output": found})
        for n, found in ((1, artifact("first", length=5)), (2, artifact("SECOND", **{"from": "copy"})))
    ),
    *(
        Case(
            name=f"one-of-passed-on-{n}", pipeline=one_of_passed_on, arguments={"n": n}, outputs={"Output": f"got {w}"}
        )
        for n, w in ((1, "first"), (2, "second"))
    ),
    *(
        Case(
            name=f"one-of-in-one-of-{n}{m}",
            pipeline=one_of_in_one_of,
            arguments={"n": n, "m": m},
            outputs={"Output": w},
        )
        for n, m, w in ((1, 1, "1 1"), (1, 2, "1 x"), (2, 1, "x x"))
    ),
    Case(
        name="skipped-branch",
        pipeline=skipped_branch,
        arguments={"n": 2},
        states={
            "condition-1": "skipped",
            "condition-1/echo": "skipped",
            "condition-1/echo-2": "skipped",
            "echo-3": "succeeded",
            "join": "succeeded",
        },
        peer=True,
    ),
)
