"""Words of a command line to typed arguments."""

from __future__ import annotations

from typing import Any

import pytest

from kfp_magics.arguments import read_value, split_words, typed
from kfp_magics.errors import ArgumentError
from kfp_magics.model import PARAMETER_TYPES, Port


def test_words_split_at_the_first_sign() -> None:
    assert split_words(["a=1", "b=x=y", "c=", "größe=ü 漢"]) == {"a": "1", "b": "x=y", "c": "", "größe": "ü 漢"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a"], "'a' is not an argument"),
        (["=1"], "'=1' is not an argument"),
        (["a-b=1"], "'a-b=1' is not an argument"),
        (["a=1", "a=2"], "'a' is given twice"),
    ],
)
def test_words_that_are_no_arguments(words: list[str], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        split_words(words)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("str", "12", "12"),
        ("str", "", ""),
        ("int", "-3", -3),
        ("int", "1_000", 1000),
        ("float", "1e-3", 0.001),
        ("float", "2", 2.0),
        ("bool", "True", True),
        ("bool", "off", False),
        ("list", '["ä", null]', ["ä", None]),
        ("list", "['a', (1, 2)]", ["a", (1, 2)]),
        ("dict", '{"a": {"b": [true]}}', {"a": {"b": [True]}}),
        ("dict", "{'a': None}", {"a": None}),
    ],
)
def test_texts_read_as_their_type(kind: str, text: str, value: Any) -> None:
    read = read_value(text, Port(name="a", type=kind))
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("int", "3.5"),
        ("int", ""),
        ("float", "many"),
        ("bool", "maybe"),
        ("bool", "2"),
        ("list", "{}"),
        ("list", "__import__('os').getcwd()"),
        ("list", "[1"),
        ("dict", "[1]"),
        ("dict", ""),
    ],
)
def test_texts_that_do_not(kind: str, text: str) -> None:
    with pytest.raises(ArgumentError, match=f"'a' wants {kind}") as caught:
        read_value(text, Port(name="a", type=kind))
    assert caught.value.hint.startswith("Write for example a=")
    example = caught.value.hint.partition(" a=")[2].strip("'")
    assert read_value(example, Port(name="a", type=kind)) is not None


@pytest.mark.parametrize(
    ("port", "text", "value"),
    [
        (Port(name="a", type="str", optional=True), "None", None),
        (Port(name="a", type="int", optional=True), "None", None),
        (Port(name="a", type="list", optional=True), "None", None),
        (Port(name="a", type="str", optional=True), "'None'", "None"),
        (Port(name="a", type="str", optional=True), '"None"', "None"),
        (Port(name="a", type="str", optional=True), "'x'", "'x'"),
        (Port(name="a", type="str"), "None", "None"),
        (Port(name="a", type="str", optional=True, default="x"), "None", "None"),
    ],
)
def test_none_is_no_value_where_that_is_the_default_and_a_word_elsewhere(port: Port, text: str, value: Any) -> None:
    assert read_value(text, port) == value


def test_none_is_refused_where_a_value_is_needed() -> None:
    for port in (Port(name="a", type="int"), Port(name="a", type="int", optional=True, default=3)):
        with pytest.raises(ArgumentError, match="'a' wants int, and 'None' is none"):
            read_value("None", port)


def test_only_what_is_declared_can_be_given() -> None:
    ports = [Port(name=f"a_{kind}", type=kind) for kind in PARAMETER_TYPES]
    assert typed({"a_int": "1", "a_bool": "no"}, ports, "pipeline 'p'") == {"a_int": 1, "a_bool": False}
    with pytest.raises(ArgumentError, match="The pipeline 'p' takes no argument 'a_itn'") as caught:
        typed({"a_itn": "1"}, ports, "pipeline 'p'")
    assert "'a_int'" in caught.value.hint
