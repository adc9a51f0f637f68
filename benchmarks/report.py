"""The table of a section, and its place in docs/benchmarks.md."""

from __future__ import annotations

import re
from collections.abc import Sequence

from benchmarks.harness import Row, machine

_HEAD = """# How fast

Medians of rounds that take turns with the peer on the same machine, so the ratios say more than the seconds.
`make bench` measures everything anew and writes this file; `python -m benchmarks SECTION --write` one section.
"""
_MARKS = {True: "✓", False: "✗", None: ""}


def table(rows: Sequence[Row]) -> str:
    """Writes rows as a Markdown table that also reads well as text."""
    lines = [("What", "kfp-magics", "peer", "its time", "ratio", "target", "met")]
    lines += [
        (
            row.what,
            row.text(row.ours),
            row.peer,
            "" if row.theirs is None else row.text(row.theirs),
            "" if row.ratio is None else f"{row.ratio:.1f}×",
            row.target,
            _MARKS[row.met],
        )
        for row in rows
    ]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    texts = ["| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in lines]
    texts.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(texts)


def section_text(title: str, about: str, rows: Sequence[Row], rounds: int) -> str:
    """Writes a whole section."""
    measured = f"{machine()} · medians of {rounds} rounds, of at most 3 for what takes long"
    return f"## {title}\n\n{about.strip()}\n\n{measured}\n\n{table(rows)}\n"


def replaced(text: str, name: str, section: str) -> str:
    """Puts a section in its place of the file and leaves the others alone.

    Args:
        text: The file as it was; empty for a new one.
        name: Name of the section.
        section: Its new text.
    """
    start, end = f"<!-- section: {name} -->", f"<!-- end: {name} -->"
    whole = f"{start}\n{section}{end}"
    place = re.compile(f"{re.escape(start)}.*?{re.escape(end)}", re.DOTALL)
    if place.search(text):
        return place.sub(lambda _: whole, text)
    return f"{(text or _HEAD).rstrip()}\n\n{whole}\n"
