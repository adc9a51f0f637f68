"""ParallelFor over everything it takes, nested and alone, and what is collected from it."""
# ruff: noqa: SIM117, UP006, UP035  (nesting is what is tested; kfp knows List[Dataset])

from typing import List, NamedTuple

from kfp import dsl
from kfp.dsl import Dataset

from tests.conformance.case import SCRATCH, Case, artifact

from .steps import add, append, broken, copy, echo, items, join, number, read, read_all, step, struct, total, write


@step
def label(name: str, size: int) -> str:
    return f"{name}={size + 1}"


@step
def count_to(n: int) -> List[int]:
    return list(range(1, n + 1))


@step
def pair(name: str, size: str) -> str:
    return f"{name}:{size}"


@step
def people() -> List[dict]:
    return [{"who": "Zoë", "size": "3"}, {"who": "Al", "size": "4 "}]


@step
def none_at_all() -> List[int]:
    return []


@step
def tell(prefix: str, n: int, data: dsl.Input[Dataset]) -> str:
    with open(data.path) as file:
        return f"{prefix}{n}{file.read()}"


@step
def describe(value: dict) -> str:
    return f"{value['a'] + 1:.0f}{len(value['b'])}"


@dsl.pipeline(name="loop-ints")
def loop_ints() -> int:
    with dsl.ParallelFor([1, 2, 3]) as one:
        doubled = add(a=one, b=one)
    return total(numbers=dsl.Collected(doubled.output)).output


@dsl.pipeline(name="loop-strings")
def loop_strings() -> str:
    with dsl.ParallelFor(["a", "b c", "ü"]) as one:
        said = echo(text=one)
    return join(texts=dsl.Collected(said.output)).output


@dsl.pipeline(name="loop-dicts")
def loop_dicts() -> str:
    with dsl.ParallelFor([{"who": "x", "size": "1"}, {"who": "y", "size": "2"}]) as one:
        said = pair(name=one.who, size=one.size)
    return join(texts=dsl.Collected(said.output)).output


@dsl.pipeline(name="loop-dynamic")
def loop_dynamic(n: int) -> int:
    with dsl.ParallelFor(count_to(n=n).output) as one:
        doubled = add(a=one, b=1)
    return total(numbers=dsl.Collected(doubled.output)).output


@dsl.pipeline(name="loop-dynamic-dicts")
def loop_dynamic_dicts() -> str:
    with dsl.ParallelFor(people().output) as one:
        said = pair(name=one.who, size=one.size)
    return join(texts=dsl.Collected(said.output)).output


@dsl.pipeline(name="loop-argument")
def loop_argument(values: List[int], shift: int) -> int:
    with dsl.ParallelFor(values) as one:
        moved = add(a=one, b=shift)
    return total(numbers=dsl.Collected(moved.output)).output


@dsl.pipeline(name="loop-nested")
def loop_nested() -> list:
    with dsl.ParallelFor([10, 20]) as outer:
        with dsl.ParallelFor([1, 2, 3]) as inner:
            summed = add(a=outer, b=inner)
        row = total(numbers=dsl.Collected(summed.output))
    return items(value=dsl.Collected(row.output)).output


@dsl.pipeline(name="loop-nested-dynamic")
def loop_nested_dynamic(n: int) -> list:
    with dsl.ParallelFor(count_to(n=n).output) as outer:
        with dsl.ParallelFor(count_to(n=outer).output) as inner:
            summed = add(a=outer, b=inner)
        row = total(numbers=dsl.Collected(summed.output))
    return items(value=dsl.Collected(row.output)).output


@dsl.pipeline(name="collected-nested")
def collected_nested() -> list:
    with dsl.ParallelFor([1, 2]) as outer:
        with dsl.ParallelFor([10, 20]) as inner:
            summed = add(a=outer, b=inner)
    return items(value=dsl.Collected(summed.output)).output


@dsl.pipeline(name="loop-one-at-a-time")
def loop_one_at_a_time(path: str):
    with dsl.ParallelFor(["a", "b", "c", "d"], parallelism=1) as one:
        append(path=path, text=one, wait=0.05)


@dsl.pipeline(name="loop-two-at-a-time")
def loop_two_at_a_time() -> int:
    with dsl.ParallelFor([1, 2, 3, 4, 5], parallelism=2) as one:
        same = number(value=one)
    return total(numbers=dsl.Collected(same.output)).output


class Nothing(NamedTuple):
    numbers: list
    count: int


@dsl.pipeline(name="loop-over-nothing")
def loop_over_nothing() -> Nothing:
    with dsl.ParallelFor(none_at_all().output) as one:
        same = number(value=one)
    return Nothing(items(value=dsl.Collected(same.output)).output, total(numbers=dsl.Collected(same.output)).output)


@dsl.pipeline(name="collected-artifacts")
def collected_artifacts(word: str) -> list:
    with dsl.ParallelFor(["x", "y"]) as one:
        made = copy(data=write(text=f"{word} {one}").outputs["out"])
    return read_all(data=dsl.Collected(made.outputs["out"])).output


@dsl.pipeline(name="collected-artifacts-nested")
def collected_artifacts_nested() -> list:
    with dsl.ParallelFor(["a", "b"]) as outer:
        with dsl.ParallelFor([1, 2]) as inner:
            made = write(text=label(name=outer, size=inner).output)
    return read_all(data=dsl.Collected(made.outputs["out"])).output


@dsl.pipeline(name="collected-as-output")
def collected_as_output() -> List[int]:
    with dsl.ParallelFor([3, 1, 2]) as one:
        same = number(value=one)
    return dsl.Collected(same.output)


@dsl.pipeline(name="collected-artifacts-as-output")
def collected_artifacts_as_output() -> List[Dataset]:
    with dsl.ParallelFor(["p", "q"]) as one:
        made = write(text=one)
    return dsl.Collected(made.outputs["out"])


@dsl.pipeline(name="loop-over-artifacts")
def loop_over_artifacts() -> str:
    made = collected_artifacts_as_output()
    with dsl.ParallelFor(made.output) as one:
        told = read(data=one)
    return join(texts=dsl.Collected(told.output)).output


@dsl.pipeline(name="condition-in-loop")
def condition_in_loop(path: str, least: int):
    with dsl.ParallelFor([1, 2, 3, 4], parallelism=1) as one:
        with dsl.If(one >= least):
            append(path=path, text=f"{one} ")


@dsl.pipeline(name="condition-in-loop-in-condition")
def condition_in_loop_in_condition(go: bool, word: str, path: str):
    with dsl.If(go == True):  # noqa: E712  (KFP's way to say it)
        with dsl.ParallelFor(["yes", "no", "maybe"], parallelism=1) as one:
            said = echo(text=one)
            with dsl.If(said.output == word):
                append(path=path, text=one)
            with dsl.Else():
                with dsl.ParallelFor([1, 2], parallelism=1) as inner:
                    append(path=path, text=label(name=one, size=inner).output)


@dsl.pipeline(name="one-of-in-loop")
def one_of_in_loop() -> str:
    with dsl.ParallelFor([1, 2, 3], parallelism=1) as one:
        with dsl.If(one == 2):
            two = echo(text="two")
        with dsl.Else():
            other = echo(text="other")
        said = echo(text=dsl.OneOf(two.output, other.output))
    return join(texts=dsl.Collected(said.output)).output


@dsl.pipeline(name="inner")
def inner(a: int, word: str) -> str:
    return label(name=word, size=add(a=a, b=100).output).output


@dsl.pipeline(name="pipeline-in-loop")
def pipeline_in_loop(word: str) -> str:
    with dsl.ParallelFor([1, 2]) as one:
        done = inner(a=one, word=word)
    return join(texts=dsl.Collected(done.output)).output


@dsl.pipeline(name="loop-fails")
def loop_fails():
    with dsl.ParallelFor(["fine", "bad"]) as one:
        said = echo(text=one)
        with dsl.If(said.output == "bad"):
            broken(text="one item is bad")
    join(texts=dsl.Collected(said.output))


@dsl.pipeline(name="loop-with-outer-values")
def loop_with_outer_values(prefix: str) -> str:
    start = number(value=5)
    data = write(text="shared")
    with dsl.ParallelFor([1, 2]) as one:
        told = tell(prefix=prefix, n=add(a=start.output, b=one).output, data=data.outputs["out"])
    return join(texts=dsl.Collected(told.output)).output


@dsl.pipeline(name="loop-whole-dict")
def loop_whole_dict() -> str:
    with dsl.ParallelFor([{"a": 1, "b": ["x"]}, {"a": 2, "b": []}]) as one:
        said = describe(value=struct(value=one).output)
    return join(texts=dsl.Collected(said.output)).output


CASES = (
    Case(
        name="loop-ints",
        pipeline=loop_ints,
        outputs={"Output": 12},
        states={"for-loop-2/0/add": "succeeded", "for-loop-2/2/add": "succeeded"},
        peer=True,
    ),
    Case(name="loop-strings", pipeline=loop_strings, outputs={"Output": "a b c ü"}, peer=True),
    Case(name="loop-dicts", pipeline=loop_dicts, outputs={"Output": "x:1 y:2"}, peer=True),
    Case(name="loop-dynamic", pipeline=loop_dynamic, arguments={"n": 3}, outputs={"Output": 9}, peer=True),
    Case(name="loop-dynamic-dicts", pipeline=loop_dynamic_dicts, outputs={"Output": "Zoë:3 Al:4 "}, peer=True),
    Case(
        name="loop-argument",
        pipeline=loop_argument,
        arguments={"values": [4, 5, 6], "shift": 10},
        outputs={"Output": 45},
        peer=True,
    ),
    Case(name="loop-nested", pipeline=loop_nested, outputs={"Output": [36, 66]}, peer=True),
    Case(name="loop-nested-dynamic", pipeline=loop_nested_dynamic, arguments={"n": 2}, outputs={"Output": [2, 7]}),
    Case(name="collected-nested", pipeline=collected_nested, outputs={"Output": [[11, 21], [12, 22]]}, peer=True),
    Case(
        name="loop-one-at-a-time",
        pipeline=loop_one_at_a_time,
        arguments={"path": f"{SCRATCH}/order"},
        files={"order": "abcd"},
    ),
    Case(name="loop-two-at-a-time", pipeline=loop_two_at_a_time, outputs={"Output": 15}, peer=True),
    Case(name="loop-over-nothing", pipeline=loop_over_nothing, outputs={"numbers": [], "count": 0}),
    Case(
        name="collected-artifacts",
        pipeline=collected_artifacts,
        arguments={"word": "w"},
        outputs={"Output": ["W X", "W Y"]},
        peer=True,
    ),
    # No peer: kfp.local fails with an AttributeError over lists of lists of artifacts.
    Case(
        name="collected-artifacts-nested",
        pipeline=collected_artifacts_nested,
        outputs={"Output": ["a=2", "a=3", "b=2", "b=3"]},
    ),
    Case(name="collected-as-output", pipeline=collected_as_output, outputs={"Output": [3, 1, 2]}, peer=True),
    Case(
        name="collected-artifacts-as-output",
        pipeline=collected_artifacts_as_output,
        outputs={"Output": [artifact("p", length=1), artifact("q", length=1)]},
        peer=True,
    ),
    Case(name="loop-over-artifacts", pipeline=loop_over_artifacts, outputs={"Output": "p 1 q 1"}, peer=True),
    Case(
        name="condition-in-loop",
        pipeline=condition_in_loop,
        arguments={"path": f"{SCRATCH}/found", "least": 3},
        files={"found": "3 4 "},
    ),
    Case(
        name="condition-in-loop-in-condition",
        pipeline=condition_in_loop_in_condition,
        arguments={"go": True, "word": "no", "path": f"{SCRATCH}/found"},
        files={"found": "yes=2yes=3nomaybe=2maybe=3"},
        peer=True,
    ),
    Case(
        name="condition-in-loop-in-false-condition",
        pipeline=condition_in_loop_in_condition,
        arguments={"go": False, "word": "no", "path": f"{SCRATCH}/found"},
        states={"condition-1": "skipped", "condition-1/for-loop-3": "skipped"},
    ),
    Case(name="one-of-in-loop", pipeline=one_of_in_loop, outputs={"Output": "other two other"}),
    Case(
        name="pipeline-in-loop",
        pipeline=pipeline_in_loop,
        arguments={"word": "n"},
        outputs={"Output": "n=102 n=103"},
        peer=True,
    ),
    Case(
        name="loop-fails",
        pipeline=loop_fails,
        states={"for-loop-2": "failed", "for-loop-2/0": "succeeded", "for-loop-2/1": "failed", "join": "skipped"},
        fails=True,
    ),
    # No peer: kfp.local hands the item of the loop to every whole number that comes from outside, and says -2 and -4.
    Case(
        name="loop-with-outer-values",
        pipeline=loop_with_outer_values,
        arguments={"prefix": "-"},
        outputs={"Output": "-6shared -7shared"},
    ),
    Case(name="loop-whole-dict", pipeline=loop_whole_dict, outputs={"Output": "21 30"}, peer=True),
)
