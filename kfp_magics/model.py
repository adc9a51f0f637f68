"""The values that flow: frozen, made of the standard library only, equal when they say the same.

Times are seconds since the epoch (UTC, float). ``Json`` is what ``json`` reads and writes. The JSON shape of a
``Run`` (`Run.to_json`) is the one that the store, the server, the panel and the widget share;
``tests/data/run.json`` is an example of it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Any, Literal, Self, TypeAlias

from kfp_magics.pods import PodOptions

Json: TypeAlias = Any
"""A value that ``json`` can write: str, int, float, bool, None, and lists and dicts of them."""


class State(StrEnum):
    """Where a run or a task stands; every backend's words map to these."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    UNKNOWN = "unknown"

    @property
    def final(self) -> bool:
        """Whether nothing follows this state."""
        return self in {State.SUCCEEDED, State.FAILED, State.CANCELLED, State.SKIPPED}


class Missing(Enum):
    """The default of a port that has none (None is a default like any other)."""

    MISSING = "missing"

    def __repr__(self) -> str:
        return "MISSING"


MISSING = Missing.MISSING

COPIED = "# Copied from the notebook."
"""The line in a step's module behind which stands what the cell does not have: what was copied in with it."""

PARAMETER_TYPES = ("str", "int", "float", "bool", "list", "dict")
ARTIFACT_TYPES = (
    "Artifact",
    "Dataset",
    "Model",
    "Metrics",
    "ClassificationMetrics",
    "SlicedClassificationMetrics",
    "HTML",
    "Markdown",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Port:
    """One typed input or output of a step.

    Attributes:
        name: A Python identifier.
        type: One of `PARAMETER_TYPES`, one of `ARTIFACT_TYPES`, ``"TaskFinalStatus"`` (input of an exit task), or a
            schema title with version such as ``"google.VertexModel@0.0.1"``.
        default: The value when none is given, or `MISSING`.
        optional: Whether the step runs without it (it then is None).
        is_list: Whether the port carries a list of artifacts (``Input[List[Dataset]]``).
        as_path: Whether the step wants a path (``InputPath``, ``OutputPath``) instead of an object or a value.
        file: For outputs of scripts: the file that the script writes; empty when it writes to ``$name``.
    """

    name: str
    type: str
    default: Json | Missing = MISSING
    optional: bool = False
    is_list: bool = False
    as_path: bool = False
    file: str = ""

    @property
    def is_parameter(self) -> bool:
        """Whether the port carries a plain value, not an artifact."""
        return self.type in PARAMETER_TYPES or self.type == "TaskFinalStatus"


Language = Literal["python", "statements", "bash", "context", "notebook", "kfp"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Component:
    """A pipeline step as the user wrote it.

    Attributes:
        name: The Python identifier under which the step is composed.
        language: ``python`` (the cell is a module whose `entry` function is the step), ``statements`` (the cell's
            statements are the body), ``bash`` (the cell is a script), ``context`` (a folder with a Dockerfile),
            ``notebook`` (a whole notebook), or ``kfp`` (the cell decorates the function with kfp's own decorator).
        source: The module, script or notebook text that travels with the step. For ``python``, ``statements`` and
            ``kfp`` line N of it is line N of the cell.
        entry: The function that is the step (python, statements, kfp).
        inputs: What it takes, in order.
        outputs: What it gives, in order; the single result of a function is called ``Output``.
        requirements: PEP 508 lines, pinned, sorted.
        base_image: OCI image that it runs in.
        context: Folder of a ``context`` step, absolute; empty otherwise.
        pod: What it asks of the machine.
        description: First paragraph of its docstring.
        cell_id: The notebook cell it stands in; not part of the digest.
        notebook: Path of that notebook; not part of the digest.
    """

    name: str
    language: Language
    source: str
    entry: str = ""
    inputs: tuple[Port, ...] = ()
    outputs: tuple[Port, ...] = ()
    requirements: tuple[str, ...] = ()
    base_image: str = ""
    context: str = ""
    pod: PodOptions = field(default_factory=PodOptions)
    description: str = ""
    cell_id: str = field(default="", compare=False)
    notebook: str = field(default="", compare=False)

    @property
    def digest(self) -> str:
        """Hex SHA-256 of what enters the image: source, entry, ports, requirements, base image."""
        what = {
            key: _plain(getattr(self, key))
            for key in ("name", "language", "source", "entry", "inputs", "outputs", "requirements", "base_image")
        }
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()

    def port(self, name: str) -> Port | None:
        """Finds an input or output by name."""
        return next((port for port in (*self.inputs, *self.outputs) if port.name == name), None)


@dataclass(frozen=True, kw_only=True, slots=True)
class StandIn:
    """What stands in a part of a pipeline for an output of a step that the part leaves out.

    Attributes:
        name: The parameter that gives it.
        step: The task that makes it in the whole pipeline.
        type: One of `PARAMETER_TYPES`, or the title of an artifact, which is given by its URI.
        run: The run that it comes from unless it is given; empty when it must be given.
        uri: Where the artifact is that comes from that run; it then is no parameter.
    """

    name: str
    step: str
    type: str
    run: str = ""
    uri: str = ""

    @property
    def is_artifact(self) -> bool:
        """Whether it stands for an artifact, not for a plain value."""
        return self.type not in PARAMETER_TYPES


@dataclass(frozen=True, kw_only=True, slots=True)
class Pipeline:
    """A composed pipeline, compiled.

    Attributes:
        name: KFP pipeline name.
        ir: Compiled IR: one YAML document, or two when a platform part follows.
        parameters: What a run may be given.
        components: The steps it uses that came from cells, by name.
        source: The cell's text, for comparison of runs.
        description: First paragraph of its docstring.
        stand_ins: Of a part of a pipeline: what stands for the outputs of the steps that it leaves out.
        cell_id: The notebook cell it stands in.
        notebook: Path of that notebook.
    """

    name: str
    ir: str
    parameters: tuple[Port, ...] = ()
    components: Mapping[str, Component] = field(default_factory=dict)
    source: str = ""
    description: str = ""
    stand_ins: tuple[StandIn, ...] = ()
    cell_id: str = field(default="", compare=False)
    notebook: str = field(default="", compare=False)


TaskKind = Literal["step", "importer", "group", "condition", "loop", "iteration", "exit-handler", "image"]
RunKind = Literal["pipeline", "build", "try"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """Why a run or a task failed, for a person.

    Attributes:
        message: One line: what went wrong.
        hint: What to do next; may be empty.
        cell_id: The notebook cell that caused it, when known.
        line: Line in that cell, counted from 1 (the magic's own line), when known.
        text: The source text of that line.
        traceback: The step's own frames only, at most 20 kB; empty when there are none.
    """

    message: str
    hint: str = ""
    cell_id: str = ""
    line: int | None = None
    text: str = ""
    traceback: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Artifact:
    """One artifact that a task read or wrote.

    Attributes:
        name: The port's name.
        io: Which side of the task.
        type: Schema title, e.g. ``system.Dataset``.
        uri: Where it is: a path on this machine or a URI.
        metadata: What the step wrote beside it, metrics included.
    """

    name: str
    io: Literal["input", "output"]
    type: str
    uri: str
    metadata: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One task of a run: a step, or a group of tasks.

    Attributes:
        id: Unique in the run and stable over retries; a path such as ``for-loop-1/2/train``.
        name: What the user sees.
        kind: A step, or the kind of group.
        component: Name of the step's component, without ``comp-``.
        parent: Id of the group it is in; empty at the top.
        needs: Ids of the tasks in the same group that it waits for.
        state: Where it stands.
        started: Seconds since the epoch, or None.
        finished: Seconds since the epoch, or None.
        attempt: Counted from 1; 0 before the first start.
        image: Image reference of the step.
        inputs: Parameter name → value.
        outputs: Parameter name → value.
        artifacts: Artifacts read and written.
        error: Why it failed.
        cached: Whether the result was reused.
        reason: One line about the state: why it was skipped, where the cached result came from, why it runs.
        cell_id: The notebook cell that defines the step.
    """

    id: str
    name: str
    kind: TaskKind = "step"
    component: str = ""
    parent: str = ""
    needs: tuple[str, ...] = ()
    state: State = State.PENDING
    started: float | None = None
    finished: float | None = None
    attempt: int = 0
    image: str = ""
    inputs: Mapping[str, Json] = field(default_factory=dict)
    outputs: Mapping[str, Json] = field(default_factory=dict)
    artifacts: tuple[Artifact, ...] = ()
    error: Failure | None = None
    cached: bool = False
    reason: str = ""
    cell_id: str = ""

    @property
    def has_log(self) -> bool:
        """Whether something of it prints: a step, or the build of an image."""
        return self.kind in {"step", "image"}

    def to_json(self) -> dict[str, Json]:
        """The task as plain JSON values."""
        return _as_dict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Json]) -> Self:
        """Reads what `to_json` wrote; unknown keys are ignored, an unknown state becomes ``unknown``."""
        known = _known(cls, value)
        known["needs"] = tuple(known.get("needs", ()))
        known["state"] = _state(known.get("state"))
        known["artifacts"] = tuple(Artifact(**_known(Artifact, one)) for one in known.get("artifacts", ()))
        known["error"] = _failure(known.get("error"))
        return cls(**known)


TRIGGER = "trigger: "
"""How `Run.started_by` begins when new data started a run; the data's URI follows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One run of a pipeline, or one build of images.

    Attributes:
        id: Unique; for local runs sortable by time.
        name: What the user sees.
        kind: Pipeline, build, or a single step tried.
        pipeline: Name of the pipeline.
        backend: Name of the backend that runs it.
        target: Where exactly, e.g. a host; empty on this machine.
        state: Where it stands.
        attempt: Counted from 1, one more with each retry.
        tasks: All tasks known so far, groups before their members; empty in listings.
        parameters: What the run was given, defaults included.
        outputs: The pipeline's own output parameters, once it succeeded.
        created: Seconds since the epoch.
        started: Seconds since the epoch, or None.
        finished: Seconds since the epoch, or None.
        url: The backend's own page about it, or empty.
        error: Why it failed.
        experiment: KFP experiment, or empty.
        notebook: Path of the notebook that started it, or empty.
        started_by: ``notebook``, ``panel``, ``cli``, ``schedule`` or ``trigger: …``.
        stale: Since when its backend has not told where it stands, in seconds since the epoch; None while it does.
        stale_reason: Why, or empty.
    """

    id: str
    name: str
    kind: RunKind = "pipeline"
    pipeline: str = ""
    backend: str = "local"
    target: str = ""
    state: State = State.PENDING
    attempt: int = 1
    tasks: tuple[Task, ...] = ()
    parameters: Mapping[str, Json] = field(default_factory=dict)
    outputs: Mapping[str, Json] = field(default_factory=dict)
    created: float = 0.0
    started: float | None = None
    finished: float | None = None
    url: str = ""
    error: Failure | None = None
    experiment: str = ""
    notebook: str = ""
    started_by: str = "notebook"
    stale: float | None = None
    stale_reason: str = ""

    def task(self, task_id: str) -> Task | None:
        """Finds a task by its id."""
        return next((task for task in self.tasks if task.id == task_id), None)

    def to_json(self) -> dict[str, Json]:
        """The run as plain JSON values, tasks included."""
        return _as_dict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Json]) -> Self:
        """Reads what `to_json` wrote; unknown keys are ignored, an unknown state becomes ``unknown``."""
        known = _known(cls, value)
        known["state"] = _state(known.get("state"))
        known["tasks"] = tuple(Task.from_json(one) for one in known.get("tasks", ()))
        known["error"] = _failure(known.get("error"))
        return cls(**known)


def _state(word: Json) -> State:
    return State(word) if word in State._value2member_map_ else State.UNKNOWN


def _failure(value: Json) -> Failure | None:
    return Failure(**_known(Failure, value)) if isinstance(value, Mapping) else None


def _known(cls: type[Any], value: Mapping[str, Json]) -> dict[str, Json]:
    names = {one.name for one in dataclasses.fields(cls)}
    return {key: item for key, item in value.items() if key in names}


def _as_dict(value: Any) -> dict[str, Json]:  # noqa: ANN401  (any of our dataclasses)
    return {one.name: _plain(getattr(value, one.name)) for one in dataclasses.fields(value)}


def _plain(value: Any) -> Json:  # noqa: ANN401  (any value that stands in our dataclasses)
    if dataclasses.is_dataclass(value):
        return _as_dict(value)
    if isinstance(value, Missing):
        return {"missing": True}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
