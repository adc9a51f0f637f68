"""Compiled pipelines as they stand in a file: KFP v2 IR, read as plain values without kfp."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, TypeVar

from kfp_magics.errors import ArgumentError, DefinitionError
from kfp_magics.ir_yaml import HINT, documents
from kfp_magics.model import MISSING, Port, Task

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from kfp_magics.model import Json, TaskKind

T = TypeVar("T")
TYPES = {
    "NUMBER_INTEGER": "int",
    "NUMBER_DOUBLE": "float",
    "STRING": "str",
    "BOOLEAN": "bool",
    "LIST": "list",
    "STRUCT": "dict",
    "TASK_FINAL_STATUS": "TaskFinalStatus",
}
"""KFP's words for types of parameters → ours."""
_SCHEMA = "2"  # the first number of KFP's schemaVersion; those behind it only add to it
_KEPT = 8  # pipelines that are kept read: whoever starts one asks for it several times


@dataclass(frozen=True, kw_only=True, slots=True)
class IR:
    """A compiled pipeline.

    Attributes:
        text: The YAML, as it was.
        spec: The PipelineSpec message as JSON.
        platform: The PlatformSpec message as JSON (the second document); empty when there is none.
    """

    text: str
    spec: Mapping[str, Json]
    platform: Mapping[str, Json] = field(default_factory=dict)

    def component(self, task: Mapping[str, Json]) -> Mapping[str, Json]:
        """The ComponentSpec that a task refers to."""
        found: Mapping[str, Json] = self.spec["components"][task["componentRef"]["name"]]
        return found

    def executor(self, component: Mapping[str, Json]) -> Mapping[str, Json]:
        """The executor that a component names; empty for a component that is a DAG."""
        executors: Mapping[str, Json] = self.spec.get("deploymentSpec", {}).get("executors", {})
        found: Mapping[str, Json] = executors.get(component.get("executorLabel", ""), {})
        return found

    def task(self, path: str) -> Mapping[str, Json] | None:
        """The PipelineTaskSpec at a path of groups, ``exit-handler-1/train``; None when there is none."""
        component, found = self.spec["root"], None
        for key in path.split("/"):
            found = component.get("dag", {}).get("tasks", {}).get(key)
            if found is None:
                return None
            component = self.component(found)
        return found

    def pod(self, label: str) -> Mapping[str, Json]:
        """What the platform part says of an executor's pod, by the executor's label."""
        found: Mapping[str, Json] = (
            self.platform.get("platforms", {})
            .get("kubernetes", {})
            .get("deploymentSpec", {})
            .get("executors", {})
            .get(label, {})
        )
        return found


def spec_of(ir: IR, *, cache: bool) -> dict[str, Json]:
    """A copy of a pipeline's spec as a server is given it: without cache, every task of it runs again."""
    spec: dict[str, Json] = json.loads(json.dumps(ir.spec))
    if not cache:
        for component in (spec["root"], *spec["components"].values()):
            for task in component.get("dag", {}).get("tasks", {}).values():
                task.setdefault("cachingOptions", {})["enableCache"] = False
    return spec


@lru_cache(_KEPT)
def parse(text: str) -> IR:
    """Reads and checks a compiled pipeline; whoever changes something of it changes a copy.

    Args:
        text: YAML or JSON; a second document may hold the platform part.

    Raises:
        DefinitionError: It is no KFP v2 IR, refers to something that is not there, or goes in a circle.
    """
    found = documents(text)
    spec = found[0] if found else None
    if not isinstance(spec, dict):
        raise DefinitionError("The compiled pipeline is empty, or no YAML mapping.", HINT)
    spec = spec.get("pipelineSpec", spec)
    if "apiVersion" in spec and "kind" in spec:
        by = ", as KFP 1 compiled pipelines" if spec["kind"] == "Workflow" else ""
        raise DefinitionError(f"This is a Kubernetes {spec['kind']}{by}, not KFP v2 IR.", HINT)
    if "implementation" in spec:
        raise DefinitionError("This is a KFP component of version 1, not a compiled pipeline.", HINT)
    if not isinstance(spec.get("root"), dict) or "dag" not in spec["root"]:
        raise DefinitionError("The compiled pipeline has no 'root' with a 'dag'.", HINT)
    if len(found) > 2 or not all(isinstance(one, dict) for one in found):
        raise DefinitionError("Behind the compiled pipeline stands more than its platform part.", HINT)
    _check_version(spec)
    ir = IR(text=text, spec={"components": {}, **spec}, platform=found[1] if len(found) > 1 else {})
    _check(ir)
    return ir


def refuse_unmade(ir: IR) -> None:
    """Refuses conditions that read what nobody hands out: no cluster gets past them, and neither does this machine.

    Raises:
        DefinitionError: There is one; KFP's compiler (2.17) writes it where no step takes a ``dsl.OneOf``.
    """
    for component in (ir.spec["root"], *ir.spec["components"].values()):
        tasks = component.get("dag", {}).get("tasks", {})
        for key, task in tasks.items():
            for name, source in task.get("inputs", {}).get("parameters", {}).items():
                if (wanted := source.get("taskOutputParameter")) is None:
                    continue
                made = ir.component(tasks[wanted["producerTask"]]).get("outputDefinitions", {}).get("parameters", {})
                if wanted["outputParameterKey"] not in made and (asks := _condition_on(ir, key, task, name)):
                    raise DefinitionError(
                        f"The condition of {asks!r} reads what {wanted['producerTask']!r} does not hand out: "
                        "KFP's compiler forgets a dsl.OneOf that no step takes.",
                        "Let a step take it as well, say the first in that dsl.If.",
                    )


def _condition_on(ir: IR, key: str, task: Mapping[str, Json], name: str) -> str:
    """The task whose condition reads an input: this one, or one in it that it is handed down to; empty when none."""
    if f"['{name}']" in task.get("triggerPolicy", {}).get("condition", ""):
        return key
    for inner, one in ir.component(task).get("dag", {}).get("tasks", {}).items():
        for taken, source in one.get("inputs", {}).get("parameters", {}).items():
            if source.get("componentInputParameter") == name and (found := _condition_on(ir, inner, one, taken)):
                return found
    return ""


def _check_version(spec: Mapping[str, Json]) -> None:
    version = str(spec.get("schemaVersion", _SCHEMA))
    if version.partition(".")[0] != _SCHEMA:
        by = f" by {spec['sdkVersion']}" if spec.get("sdkVersion") else ""
        raise DefinitionError(
            f"The pipeline was compiled{by} in version {version} of KFP's format, and this reads version {_SCHEMA}.",
            "Take a newer kfp-magics (pip install -U kfp-magics), or compile it with kfp 2.",
        )


def _check(ir: IR) -> None:
    _check_dag(ir, ir.spec["root"], "the pipeline")
    for name, component in ir.spec["components"].items():
        if "dag" in component:
            _check_dag(ir, component, repr(name))
        elif not (executor := ir.executor(component)):
            raise DefinitionError(f"The component {name!r} has neither a DAG nor an executor.", HINT)
        else:
            _check_container(executor.get("container", {}), name)
    inside = {
        name: {task["componentRef"]["name"] for task in component.get("dag", {}).get("tasks", {}).values()}
        for name, component in ir.spec["components"].items()
    }
    _refuse_circles(inside, "The pipeline nests itself")


def _check_container(container: Mapping[str, Json], name: str) -> None:
    for part in ("command", "args"):
        words = container.get(part, [])
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise DefinitionError(f"The {part} of the component {name!r} is no list of texts.", HINT)


def _check_dag(ir: IR, component: Mapping[str, Json], where: str) -> None:
    tasks = component["dag"].get("tasks", {})
    for key, task in tasks.items():
        name = task.get("componentRef", {}).get("name")
        if name not in ir.spec["components"]:
            raise DefinitionError(f"The task {key!r} refers to a component {name!r} that is not there.", HINT)
        for needed in needs(task):
            if needed not in tasks:
                raise DefinitionError(f"The task {key!r} needs {needed!r}, which is not in {where}.", HINT)
    _refuse_circles({key: set(needs(task)) for key, task in tasks.items()}, f"The tasks of {where} wait for each other")


def _refuse_circles(graph: Mapping[str, set[str]], what: str) -> None:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise DefinitionError(f"{what}: {' → '.join(error.args[1])}.", "Break the circle.") from error


def needs(task: Mapping[str, Json]) -> tuple[str, ...]:
    """The tasks of the same DAG that a task waits for: those it names and those whose outputs it takes."""
    found = dict.fromkeys(task.get("dependentTasks", ()))
    inputs = task.get("inputs", {})
    for one in (*inputs.get("parameters", {}).values(), *inputs.get("artifacts", {}).values()):
        for source in ("taskOutputParameter", "taskOutputArtifact", "taskFinalStatus"):
            if producer := one.get(source, {}).get("producerTask"):
                found[producer] = None
    return tuple(found)


def in_order(tasks: Mapping[str, Mapping[str, Json]]) -> list[str]:
    """The tasks of a DAG, each behind those that it waits for."""
    return list(TopologicalSorter({key: needs(task) for key, task in tasks.items()}).static_order())


def write(text: str, path: Path, name: str) -> Path:
    """Writes a compiled pipeline to a file, whole or not at all.

    Args:
        text: The compiled pipeline.
        path: The file, or the folder that it is to be in.
        name: Of the file in the folder.

    Returns:
        The file.

    Raises:
        ArgumentError: It cannot be written there.
    """
    target = path / name if path.is_dir() else path
    if not target.parent.is_dir():
        raise ArgumentError(f"There is no folder {str(target.parent)!r}.", f"Make it: mkdir -p {target.parent}")
    draft = target.with_name(f".{target.name}.part")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(target)
    except OSError as error:
        with suppress(OSError):
            draft.unlink()
        raise ArgumentError(
            f"The file {str(target)!r} cannot be written: {error.strerror}.", "Name one in a folder of yours."
        ) from error
    return target


def name(ir: IR) -> str:
    """The pipeline's name."""
    found: str = ir.spec.get("pipelineInfo", {}).get("name") or "pipeline"
    return found


def component_key(name: str) -> str:
    """How KFP writes the name of a step: ``train_model`` becomes ``train-model``."""
    return re.sub(r"[^0-9a-z]+", "-", name.lower()).strip("-")


def look_up(by_step: Mapping[str, T], component: str) -> T | None:
    """Finds what belongs to a component by the name of the step.

    Args:
        by_step: Step, as it is called in Python → anything.
        component: Name in the IR, where variants of one step are numbered, in nested pipelines once more:
            ``train-model-2``, ``train-model-2-2``.
    """
    known = {component_key(step): one for step, one in by_step.items()}
    while component not in known and (shorter := re.sub(r"-\d+$", "", component)) != component:
        component = shorter
    return known.get(component)


def parameters(ir: IR) -> tuple[Port, ...]:
    """What a run of the pipeline may be given: parameters first, then artifacts."""
    definitions = ir.spec["root"].get("inputDefinitions", {})
    plain = [
        Port(
            name=key,
            type=TYPES.get(one.get("parameterType", ""), "str"),
            default=_typed_default(one),
            optional=bool(one.get("isOptional")),
        )
        for key, one in definitions.get("parameters", {}).items()
    ]
    artifacts = [
        Port(
            name=key,
            type=_artifact_type(one.get("artifactType", {})),
            optional=bool(one.get("isOptional")),
            is_list=bool(one.get("isArtifactList")),
        )
        for key, one in definitions.get("artifacts", {}).items()
    ]
    return (*plain, *artifacts)


def _typed_default(one: Mapping[str, Json]) -> Json:
    value = one.get("defaultValue", MISSING)  # KFP's messages know only one kind of number
    whole = one.get("parameterType") == "NUMBER_INTEGER" and isinstance(value, float) and value.is_integer()
    return int(value) if whole else value


def _artifact_type(value: Mapping[str, Json]) -> str:
    title: str = value.get("schemaTitle", "system.Artifact")
    if title.startswith("system."):
        return title.removeprefix("system.")
    return f"{title}@{value['schemaVersion']}" if value.get("schemaVersion") else title


def static_tasks(ir: IR, *, templates: bool = False) -> tuple[Task, ...]:
    """Lists the tasks that are known before a run, groups before their members.

    Args:
        ir: The compiled pipeline.
        templates: Shows every loop as one iteration ``*``, to draw the pipeline; otherwise loops over constants are
            expanded, and other loops stand alone until their items are known.

    Returns:
        Pending tasks. An id is a path: ``train``, ``exit-handler-1/train``, ``for-loop-1/0/train``.
    """
    return tuple(members(ir, ir.spec["root"], "", templates=templates))


def members(ir: IR, component: Mapping[str, Json], parent: str, *, templates: bool = False) -> Iterator[Task]:
    """The tasks of a group that are known before it runs; see `static_tasks`.

    Args:
        ir: The compiled pipeline.
        component: What the group is made of.
        parent: Its id; empty for the whole pipeline.
        templates: Shows every loop as one iteration ``*``.
    """
    prefix = f"{parent}/" if parent else ""
    tasks = component["dag"].get("tasks", {})
    for key in in_order(tasks):
        spec = tasks[key]
        task = static_task(ir, key, spec, prefix)
        yield task
        inner = ir.component(spec)
        if "dag" not in inner:
            continue
        if task.kind != "loop":
            yield from members(ir, inner, task.id, templates=templates)
            continue
        for number in ["*"] if templates else constant_items(spec):
            yield Task(id=f"{task.id}/{number}", name=number, kind="iteration", parent=task.id)
            yield from members(ir, inner, f"{task.id}/{number}", templates=templates)


def static_task(ir: IR, key: str, spec: Mapping[str, Json], prefix: str) -> Task:
    """A task as it is known before it runs.

    Args:
        ir: The compiled pipeline.
        key: Its name in its DAG.
        spec: The PipelineTaskSpec.
        prefix: Id of its group with a slash behind, or nothing.
    """
    component = ir.component(spec)
    executor = ir.executor(component)
    return Task(
        id=prefix + key,
        name=spec.get("taskInfo", {}).get("name", key),
        kind=_kind(key, spec, component, executor),
        component=spec["componentRef"]["name"].removeprefix("comp-"),
        parent=prefix[:-1],
        needs=tuple(prefix + one for one in needs(spec)),
        image=executor.get("container", {}).get("image", ""),
    )


def _kind(key: str, spec: Mapping[str, Json], component: Mapping[str, Json], executor: Mapping[str, Json]) -> TaskKind:
    if is_loop(spec):
        return "loop"
    if "dag" not in component:
        return "importer" if "importer" in executor else "step"
    if spec.get("triggerPolicy", {}).get("condition"):
        return "condition"
    return "exit-handler" if key.startswith("exit-handler-") else "group"


def is_loop(spec: Mapping[str, Json]) -> bool:
    """Whether a task is carried out for each of several items."""
    return "parameterIterator" in spec or "artifactIterator" in spec


def constant_items(spec: Mapping[str, Json]) -> list[str]:
    """The numbers of a loop's items, where the pipeline itself says them."""
    raw = spec.get("parameterIterator", {}).get("items", {}).get("raw")
    return [str(number) for number in range(len(json.loads(raw)))] if raw else []
