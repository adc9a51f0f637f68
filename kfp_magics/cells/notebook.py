"""Whole notebooks as steps: inputs become variables, outputs are read from variables at the end."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kfp_magics.cells.statements import signature
from kfp_magics.errors import DefinitionError
from kfp_magics.model import Port

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kfp_magics.model import Component

EXECUTED = Port(name="executed_notebook", type="Artifact")
"""The output that every notebook step has: the notebook as it ran."""

_BODY = '''
    import json
    import textwrap

    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.reads(_NOTEBOOK, as_version=4)
    given = {given}
    artifacts = {{
        name: {{"path": one.path, "uri": one.uri, "metadata": dict(one.metadata)}} for name, one in {artifacts}.items()
    }}
    lines = ["from types import SimpleNamespace as _Artifact"]
    lines += [f"{{name}} = {{value!r}}" for name, value in given.items()]
    lines += [f"{{name}} = _Artifact(**{{value!r}})" for name, value in artifacts.items()]
    tagged = [n for n, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", [])]
    notebook.cells.insert(tagged[0] + 1 if tagged else 0, nbformat.v4.new_code_cell("\\n".join(lines)))
    results = executed_notebook.path + ".json"
    notebook.cells.append(nbformat.v4.new_code_cell(textwrap.dedent(f"""
        import json as _json
        with open({{results!r}}, "w", encoding="utf-8") as _file:
            _json.dump({{{{"values": {{{{name: globals()[name] for name in {values!r}}}}},
                        "metadata": {{{{name: globals()[name].metadata for name in {written!r}}}}}}}}}, _file)
    """)))
    try:
        NotebookClient(notebook, timeout=None, kernel_name="python3").execute()
    finally:
        del notebook.cells[-1]
        nbformat.write(notebook, executed_notebook.path)
    with open(results, encoding="utf-8") as file:
        found = json.load(file)
    for name, one in {{{written_objects}}}.items():
        one.metadata.update(found["metadata"][name])
'''


def read_notebook(file: str) -> str:
    """Reads a notebook and leaves out its outputs.

    Returns:
        Its JSON.

    Raises:
        DefinitionError: There is no such notebook, or it does not parse.
    """
    path = Path(file).expanduser()
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        cells = notebook["cells"]
    except OSError as error:
        raise DefinitionError(f"The notebook {file!r} cannot be read: {error.strerror}.", "Check its path.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DefinitionError(f"The file {file!r} is no notebook.", "Give a file in Jupyter's format 4.") from error
    for cell in cells:
        if cell.get("cell_type") == "code":
            cell |= {"outputs": [], "execution_count": None}
    return json.dumps(notebook, ensure_ascii=False, sort_keys=True)


def code_of(notebook: str) -> ast.Module:
    """Parses the code cells of a notebook, leaving out what only IPython understands."""
    found = ast.Module(body=[], type_ignores=[])
    for cell in _code_cells(notebook):
        lines = [line for line in cell.splitlines() if not line.lstrip().startswith(("%", "!"))]
        try:
            found.body.extend(ast.parse("\n".join(lines)).body)
        except SyntaxError:
            continue  # the notebook itself will say so when it runs
    return found


def _code_cells(notebook: str) -> list[str]:
    cells: list[dict[str, Any]] = json.loads(notebook)["cells"]
    return ["".join(cell["source"]) for cell in cells if cell.get("cell_type") == "code"]


def notebook_module(component: Component) -> str:
    """Writes the module whose function runs the notebook.

    Args:
        component: A step that is a notebook; its source is the notebook's JSON.
    """
    written = [port.name for port in component.outputs if not port.is_parameter and port != EXECUTED]
    values = [port.name for port in component.outputs if port.is_parameter]
    read = [port.name for port in component.inputs if not port.is_parameter]
    head = signature(component.entry, component.inputs, component.outputs)
    body = _BODY.format(
        given=_dict(port.name for port in component.inputs if port.is_parameter),
        artifacts=_dict([*read, *written]),
        values=values,
        written=written,
        written_objects=", ".join(f"{name!r}: {name}" for name in written),
    )
    found = ", ".join(f'found["values"][{name!r}]' for name in values)
    end = f"    return ({found},)\n" if values else ""
    return f"_NOTEBOOK = {component.source!r}\n\n\n{head}{body}{end}"


def _dict(names: Iterable[str]) -> str:
    return "{" + ", ".join(f"{name!r}: {name}" for name in names) + "}"
