"""Taking tasks out of a compiled pipeline, at its top and in its groups.

Others get from elsewhere what they took of them. A task is named by its path: ``train``, ``exit-handler-1/train``. A
loop is taken out whole or not at all: its tasks gave something else in each of its items.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kfp_magics import ir as irs
from kfp_magics.errors import ArgumentError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from kfp_magics.ir import IR
    from kfp_magics.model import Json, Task

_KINDS = ("parameters", "artifacts")
_SOURCES = {"parameters": "taskOutputParameter", "artifacts": "taskOutputArtifact"}
_KEYS = {"parameters": "outputParameterKey", "artifacts": "outputArtifactKey"}
_OUTER = {"parameters": "componentInputParameter", "artifacts": "componentInputArtifact"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Outlet:
    """An output of a task that is taken out, which a task that stays takes.

    Attributes:
        task: Path of the task.
        key: The output.
        kind: ``parameters`` or ``artifacts``.
        definition: What it is, in KFP's words.
        consumer: Path of the first task that takes it.
    """

    task: str
    key: str
    kind: str
    definition: Mapping[str, Json]
    consumer: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Use:
    prefix: str
    consumer: str
    name: str
    outlet: Outlet


def path_of(ir: IR, step: str) -> tuple[str, str]:
    """Finds a step where a user names it.

    Args:
        ir: The compiled pipeline.
        step: Its id, its name or the name of its component.

    Returns:
        Its path, or that of the loop around it; and the kind of what is around it that has to be whole, or nothing.

    Raises:
        ArgumentError: There is none, or several.
    """
    wanted = {step, irs.component_key(step)}
    tasks = irs.static_tasks(ir, templates=True)
    known = {task.id: task for task in tasks}
    for fits in (
        [task for task in tasks if task.id == step],
        [task for task in tasks if task.id in wanted],
        [task for task in tasks if wanted & {task.id.rpartition("/")[2], task.name}],
        [task for task in tasks if task.component in wanted],
    ):
        paths = {_path(task, known): task for task in fits if task.kind != "iteration"}
        if len(paths) > 1:
            raise ArgumentError(f"There are several steps {step!r}.", f"Name one: --from {' or --from '.join(paths)}")
        for path, task in paths.items():
            return path, "" if path == task.id else known[path].kind
    raise ArgumentError(f"The pipeline has no step {step!r}.", did_you_mean(step, {task.name for task in tasks}))


def _path(task: Task, known: Mapping[str, Task]) -> str:
    words = task.id.split("/")
    around = ("/".join(words[:number]) for number in range(1, len(words)))
    return next((path for path in around if known[path].kind == "loop"), task.id)


def before(ir: IR, start: Collection[str]) -> set[str]:
    """The tasks that come before some, or beside them: neither they nor any task after them.

    Args:
        ir: The compiled pipeline.
        start: Paths.
    """
    return set(_before(ir, ir.spec["root"], "", start))


def _before(ir: IR, component: Mapping[str, Json], prefix: str, start: Collection[str]) -> Iterator[str]:
    tasks = component["dag"]["tasks"]
    first = {path.partition("/")[0] for path in start}
    later = {key for key in tasks if first & set(irs.needs(tasks[key]))}
    while more := {key for key, task in tasks.items() if key not in later and later & set(irs.needs(task))}:
        later |= more
    for key in tasks:
        if key not in first | later:
            yield prefix + key
        elif key not in later:
            inside = [path.partition("/")[2] for path in start if path.partition("/")[0] == key]
            if all(inside):
                yield from _before(ir, ir.component(tasks[key]), f"{prefix}{key}/", inside)


def both(some: Collection[str], others: Collection[str]) -> set[str]:
    """The tasks that two sets of paths have in common, where a group stands for everything in it."""
    return {
        path
        for these, those in ((some, others), (others, some))
        for path in these
        if any(f"{path}/".startswith(f"{one}/") for one in those)
    }


def is_plain_group(ir: IR, task: Mapping[str, Json]) -> bool:
    """Whether a task is a group that runs once: a condition, an exit handler, a nested pipeline."""
    return "dag" in ir.component(task) and not irs.is_loop(task)


class Cut:
    """A pipeline without some of its tasks.

    Args:
        ir: The whole pipeline, compiled.
        left_out: Paths of the tasks that are taken out; some of each opened group stay.

    Attributes:
        spec: The PipelineSpec of what stays.
        bound: Paths of tasks that cannot be taken out → why.
        watched: Paths of tasks taken out → the task that stays and is told how they ended.
        awaited: Paths of the tasks taken out that a task waits for which stays.
    """

    def __init__(self, ir: IR, left_out: Collection[str]) -> None:
        self._ir = ir
        self.spec: dict[str, Json] = json.loads(json.dumps(ir.spec))
        self._left = frozenset(left_out)
        parents = {path.rpartition("/")[0] for path in left_out}
        words = (parent.split("/") for parent in parents)
        self._opened = sorted({"/".join(one[:number]) for one in words for number in range(len(one) + 1)} - {""})
        self.bound: dict[str, str] = {}
        self.watched: dict[str, str] = {}
        self.awaited: set[str] = set()
        for group in self._opened:
            self._own(group)
        for path in self._left:
            prefix, _, key = path.rpartition("/")
            del self._tasks(prefix)[key]
        for group in reversed(self._opened):
            self._prune(group)
        self._uses = list(self._find(""))

    @property
    def outlets(self) -> tuple[Outlet, ...]:
        """What tasks that stay take of those that are taken out, each once, in order."""
        found: dict[tuple[str, str, str], Outlet] = {}
        for use in self._uses:
            found.setdefault((use.outlet.task, use.outlet.kind, use.outlet.key), use.outlet)
        return tuple(found[key] for key in sorted(found))

    def give(self, given: Mapping[tuple[str, str], Mapping[str, Json]], waits: Collection[str] = ()) -> None:
        """Gives to the tasks that stay what they took of those that are taken out.

        Args:
            given: Task and output → the source of an input of a task at the top of the pipeline, in KFP's words.
            waits: The tasks at the top that give some of it.
        """
        for use in self._uses:
            source = given[use.outlet.task, use.outlet.key]
            task = self._tasks(use.prefix)[use.consumer]
            inputs = task["inputs"][use.outlet.kind]
            waited = inputs[use.name][_SOURCES[use.outlet.kind]]["producerTask"]  # a group that stays is waited for
            task["dependentTasks"] = [*task.get("dependentTasks", ()), waited]
            if "runtimeValue" not in source and use.prefix:
                source = self._threaded(use, source)
            kept = {key: one for key, one in inputs[use.name].items() if key not in _SOURCES.values()}
            inputs[use.name] = {**kept, **source}
        for prefix in ("", *self._opened):
            here = self._tasks(prefix)
            for task in here.values():
                named = {*task.get("dependentTasks", ())} & here.keys()
                task.pop("dependentTasks", None)
                if waiting := named | ({*irs.needs(task)} & {*waits}):
                    task["dependentTasks"] = sorted(waiting)
        for prefix in (*reversed(self._opened), ""):
            self._drop_outputs(prefix)

    def _component(self, prefix: str) -> dict[str, Json]:
        component: dict[str, Json] = self.spec["root"]
        for key in filter(None, prefix.split("/")):
            component = self.spec["components"][component["dag"]["tasks"][key]["componentRef"]["name"]]
        return component

    def _tasks(self, prefix: str) -> dict[str, Json]:
        found: dict[str, Json] = self._component(prefix)["dag"]["tasks"]
        return found

    def _own(self, group: str) -> None:
        """Sees to it that a group shares its component with no other."""
        prefix, _, key = group.rpartition("/")
        reference = self._tasks(prefix)[key]["componentRef"]
        everywhere = (self.spec["root"], *self.spec["components"].values())
        tasks = (task for one in everywhere for task in one.get("dag", {}).get("tasks", {}).values())
        if Counter(task["componentRef"]["name"] for task in tasks)[reference["name"]] > 1:
            name = free_name(reference["name"], self.spec["components"])
            self.spec["components"][name] = json.loads(json.dumps(self.spec["components"][reference["name"]]))
            reference["name"] = name

    def _prune(self, group: str) -> None:
        """Takes away from a group the inputs that only tasks read which are gone."""
        prefix, _, key = group.rpartition("/")
        task, component = self._tasks(prefix)[key], self._component(group)
        condition = task.get("triggerPolicy", {}).get("condition", "")
        for kind in _KINDS:
            read = {
                one.get(_OUTER[kind], "")
                for inner in component["dag"]["tasks"].values()
                for one in inner.get("inputs", {}).get(kind, {}).values()
            }
            inputs = task.get("inputs", {}).get(kind, {})
            for name in [name for name in inputs if name not in read and f"'{name}'" not in condition]:
                del inputs[name]
                component.get("inputDefinitions", {}).get(kind, {}).pop(name, None)

    def _find(self, prefix: str) -> Iterator[_Use]:
        inside = f"{prefix}/" if prefix else ""
        for key, task in self._tasks(prefix).items():
            self.awaited |= {inside + one for one in irs.needs(task)} & self._left
            for kind in _KINDS:
                inputs = task.get("inputs", {}).get(kind, {})
                for name, one in list(inputs.items()):
                    source = one.get(_SOURCES[kind])
                    if source and (found := self._gone(prefix, source["producerTask"], source[_KEYS[kind]], kind)):
                        outlet = self._outlet(*found, kind, inside + key)
                        if one.get("parameterExpressionSelector"):
                            self.bound[outlet.task] = f"{inside + key!r} takes something inside its output"
                        if outlet.definition:
                            yield _Use(prefix=prefix, consumer=key, name=name, outlet=outlet)
                        else:  # KFP's compiler adds inputs that name outputs which no task declares; nobody reads them
                            del inputs[name]
                    watched = one.get("taskFinalStatus", {}).get("producerTask")
                    if watched and inside + watched in self._left:
                        self.watched[inside + watched] = inside + key
            if inside + key in self._opened:
                yield from self._find(inside + key)

    def _outlet(self, path: str, key: str, kind: str, consumer: str) -> Outlet:
        task = self._ir.task(path) or {}
        definition = self._ir.component(task).get("outputDefinitions", {}).get(kind, {}).get(key, {})
        return Outlet(task=path, key=key, kind=kind, definition=definition, consumer=consumer)

    def _gone(self, prefix: str, producer: str, key: str, kind: str) -> tuple[str, str] | None:
        """Follows an output to the task that is taken out and made it; nothing when it is still made."""
        path = f"{prefix}/{producer}" if prefix else producer
        if path in self._left:
            return path, key
        if path not in self._opened:
            return None
        selectors = selectors_of(self._component(path)["dag"].get("outputs", {}).get(kind, {}).get(key, {}))
        found = (self._gone(path, one["producerSubtask"], one[_KEYS[kind]], kind) for one in selectors)
        gone = [one for one in found if one]
        if len(selectors) > 1:  # which one it is depends on what happens
            self.bound |= {one[0]: f"{path!r} hands out its output, or another's" for one in gone}
        return gone[0] if gone else None

    def _threaded(self, use: _Use, source: Mapping[str, Json]) -> dict[str, Json]:
        """Hands something from the top of the pipeline down to a group; says how it is called there."""
        kind, words = use.outlet.kind, use.prefix.split("/")
        wanted = f"pipelinechannel--given-{irs.component_key(use.outlet.task)}-{use.outlet.key}"
        current = dict(source)
        for number in range(1, len(words) + 1):
            group = "/".join(words[:number])
            component = self._component(group)
            inputs = self._tasks("/".join(words[: number - 1]))[words[number - 1]].setdefault("inputs", {})
            mine = inputs.setdefault(kind, {})
            name = next((name for name, one in mine.items() if name.startswith(wanted) and one == current), "")
            if not name:
                name = free_name(wanted, mine)
                mine[name] = current
                declared = component.setdefault("inputDefinitions", {}).setdefault(kind, {})
                words_of = {"description", "defaultValue", "isOptional"}
                declared[name] = {key: one for key, one in use.outlet.definition.items() if key not in words_of}
            current = {_OUTER[kind]: name}
        return current

    def _drop_outputs(self, prefix: str) -> None:
        """A group does not hand out what it does not make."""
        component, tasks = self._component(prefix), self._tasks(prefix)
        for kind in _KINDS:
            outputs = component["dag"].get("outputs", {}).get(kind, {})
            for name, handed in list(outputs.items()):
                if not all(self._makes(tasks, one, kind) for one in selectors_of(handed)):
                    del outputs[name]
                    component.get("outputDefinitions", {}).get(kind, {}).pop(name, None)

    def _makes(self, tasks: Mapping[str, Json], selector: Mapping[str, Json], kind: str) -> bool:
        task = tasks.get(selector["producerSubtask"])
        if task is None:
            return False
        definitions = self.spec["components"][task["componentRef"]["name"]].get("outputDefinitions", {})
        return "dag" not in self.spec["components"][task["componentRef"]["name"]] or (
            selector[_KEYS[kind]] in definitions.get(kind, {})
        )


def selectors_of(handed: Mapping[str, Json]) -> Sequence[Mapping[str, Json]]:
    """Which of its tasks make what a group hands out; the first one that did has."""
    if "valueFromParameter" in handed:
        return [handed["valueFromParameter"]]
    found: Sequence[Mapping[str, Json]] = handed.get("artifactSelectors") or handed.get("valueFromOneof", {}).get(
        "parameterSelectors", ()
    )
    return found


def free_name(name: str, taken: Collection[str]) -> str:
    """The name, numbered if it is taken."""
    number, found = 2, name
    while found in taken:
        found, number = f"{name}-{number}" if "-" in name else f"{name}_{number}", number + 1
    return found
