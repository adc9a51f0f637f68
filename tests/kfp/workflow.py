"""What a cluster tells of a run: nodes of an Argo workflow, made from the compiled pipeline as KFP's compiler does."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from graphlib import TopologicalSorter

EPOCH = "1970-01-01T00:00:00Z"
OMITTED = "RUNTIME_STATE_UNSPECIFIED"


def fnv1a(text: str) -> int:
    value = 2166136261
    for byte in text.encode():
        value = ((value ^ byte) * 16777619) % 2**32
    return value


def stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if seconds else EPOCH


@dataclass
class Plan:
    """How a run goes.

    Attributes:
        failed, cached, skipped: Ids of tasks, as kfp-magics writes them.
        steps: So many steps have ended; the next one runs, those behind it have not begun. None: all ended.
        items: Loop → number of iterations, where the pipeline does not say it.
        attempts: Step → how often its pod was started.
        errors: Step → what its driver says.
    """

    failed: set[str] = field(default_factory=set)
    cached: set[str] = field(default_factory=set)
    skipped: set[str] = field(default_factory=set)
    steps: int | None = None
    items: dict[str, int] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)


class Workflow:
    """The nodes of one run.

    Args:
        spec: PipelineSpec.
        name: Of the workflow.
        plan: How it goes.
        begin: Seconds since the epoch.
        links: What nodes tell of each other: ``argo`` (ids of nodes in child_tasks, as servers do), ``pods`` (names of
            pods as well), or ``parents`` (parent_task_id).
    """

    def __init__(self, spec, name, plan, begin, links="argo", parameters=None):
        self.spec, self.name, self.plan, self.now, self.links = spec, name, plan, begin, links
        self.parameters = parameters or {}
        self.details: list[dict] = []
        self.pods: dict[str, str] = {}
        self.left = plan.steps if plan.steps is not None else 10**9
        self.state = "SUCCEEDED"
        top = self.node(name, name, children=[f"{name}.root-driver"])
        self.node("root-driver", f"{name}.root-driver", top, children=[f"{name}.root"])
        root = self.node("root", f"{name}.root", top)
        state = self.dag(spec["root"], f"{name}.root", "", root)
        root["state"] = top["state"] = self.state = state
        self.details.sort(key=lambda one: one["task_id"])  # in no order that would help

    def id(self, path):
        return self.name if path == self.name else f"{self.name}-{fnv1a(path)}"

    def node(self, display, path, parent=None, *, state="SUCCEEDED", children=(), template="", error=None):
        self.now += 1
        ended = state not in {"RUNNING", "PENDING"}
        detail = {
            "run_id": "",
            "task_id": str(uuid.uuid5(uuid.NAMESPACE_URL, path)),
            "display_name": display,
            "create_time": stamp(self.now),
            "start_time": stamp(self.now),
            "end_time": stamp(self.now + 1) if ended else EPOCH,
            "state": state,
            "state_history": [{"update_time": stamp(self.now), "state": state}],
            "child_tasks": [{"pod_name": self.id(child)} for child in children],
        }
        if error:
            detail["error"] = {"code": 13, "message": error}
        pod = f"{self.name}-{template}-{fnv1a(path)}" if template else self.id(path)
        if template:
            self.pods[path] = pod
        if self.links == "pods":
            detail["pod_name"] = pod
        if self.links == "parents":
            detail["child_tasks"] = []
            if parent is not None:
                detail["parent_task_id"] = parent["task_id"]
        self.details.append(detail)
        return detail

    def component(self, task):
        return self.spec["components"][task["componentRef"]["name"]]

    def dag(self, component, path, prefix, parent):
        tasks = component["dag"]["tasks"]
        before = {key: set(task.get("dependentTasks", ())) for key, task in tasks.items()}
        states: dict[str, str] = {}
        if self.links != "parents":
            parent["child_tasks"] = [
                {"pod_name": self.id(f"{path}.{key}-driver")} for key, needs in before.items() if not needs
            ]
        for key in TopologicalSorter(before).static_order():
            task = tasks[key]
            is_exit = task.get("triggerPolicy", {}).get("strategy") == "ALL_UPSTREAM_TASKS_COMPLETED"
            upstream = [states[one] for one in before[key]]
            here = f"{path}.{key}"
            if is_exit:
                here = f"{path}.{task['dependentTasks'][0]}.onExit.{key}"
            elif any(one in {"FAILED", OMITTED} for one in upstream):
                self.node(f"{key}-driver", f"{here}-driver", parent, state=OMITTED)
                self.node(key, here, parent, state=OMITTED)
                states[key] = OMITTED
                continue
            if any(one == "RUNNING" for one in upstream):
                states[key] = "RUNNING"
                continue
            after = [f"{path}.{one}-driver" for one, needs in before.items() if key in needs]
            states[key] = self.task(key, task, here, f"{prefix}{key}", parent, after)
        found = set(states.values())
        return next((one for one in ("RUNNING", "FAILED") if one in found), "SUCCEEDED")

    def task(self, key, task, path, our_id, parent, after):
        component = self.component(task)
        if "parameterIterator" in task:
            return self.loop(key, task, path, our_id, parent, after)
        if our_id in self.plan.errors:
            self.node(f"{key}-driver", f"{path}-driver", parent, state="FAILED", error=self.plan.errors[our_id])
            return "FAILED"
        if our_id in self.plan.skipped:
            self.node(f"{key}-driver", f"{path}-driver", parent, children=[path])
            self.node(key, path, parent, state="SKIPPED", children=after)
            return "SKIPPED"
        self.node(f"{key}-driver", f"{path}-driver", parent, children=[path])
        if "dag" in component:
            group = self.node(key, path, parent)
            group["state"] = self.dag(component, path, f"{our_id}/", group)
            return group["state"]
        return self.step(key, path, our_id, parent, after)

    def step(self, key, path, our_id, parent, after):
        if self.left <= 0:
            if self.left < 0:
                return "RUNNING"
            self.left -= 1
            step = self.node(key, path, parent, state="RUNNING", children=[f"{path}.executor"])
            self.node("executor", f"{path}.executor", step, state="RUNNING", template="system-container-impl")
            return "RUNNING"
        self.left -= 1
        state = "FAILED" if our_id in self.plan.failed else "SUCCEEDED"
        attempts = self.plan.attempts.get(our_id, 0)
        step = self.node(key, path, parent, state=state, children=[f"{path}.executor"])
        if our_id in self.plan.cached:
            self.node("executor", f"{path}.executor", step, state="SKIPPED", children=after)
            return state
        if attempts:
            names = [f"executor({number})" for number in range(attempts)]
            self.node("executor", f"{path}.executor", step, state=state, children=[f"{path}.{one}" for one in names])
            for number, name in enumerate(names):
                last = number == attempts - 1
                self.node(
                    name,
                    f"{path}.{name}",
                    step,
                    state=state if last else "FAILED",
                    children=after if last else (),
                    template="retry-system-container-impl",
                )
        else:
            error = "Error (exit code 1)" if state == "FAILED" else None
            self.node(
                "executor",
                f"{path}.executor",
                step,
                state=state,
                children=after,
                template="system-container-impl",
                error=error,
            )
        return state

    def loop(self, key, task, path, our_id, parent, after):
        component = self.component(task)
        items = task["parameterIterator"]["items"]
        if "raw" in items:
            count = len(json.loads(items["raw"]))
        else:
            given = self.parameters.get(items["inputParameter"].removeprefix("pipelinechannel--"))
            count = len(given) if given is not None else self.plan.items.get(our_id, 2)
        loop = self.node(key, path, parent, children=[f"{path}.iteration-driver"])
        names = [f"iteration-iterations({number}:{number})" for number in range(count)]
        self.node("iteration-driver", f"{path}.iteration-driver", loop, children=[f"{path}.{one}" for one in names])
        states = set()
        for number, name in enumerate(names):
            inside = f"{path}.{name}"
            outer = self.node(name, inside, loop, children=[f"{inside}.iteration-item-driver"])
            item = f"{inside}.iteration-item"
            self.node("iteration-item-driver", f"{item}-driver", outer, children=[item])
            inner = self.node("iteration-item", item, outer)
            state = self.dag(component, item, f"{our_id}/{number}/", inner)
            inner["state"] = outer["state"] = state
            states.add(state)
        loop["state"] = next((one for one in ("RUNNING", "FAILED") if one in states), "SUCCEEDED")
        return loop["state"]
