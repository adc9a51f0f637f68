"""Single steps on live objects: trying one, and loading one of a run back into the kernel."""

from __future__ import annotations

import builtins
import shlex
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from kfp_magics import live
from kfp_magics.arguments import given, read_value
from kfp_magics.errors import ArgumentError, NotFoundError, WaitInterrupted, did_you_mean
from kfp_magics.ir import look_up
from kfp_magics.model import MISSING, Component, Json, Port, Run, Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from kfp_magics.backends.base import StepSource


@dataclass(frozen=True, kw_only=True, slots=True)
class Feed:
    """What a single step is given.

    Attributes:
        parameters: Input parameter → value.
        artifacts: Input artifact → file that holds it.
    """

    parameters: Mapping[str, Json]
    artifacts: Mapping[str, Path]


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """How a step tried alone ended.

    Attributes:
        run: The run, with the step as its only task.
        outputs: Output name → value, or the artifact as `kfp_magics.live.ArtifactFile`.
    """

    run: Run
    outputs: Mapping[str, object]


@dataclass(frozen=True, kw_only=True, slots=True)
class Replay:
    """A step of a run as it ran, ready to be executed again in the kernel.

    Attributes:
        task: The task.
        source: Its code as it ran.
        names: What its code reads, by name: input values, input artifacts, and output artifacts that lead to a
            scratch folder.
    """

    task: Task
    source: str
    names: Mapping[str, object]


def feed(component: Component, texts: Mapping[str, str], namespace: Mapping[str, object], folder: Path) -> Feed:
    """Reads what the user typed: literals and kernel names for parameters, kernel names and paths for artifacts.

    Args:
        component: The step.
        texts: Input → what was typed.
        namespace: The kernel's names.
        folder: Where live objects are written for the step.

    Raises:
        ArgumentError: An input is unknown or missing, or a value does not fit.
    """
    ports = {port.name: port for port in component.inputs}
    for name in texts:
        if name not in ports:
            raise ArgumentError(f"The step {component.name!r} takes no input {name!r}.", did_you_mean(name, ports))
    missing = [one.name for one in component.inputs if one.name not in texts and not one.optional and not _has(one)]
    if missing:
        raise ArgumentError(
            f"The step {component.name!r} also needs {', '.join(missing)}.",
            shlex.join(["%kfp_try", component.name, *(f"{name}={text}" for name, text in texts.items())])
            + "".join(f" {name}=…" for name in missing),
        )
    how = live.formats(component.source)
    parameters = {n: _parameter(ports[n], text, namespace) for n, text in texts.items() if ports[n].is_parameter}
    artifacts = {
        name: _artifact(ports[name], text, namespace, folder, how.get(name, ""))
        for name, text in texts.items()
        if not ports[name].is_parameter
    }
    return Feed(parameters=given(parameters, component.inputs), artifacts=artifacts)


@contextmanager
def ended_with_the_wait(run: Run, step: str, cancel: Callable[[str], object]) -> Iterator[None]:
    """Ends a trial that nobody waits for any more: it is of no use to anybody else.

    Raises:
        WaitInterrupted: There was an interrupt.
    """
    try:
        yield
    except WaitInterrupted:
        cancel(run.id)
        raise WaitInterrupted(
            f"Interrupted; the trial of {step!r} was ended.", f"%kfp_logs {run.id} shows what it printed."
        ) from None


def outputs(component: Component, task: Task, namespace: Mapping[str, object]) -> dict[str, object]:
    """The outputs of a finished task as variables of the kernel.

    An output that would hide a step, a module or a name of Python's own, or that has no name of its own, gets the
    step's name before its own: ``train_output``.

    Args:
        component: The step.
        task: As it ended.
        namespace: The kernel's names.
    """
    how = live.formats(component.source)
    found = {**task.outputs, **_files(task, "output", how)}
    return {_variable(component, name, namespace): value for name, value in found.items()}


def _variable(component: Component, name: str, namespace: Mapping[str, object]) -> str:
    present = namespace.get(name, getattr(builtins, name, None))
    if name == "Output" or callable(present) or isinstance(present, ModuleType):
        return f"{component.name}_{name.lower() if name == 'Output' else name}"
    return name


def replay(task: Task, sources: Mapping[str, StepSource]) -> Replay:
    """Puts together what a step had and what it was.

    Raises:
        NotFoundError: The run does not remember the step's code.
    """
    source = look_up(sources, task.component)
    if source is None:
        raise NotFoundError(
            f"The run does not remember the code of {task.name!r}.", "Only steps that came from cells can be replayed."
        )
    how = live.formats(source.source)
    scratch = Path(tempfile.mkdtemp(prefix="kfp-replay-"))
    written = {
        one.name: live.ArtifactFile(
            name=one.name, path=str(scratch / one.name), type=one.type, format=how.get(one.name, "")
        )
        for one in task.artifacts
        if one.io == "output"
    }
    return Replay(task=task, source=source.source, names={**task.inputs, **_files(task, "input", how), **written})


def feed_folder(home: Path) -> Path:
    """A new folder for what a trial is fed with; kept, so that the trial can be replayed."""
    folder = home / "tries"
    folder.mkdir(exist_ok=True, mode=0o700)
    return Path(tempfile.mkdtemp(prefix=time.strftime("%Y%m%d-%H%M%S-"), dir=folder))


def _has(port: Port) -> bool:
    return port.default is not MISSING


def _parameter(port: Port, text: str, namespace: Mapping[str, object]) -> Json:
    try:
        return read_value(text, port)
    except ArgumentError:
        if text in namespace:
            value: Any = namespace[text]
            return value.item() if hasattr(value, "item") and hasattr(value, "dtype") else value  # a number of NumPy's
        raise


def _artifact(port: Port, text: str, namespace: Mapping[str, object], folder: Path, how: str) -> Path:
    target = folder / port.name
    if text in namespace:
        live.write(namespace[text], target, how)
        return target
    path = Path(text).expanduser()
    if path.exists():
        return path.resolve()
    names = [name for name in namespace if not name.startswith("_")]
    raise ArgumentError(
        f"The input {port.name!r} wants a variable or a file, and {text!r} is neither.",
        did_you_mean(text, names) if text.isidentifier() and names else f"It would be {path.absolute()}.",
    )


def _files(task: Task, side: str, how: Mapping[str, str]) -> dict[str, live.ArtifactFile]:
    return {
        one.name: live.ArtifactFile(
            name=one.name, path=one.uri, type=one.type, metadata=one.metadata, format=how.get(one.name, "")
        )
        for one in task.artifacts
        if one.io == side
    }
