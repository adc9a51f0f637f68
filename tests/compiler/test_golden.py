"""What each form of step and a pipeline of everything compile to, word by word.

``KFP_MAGICS_REGENERATE=1 pytest tests/compiler`` writes the files anew; look at what changed before you commit them.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from kfp_magics.backends.local.recipe import recognise
from kfp_magics.session import Session

GOLDEN = Path(__file__).parent / "golden"

FUNCTION = """
import json
from typing import NamedTuple

LIMIT = 3

class Counter:
    total: int = 0

def helper(x: float) -> float:
    return min(x, LIMIT)

def train(
    data: Input[Dataset],
    many: Input[List[Dataset]],
    model: Output[Model],
    metrics: Output[Metrics],
    raw: InputPath("Dataset"),
    text: OutputPath(str),
    rate: float = 0.1,
    names: list = ["ä", 1.5],
    options: dict = {"a": True},
    on: bool = True,
    note: Optional[str] = None,
    more: Optional[Input[Dataset]] = None,
) -> NamedTuple("Outputs", [("rmse", float), ("rows", int)]):
    '''Trains a model: ü.

    Not in the description.
    '''
    return helper(rate), 1
"""
STATEMENTS = """
total = scale * len(open(data.path).read())
with open(report.path, "w") as file:
    file.write(f'''# Total
{total}''')
"""
SCRIPT = """
set -u
echo "$year $data" | tee "$report"
echo -n "done" > /tmp/status.txt
"""
NOTEBOOK = {
    "cells": [
        {
            "cell_type": "code",
            "id": "a",
            "metadata": {"tags": ["parameters"]},
            "source": "year = 1",
            "outputs": [{"output_type": "stream", "name": "stdout", "text": "dropped"}],
            "execution_count": 7,
        },
        {"cell_type": "markdown", "id": "b", "metadata": {}, "source": "# Größe"},
        {"cell_type": "code", "id": "c", "metadata": {}, "source": "rows = year\n", "outputs": []},
    ],
    "metadata": {},
    "nbformat": 4,
    "nbformat_minor": 5,
}
PIPELINE = """
@dsl.component(base_image="python:3.11-slim")
def theirs(x: int) -> int:
    return x

@dsl.pipeline
def inner(n: int) -> int:
    return theirs(x=n).output

def everything(n: int = 2, names: list = ["a", "b"], where: str = "gs://bucket/data"):
    '''All of it.'''
    data = dsl.importer(artifact_uri=where, artifact_class=dsl.Dataset, reimport=False)
    with dsl.ExitHandler(tell()):
        first = inner(n=n)
        with dsl.ParallelFor(names, parallelism=2) as name:
            one = size(name=name)
        summed = total(sizes=dsl.Collected(one.output))
        with dsl.If(summed.output > 3):
            big = size(name="big")
        with dsl.Else():
            small = size(name="small")
        total(sizes=[1]).after(first, data)
        theirs(x=dsl.OneOf(big.output, small.output))
"""


def function(make: Any, _: Path) -> None:
    make(FUNCTION, packages=("pandas==2.2.0",))


def statements(make: Any, _: Path) -> None:
    make(
        STATEMENTS,
        name="count",
        inputs=("data:Dataset", "scale:int=2"),
        outputs=("report:Markdown", "total:int"),
    )


def script(make: Any, _: Path) -> None:
    make(
        SCRIPT,
        name="deploy",
        lang="bash",
        base_image="alpine:3",
        inputs=("year:int", "data:Dataset", "note:str=x"),
        outputs=("report:Markdown", "status:str=/tmp/status.txt"),
    )


def context(make: Any, folder: Path) -> None:
    (folder / "Dockerfile").write_text('FROM scratch\nENTRYPOINT ["/go"]\n', encoding="utf-8")
    make(
        "",
        name="serve",
        context=str(folder),
        image="registry.example/serve@sha256:" + "0" * 64,
        base_image="",
        inputs=("model:Model", "replicas:int=1"),
        outputs=("url:str",),
    )


def notebook(make: Any, folder: Path) -> None:
    path = folder / "report.ipynb"
    path.write_text(json.dumps(NOTEBOOK), encoding="utf-8")
    make("", name="report", notebook_step=str(path), inputs=("year:int", "data:Dataset"), outputs=("rows:int",))


def pod(make: Any, _: Path) -> None:
    make(
        "def heavy(x: int):\n    pass\n",
        cpu="500m",
        memory="2Gi",
        gpu="NVIDIA_TESLA_T4:2",
        env=("MODE=fast", "EMPTY="),
        secret=("db:password=PASSWORD", "db:user=USER_NAME", "db:password=AGAIN"),
        secret_volume=("key=/secrets/key",),
        pvc=("data=/data",),
        retries=3,
        timeout="1h30m",
        no_cache=True,
        label=("team=ue",),
        node_selector=("disk=ssd",),
        toleration=("gpu:NoSchedule", "pool=batch:NoExecute"),
        config_map=("settings:mode=RUN_MODE",),
        config_map_volume=("settings=/etc/settings",),
        ephemeral_volume=("scratch=/scratch:10Gi",),
        image_pull_secret=("registry",),
        annotation=("sidecar.istio.io/inject=false",),
    )


@pytest.mark.parametrize("form", [function, statements, script, context, notebook, pod], ids=lambda form: form.__name__)
def test_a_step(session: Session, define: Any, tmp_path: Path, form: Any) -> None:
    form(define, tmp_path)
    [name] = session.definitions.steps
    compare(form.__name__, session.resolve(name).ir)


def test_a_pipeline(session: Session, define: Any) -> None:
    define("def size(name: str) -> int:\n    return len(name)\n", cpu="1", retries=1)
    define("def total(sizes: list) -> int:\n    return sum(sizes)\n")
    define("def tell(status: dsl.PipelineTaskFinalStatus):\n    print(status.state)\n")
    composed = session.pipeline(PIPELINE, name="Alles Größe")
    assert composed.pipeline.name == "alles-gr-e"
    assert set(composed.pipeline.components) == {"size", "total", "tell"}
    compare("pipeline", composed.pipeline.ir)


def compare(name: str, ir: str) -> None:
    """Compares with what is kept; how the installed KFP makes and starts Python steps is not part of it."""
    documents = list(yaml.safe_load_all(ir))
    documents[0]["sdkVersion"] = "kfp"
    for executor in documents[0].get("deploymentSpec", {}).get("executors", {}).values():
        container = executor.get("container", {})
        recipe = recognise(container.get("command", ()), container.get("args", ()))
        if recipe is not None:
            container["command"] = {"installs": list(recipe.packages), "module": recipe.source.splitlines()}
    text = yaml.safe_dump_all(documents, sort_keys=True, allow_unicode=True, width=100)
    path = GOLDEN / f"{name}.yaml"
    if os.environ.get("KFP_MAGICS_REGENERATE"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")
