"""HashiCorp's configuration language, as far as it is written here: blocks, texts, lists, maps and references."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


@dataclass(frozen=True, slots=True)
class Expression:
    """Something that Terraform works out, written as it stands.

    Attributes:
        text: ``google_service_account.steps.email``.
    """

    text: str


Value: TypeAlias = "str | bool | Expression | list[str] | Mapping[str, str | Expression]"


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """A block.

    Attributes:
        kind: Its first word.
        labels: What stands behind it.
        values: Its arguments.
        blocks: What is in it.
    """

    kind: str
    labels: tuple[str, ...] = ()
    values: Mapping[str, Value]
    blocks: tuple[Block, ...] = ()

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self, indent: str = "") -> list[str]:
        """Its lines."""
        head = " ".join([self.kind, *(quoted(label) for label in self.labels)])
        inner = f"{indent}  "
        lines = [f"{indent}{head} {{", *_arguments(self.values, inner)]
        for number, block in enumerate(self.blocks):
            lines += [*([""] if number or self.values else []), *block.lines(inner)]
        return [*lines, f"{indent}}}"]


def quoted(text: str) -> str:
    """Writes a text in which nothing is worked out: ``${`` and ``%{`` stand for themselves."""
    plain = re.sub(r"([$%])\{", r"\1\1{", text)
    return '"' + "".join(_ESCAPES.get(char, char) for char in plain) + '"'


def identifier(text: str) -> str:
    """Makes a name that Terraform takes."""
    name = re.sub(r"[^A-Za-z0-9_]+", "_", text).strip("_")
    return name if re.match(r"[A-Za-z_]", name) else f"_{name}"


def _arguments(values: Mapping[str, Value], indent: str) -> list[str]:
    """Arguments with their signs below each other, where they stand next to each other on single lines."""
    lines: list[str] = []
    group: list[tuple[str, str]] = []
    for name, value in values.items():
        text = _value(value, indent)
        if "\n" not in text:
            group.append((name, text))
            continue
        lines += _aligned(group, indent)
        lines.append(f"{indent}{name} = {text}")
        group = []
    return [*lines, *_aligned(group, indent)]


def _aligned(group: list[tuple[str, str]], indent: str) -> list[str]:
    width = max((len(name) for name, _ in group), default=0)
    return [f"{indent}{name:{width}} = {text}" for name, text in group]


def _value(value: Value, indent: str) -> str:
    if isinstance(value, Expression):
        return value.text
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, list):
        return "\n".join(["[", *(f"{indent}  {quoted(one)}," for one in value), f"{indent}]"])
    names = [(name if re.fullmatch(r"[A-Za-z_]\w*", name) else quoted(name), one) for name, one in value.items()]
    return "\n".join(["{", *_aligned([(name, _value(one, "")) for name, one in names], f"{indent}  "), f"{indent}}}"])
