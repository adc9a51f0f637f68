"""What the steps of a notebook need on Google Cloud, each role with the step and the line that is the reason."""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from kfp_magics.cells.notebook import code_of
from kfp_magics.delivery.auth.scripts import uses_in_script
from kfp_magics.delivery.auth.services import CONTAINS, VERTEX
from kfp_magics.delivery.auth.uses import Found, Use, uses_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from kfp_magics.definitions import Definitions
    from kfp_magics.model import Component

_LONGEST = 60  # characters of a line that are shown
_BIGGEST = 400_000  # bytes of a file that is read
_FILES = 400  # files of a folder that are read
_COMPONENTS = "gcr.io/ml-pipeline/google-cloud-pipeline-components"


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """A role that steps need.

    Attributes:
        role: The role.
        on: What it is needed on: ``gs://BUCKET``, ``secret:NAME``, or nothing for the whole project.
        reasons: Which step, which line.
    """

    role: str
    on: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Needs:
    """What the steps of a notebook need.

    Attributes:
        needs: Roles, sorted; see `smallest`.
        apis: APIs that have to be enabled, sorted.
        remarks: What could not be told, a line each.
    """

    needs: tuple[Need, ...] = ()
    apis: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def needs_of(definitions: Definitions) -> Needs:
    """Finds what the steps and pipelines of a notebook need; nothing of them is executed.

    Args:
        definitions: What the notebook defined.
    """
    needs: dict[tuple[str, str], list[str]] = {}
    apis: set[str] = set()
    remarks: list[str] = []
    for where, found in _pieces(definitions):
        for use in found.uses:
            reasons = needs.setdefault((use.role, use.on), [])
            reasons.append(f"{where}, line {use.line}: {_short(use.text)}" if use.line else f"{where}: {use.text}")
            apis |= {use.api} if use.api else set()
        remarks += [f"{where}, line {line}: {why}." for line, why in found.remarks]
    whole = (Need(role=role, on=on, reasons=tuple(dict.fromkeys(why))) for (role, on), why in sorted(needs.items()))
    return Needs(needs=tuple(whole), apis=tuple(sorted(apis)), remarks=tuple(dict.fromkeys(remarks)))


def smallest(needs: Iterable[Need]) -> list[Need]:
    """Leaves out what another role allows as well; its reasons go to that role."""
    kept = list(needs)
    for one in list(kept):
        wider = next((other for other in kept if other is not one and _covers(other, one)), None)
        if wider is not None:
            kept.remove(one)
            both = tuple(dict.fromkeys((*wider.reasons, *one.reasons)))
            kept[kept.index(wider)] = replace(wider, reasons=both)
    return kept


def _covers(wider: Need, one: Need) -> bool:
    if wider.on not in {one.on, ""}:
        return False
    return one.role in CONTAINS.get(wider.role, ()) or (wider.role == one.role and wider.on != one.on)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _pieces(definitions: Definitions) -> Iterator[tuple[str, Found]]:
    known = {name: step.component for name, step in definitions.steps.items()} | definitions.taken
    seen: set[str] = set()
    for name, component in sorted(known.items()):
        if component.language == "kfp" and component.source in seen:
            continue  # several steps of kfp's own in one cell
        seen.add(component.source)
        yield from _of_step(f"step {name}", component)
    for name, composed in sorted(definitions.pipelines.items()):
        pipeline = composed.pipeline
        yield f"pipeline {name}", uses_of(pipeline.source)
        if _COMPONENTS in pipeline.ir:
            yield f"pipeline {name}", _google_components()


def _google_components() -> Found:
    text = "steps of google-cloud-pipeline-components"
    return Found(uses=(Use(role=VERTEX, on="", line=0, text=text, api="aiplatform.googleapis.com"),))


def _of_step(where: str, component: Component) -> Iterator[tuple[str, Found]]:
    match component.language:
        case "bash":
            yield where, uses_in_script(component.source)
        case "context":
            yield from _of_folder(where, Path(component.context))
        case "notebook":
            yield f"{where} (its notebook's code)", uses_of(ast.unparse(code_of(component.source)))
        case _:
            yield where, uses_of(component.source)


def _of_folder(where: str, folder: Path) -> Iterator[tuple[str, Found]]:
    files = [path for path in sorted(folder.rglob("*")) if path.suffix in _READERS and path.is_file()]
    for path in files[:_FILES]:
        if path.stat().st_size > _BIGGEST:
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        try:
            yield f"{where}, {path.relative_to(folder).as_posix()}", _READERS[path.suffix](text)
        except SyntaxError as error:
            why = (error.lineno or 0, f"the file does not parse ({error.msg})")
            yield f"{where}, {path.relative_to(folder).as_posix()}", Found(remarks=(why,))


_READERS: Mapping[str, Callable[[str], Found]] = {".py": uses_of, ".sh": uses_in_script, ".bash": uses_in_script}
