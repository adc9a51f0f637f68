"""``key=value`` words of a command line to typed arguments of a step or a pipeline."""

from __future__ import annotations

import ast
import json
from typing import TYPE_CHECKING

from kfp_magics.errors import ArgumentError, did_you_mean
from kfp_magics.model import MISSING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from kfp_magics.model import Json, Port

_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})
_THE_WORD = frozenset({"'None'", '"None"'})


def split_words(words: Iterable[str]) -> dict[str, str]:
    """Splits ``key=value`` words.

    Args:
        words: What the user typed after the name.

    Returns:
        Key → text of the value, in the order typed.

    Raises:
        ArgumentError: A word has no ``=``, or a key stands twice.
    """
    found: dict[str, str] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key.isidentifier():
            raise ArgumentError(f"{word!r} is not an argument.", "Write key=value, and quote values with spaces.")
        if key in found:
            raise ArgumentError(f"The argument {key!r} is given twice.", "Give each argument once.")
        found[key] = text
    return found


def typed(texts: Mapping[str, str], parameters: Iterable[Port], of: str) -> dict[str, Json]:
    """Gives texts the types that the parameters declare.

    Args:
        texts: Parameter name → text.
        parameters: What may be given.
        of: What takes them, for messages: ``pipeline 'babyweight'``.

    Returns:
        Parameter name → value of the declared type; None for one that is to be left out, see `given`.

    Raises:
        ArgumentError: A name is unknown, or a text does not read as its type.
    """
    ports = {port.name: port for port in parameters}
    values: dict[str, Json] = {}
    for name, text in texts.items():
        if name not in ports:
            raise ArgumentError(f"The {of} takes no argument {name!r}.", did_you_mean(name, ports))
        port = ports[name]  # whether an artifact may be given at all, the backend says
        values[name] = read_value(text, port) if port.is_parameter else text
    return values


def given(values: Mapping[str, Json], parameters: Iterable[Port]) -> dict[str, Json]:
    """Leaves out what is None and has no other default: servers of KFP refuse null, and mean it where nothing is."""
    by_itself = {port.name for port in parameters if _may_be_none(port)}
    return {name: value for name, value in values.items() if value is not None or name not in by_itself}


def read_value(text: str, port: Port) -> Json:
    """Reads one text as the type of its port; strings stay as they are.

    ``None`` is None where that is the default; the word itself is then written in quotes, ``"'None'"`` in a shell.

    Raises:
        ArgumentError: The text does not read as that type.
    """
    if _may_be_none(port) and text == "None":
        return None
    if port.type == "str":
        return "None" if _may_be_none(port) and text in _THE_WORD else text
    try:
        return _READERS[port.type](text)
    except (ValueError, SyntaxError, KeyError) as error:
        example = _EXAMPLES.get(port.type, "a value")
        raise ArgumentError(
            f"The argument {port.name!r} wants {port.type}, and {text!r} is none.",
            f"Write for example {port.name}={example}",
        ) from error


def _may_be_none(port: Port) -> bool:
    return port.optional and port.default is MISSING


def _read_bool(text: str) -> bool:
    word = text.lower()
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise ValueError(text)


def _read_container(kind: type) -> Callable[[str], Json]:
    def read(text: str) -> Json:
        try:
            value = json.loads(text)
        except json.JSONDecodeError:
            value = ast.literal_eval(text)
        if not isinstance(value, kind):
            raise ValueError(text)  # noqa: TRY004  (one kind of failure for the caller)
        return value

    return read


_READERS: dict[str, Callable[[str], Json]] = {
    "int": int,
    "float": float,
    "bool": _read_bool,
    "list": _read_container(list),
    "dict": _read_container(dict),
}
_EXAMPLES = {"int": "3", "float": "0.5", "bool": "true", "list": "'[1, 2]'", "dict": """'{"a": 1}'"""}
