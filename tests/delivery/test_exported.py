"""An exported repository where nothing else of this project is: its tests, and its workflow step by step."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

from kfp_magics.delivery import texts
from kfp_magics.images.credentials import Anonymous
from kfp_magics.images.registry import Registry
from tests.delivery.test_ci import commit, git, shell
from tests.delivery.workflow import Runner
from tests.images.bases import push_description
from tests.images.registries import Server

TRAIN = "RATE = 2\n\ndef train(n: int = 1) -> int:\n    return n + RATE\n"
CELLS = [
    "%load_ext kfp_magics",
    f"%%kfp_component\n{TRAIN}",
    "%%kfp_component say --lang bash --in text:int --out told:str\necho $text | tee $told",
    "%%kfp_pipeline\ndef both(n: int = 3):\n    say(text=train(n=n).output)",
]


@pytest.fixture
def base(registry: Server, repository: str) -> str:
    return push_description(registry, f"{repository}-base")


@pytest.fixture
def exported(base: str, registry: Server, repository: str, tmp_path: Path) -> Callable[..., Path]:
    """Exports the notebook, as a person does it in a shell."""

    def make(change: str = "", by: str = "") -> Path:
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(one.replace(change or "\0", by)) for one in CELLS]
        )
        nbformat.write(notebook, tmp_path / "house.ipynb")
        words = ["export", tmp_path / "house.ipynb", tmp_path / "repo", "--registry", f"{registry.host}/{repository}"]
        shell(*words, KFP_MAGICS_BASE_IMAGE=base)
        return tmp_path / "repo"

    return make


def commands(readme: str) -> list[str]:
    """What the README tells to type for the tests."""
    lines = [line.partition("  #")[0].strip() for line in readme.splitlines() if line.startswith("    ")]
    last = next(n for n, line in enumerate(lines) if "pytest" in line)
    return lines[: last + 1]


def bash(script: str, folder: Path, machine: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = ["bash", "-e", "-c", script]
    return subprocess.run(command, cwd=folder, env=machine, capture_output=True, text=True, check=False)


@pytest.mark.timeout(300)
def test_its_tests_run_in_an_environment_of_its_own(exported, machine: dict[str, str], tmp_path: Path) -> None:
    repo = exported()
    git(repo, "init", "-qb", "main")
    commit(repo)
    git(tmp_path, "clone", "-q", str(repo), "elsewhere")
    elsewhere = tmp_path / "elsewhere"
    typed = commands((repo / "README.md").read_text())
    done = bash("\n".join(typed), elsewhere, machine)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\b4 passed, 1 skipped\b", done.stdout), done.stdout  # nobody gave the other step a text
    where = subprocess.run(
        [elsewhere / ".venv/bin/python", "-c", "import kfp_magics; print(kfp_magics.__file__)"],
        capture_output=True, text=True, check=True, env=machine, cwd=elsewhere,
    )  # fmt: skip
    assert where.stdout.startswith(str(elsewhere / ".venv"))

    step = elsewhere / "steps/train/src/step_train.py"
    step.write_text(step.read_text().replace("return n + RATE", "return n + RATES"))
    broken = bash(typed[-1], elsewhere, machine)
    assert broken.returncode == 1, broken.stdout
    failed = set(re.findall(r"FAILED tests/test_everything.py::(\S+)", broken.stdout))
    assert failed == {
        "test_it_runs_to_its_end[pipelines/both]",
        "test_it_runs_to_its_end[steps/train]",
        "test_each_component_names_the_image_of_its_folder",
    }
    assert "name 'RATES' is not defined" in broken.stdout
    assert "kfp-magics ci pin" in broken.stdout
    step.write_text(step.read_text().replace("RATES", "RATE + 0"))
    mended = bash(f".venv/bin/kfp-magics ci pin\n{typed[-1]}", elsewhere, machine)
    assert mended.returncode == 0, mended.stdout


def pushed(server: Server, repository: str) -> dict[str, set[str]]:
    """The content tags of each step that the registry has."""
    with Registry(server.host, credentials=Anonymous()) as registry:
        names = {name: registry.tags(f"{repository}/{name}") for name in ("train", "say")}
    return {name: {tag for tag in tags if tag.startswith("c-")} for name, tags in names.items()}


@pytest.mark.timeout(600)
@pytest.mark.slow
def test_its_workflow_runs_step_by_step(
    exported, machine: dict[str, str], registry: Server, repository: str, tmp_path: Path
) -> None:
    repo = exported()
    git(tmp_path, "init", "-q", "--bare", "-b", "main", "hub.git")
    git(repo, "init", "-qb", "main")
    git(repo, "remote", "add", "origin", (tmp_path / "hub.git").as_uri())
    runner = Runner((tmp_path / "hub.git").as_uri(), machine, tmp_path / "runner", {"REGISTRY_LOGIN": "me:word"})

    def push(*words: str) -> tuple[str, dict[str, set[str]]]:
        """Pushes, has the workflow run as GitHub would, and tells what is new in the registry."""
        before = git(repo, "ls-remote", "origin", "refs/heads/main").partition("\t")[0] or "0" * 40
        had = pushed(registry, repository)
        git(repo, "push", "-q", *words, "origin", "main")
        told = runner.push(git(repo, "rev-parse", "HEAD"), before)
        assert list(told) == ["Install", "Plan", "Test", "Registry", "Log in", "Build"]
        assert " passed" in told["Test"]
        new = {name: tags - had[name] for name, tags in pushed(registry, repository).items()}
        return told["Plan"], {name: tags for name, tags in new.items() if tags}

    commit(repo)
    plan, new = push()  # the very first push: there is nothing to compare with
    assert "new      say" in plan
    assert {name: len(tags) for name, tags in new.items()} == {"say": 1, "train": 1}
    config = json.loads((Path(machine["HOME"]) / ".docker/config.json").read_text())
    assert config == {"auths": {registry.host: {"auth": "bWU6d29yZA=="}}}

    exported("RATE = 2", "RATE = 3")
    commit(repo)
    plan, new = push()
    assert re.search(r"^rebuilt  train  src/step_train.py$", plan, re.MULTILINE)
    assert list(new) == ["train"]
    assert new["train"] == {tag_named(repo, "train")}

    (repo / "notes.md").write_text("This changes no step.\n")
    commit(repo)
    plan, new = push()
    assert "2 steps stay as they are" in plan
    assert new == {}

    git(repo, "reset", "-q", "--hard", "HEAD~2")
    exported("echo $text", "echo said $text")
    git(repo, "commit", "-qam", "another history")
    plan, new = push("--force")  # what was there before is in no branch any more
    assert list(new) == ["say"]

    asked = runner.pull_request(git(repo, "rev-parse", "HEAD"), git(repo, "rev-parse", "HEAD^"))
    assert list(asked) == ["Install", "Plan", "Test"]
    assert "rebuilt  say" in asked["Plan"]


def tag_named(repo: Path, step: str) -> str:
    found = re.search(r"image: \S+:(c-\w+)", (repo / f"steps/{step}/component.yaml").read_text())
    assert found
    return found[1]


@pytest.mark.parametrize("registry", ["", "images.test/team"])
def test_the_workflow_is_one_by_githubs_schema(registry: str, tmp_path: Path) -> None:
    command = [Path(sys.executable).with_name("check-jsonschema"), "--builtin-schema", "vendor.github-workflows"]
    right, wrong = tmp_path / "right.yml", tmp_path / "wrong.yml"
    right.write_bytes(texts.workflow(registry, "3.11"))
    wrong.write_bytes(texts.workflow(registry, "3.11").replace(b"runs-on:", b"runs_on:"))
    assert subprocess.run([*command, right], check=False).returncode == 0
    assert subprocess.run([*command, wrong], capture_output=True, check=False).returncode == 1
