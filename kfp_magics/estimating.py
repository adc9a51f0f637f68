"""How long a run will take, from how long the same steps took before."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kfp_magics import ir as irs
from kfp_magics.model import State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kfp_magics.ir import IR
    from kfp_magics.model import Json
    from kfp_magics.runs.store import Store

_LOOKED_AT = 30  # earlier runs
_ENOUGH = 5  # times of a step
_ENDED = (State.SUCCEEDED, State.FAILED, State.CANCELLED)  # what a run did before it failed has taken its time, too


@dataclass(frozen=True, kw_only=True, slots=True)
class Times:
    """What earlier runs tell.

    Attributes:
        took: Component → seconds.
        items: Loop, with ``*`` for the items of loops around it → number of its items.
    """

    took: Mapping[str, float] = field(default_factory=dict)
    items: Mapping[str, int] = field(default_factory=dict)


def times(store: Store, pipeline: str, backend: str) -> Times:
    """Looks how long each step took in the last runs of a pipeline, where it was not reused.

    Args:
        store: Where runs are remembered.
        pipeline: Its name.
        backend: Only runs there: another machine takes another time.
    """
    took: dict[str, list[float]] = {}
    items: dict[str, list[int]] = {}
    for run in store.list(pipeline=pipeline, states=_ENDED, limit=_LOOKED_AT):
        if run.backend != backend:
            continue
        tasks = store.get(run.id).tasks
        members = Counter(task.parent for task in tasks)
        for task in tasks:
            if task.kind == "loop" and task.state is State.SUCCEEDED:
                items.setdefault(_starred(task.id), []).append(members[task.id])
            elif task.state is State.SUCCEEDED and not task.cached and task.started and task.finished:
                took.setdefault(task.component, []).append(max(0.0, task.finished - task.started))
    return Times(
        took={component: statistics.median(found[:_ENOUGH]) for component, found in took.items()},
        items={loop: round(statistics.median(found[:_ENOUGH])) for loop, found in items.items()},
    )


def _starred(task_id: str) -> str:
    return "/".join("*" if word.isdecimal() else word for word in task_id.split("/"))


def estimate(ir: IR, seconds: Mapping[str, float], items: Mapping[str, int], at_once: int = 0) -> float:
    """The time of the longest chain of tasks, or of all work where only so much goes on at once.

    Args:
        ir: The compiled pipeline.
        seconds: Step, by its id with ``*`` for items → how long it takes.
        items: Loop → number of its items, where the pipeline does not say it.
        at_once: Most steps that run at once; 0 for any number.
    """
    longest, work = _of_group(ir, ir.spec["root"], "", seconds, items)
    return max(longest, work / at_once) if at_once else longest


def _of_group(
    ir: IR, component: Mapping[str, Json], prefix: str, seconds: Mapping[str, float], items: Mapping[str, int]
) -> tuple[float, float]:
    tasks = component["dag"].get("tasks", {})
    end: dict[str, float] = {}
    works = []
    for key in irs.in_order(tasks):
        task, inner = tasks[key], ir.component(tasks[key])
        longest = work = seconds.get(prefix + key, 0.0)
        if "dag" in inner:
            loop = irs.is_loop(task)
            longest, work = _of_group(ir, inner, f"{prefix}{key}/{'*/' if loop else ''}", seconds, items)
            if loop:
                number = _items(task, items.get(prefix + key, 1))
                limit = int(task.get("iteratorPolicy", {}).get("parallelismLimit", 0)) or number or 1
                longest, work = longest * math.ceil(number / limit), work * number
        end[key] = longest + max((end[one] for one in irs.needs(task)), default=0.0)
        works.append(work)
    branches = prefix.rstrip("/").rpartition("/")[2].startswith("condition-branches-")  # of which only one runs
    work = max(works, default=0.0) if branches else sum(works)
    return max(end.values(), default=0.0), work


def _items(task: Mapping[str, Json], otherwise: int) -> int:
    constant = irs.constant_items(task)
    return len(constant) if constant else otherwise
