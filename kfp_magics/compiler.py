"""Steps and pipelines to KFP's own objects and to IR; the only module outside the backends that imports kfp."""

from __future__ import annotations

import ast
import linecache
import re
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kfp
from kfp import dsl
from kfp.dsl import base_component, component_factory, pipeline_context
from kfp.local.config import LocalExecutionConfig

from kfp_magics import ir as irs
from kfp_magics import packages
from kfp_magics.backends.base import StepSource
from kfp_magics.cells.module import MODULE_HEADER_LINES, step_module
from kfp_magics.compiler_channels import hand_down
from kfp_magics.compiler_images import with_images
from kfp_magics.compiler_pods import apply_pod_options
from kfp_magics.compiler_refusals import HINT, refuse_truth, translated
from kfp_magics.errors import DefinitionError
from kfp_magics.model import MISSING, Component, Pipeline, Port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

refuse_truth()


def pipeline_names() -> dict[str, object]:
    """The names that a pipeline's cell may use without importing them: kfp, dsl, and everything in dsl."""
    return {"kfp": kfp, "dsl": dsl, **{name: getattr(dsl, name) for name in dsl.__all__}}


def step(component: Component, image: str = "") -> Callable[..., Any]:
    """Makes what adds the step to the pipeline that is being composed.

    Args:
        component: The step.
        image: Image that was built for it; the step's base image when empty.

    Returns:
        A function of the step's inputs that gives kfp's task.

    Raises:
        DefinitionError: KFP does not take the step.
    """
    made = kfp_component(component, image)
    hint = f"Compose it in %%kfp_pipeline, or try it alone: %kfp_try {component.name}"
    if component.language in {"python", "statements"}:
        hint += f"; {component.name}.fn(…) is the plain function."

    def add(*positional: object, **arguments: object) -> Any:  # noqa: ANN401  (kfp's own task)
        refuse_outside(f"step {component.name!r}", hint)
        task = made(*positional, **arguments)
        apply_pod_options(task, component.pod)
        return task

    return add


def refuse_outside(what: str, hint: str) -> None:
    """Refuses what only means something while a pipeline is composed; kfp.local, once initialised, executes it.

    Raises:
        DefinitionError: No pipeline is being composed.
    """
    if pipeline_context.Pipeline.get_default_pipeline() is None and LocalExecutionConfig.instance is None:
        raise DefinitionError(f"The {what} was called outside of a pipeline.", hint)


def kfp_component(component: Component, image: str = "") -> Any:  # noqa: ANN401  (kfp's own component)
    """Makes KFP's component of a step, without executing the step's code."""
    image = image or component.base_image
    try:
        if component.language in {"bash", "context"}:
            return _container_component(component, image)
        return _python_component(component, image)
    except (TypeError, ValueError) as error:
        raise DefinitionError(f"KFP does not take the step {component.name!r}: {error}", HINT) from error


def _python_component(component: Component, image: str) -> Any:  # noqa: ANN401  (kfp's own component)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # about kfp's default image, which is never ours
        made = component_factory.create_component_from_func(
            _stub(component, container=False),
            base_image=image,
            packages_to_install=list(component.requirements),
        )
    # The whole cell travels, not only the function: helpers, constants and imports above it.
    command = made.component_spec.implementation.container.command
    command[-1] = step_module(component)
    return made


def _container_component(component: Component, image: str) -> Any:  # noqa: ANN401  (kfp's own component)
    if component.language == "bash":
        from kfp_magics.cells.bash import bash_command  # noqa: PLC0415  (only for scripts)

        command, args = bash_command(component)
        specification = dsl.ContainerSpec(image=image, command=command, args=args)
    else:
        from kfp_magics.cells.context import context_command  # noqa: PLC0415  (only for folders)

        specification = dsl.ContainerSpec(image, *context_command(component))
    return dsl.container_component(_stub(component, container=True, result=specification))


def _stub(component: Component, *, container: bool, result: object = None) -> Callable[..., Any]:
    """A function with the step's signature and nothing in it, for KFP to read."""
    names = dict(pipeline_names())
    returned = [port for port in component.outputs if port.is_parameter and not port.as_path and not container]
    inputs = [(port, _input_type(port, names)) for port in component.inputs]
    required = [f"{port.name}: {kind}" for port, kind in inputs if not _default(port)]
    given = [f"{port.name}: {kind} = {_default(port)}" for port, kind in inputs if _default(port)]
    written = [f"{port.name}: {_output_type(port, names)}" for port in component.outputs if port not in returned]
    arrow = "" if container else _return_type(returned)
    documentation = f"    {component.description!r}\n" if component.description else ""
    function = component.name if container else component.entry or component.name
    parameters = ", ".join([*required, *written, *given])
    text = f"def {function}({parameters}){arrow}:\n{documentation}    return _specification\n"
    filename = f"<signature of {component.name}>"
    names |= {"_specification": result, **_typing_names()}
    exec(compile(text, filename, "exec", dont_inherit=True), names)  # noqa: S102  (our own text: the user's code is not in it)
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)  # kfp asks for the source
    made: Callable[..., Any] = names[function]  # type: ignore[assignment]
    return made


def _typing_names() -> dict[str, object]:
    import typing  # noqa: PLC0415  (as a step's module has them)

    return {"NamedTuple": typing.NamedTuple, "List": typing.List, "Dict": typing.Dict, "Optional": typing.Optional}  # noqa: UP006


def _default(port: Port) -> str:
    if port.default is not MISSING:
        return repr(port.default)
    return "None" if port.optional else ""


def _input_type(port: Port, names: dict[str, object]) -> str:
    if port.type == "TaskFinalStatus":
        return "dsl.PipelineTaskFinalStatus"
    kind = port.type if port.is_parameter else _artifact_type(port.type, names)
    if port.as_path:
        return f"dsl.InputPath({kind if port.is_parameter else repr(port.type)})"
    if port.is_parameter:
        return f"Optional[{kind}]" if _default(port) == "None" else kind
    return f"dsl.Input[List[{kind}]]" if port.is_list else f"dsl.Input[{kind}]"


def _output_type(port: Port, names: dict[str, object]) -> str:
    if port.is_parameter:
        return f"dsl.OutputPath({port.type})"
    if port.as_path:
        return f"dsl.OutputPath({port.type!r})"
    kind = _artifact_type(port.type, names)
    return f"dsl.Output[List[{kind}]]" if port.is_list else f"dsl.Output[{kind}]"


def _artifact_type(text: str, names: dict[str, object]) -> str:
    title, _, version = text.partition("@")
    if not version:
        return f"dsl.{title}"
    name = f"_{re.sub(r'[^0-9a-zA-Z]', '_', text)}"
    names[name] = type(title.rpartition(".")[2], (dsl.Artifact,), {"schema_title": title, "schema_version": version})
    return name


def _return_type(ports: list[Port]) -> str:
    if not ports:
        return ""
    if [port.name for port in ports] == ["Output"]:
        return f" -> {ports[0].type}"
    fields = ", ".join(f"({port.name!r}, {port.type})" for port in ports)
    return f" -> NamedTuple('Outputs', [{fields}])"


def graph_component(function: object, *, name: str) -> Any:  # noqa: ANN401  (kfp's own component)
    """Makes KFP's component of a pipeline function.

    Args:
        function: A plain function, or what ``@dsl.pipeline`` made of one.
        name: Name of the pipeline when the function has none of its own.

    Raises:
        DefinitionError: KFP refuses the pipeline; the message has KFP's reason and the line of the cell.
    """
    if isinstance(function, base_component.BaseComponent):
        return function
    with translated(name):
        return dsl.pipeline(name=_pipeline_name(name))(function)


def _pipeline_name(name: str) -> str:
    return irs.component_key(name)[:128] or "pipeline"


def compile_pipeline(
    component: Any,  # noqa: ANN401  (kfp's own component)
    *,
    name: str,
    components: Mapping[str, Component] | None = None,
    source: str = "",
    cell_id: str = "",
    notebook: str = "",
) -> Pipeline:
    """Compiles KFP's component of a pipeline.

    Args:
        component: What `graph_component` made, or any component of kfp.
        name: For messages.
        components: The steps that came from cells; those that the pipeline uses are kept with it.
        source: The cell's text.
        cell_id: The notebook cell.
        notebook: Path of the notebook.

    Raises:
        DefinitionError: It does not compile.
    """
    with translated(name), tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        path = Path(folder) / "pipeline.yaml"
        kfp.compiler.Compiler().compile(component, str(path))
        text = hand_down(path.read_text(encoding="utf-8"))
    parsed = irs.parse(text)
    irs.refuse_unmade(parsed)
    used = dict(_used(parsed, components or {}))
    return Pipeline(
        name=irs.name(parsed),
        ir=text,
        parameters=irs.parameters(parsed),
        components=used,
        source=source,
        description=(component.description or "").strip().partition("\n\n")[0],
        cell_id=cell_id,
        notebook=notebook,
    )


def _used(ir: irs.IR, components: Mapping[str, Component]) -> Iterator[tuple[str, Component]]:
    for key in ir.spec["components"]:
        found = irs.look_up(components, key.removeprefix("comp-"))
        if found is not None:
            yield found.name, found


def single_step(component: Component) -> Pipeline:
    """Compiles a pipeline of exactly one step, whose inputs are the pipeline's.

    Raises:
        DefinitionError: The step makes no sense alone.
    """
    if any(port.type == "TaskFinalStatus" for port in component.inputs):
        raise DefinitionError(
            f"The step {component.name!r} takes the status of a pipeline and cannot run alone.",
            "Use it as the exit task of a dsl.ExitHandler.",
        )
    names: dict[str, object] = {**pipeline_names(), **_typing_names(), "_step": step(component)}
    ports = sorted(component.inputs, key=lambda port: bool(_default(port)))
    plain = [replace(port, as_path=False) for port in ports]
    parameters = ", ".join(
        f"{port.name}: {_input_type(port, names)}" + (f" = {_default(port)}" if _default(port) else "")
        for port in plain
    )
    passed = ", ".join(f"{port.name}={port.name}" for port in ports)
    text = f"def {component.name}({parameters}):\n    _step({passed})\n"
    exec(compile(text, f"<step {component.name}>", "exec", dont_inherit=True), names)  # noqa: S102  (our own text)
    made = graph_component(names[component.name], name=component.name)
    return compile_pipeline(
        made,
        name=component.name,
        components={component.name: component},
        source=component.source,
        cell_id=component.cell_id,
        notebook=component.notebook,
    )


def component_text(component: Component, image: str) -> str:
    """Writes the description of a step that others load with ``kfp.components``: its ports, and its image.

    Args:
        component: The step.
        image: Its image.
    """
    with tempfile.TemporaryDirectory() as folder, translated(component.name):
        path = Path(folder) / "component.yaml"
        kfp.compiler.Compiler().compile(kfp_component(component, image), str(path))
        text = path.read_text(encoding="utf-8")
    described = Pipeline(name=component.name, ir=text, components={component.name: component})
    return with_images(described, {component.name: image}).ir


def load_pipeline(what: object) -> Pipeline:
    """Reads a pipeline that was not composed here.

    Args:
        what: Path of an IR file or of an archive that holds it, the text of one, or a component or pipeline of kfp.

    Raises:
        DefinitionError: It is none of these, or does not parse.
    """
    if isinstance(what, base_component.BaseComponent):
        return compile_pipeline(what, name=what.name)
    if isinstance(what, Path):
        text = packages.read(what)
    elif isinstance(what, str):
        text = what
    else:
        raise DefinitionError(
            f"A {type(what).__name__} is not a pipeline.", "Give a function of @dsl.pipeline, or an IR file (.yaml)."
        )
    parsed = irs.parse(text)
    return Pipeline(name=irs.name(parsed), ir=text, parameters=irs.parameters(parsed))


def step_source(component: Component) -> StepSource:
    """Says which cell a step came from, and how its lines are counted there."""
    return StepSource(
        cell_id=component.cell_id,
        source=component.source,
        label=f"cell {component.name!r}",
        line_offset=_line_offset(component),
    )


def _line_offset(component: Component) -> int:
    if component.language != "kfp":
        return -MODULE_HEADER_LINES
    # kfp takes a decorated function from its "def" on.
    functions = [node for node in ast.walk(ast.parse(component.source)) if isinstance(node, ast.FunctionDef)]
    first = next((node.lineno for node in functions if node.name == component.entry), MODULE_HEADER_LINES + 1)
    return first - MODULE_HEADER_LINES - 1
