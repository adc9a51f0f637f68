"""Whole notebooks and folders with a Dockerfile as steps."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest

from kfp_magics.compiler import kfp_component
from kfp_magics.errors import DefinitionError
from kfp_magics.model import Component, Port

from .conftest import make, make_with_remarks


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    cells = [
        nbformat.v4.new_code_cell("%matplotlib inline\nimport numpy as np\n!pip list"),
        nbformat.v4.new_markdown_cell("import pandas"),
        nbformat.v4.new_code_cell("import yaml\nx = 1", outputs=[nbformat.v4.new_output("stream", text="secret")]),
        nbformat.v4.new_code_cell("this is no Python"),
    ]
    path = tmp_path / "größe.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def step(path: Path, **options: object) -> Component:
    return make("", **{"name": "report", "notebook_step": str(path), **options})


def test_a_notebook_is_a_step(notebook: Path) -> None:
    component = step(notebook, inputs=("year:int=2000",), outputs=("rows:int",))
    assert component.language == "notebook"
    assert component.outputs == (Port(name="rows", type="int"), Port(name="executed_notebook", type="Artifact"))
    names = {line.partition("==")[0].lower() for line in component.requirements}
    assert names == {"ipykernel", "nbclient", "numpy", "pyyaml"}
    assert all("==" in line for line in component.requirements)


def test_what_it_showed_does_not_travel_and_does_not_make_another_step(notebook: Path) -> None:
    before = step(notebook)
    assert "secret" not in before.source
    saved = nbformat.read(notebook, as_version=4)
    saved.cells[2].outputs = []
    saved.cells[0].execution_count = 9
    nbformat.write(saved, notebook)
    assert step(notebook).digest == before.digest
    saved.cells[2].source = "x = 2"
    nbformat.write(saved, notebook)
    assert step(notebook).digest != before.digest


def test_its_module_is_python(notebook: Path) -> None:
    component = step(notebook, inputs=("data:Dataset", "n:int"), outputs=("page:HTML", "rows:list"))
    source = kfp_component(component).component_spec.implementation.container.command[-1]
    compile(source, "module", "exec")
    assert "def report(data: Input[Dataset], n: int, page: Output[HTML], executed_notebook: Output[Artifact])" in source


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read"), ("no JSON", "is no notebook"), ("[]", "is no notebook"), ("{}", "is no notebook")],
)
def test_a_file_that_is_no_notebook(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "x.ipynb"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(DefinitionError, match=message):
        step(path)


def test_a_notebook_needs_a_name_and_no_cell(notebook: Path) -> None:
    with pytest.raises(DefinitionError, match="has no name"):
        step(notebook, name="")
    with pytest.raises(DefinitionError, match="no cell of its own") as caught:
        make("x = 1", name="report", notebook_step=str(notebook))
    assert "one percent sign" in caught.value.hint


def test_a_folder_is_a_step(tmp_path: Path) -> None:
    folder = tmp_path / "my-deploy"
    folder.mkdir()
    with pytest.raises(DefinitionError, match="has no Dockerfile") as caught:
        make("", context=str(folder))
    assert str(folder / "Dockerfile") in caught.value.hint
    (folder / "Containerfile").write_text("FROM scratch\n", encoding="utf-8")
    component, remarks = make_with_remarks("", context=str(folder), inputs=("model:Model",), outputs=("url:str",))
    assert (component.name, component.language, component.context) == ("my_deploy", "context", str(folder))
    assert component.base_image == "my_deploy:latest"
    assert "not built yet" in remarks[0]
    component, remarks = make_with_remarks("", name="deploy", context=str(folder), image="r/deploy@sha256:0")
    assert (component.name, component.base_image, remarks) == ("deploy", "r/deploy@sha256:0", ())
    with pytest.raises(DefinitionError, match="There is no folder"):
        make("", context=str(tmp_path / "nowhere"))


def test_a_folders_command_line(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n", encoding="utf-8")
    component = make(
        "", name="d", context=str(tmp_path), image="i", inputs=("model:Model", "n:int=1"), outputs=("url:str", "r:HTML")
    )
    container = kfp_component(component).component_spec.implementation.container
    words = json.loads(json.dumps(container.args, default=str))
    assert words[::2] == ["--model", "--n", "--url", "--r"]
    assert not container.command
