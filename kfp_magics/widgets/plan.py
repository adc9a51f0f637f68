"""What would run and why, as text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kfp_magics.runs import text
from kfp_magics.widgets.cards import Text

if TYPE_CHECKING:
    from kfp_magics.planning import Plan, PlannedStep

_MARKS = {True: "=", False: "▶", None: "?"}
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
        about = f", about {text.duration(plan.seconds)} if it takes as long as before" if plan.seconds else ""
        lines = [f"{plan.pipeline} on {plan.where}{about}"]
        rows = [_row(step) for step in plan.steps]
        if rows:
            lines += [
                f"  {line}" for line in text.table(rows, ("", "STEP", "WHY", "IMAGE", "MACHINE", "TOOK")).splitlines()
            ]
        if plan.instead:
            named = [(one.name, where, f"instead of {one.step}") for one, where in plan.instead]
            lines += [f"  {line}" for line in text.table(named, ("TAKES", "FROM", "")).splitlines()]
        if plan.reused:
            lines.append(f"  from run {plan.earlier}: {', '.join(plan.reused)}")
        lines += [f"  {task} runs again: {why}" for task, why in plan.again.items()]
        lines += [f"  {one}" for one in plan.ignored]
        return "\n".join(lines)


def _row(step: PlannedStep) -> tuple[str, ...]:
    forecast, task = step.forecast, step.task
    verdict = {True: "cached", False: "runs", None: ""}[forecast.cached]
    took = text.duration(step.seconds) if step.seconds is not None else ""
    why = ": ".join(word for word in (verdict, forecast.why) if word)
    return (_MARKS[forecast.cached], task.id, why, _image(task.image), step.machine, took)


def _image(image: str) -> str:
    name, at, digest = image.partition("@sha256:")
    return f"{name.rpartition('/')[2]}@{digest[:_DIGEST]}" if at else image
