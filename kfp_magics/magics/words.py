"""A magic line to its words: as a shell would split it, but lists and dicts may be typed as in Python.

A ``#`` that begins a word begins a comment, as in a shell.
"""

from __future__ import annotations

import re
import shlex

_BEGINS = re.compile(r"(?:^|\s)\w+=$")
_PAIRS = {"[": "]", "{": "}", "(": ")"}


def split(line: str) -> list[str]:
    """Splits a line: ``search n=3 rates=[0.1, 'a b'] --wait`` has four words.

    Raises:
        ValueError: A quote is not closed.
    """
    found: list[str] = []
    position, quote = 0, ""
    while position < len(line):
        char = line[position]
        if char == "\\" and quote != "'":
            found.append(line[position : position + 2])
            position += 2
            continue
        if not quote and char == "#" and not "".join(found[-1:]).strip():
            break
        if not quote and char in "[{" and _BEGINS.search("".join(found)) and (end := _closing(line, position)):
            found.append(shlex.quote(line[position:end]))
            position = end
            continue
        if char == quote or (not quote and char in "'\""):
            quote = "" if quote else char
        found.append(char)
        position += 1
    return shlex.split("".join(found))


def _closing(line: str, start: int) -> int:
    """Where a value in brackets ends; 0 when it does not."""
    waiting: list[str] = []
    position, quote = start, ""
    while position < len(line):
        char = line[position]
        if quote:
            position += char == "\\"
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char in _PAIRS:
            waiting.append(_PAIRS[char])
        elif waiting and char == waiting[-1]:
            waiting.pop()
            if not waiting:
                return position + 1
        position += 1
    return 0
