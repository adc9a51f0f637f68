"""Dockerfiles, as far as it takes to say which line failed and which images they start from."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ESCAPE = re.compile(r"^#\s*escape\s*=\s*(?P<escape>[\\`])\s*$", re.IGNORECASE)
_HEREDOC = re.compile(r"<<-?(?P<quote>[\"']?)(?P<word>[A-Za-z_]\w*)(?P=quote)")
_FROM = re.compile(r"^FROM\s+(?:--\S+\s+)*(?P<image>\S+)(?:\s+AS\s+(?P<name>\S+))?\s*$", re.IGNORECASE)
_COPIED = re.compile(r"^COPY\s+.*--from=(?P<image>\S+)", re.IGNORECASE)

_COMPARED = 40  # characters of an instruction that tell it from others


@dataclass(frozen=True, kw_only=True, slots=True)
class Instruction:
    """One instruction.

    Attributes:
        line: Where it begins, counted from 1.
        text: On one line, blanks folded.
    """

    line: int
    text: str


def instructions(text: str) -> list[Instruction]:
    """Reads the instructions of a Dockerfile: lines that go on, comments and here-documents accounted for."""
    lines = text.splitlines()
    escape = next((match["escape"] for line in lines[:1] if (match := _ESCAPE.match(line))), "\\")
    found: list[Instruction] = []
    position = 0
    while position < len(lines):
        line = lines[position].strip()
        position += 1
        if not line or line.startswith("#"):
            continue
        start, parts = position, [line]
        while parts[-1].endswith(escape) and position < len(lines):
            line = lines[position].strip()
            position += 1
            if line and not line.startswith("#"):  # neither ends an instruction
                parts.append(line)
        words = " ".join(" ".join(part.removesuffix(escape) for part in parts).split())
        found.append(Instruction(line=start, text=words))
        position = _after_heredocs(words, lines, position)
    return found


def _after_heredocs(words: str, lines: list[str], position: int) -> int:
    if words.partition(" ")[0].upper() in {"RUN", "COPY", "ADD"}:
        for heredoc in _HEREDOC.finditer(words):
            while position < len(lines) and lines[position].strip() != heredoc["word"]:
                position += 1
            position += 1
    return position


def base_images(text: str) -> list[str]:
    """The images that a Dockerfile starts or copies from; stages of its own are left out."""
    stages: set[str] = set()
    found: dict[str, None] = {}
    for instruction in instructions(text):
        match = _FROM.match(instruction.text) or _COPIED.match(instruction.text)
        if match is None:
            continue
        image = match["image"]
        if image.lower() not in stages and image != "scratch" and not image.isdigit():
            found[image] = None
        if name := match.groupdict().get("name"):
            stages.add(name.lower())
    return list(found)


def line_of(text: str, step: str) -> Instruction | None:
    """Finds the instruction that an engine names, which it may write a little differently.

    Args:
        text: The Dockerfile.
        step: What the engine printed of the instruction.
    """
    wanted = " ".join(step.split())
    known = instructions(text)
    same = [one for one in known if one.text == wanted]
    alike = [one for one in known if _begin_alike(one.text, wanted)]
    return next(iter(reversed(same or alike)), None)


def _begin_alike(a: str, b: str) -> bool:
    (word_a, _, rest_a), (word_b, _, rest_b) = a.partition(" "), b.partition(" ")
    heads = [rest.replace(" ", "")[:_COMPARED] for rest in (rest_a, rest_b)]
    return word_a.upper() == word_b.upper() and (heads[0].startswith(heads[1]) or heads[1].startswith(heads[0]))
