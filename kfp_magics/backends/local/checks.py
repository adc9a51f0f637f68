"""What is looked at before a run starts, so that a mistake costs nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kfp_magics import ir as irs
from kfp_magics.backends.local import pods
from kfp_magics.backends.local.values import Values, typed
from kfp_magics.errors import ArgumentError, BackendError, did_you_mean
from kfp_magics.model import MISSING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from kfp_magics.backends.base import SubmitOptions
    from kfp_magics.backends.local.executor import Executor
    from kfp_magics.ir import IR
    from kfp_magics.model import Json


def check_arguments(ir: IR, given: Mapping[str, Json], options: SubmitOptions) -> Values:
    """Types the arguments of a run and completes them with defaults.

    Raises:
        ArgumentError: One is missing, unknown or of the wrong type.
        DefinitionError: No arguments would do: a condition reads what nobody makes.
    """
    irs.refuse_unmade(ir)
    ports = {port.name: port for port in irs.parameters(ir)}
    of = f"pipeline {irs.name(ir)!r}"
    for name in (*given, *options.input_artifacts):
        if name not in ports:
            raise ArgumentError(f"The {of} takes no argument {name!r}.", did_you_mean(name, ports))
    for name, port in ports.items():
        if not port.is_parameter and name not in options.input_artifacts and (name in given or not port.optional):
            raise ArgumentError(
                f"The argument {name!r} of {of} is an artifact, which a run cannot be given.",
                f"%kfp_try STEP {name}=… feeds a step alone; in a pipeline, dsl.importer(…).output is an artifact.",
            )
        if port.type == "TaskFinalStatus":
            raise ArgumentError(
                f"The {of} takes the status of another one in {name!r} and cannot run alone.",
                "Use it as the exit task of a dsl.ExitHandler.",
            )
    missing = [
        name
        for name, port in ports.items()
        if name not in given and name not in options.input_artifacts and port.default is MISSING and not port.optional
    ]
    if missing:
        words = " ".join(f"{name}=…" for name in (*given, *missing))
        raise ArgumentError(f"The {of} also needs {', '.join(missing)}.", f"%kfp_run {irs.name(ir)} {words}")
    declared = ir.spec["root"].get("inputDefinitions", {}).get("parameters", {})
    values = {name: port.default for name, port in ports.items() if port.is_parameter and port.default is not MISSING}
    values |= given
    return Values(
        parameters={name: typed(value, declared[name].get("parameterType", ""), name) for name, value in values.items()}
    )


def check_steps(ir: IR, executor: Executor, secrets: Path) -> None:
    """Asks of every step whether this machine can run it.

    Raises:
        BackendError: It cannot; nothing was started.
    """
    for name, component in _steps(ir):
        what = ir.executor(component)
        if "importer" in what:
            continue
        container = what.get("container")
        if container is None:
            raise BackendError(
                f"The step {name!r} is a {', '.join(what)}, which only its own cloud runs.", "Give it a container."
            )
        refused = executor.refuse(container.get("image", ""), container.get("command", ()), container.get("args", ()))
        if refused is not None:
            message, _, hint = refused.partition("\n")
            raise BackendError(f"The step {name!r} cannot run here: {message}", hint)
        pod = ir.pod(component["executorLabel"])
        pods.environment(pod, secrets, name)
        if mount := pods.missing_mount(pod):
            raise BackendError(
                f"The step {name!r} wants {mount}, and this machine has nothing there.",
                "Put the files there, or run the pipeline where they are.",
            )


def _steps(ir: IR) -> Iterator[tuple[str, Mapping[str, Json]]]:
    reached: set[str] = set()
    waiting = [ir.spec["root"]]
    while waiting:
        for key, task in waiting.pop()["dag"].get("tasks", {}).items():
            name = task["componentRef"]["name"]
            if name in reached:
                continue
            reached.add(name)
            component = ir.spec["components"][name]
            if "dag" in component:
                waiting.append(component)
            else:
                yield key, component
