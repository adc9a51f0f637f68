"""Parameters: every type, defaults, None, NamedTuple, values that are hard to carry."""
# ruff: noqa: B006, PYI024, UP045  (kfp reads the defaults; it knows Optional[str] and not str | None)

from typing import NamedTuple, Optional

from kfp import dsl

from tests.conformance.case import Case

from .steps import add, echo, flag, items, number, real, step, struct


class Everything(NamedTuple):
    a: str
    b: int
    c: float
    d: bool
    e: list
    f: dict


class Parts(NamedTuple):
    whole: int
    rest: int
    words: list
    f: float
    sum: int


class Texts(NamedTuple):
    text: str
    mapping: dict
    constant: str


class Digests(NamedTuple):
    given: str
    made: str


class Empty(NamedTuple):
    a: str
    e: list
    f: dict


@dsl.pipeline(name="types")
def types(a: str, b: int, c: float, d: bool, e: list, f: dict) -> Everything:
    tasks = echo(text=a), number(value=b), real(value=c), flag(value=d), items(value=e), struct(value=f)
    return Everything(*(task.output for task in tasks))


class Nulls(NamedTuple):
    e: list
    f: dict


@dsl.pipeline(name="nulls-inside")
def nulls_inside(e: list, f: dict) -> Nulls:
    return Nulls(items(value=e).output, struct(value=f).output)


@dsl.pipeline(name="defaults")
def defaults(
    a: str = "x", b: int = -7, c: float = 0.25, d: bool = True, e: list[int] = [1, 2], f: dict[str, int] = {"k": 3}
) -> Everything:
    tasks = echo(text=a), number(value=b), real(value=c), flag(value=d), items(value=e), struct(value=f)
    return Everything(*(task.output for task in tasks))


@dsl.pipeline(name="constants")
def constants() -> Everything:
    tasks = (
        echo(text="a constant"),
        number(value=0),
        real(value=-1.5),
        flag(value=False),
        items(value=["a", 1, 2.5, True, [-1], {"k": "v"}]),
        struct(value={"a": {"b": [1, {"c": "d"}]}}),
    )
    return Everything(*(task.output for task in tasks))


@step
def describe(
    a: str = "d", b: int = 5, c: float = 2.5, d: bool = False, e: list = [1], f: dict = {"x": []}, g: str = "g"
) -> str:
    return repr((a, b, c, d, e, f, g))


@dsl.pipeline(name="component-defaults")
def component_defaults(g: str) -> str:
    return describe(b=6, g=g).output


@step
def what(a: Optional[str] = None, b: Optional[int] = None, c: Optional[list] = None, d: Optional[bool] = None) -> str:
    return repr((a, b, c, d))


@dsl.pipeline(name="nothing-given")
def nothing_given() -> str:
    return what().output


@dsl.pipeline(name="optional")
def optional(a: Optional[str] = None, b: Optional[int] = None, d: Optional[bool] = None) -> str:
    return what(a=a, b=b, d=d).output


@step
def split(number: int, by: int) -> NamedTuple("Parts", [("whole", int), ("rest", int), ("words", list), ("f", float)]):
    from collections import namedtuple

    parts = namedtuple("Parts", ["whole", "rest", "words", "f"])
    return parts(number // by, number % by, [str(number), str(by)], number / by)


@dsl.pipeline(name="named-tuple")
def named_tuple(
    number: int,
) -> Parts:
    parts = split(number=number, by=4)
    return Parts(
        whole=parts.outputs["whole"],
        rest=parts.outputs["rest"],
        words=parts.outputs["words"],
        f=parts.outputs["f"],
        sum=add(a=parts.outputs["whole"], b=parts.outputs["rest"]).output,
    )


@step
def kind(value: float) -> str:
    return f"{value:.3f}"


@dsl.pipeline(name="whole-floats")
def whole_floats(value: float) -> str:
    return kind(value=value).output


@step
def ask(a: int, b: int, c: float, d: float, e: float) -> list:
    return [type(a).__name__, a == 2**53, b < 0, c == 1e300, d == 1e-300, e == 0.1 + 0.2]


@dsl.pipeline(name="extreme-numbers")
def extreme_numbers(a: int, b: int, c: float, d: float, e: float) -> list:
    return ask(a=a, b=b, c=c, d=d, e=e).output


@dsl.pipeline(name="non-ascii")
def non_ascii(text: str, mapping: dict) -> Texts:
    return Texts(echo(text=text).output, struct(value=mapping).output, echo(text="naïve – 漢字 \U0001f476").output)


@step
def tell(a: str, b: str, c: str, d: str, e: str) -> list:
    return [a, b, c, d, e]


@dsl.pipeline(name="strings-stay-strings")
def strings_stay_strings(a: str, b: str, c: str, d: str, e: str) -> list:
    return tell(a=a, b=echo(text=b).output, c=echo(text=c).output, d=echo(text=d).output, e=echo(text=e).output).output


@step
def big(size: int) -> str:
    return "0123456789" * (size // 10)


@step
def digest(text: str) -> str:
    import hashlib

    return f"{len(text)} {hashlib.sha256(text.encode()).hexdigest()[:8]}"


@dsl.pipeline(name="megabyte")
def megabyte(text: str) -> Digests:
    return Digests(digest(text=text).output, digest(text=big(size=1_000_000).output).output)


@dsl.pipeline(name="empty-values")
def empty_values(a: str = "", e: list = [], f: dict = {}) -> Empty:
    return Empty(echo(text=a).output, items(value=e).output, struct(value=f).output)


_ODD = {
    "a": "1",
    "b": "true",
    "c": "null",
    "d": '[1, "x"]',
    "e": 'it\'s "quoted" \\ and\nbroken\t$(id) `id` ${HOME} %s {0} &&',
}

CASES = (
    Case(
        name="types",
        pipeline=types,
        arguments={"a": "t", "b": 3, "c": 1.5, "d": False, "e": [1, "x"], "f": {"k": [1.5], "l": {}}},
        outputs={"a": "t", "b": 3, "c": 1.5, "d": False, "e": [1, "x"], "f": {"k": [1.5], "l": {}}},
        peer=True,
    ),
    Case(
        name="nulls-inside",
        pipeline=nulls_inside,
        arguments={"e": [None, 1], "f": {"k": None, "l": [None]}},
        outputs={"e": [None, 1], "f": {"k": None, "l": [None]}},
    ),
    Case(
        name="defaults",
        pipeline=defaults,
        outputs={"a": "x", "b": -7, "c": 0.25, "d": True, "e": [1, 2], "f": {"k": 3}},
        peer=True,
    ),
    Case(
        name="defaults-overridden",
        pipeline=defaults,
        arguments={"b": 0, "d": False, "e": []},
        outputs={"a": "x", "b": 0, "c": 0.25, "d": False, "e": [], "f": {"k": 3}},
    ),
    Case(
        name="constants",
        pipeline=constants,
        outputs={
            "a": "a constant",
            "b": 0,
            "c": -1.5,
            "d": False,
            "e": ["a", 1, 2.5, True, [-1], {"k": "v"}],
            "f": {"a": {"b": [1, {"c": "d"}]}},
        },
        peer=True,
    ),
    # No peer: kfp.local hands the step [1.0], as its messages have it; KFP's launcher writes JSON, and so [1].
    Case(
        name="component-defaults",
        pipeline=component_defaults,
        arguments={"g": "given"},
        outputs={"Output": "('d', 6, 2.5, False, [1], {'x': []}, 'given')"},
    ),
    Case(name="nothing-given", pipeline=nothing_given, outputs={"Output": "(None, None, None, None)"}),
    Case(name="optional-left-out", pipeline=optional, outputs={"Output": "(None, None, None, None)"}),
    Case(
        name="optional-given",
        pipeline=optional,
        arguments={"a": "", "b": 0, "d": False},
        outputs={"Output": "('', 0, None, False)"},
    ),
    Case(
        name="named-tuple",
        pipeline=named_tuple,
        arguments={"number": 30},
        outputs={"whole": 7, "rest": 2, "words": ["30", "4"], "f": 7.5, "sum": 9},
        peer=True,
    ),
    Case(name="whole-floats", pipeline=whole_floats, arguments={"value": 3}, outputs={"Output": "3.000"}),
    Case(
        name="extreme-numbers",
        pipeline=extreme_numbers,
        arguments={"a": 2**53, "b": -(2**31), "c": 1e300, "d": 1e-300, "e": 0.1 + 0.2},
        outputs={"Output": ["int", True, True, True, True, True]},
        peer=True,
    ),
    Case(
        name="non-ascii",
        pipeline=non_ascii,
        arguments={"text": "Füße 漢字 \U0001f476 \u202e", "mapping": {"schlüssel": ["wärt", {"ключ": "値"}]}},
        outputs={
            "text": "Füße 漢字 \U0001f476 \u202e",
            "mapping": {"schlüssel": ["wärt", {"ключ": "値"}]},
            "constant": "naïve – 漢字 \U0001f476",
        },
        peer=True,
    ),
    Case(
        name="strings-stay-strings",
        pipeline=strings_stay_strings,
        arguments=_ODD,
        outputs={"Output": list(_ODD.values())},
        peer=True,
    ),
    Case(
        name="megabyte",
        pipeline=megabyte,
        arguments={"text": "äbcdefghij" * 100_000},
        outputs={"given": "1000000 045b41d6", "made": "1000000 ec21d646"},
    ),
    Case(name="empty-values", pipeline=empty_values, outputs={"a": "", "e": [], "f": {}}, peer=True),
)
