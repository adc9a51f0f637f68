"""The fixed texts of an exported repository: README, tests and workflow."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from kfp_magics.handles import signature
from kfp_magics.images.context import image_name
from kfp_magics.model import MISSING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kfp_magics.handles import ComposedPipeline
    from kfp_magics.model import Component, Json, Port

_TESTS = '''\
"""Runs each pipeline, and each step that takes plain values only, with the values of tests/arguments.json.

What runs is the code that lies in steps/. Steps that take artifacts run where a pipeline feeds them; a step that is a
folder runs in its image only, and its pipelines with it. Exported; values are yours, this file is not.
"""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

HERE = Path(__file__).resolve().parent
TOP = HERE.parent
GIVEN = json.loads((HERE / "arguments.json").read_text(encoding="utf-8"))
LOCK = json.loads((TOP / "kfp-magics.lock").read_text(encoding="utf-8"))["files"]
STEPS = {path.parent.name: json.loads(path.read_text(encoding="utf-8")) for path in TOP.glob("steps/*/step.json")}
FILES = {
    **{f"pipelines/{path.stem}": path for path in sorted((TOP / "pipelines").glob("*.yaml"))},
    **{f"steps/{path.stem}": path for path in sorted((HERE / "steps").glob("*.yaml"))},
}


def required(spec):
    ports = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    return [name for name, port in ports.items() if "defaultValue" not in port and not port.get("isOptional")]


def as_it_lies_there(step, text):
    digest = hashlib.sha256(text.encode()).hexdigest()
    found = [path for path in LOCK if path.startswith(f"steps/{step}/src/") and LOCK[path] == digest]
    return (TOP / found[0]).read_text(encoding="utf-8") if found else text


@pytest.mark.parametrize("name", FILES)
def test_it_runs_to_its_end(name, tmp_path):
    parts = list(yaml.safe_load_all(FILES[name].read_text(encoding="utf-8")))
    given = {key: value for key, value in GIVEN.get(name, {}).items() if value is not None}
    missing = [key for key in required(parts[0]) if key not in given]
    if missing:
        pytest.skip(f"tests/arguments.json gives {name} no {', '.join(missing)}")
    for label, executor in parts[0]["deploymentSpec"]["executors"].items():
        step = label.removeprefix("exec-")
        step = step if step in STEPS else step.rstrip("0123456789").removesuffix("-")
        if STEPS.get(step, {}).get("kind") == "context":
            pytest.skip(f"the step {step} is a folder, which runs in its image only")
        container = executor.get("container", {})
        if "command" in container:
            container["command"] = [as_it_lies_there(step, word) for word in container["command"]]
    path = tmp_path / FILES[name].name
    path.write_text(yaml.safe_dump_all(parts), encoding="utf-8")
    words = [f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in given.items()]
    command = [sys.executable, "-m", "kfp_magics.cli", "run", str(path), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", sorted((TOP / "pipelines").glob("[!_]*.py")), ids=lambda path: path.stem)
def test_it_compiles_with_images(path, tmp_path):
    command = [sys.executable, "-m", f"pipelines.{path.stem}", str(tmp_path / "out.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=TOP)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "image:" in (tmp_path / "out.yaml").read_text(encoding="utf-8")


def test_each_component_names_the_image_of_its_folder():
    command = [sys.executable, "-m", "kfp_magics.cli", "ci", "pin", "--check", "--dir", str(TOP)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
'''

_WORKFLOW = """\
# Rebuilds the images of the steps that a push changes, without Docker; on a pull request it only says which.
# GitHub reads it at the top of a repository: move it there if this folder is not the top.
name: images
on:
  push:
    branches: [main]
  pull_request:
permissions:
  contents: read
  packages: write
jobs:
  images:
    runs-on: ubuntu-latest
    env:
      SINCE: ${{ github.event.pull_request.base.sha || github.event.before }}
    steps:
      - uses: actions/checkout@v4
        with:
          fetch-depth: 0
      - uses: actions/setup-python@v5
        with:
          python-version: "@PYTHON@"
      - name: Install
        run: |
          python -m pip install --quiet uv
          uv pip install --python "$(command -v python)" --requirement requirements.txt
      - name: Plan
        run: kfp-magics ci plan --since "$SINCE" --or-all
      - name: Test
        run: python -m pytest tests
      - name: Registry
        if: github.event_name == 'push'
        run: echo "KFP_MAGICS_REGISTRY=@REGISTRY@" >> "$GITHUB_ENV"
      - name: Log in
        if: github.event_name == 'push'
        env:
          LOGIN: ${{ secrets.REGISTRY_LOGIN || format('{0}:{1}', github.actor, secrets.GITHUB_TOKEN) }}
        run: |
          mkdir -p ~/.docker
          printf '{"auths": {"%s": {"auth": "%s"}}}' "${KFP_MAGICS_REGISTRY%%/*}" \\
            "$(printf %s "$LOGIN" | base64 | tr -d '\\n')" > ~/.docker/config.json
      - name: Build
        if: github.event_name == 'push'
        run: kfp-magics ci run --since "$SINCE" --or-all --builder auto
"""


def tests() -> bytes:
    """The tests of an exported repository."""
    return _TESTS.encode()


def workflow(registry: str, python: str) -> bytes:
    """The GitHub Actions workflow that rebuilds changed images.

    Args:
        registry: Where images go; GitHub's own registry when empty.
        python: Version of the interpreter that builds.
    """
    where = registry or "ghcr.io/${GITHUB_REPOSITORY,,}"  # registries know no capital letters
    return _WORKFLOW.replace("@REGISTRY@", where).replace("@PYTHON@", python).encode()


def arguments(pipelines: Mapping[str, ComposedPipeline], alone: Mapping[str, Component]) -> bytes:
    """The values for tests, to be filled in where nothing has a default."""
    found: dict[str, dict[str, Json]] = {}
    found |= {f"pipelines/{name}": _needed(one.pipeline.parameters) for name, one in sorted(pipelines.items())}
    found |= {f"steps/{name}": _needed(component.inputs) for name, component in sorted(alone.items())}
    wanting = {name: needed for name, needed in found.items() if needed}
    return (json.dumps(wanting, indent=1) + "\n").encode()


def _needed(ports: tuple[Port, ...]) -> dict[str, Json]:
    return dict.fromkeys(port.name for port in ports if port.default is MISSING and not port.optional)


def readme(
    title: str, steps: Mapping[str, Component], pipelines: Mapping[str, ComposedPipeline], registry: str
) -> bytes:
    """What the repository holds, and what to type."""
    listed = [f"- `steps/{image_name(one)}`: `{name}{signature(one)}`" for name, one in sorted(steps.items())]
    composed = [f"- `pipelines/{name}.yaml`: `{one!r}`" for name, one in sorted(pipelines.items())]
    first = min(pipelines, default="NAME")
    where = registry or "HOST/PATH"
    return f"""\
# {title}

Exported from a notebook by kfp-magics. Change the notebook and export again; what was changed here by hand is then
reported and not overwritten. `kfp-magics ci check NOTEBOOK .` shows how notebook and folder differ.

## Steps

{chr(10).join(listed) or "None."}

Each folder holds everything that its image is made of: sources, locked requirements, Dockerfile, cloudbuild.yaml;
component.yaml is for `kfp.components.load_component_from_file`.

## Pipelines

{chr(10).join(composed) or "None."}

The YAML runs anywhere, with requirements installed as each step starts. `python -m pipelines.{first} {first}.yaml`
compiles it with steps in their images instead.

## What to type

    uv venv .venv                                     # or: python -m venv .venv
    uv pip install -r requirements.txt
    .venv/bin/python -m pytest tests                  # every pipeline and step, with the values of tests/arguments.json

    kfp-magics run pipelines/{first}.yaml key=value
    kfp-magics ci plan --since HEAD^                  # which images the last commit rebuilds, and why
    KFP_MAGICS_REGISTRY={where} kfp-magics ci run --since HEAD^
    kfp-magics ci pin                                 # after a change by hand: component.yaml names what is built now
    kfp-magics ci hook                                # every commit rebuilds what it changed
""".encode()
