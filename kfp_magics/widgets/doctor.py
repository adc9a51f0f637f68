"""What the doctor found, as text and as a table that fills while it looks."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from kfp_magics.doctor.findings import GROUPS, Word

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from kfp_magics.doctor.findings import Finding

_STYLE = Path(__file__).with_name("static.css")
_MARKS = {Word.OK: "✓", Word.MISSING: "✗", Word.BROKEN: "✗", Word.NOT_NEEDED: "·"}
_TITLES = {
    "author": "Author: cells become steps",
    "panel": "Panel: runs beside the notebook",
    "build": "Build: steps become images",
    "run": "Run: pipelines on this machine and on servers",
    "ci": "CI: a push rebuilds images",
    "cd": "CD: new data starts a run",
}


@dataclass(frozen=True, repr=False)
class DoctorCard:
    """What was found.

    Attributes:
        findings: In order.
        in_ipython: Whether commands are those of a notebook.
        going_on: Whether more is to come.
    """

    findings: Sequence[Finding]
    in_ipython: bool = False
    going_on: bool = False

    def __repr__(self) -> str:
        return "\n".join([*lines(self.findings, in_ipython=self.in_ipython), self._verdict])

    @property
    def _verdict(self) -> str:
        return "Looking …" if self.going_on else verdict(self.findings)

    def _repr_html_(self) -> str:
        parts = "".join(self._group(group) for group in GROUPS if any(one.group == group for one in self.findings))
        head = "".join(f"<th scope='col'>{title}</th>" for title in ("State", "What", "Found", "What mends it"))
        style = f"<style>{_STYLE.read_text(encoding='utf-8')}</style>"
        return (
            f"<div class='kfpm'>{style}<table class='c'><caption>{escape(self._verdict)}</caption>"
            f"<thead><tr>{head}</tr></thead>{parts}</table></div>"
        )

    def _group(self, group: str) -> str:
        title = f"<tr><th scope='rowgroup' colspan='4'><b>{escape(_TITLES[group])}</b></th></tr>"
        rows = "".join(self._row(one) for one in self.findings if one.group == group)
        return f"<tbody>{title}{rows}</tbody>"

    def _row(self, finding: Finding) -> str:
        answer = finding.answer
        tone = "t-failed" if finding.fails else "t-succeeded" if answer.word is Word.OK else "q"
        mend = f"<code>{escape(command_of(finding, in_ipython=self.in_ipython))}</code>" if answer.mend else ""
        cells = f"<th scope='row'>{escape(finding.name)}</th><td>{escape(answer.note)}</td><td>{mend}</td>"
        return f"<tr><td class='{tone}'>{_MARKS[answer.word]} {answer.word}</td>{cells}</tr>"


def lines(findings: Iterable[Finding], *, in_ipython: bool, before: str = "") -> Iterator[str]:
    """Tells findings, a line each, with the command that mends it below.

    Args:
        findings: In order.
        in_ipython: Whether commands are those of a notebook.
        before: The group that was told last.
    """
    for finding in findings:
        answer = finding.answer
        if finding.group != before:
            before = finding.group
            yield _TITLES[finding.group]
        yield f"  {_MARKS[answer.word]} {answer.word:10}  {finding.name:16}  {answer.note}".rstrip()
        if answer.mend and (finding.fails or answer.word is Word.BROKEN):
            yield from (f"{'':16}{line}" for line in command_of(finding, in_ipython=in_ipython).splitlines())


def command_of(finding: Finding, *, in_ipython: bool) -> str:
    """What mends it, where one stands."""
    mend = finding.answer.mend
    return "" if mend is None else mend.magic if in_ipython else mend.command


def verdict(findings: Sequence[Finding]) -> str:
    """One sentence about all of it."""
    wrong = [one.name for one in findings if one.fails]
    if not wrong:
        return "Everything that is needed is there."
    return f"{len(wrong)} of {len(findings)} need something: {', '.join(wrong)}."


def show(findings: Iterable[Finding], *, in_ipython: bool, in_notebook: bool) -> DoctorCard:
    """Shows findings as they come: lines in a terminal, a table that fills in a notebook.

    Args:
        findings: As they come.
        in_ipython: Whether commands are those of a notebook.
        in_notebook: Whether a notebook shows it.
    """
    return _fill(findings) if in_notebook else _print(findings, in_ipython=in_ipython)


def _print(findings: Iterable[Finding], *, in_ipython: bool) -> DoctorCard:
    found: list[Finding] = []
    for one in findings:
        before = found[-1].group if found else ""
        found.append(one)
        sys.stdout.writelines(f"{line}\n" for line in lines([one], in_ipython=in_ipython, before=before))
        sys.stdout.flush()
    sys.stdout.write(f"{verdict(found)}\n")
    return DoctorCard(found)


def _fill(findings: Iterable[Finding]) -> DoctorCard:
    from IPython.display import display  # noqa: PLC0415  (only in a notebook)

    found: list[Finding] = []
    place = uuid4().hex
    display(DoctorCard((), in_ipython=True, going_on=True), display_id=place)
    for one in findings:
        found.append(one)
        display(DoctorCard(tuple(found), in_ipython=True, going_on=True), display_id=place, update=True)
    card = DoctorCard(tuple(found), in_ipython=True)
    display(card, display_id=place, update=True)
    return card
