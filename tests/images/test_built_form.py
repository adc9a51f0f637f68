"""Pipelines whose steps run in the images that were built for them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from kfp_magics import compiler
from kfp_magics.cells.options import CellOptions
from kfp_magics.compiler_images import container_of, with_images
from kfp_magics.errors import BackendError
from kfp_magics.images.base import ImageRef
from kfp_magics.images.context import SOURCES, content_of
from kfp_magics.session import Session

REF = ImageRef(repository="127.0.0.1:5000/team/train", digest="sha256:" + "1" * 64)
TRAIN = "\ndef train(n: int, model: Output[Model]) -> int:\n    open(model.path, 'w').write(str(n))\n    return n + 1\n"
PIPELINE = """
def inner(n: int):
    train(n=n)

@dsl.pipeline
def nested(n: int):
    train(n=n).set_env_variable("A", "1")

def outer(n: int):
    first = train(n=n)
    with dsl.ParallelFor([1, 2]) as item:
        train(n=item)
    nested(n=3)
    say(text="x")
"""


def containers(ir: str) -> dict[str, Any]:
    return {
        name: one["container"]
        for name, one in next(yaml.safe_load_all(ir))["deploymentSpec"]["executors"].items()
        if "container" in one
    }


def test_every_use_of_a_step_gets_its_image(settings: Any) -> None:
    session = Session(settings)
    session.component(TRAIN, CellOptions(memory="1G"))
    session.component("echo $text", CellOptions(name="say", lang="bash", inputs=("text:str",), base_image="bash:5"))
    session.pipeline(PIPELINE, entry="outer")
    before = session.resolve("outer")
    after = with_images(before, {"train": REF})
    found = containers(after.ir)
    trained = [one for name, one in found.items() if name.startswith("exec-train")]
    assert len(trained) >= 2
    for one in trained:
        assert one["image"] == f"{REF.repository}@{REF.digest}"
        assert one["command"] == ["python3", "-m", "kfp.dsl.executor_main"]
        assert one["args"][1] == f"{SOURCES}/step_train.py"
    assert any(one.get("env") for one in trained)
    assert any(one.get("resources") for one in trained)
    assert found["exec-say"] == containers(before.ir)["exec-say"]
    assert after.ir.splitlines()[0] == "# PIPELINE DEFINITION"
    assert compiler.load_pipeline(after.ir).parameters == before.parameters
    assert with_images(before, {}) == before


def test_scripts_and_folders(tmp_path: Path, settings: Any) -> None:
    (tmp_path / "Dockerfile").write_text('FROM debian\nENTRYPOINT ["bash",  "./deploy.sh"]\nCMD ["--fast"]\n')
    session = Session(settings)
    session.component(
        "echo $text > $out", CellOptions(name="say", lang="bash", inputs=("text:str",), outputs=("out:str",))
    )
    given = CellOptions(
        name="deploy", context=str(tmp_path), inputs=("model:str",), outputs=("version:str=/version.txt",)
    )
    session.component("", given)
    session.pipeline("\ndef both():\n    deploy(model=say(text='x').outputs['out'])\n")
    found = containers(with_images(session.resolve("both"), {"say": REF, "deploy": REF}).ir)
    assert found["exec-say"]["command"] == ["bash", "-e", f"{SOURCES}/step_say.sh"]
    assert found["exec-say"]["args"] == [
        "{{$.inputs.parameters['text']}}",
        "{{$.outputs.parameters['out'].output_file}}",
    ]
    command = found["exec-deploy"]["command"]
    assert command[:2] == ["sh", "-ec"]
    assert command[3:] == [
        "deploy",
        "{{$.outputs.parameters['version'].output_file}}",
        *("bash", "./deploy.sh", "--fast"),
    ]
    assert found["exec-deploy"]["args"] == ["--model", "{{$.inputs.parameters['model']}}"]


def test_a_folder_command_collects_its_files(tmp_path: Path, settings: Any) -> None:
    version = tmp_path / "version.txt"
    (tmp_path / "main.sh").write_text(f"echo working; [ $2 = m ] && echo -n 3 > {version}\n")
    session = Session(settings)
    step = session.component(
        "",
        CellOptions(name="deploy", context=str(tmp_path), inputs=("model:str",), outputs=(f"version:str={version}",)),
    )
    form = container_of(step.component)  # type: ignore[union-attr]
    form["command"][2] = form["command"][2].replace(SOURCES, str(tmp_path))
    for value, code in (("m", 0), ("x", 1)):
        out = tmp_path / f"out-{value}" / "deep" / "version"
        words = [str(out) if "output_file" in word else word for word in form["command"]]
        done = subprocess.run([*words, "--model", value], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (code, "working\n"), done.stderr
        assert out.exists() == (code == 0)
    version.unlink()
    (tmp_path / "main.sh").write_text("true\n")
    done = subprocess.run([*words, "--model", "m"], capture_output=True, text=True, check=False)
    assert "wrote no file" in done.stderr


def test_the_python_form_runs_as_kfp_runs_it(tmp_path: Path, settings: Any) -> None:
    step = Session(settings).component(TRAIN, CellOptions())
    component = step.component  # type: ignore[union-attr]
    for path, content in content_of(component).files.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(content)
    outputs = {
        "parameters": {"Output": {"outputFile": str(tmp_path / "result")}},
        "artifacts": {
            "model": {"artifacts": [{"name": "m", "uri": str(tmp_path / "m"), "type": {"schemaTitle": "system.Model"}}]}
        },
        "outputFile": str(tmp_path / "executor_output.json"),
    }
    given = json.dumps({"inputs": {"parameterValues": {"n": 4}}, "outputs": outputs})
    form = container_of(component)
    words = [word.replace(SOURCES, str(tmp_path / "src")).replace("{{$}}", given) for word in form["args"]]
    subprocess.run(
        [sys.executable, *form["command"][1:], *words],
        check=True,
        env=os.environ | {"_KFP_RUNTIME": "true"},
        timeout=60,
    )
    assert json.loads((tmp_path / "executor_output.json").read_text())["parameterValues"] == {"Output": 5}
    assert (tmp_path / "m").read_text() == "4"


def test_a_process_refuses_code_that_is_in_an_image(settings: Any) -> None:
    session = Session(settings)
    session.component(TRAIN, CellOptions())
    built = with_images(session.resolve("train"), {"train": REF})
    with pytest.raises(BackendError, match="its code is in its image") as caught:
        session.run(built, {"n": 1})
    assert "--executor container" in caught.value.hint
