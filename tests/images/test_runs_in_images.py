"""From a notebook's steps to a run in containers of their own images, everything real."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kfp_magics.cells.options import CellOptions
from kfp_magics.errors import RunFailedError
from kfp_magics.model import State
from kfp_magics.options import RunOptions
from kfp_magics.session import Session
from kfp_magics.settings import Settings
from tests.images.containers import Podman
from tests.images.registries import Server

MAKE = """
import six

FACTOR = 2

def helper(x):
    return x * FACTOR

def make_it(n: int, data: Output[Dataset]) -> int:
    if n > 9:
        raise ValueError(f"too much: {n}")
    with open(data.path, "w") as file:
        file.write(six.ensure_text(b"made"))
    return helper(n)
"""
IN_CONTAINERS = RunOptions(executor="container")


@pytest.fixture
def session(
    registry: Server, repository: str, base_image: str, podman: Podman, settings: Settings, tmp_path: Path
) -> Session:
    settings.registry = f"{registry.host}/{repository}"
    settings.base_image = base_image
    session = Session(settings)
    session.component(MAKE, CellOptions(packages=("six==1.16.0",)))
    session.component(
        'echo "$(cat $data) $n" > $said',
        CellOptions(name="say", lang="bash", inputs=("data:Dataset", "n:int"), outputs=("said:str",)),
    )
    plain, built = tmp_path / "plain", tmp_path / "built"
    for folder in (plain, built):
        folder.mkdir()
    (plain / "main.py").write_text(
        "import sys, helper\nopen('/tmp/version.txt', 'w').write(helper.MARK + ' '.join(sys.argv[1:]))\n"
    )
    (plain / "helper.py").write_text("MARK = 'plain '\n")
    (built / "deploy.sh").write_text('#!/bin/bash\necho -n built "$@" > /version.txt\n')
    (built / "deploy.sh").chmod(0o755)
    (built / "Dockerfile").write_text(f'FROM {base_image}\nWORKDIR /app\nCOPY . .\nENTRYPOINT ["./deploy.sh"]\n')
    for folder, file in ((plain, "/tmp/version.txt"), (built, "/version.txt")):
        given = CellOptions(
            name=folder.name, context=str(folder), inputs=("text:str",), outputs=(f"version:str={file}",)
        )
        session.component("", given)
    session.pipeline(
        "\ndef everything(n: int):\n"
        "    made = make_it(n=n)\n"
        "    said = say(data=made.outputs['data'], n=made.outputs['Output'])\n"
        "    plain(text=said.outputs['said'])\n"
        "    built(text=said.outputs['said'])\n"
    )
    return session


def outputs(run: Any) -> dict[str, Any]:
    return {task.id: dict(task.outputs) for task in run.tasks}


def test_every_kind_of_step_runs_in_its_image(session: Session) -> None:
    builds: list[Any] = []
    run = session.wait(session.run("everything", {"n": 3}, IN_CONTAINERS, on_build=builds.append))
    assert outputs(run) == {
        "make-it": {"Output": 6},
        "say": {"said": "made 6\n"},
        "plain": {"version": "plain --text made 6\n"},
        "built": {"version": "built --text made 6\n"},
    }
    assert all("@sha256:" in task.image for task in run.tasks)
    assert session.images.notes(run) == dict.fromkeys(outputs(run), "image in sync")
    built = session.find(builds[0].run.id)
    assert {task.outputs["did"] for task in built.tasks} == {"everything"}
    # A changed line costs one build of one step, and its error names the line of the cell.
    session.component(MAKE.replace("n > 9", "n > 2"), CellOptions(packages=("six==1.16.0",)))
    with pytest.raises(RunFailedError, match=r"line 12 of its cell: raise ValueError"):
        session.wait(session.run("everything", {"n": 3}, IN_CONTAINERS, on_build=builds.append))
    second = session.find(builds[1].run.id)
    assert {task.id: task.outputs["did"] for task in second.tasks} == {"make_it": "code"}
    assert session.store.list(kind="build")[0].state is State.SUCCEEDED
    trial = session.try_step("make_it", ["n=2"], RunOptions(cache=False, executor="container"))
    assert outputs(trial.run) == {"make-it": {"Output": 4}}
    assert len(builds) == 2
