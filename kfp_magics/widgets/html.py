"""Runs and pipelines as HTML that needs no script: what stays when a notebook is saved and opened elsewhere.

A step is selected with a radio button and CSS alone. Where styles are stripped, everything stands one below the other
and reads as text.
"""

from __future__ import annotations

import json
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from kfp_magics.model import TRIGGER, State
from kfp_magics.runs.text import MARKS, lasted, stale_since, value_text, when
from kfp_magics.widgets.layout import Box, arrange

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from kfp_magics.model import Artifact, Failure, Json, Run, Task

_MOST = 150  # boxes that are drawn; a bigger graph is a list
_STYLE = Path(__file__).with_name("static.css")
_GROUPS = {"group", "condition", "loop", "iteration", "exit-handler"}


def run_html(run: Run, tails: Mapping[str, str] | None = None) -> str:
    """Draws a run as it stands.

    Args:
        run: The run with its tasks.
        tails: Task → the end of its log.
    """
    number = len(_steps(run.tasks))
    things = ("image" if run.kind == "build" else "step") + ("" if number == 1 else "s")
    head = (
        f"<h4><span class='t-{run.state}'>{MARKS[run.state]}</span> {escape(run.name)}</h4>"
        f"<div class='q'>{run.state}{', ' + lasted(run, run.stale) if run.started else ''} · {number} {things} · "
        f"{escape(run.id)}{' · ' + when(run.created) if run.created else ''}{escape(_trigger(run))}</div>"
    )
    head += f"<div class='q'>{escape(stale_since(run))}</div>" if run.stale else ""
    error = _error(run.error) if run.error else ""
    given = _table("Parameters", run.parameters) + _table("Outputs", run.outputs)
    chosen = next((task.id for task in run.tasks if task.state is State.FAILED and task.has_log), "")
    return _frame(head + error, _as_known(run), chosen=chosen, tails=tails or {}, below=given)


def _as_known(run: Run) -> list[Task]:
    """The tasks; where nothing is known of the run any more, none of them goes on after that."""
    return [
        replace(task, finished=run.stale) if task.started is not None and task.finished is None else task
        for task in run.tasks
    ]


def _trigger(run: Run) -> str:
    return f" · started by {run.started_by.removeprefix(TRIGGER)}" if run.started_by.startswith(TRIGGER) else ""


def pipeline_html(name: str, tasks: Sequence[Task], notes: Sequence[str] = ()) -> str:
    """Draws a pipeline that has not run."""
    steps = len(_steps(tasks))
    head = f"<h4>{escape(name)}</h4><div class='q'>{steps} step{'s' if steps != 1 else ''}</div>"
    head += "".join(f"<div class='q'>{escape(note)}</div>" for note in notes)
    return _frame(head, tasks, chosen="", tails={}, below="", plain=True)


def _steps(tasks: Iterable[Task]) -> list[Task]:
    return [task for task in tasks if task.kind not in _GROUPS]


def _frame(
    head: str, tasks: Sequence[Task], *, chosen: str, tails: Mapping[str, str], below: str, plain: bool = False
) -> str:
    frame = f"kfpm-{uuid4().hex[:12]}"  # views of several kernels may stand in one notebook
    names = {task.id: f"{frame}-{number}" for number, task in enumerate(tasks)}
    radios = "".join(
        f"<input type='radio' name='{frame}' id='{name}'{' checked' if task_id == chosen else ''}>"
        for task_id, name in names.items()
    )
    rules = "".join(
        f"#{name}:checked~.d.{name}{{display:block}}"
        f"#{name}:checked~.g label[for={name}]{{box-shadow:0 0 0 2px var(--go)}}"
        for name in names.values()
    )
    images = bool(tasks) and all(task.kind == "image" for task in tasks)  # they do not wait for each other
    graph = _list(tasks, names) if images or len(tasks) > _MOST else _graph(tasks, names, plain=plain)
    details = "" if plain else "".join(_details(task, names[task.id], tails.get(task.id, "")) for task in tasks)
    style = f"<style>{_STYLE.read_text(encoding='utf-8')}{rules}</style>"
    return f"<div class='kfpm'>{style}{head}{radios}{graph}{details}{below}</div>"


def _graph(tasks: Sequence[Task], names: Mapping[str, str], *, plain: bool) -> str:
    boxes, width, height = arrange(tasks)
    every = [one for box in boxes for one in box.walk()]
    edges = "".join(_edges(every))
    labels = "".join(_label(box, names[box.task.id], plain=plain) for box in every)
    size = f"width:{width + 4:.0f}px;height:{height + 4:.0f}px"
    lines = (
        f"<svg width='{width + 4:.0f}' height='{height + 4:.0f}' fill='none' stroke='#98a2b3' stroke-width='1.4' "
        f"style='position:absolute;pointer-events:none' aria-hidden='true'>{edges}</svg>"
    )
    return f"<div class='g'><div style='position:relative;{size}'>{labels}{lines}</div></div>"


def _edges(boxes: Sequence[Box]) -> Iterable[str]:
    places = {box.task.id: box for box in boxes}
    for box in boxes:
        for one in box.task.needs:
            if one in places:
                start = places[one]
                x1, y1 = start.x + start.width + 2, start.y + start.height / 2 + 2
                x2, y2 = box.x + 2, box.y + box.height / 2 + 2
                bend = max(18.0, (x2 - x1) / 2)
                curve = f"{x1 + bend:.0f} {y1:.0f} {x2 - bend:.0f} {y2:.0f} {x2:.0f} {y2:.0f}"
                yield f"<path d='M{x1:.0f} {y1:.0f}C{curve}'/>"


def _label(box: Box, name: str, *, plain: bool) -> str:
    task = box.task
    place = f"left:{box.x + 2:.0f}px;top:{box.y + 2:.0f}px;width:{box.width:.0f}px;height:{box.height:.0f}px"
    kind = " o" if box.members else ""
    title = f"item {task.name}" if task.kind == "iteration" else task.name
    note = task.kind if plain else _note(task)
    small = "" if box.members else f"<i>{escape(note)}</i>"
    mark = "" if plain else f"<span class='t-{task.state}'>{MARKS[task.state]}</span> "
    return (
        f"<label class='n {'' if plain else task.state}{kind}' for='{name}' style='{place}' title='{escape(task.id)}'>"
        f"<b>{mark}{escape(title)}</b>{small}</label>"
    )


def _note(task: Task) -> str:
    if task.kind == "image":
        return (task.error.message if task.error else task.reason) or str(task.state)
    if task.cached:
        return "reused"
    return lasted(task) or str(task.state)


def _list(tasks: Sequence[Task], names: Mapping[str, str]) -> str:
    rows = "".join(
        f"<div><label for='{names[task.id]}'><span class='t-{task.state}'>{MARKS[task.state]}</span> "
        f"{escape(task.id)} <span class='q'>{escape(_note(task))}</span></label></div>"
        for task in tasks
    )
    return f"<div class='g' style='max-height:24em'>{rows}</div>"


def _details(task: Task, name: str, tail: str) -> str:
    why = f"<div class='q'>{escape(task.reason)}</div>" if task.reason else ""
    inputs = [one for one in task.artifacts if one.io == "input"]
    outputs = [one for one in task.artifacts if one.io == "output"]
    log = f"<pre>{escape(tail)}</pre>" if tail else ""
    return (
        f"<div class='d {name}'><h4>{escape(task.id)} <span class='q t-{task.state}'>{task.state} "
        f"{lasted(task)}</span></h4>{why}{_error(task.error) if task.error else ''}"
        f"{_table('Inputs', task.inputs)}{_artifacts('Input artifacts', inputs)}"
        f"{_table('Outputs', task.outputs)}{_artifacts('Artifacts', outputs)}{log}</div>"
    )


def _error(error: Failure) -> str:
    line = f"\nline {error.line}: {error.text}" if error.line else ""
    hint = f"\n{error.hint}" if error.hint else ""
    return f"<div class='e'>{escape(error.message + line + hint)}</div>"


def _table(title: str, values: Mapping[str, Json]) -> str:
    if not values:
        return ""
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(value_text(value, 200))}</td></tr>" for name, value in values.items()
    )
    return f"<table><tr><th colspan='2'><b>{title}</b></th></tr>{rows}</table>"


def _artifacts(title: str, artifacts: Sequence[Artifact]) -> str:
    if not artifacts:
        return ""
    rows = "".join(
        f"<tr><th>{escape(one.name)}</th><td>{escape(one.type.removeprefix('system.'))}</td>"
        f"<td>{_metadata(one.metadata)}</td><td class='q'>{escape(one.uri)}</td></tr>"
        for one in artifacts
    )
    return f"<table><tr><th colspan='4'><b>{title}</b></th></tr>{rows}</table>"


def _metadata(metadata: Mapping[str, Json]) -> str:
    shown = {key: value for key, value in metadata.items() if key != "display_name"}
    return "<br>".join(
        f"{escape(key)} = {escape(value if isinstance(value, str) else value_text(json.loads(json.dumps(value)), 80))}"
        for key, value in shown.items()
    )
