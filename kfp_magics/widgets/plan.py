"""What would run and why, as text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kfp_magics.runs import text
from kfp_magics.widgets.cards import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kfp_magics.backends.abilities import Ignored
    from kfp_magics.planning import Plan, PlannedStep

_MARKS = {True: "=", False: "▶", None: "?"}
_LEAST = 0.1  # seconds worth telling
_DIGEST = 12  # characters of a digest that are shown


@dataclass(frozen=True, repr=False)
class PlanCard(Text):
    """A plan, a line for each step.

    Attributes:
        plan: The plan.
    """

    plan: Plan

    def __repr__(self) -> str:
        plan = self.plan
        lines = [f"{plan.pipeline} on {plan.where}{_about(plan)}"]
        rows = [_row(step) for step in plan.steps]
        if rows:
            lines += [
                f"  {line}" for line in text.table(rows, ("", "STEP", "WHY", "IMAGE", "MACHINE", "TOOK")).splitlines()
            ]
        if plan.instead:
            named = [(one.name, where, f"instead of {one.step}") for one, where in plan.instead]
            lines += [f"  {line}" for line in text.table(named, ("TAKES", "FROM", "")).splitlines()]
        if plan.earlier and not plan.reused:
            lines.append(f"  from run {plan.earlier}: nothing")
        if plan.reused:
            lines.append(f"  from run {plan.earlier}: {', '.join(plan.reused)}")
        lines += [f"  {task} runs again: {why}" for task, why in plan.again.items()]
        lines += [f"  {one}" for one in _ignored(plan.ignored)]
        return "\n".join(lines)


def _about(plan: Plan) -> str:
    if plan.seconds is None or plan.seconds < _LEAST:
        return ""
    more = ""
    if plan.unknown:
        more = f", and what {plan.unknown[0]} takes" if len(plan.unknown) == 1 else ", and what the new steps take"
    return f", about {text.duration(plan.seconds)} if it takes as long as before{more}"


def _ignored(found: Sequence[Ignored]) -> list[str]:
    """What is ignored, in as few lines as tell all of it."""
    asked: dict[tuple[str, str], list[str]] = {}
    for one in found:
        asked.setdefault((one.step, one.why), []).append(one.feature)
    alike: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (step, why), features in asked.items():
        alike.setdefault((why, tuple(features)), []).append(step)
    return [
        f"{', '.join(steps)}: {text.listed(features)} {'is' if len(features) == 1 else 'are'} ignored: {why}"
        for (why, features), steps in alike.items()
    ]


def _row(step: PlannedStep) -> tuple[str, ...]:
    forecast, task = step.forecast, step.task
    verdict = "skipped" if forecast.skipped else {True: "cached", False: "runs", None: ""}[forecast.cached]
    took = text.duration(step.seconds) if step.seconds is not None else ""
    why = ": ".join(word for word in (verdict, forecast.why) if word)
    image = f"{_image(task.image)}, built first" if step.unbuilt else _image(task.image)
    mark = "–" if forecast.skipped else _MARKS[forecast.cached]
    name = task.id if task.name == task.id.rpartition("/")[2] else f"{task.id} ({task.name})"
    return (mark, name, why, image, step.machine, took)


def _image(image: str) -> str:
    name, at, digest = image.partition("@sha256:")
    return f"{name.rpartition('/')[2]}@{digest[:_DIGEST]}" if at else image
