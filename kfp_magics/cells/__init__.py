"""Cell text to `Component`; nothing here executes a cell or imports kfp."""

from __future__ import annotations

import ast
import builtins
import keyword
from dataclasses import replace
from typing import TYPE_CHECKING

from kfp_magics.cells.bash import check_ports
from kfp_magics.cells.context import context_command, read_context
from kfp_magics.cells.include import include
from kfp_magics.cells.names import KFP_RUNTIME_NAMES, refuse_unavailable
from kfp_magics.cells.notebook import EXECUTED, code_of, read_notebook
from kfp_magics.cells.pod import pod_options
from kfp_magics.cells.ports import PortReader, option_ports
from kfp_magics.cells.requirements import pinned, requirements
from kfp_magics.cells.source import HEADER, decorated_functions, entry_function, parse_cell
from kfp_magics.cells.statements import as_function
from kfp_magics.errors import DefinitionError
from kfp_magics.model import Component

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kfp_magics.cells.options import CellOptions
    from kfp_magics.handles import Step

__all__ = ["component_from_cell", "decorated_functions"]

_Made = tuple[Component, tuple[str, ...]]


def component_from_cell(
    body: str,
    options: CellOptions,
    namespace: Mapping[str, object],
    *,
    taken: Mapping[str, Step],
    cell_id: str = "",
    notebook: str = "",
    default_image: str = "",
) -> _Made:
    """Makes a step of a cell.

    Args:
        body: The cell without its magic line.
        options: The words of the magic line.
        namespace: The kernel's names.
        taken: The steps that exist.
        cell_id: The notebook cell.
        notebook: Path of the notebook.
        default_image: Image of steps that name none.

    Returns:
        The step, and remarks for the user, a line each.

    Raises:
        DefinitionError: The cell or an option is not what it must be.
    """
    make = _maker(body, options)
    component, remarks = make(body, options, namespace)
    _check_name(component, namespace, taken, cell_id)
    image = options.base_image or component.base_image or default_image
    complete = replace(component, base_image=image, pod=pod_options(options), cell_id=cell_id, notebook=notebook)
    return complete, remarks


def _maker(body: str, options: CellOptions) -> Callable[[str, CellOptions, Mapping[str, object]], _Made]:
    if options.context or options.notebook_step:
        if body.strip():
            raise DefinitionError(
                "A step from a folder or a notebook has no cell of its own.",
                "Write the line with one percent sign: %kfp_component NAME --context DIR.",
            )
        return _from_context if options.context else _from_notebook
    if not body.strip():
        raise DefinitionError("The cell is empty.", "Write the step below the %%kfp_component line.")
    if options.lang == "bash":
        return _from_script
    return _from_statements if options.inputs or options.outputs else _from_function


def _from_function(body: str, options: CellOptions, namespace: Mapping[str, object]) -> _Made:
    label = f"cell {options.name!r}" if options.name else "cell"
    tree = parse_cell(body, label)
    function = entry_function(tree, options.entry, label)
    inputs, outputs = PortReader(tree, label).read(function)
    source = include(HEADER + body, options.include, namespace, label)
    refuse_unavailable(source, namespace, f"cell {(options.name or function.name)!r}")
    required, remarks = requirements(ast.parse(source), options.packages, infer=options.infer)
    return Component(
        name=options.name or function.name,
        language="python",
        source=source,
        entry=function.name,
        inputs=inputs,
        outputs=outputs,
        requirements=required,
        description=_summary(ast.get_docstring(function)),
    ), remarks


def _summary(text: str | None) -> str:
    return " ".join((text or "").partition("\n\n")[0].split())


def _from_statements(body: str, options: CellOptions, namespace: Mapping[str, object]) -> _Made:
    name = _required_name(options)
    label = f"cell {name!r}"
    inputs, outputs = option_ports(options.inputs, "--in"), option_ports(options.outputs, "--out")
    tree = parse_cell(body, label)
    function = as_function(name, body, tree, inputs, outputs)
    try:
        compile(function, f"<{label}>", "exec", dont_inherit=True)
    except SyntaxError as error:
        raise DefinitionError(f"The {label} does not parse: {error.msg} (line {error.lineno}).") from error
    source = include(function, options.include, namespace, label)
    refuse_unavailable(source, namespace, label)
    required, remarks = requirements(ast.parse(source), options.packages, infer=options.infer)
    return Component(
        name=name,
        language="statements",
        source=source,
        entry=name,
        inputs=inputs,
        outputs=outputs,
        requirements=required,
    ), remarks


def _from_script(body: str, options: CellOptions, _namespace: Mapping[str, object]) -> _Made:
    if options.packages or options.include:
        raise DefinitionError(
            "A script takes no --packages and no --include.", "Use a --base-image that has what the script needs."
        )
    component = Component(
        name=_required_name(options),
        language="bash",
        source="#\n" + body,
        inputs=option_ports(options.inputs, "--in"),
        outputs=option_ports(options.outputs, "--out"),
    )
    check_ports(component)
    return component, ()


def _from_context(_body: str, options: CellOptions, _namespace: Mapping[str, object]) -> _Made:
    folder, program, text = read_context(options.context, options.entry)
    name = options.name or folder.name.replace("-", "_")
    if options.packages and not program:
        raise DefinitionError("A folder with a Dockerfile takes no --packages.", "Install them in its Dockerfile.")
    if options.image and program:
        raise DefinitionError(
            f"The folder {options.context!r} has no Dockerfile, so --image names no image of it.",
            "Name what its program runs on: --base-image IMAGE",
        )
    required, _ = requirements(ast.Module(body=[], type_ignores=[]), options.packages, infer=False)
    component = Component(
        name=name,
        language="context",
        source=text,
        entry=program,
        context=str(folder),
        inputs=option_ports(options.inputs, "--in"),
        outputs=option_ports(options.outputs, "--out"),
        requirements=required,
        base_image=options.image or ("" if program else f"{name}:latest"),
    )
    context_command(component)  # says now what would stand in the way later
    if options.image:
        return component, ()
    image = f"its program {program} runs on the base image" if program else f"it is taken to be {name}:latest"
    return component, (f"Its image is not built yet; %kfp_build {name} builds it. Until then {image}.",)


def _from_notebook(_body: str, options: CellOptions, _namespace: Mapping[str, object]) -> _Made:
    name = _required_name(options)
    text = read_notebook(options.notebook_step)
    own = [pinned("nbclient"), pinned("ipykernel")] if options.infer else ["nbclient", "ipykernel"]
    required, remarks = requirements(code_of(text), [*own, *options.packages], infer=options.infer)
    return Component(
        name=name,
        language="notebook",
        source=text,
        entry=name,
        inputs=option_ports(options.inputs, "--in"),
        outputs=(*option_ports(options.outputs, "--out"), EXECUTED),
        requirements=required,
    ), remarks


def _required_name(options: CellOptions) -> str:
    if not options.name:
        raise DefinitionError("The step has no name.", "Write one: %%kfp_component NAME …")
    return options.name


def _check_name(component: Component, namespace: Mapping[str, object], taken: Mapping[str, Step], cell_id: str) -> None:
    name = component.name
    if not name.isidentifier() or keyword.iskeyword(name):
        raise DefinitionError(f"A step cannot be called {name!r}.", "Use a name that Python takes: letters, digits, _.")
    owner = "Python" if hasattr(builtins, name) else "KFP" if name in KFP_RUNTIME_NAMES else ""
    if owner:
        raise DefinitionError(
            f"A step called {name!r} would hide {owner}'s own {name!r}.",
            f"Call it {name}_step, or give it another name.",
        )
    if name in taken:
        earlier = taken[name].component.cell_id
        if earlier and cell_id and earlier != cell_id:
            raise DefinitionError(
                f"There is a step {name!r} already, from another cell.",
                f"Rename one, or delete the other cell's: del {name}",
            )
    elif name in namespace and not _is_plain_function(namespace[name], name):
        raise DefinitionError(
            f"{name!r} is a {type(namespace[name]).__name__} in this notebook, which the step would replace.",
            f"Give the step another name, or first: del {name}",
        )


def _is_plain_function(value: object, name: str) -> bool:
    """A function of the step's own name is what the cell was before it became a step."""
    return callable(value) and getattr(value, "__name__", "") == name and not isinstance(value, type)
