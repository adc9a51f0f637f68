"""What commits rebuild, in real repositories."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kfp_magics.cells.options import CellOptions
from kfp_magics.delivery.git import Repository
from kfp_magics.delivery.plan import planned
from kfp_magics.delivery.steps import folder_spec
from kfp_magics.errors import DeliveryError
from kfp_magics.model import State
from kfp_magics.options import BuildOptions
from kfp_magics.runs.store import Store
from kfp_magics.session import Session
from kfp_magics.settings import Settings
from tests.images.bases import push_description
from tests.images.registries import Server

ME = {f"GIT_{who}_{what}": "a@b.c" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
ME |= {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, env=os.environ | ME, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def commit(folder: Path, message: str = "change") -> str:
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", message, "--allow-empty")
    return git(folder, "rev-parse", "HEAD")


def whats(folder: Path, *words: str, **options: bool) -> dict[str, str]:
    with planned(folder, *words, **options) as plan:
        return {one.folder: one.what for one in plan.changes}


@pytest.fixture
def exported(registry: Server, repository: str, tmp_path: Path) -> Path:
    """An exported repository of two steps, committed."""
    base = push_description(registry, f"{repository}-base")
    session = Session(Settings(base_image=base, registry=f"{registry.host}/{repository}"))
    for name in ("one", "two"):
        session.component("echo $text\n", CellOptions(name=name, lang="bash", inputs=("text:str",)))
    folder = tmp_path / "repo"
    session.images.exported(BuildOptions()).write(folder)
    git(folder, "init", "-qb", "main")
    commit(folder)
    return folder


def test_plan_tells_what_and_why(exported: Path) -> None:
    assert whats(exported) == {}
    (exported / "steps/one/src/step_one.sh").write_text("echo other\n")
    (exported / "steps/two/notes.md").write_text("enters no image")
    (exported / "README.md").write_text("outside")
    with planned(exported) as plan:
        assert {one.folder: one.what for one in plan.changes} == {"one": "rebuilt", "two": "same"}
        assert plan.changes[0].why == "src/step_one.sh"
        assert plan.outside == ("README.md",)
        assert "belongs to no step: README.md" in str(plan)
    first = git(exported, "rev-parse", "HEAD")
    commit(exported)
    assert whats(exported) == {}
    assert whats(exported, first, "HEAD") == {"one": "rebuilt", "two": "same"}
    git(exported, "mv", "steps/one", "steps/uno")
    assert whats(exported) == {"one": "gone", "uno": "new"}
    assert whats(exported, "0" * 40, first) == {"one": "new", "two": "new"}


def test_a_step_that_was_renamed_moved_or_deleted(exported: Path, registry: Server, repository: str) -> None:
    run = ["ci", "run", "--dir", exported, "--since", "HEAD^", "--registry", f"{registry.host}/{repository}"]
    git(exported, "mv", "steps/one", "steps/uno")
    commit(exported)
    said = shell(*run)
    assert "gone     one  its folder was removed\n" in said
    assert "new      uno  its folder is new\n" in said
    assert len(re.findall(r"@sha256:", said)) == 1
    (exported / "attic").mkdir()
    git(exported, "mv", "steps/uno", "attic/uno")
    commit(exported)
    said = shell(*run)
    assert "gone     uno" in said
    assert "belongs to no step: attic/uno/.dockerignore" in said
    assert "@sha256:" not in said
    git(exported, "rm", "-qr", "steps", "attic")
    commit(exported)
    assert "gone     two" in shell(*run)
    (exported / "steps").mkdir()
    (exported / "steps/loose.txt").write_text("in no folder of a step")
    (exported / "steps/notes").mkdir()
    (exported / "steps/notes/read.me").write_text("not a step")
    commit(exported)
    with pytest.raises(AssertionError, match=r"steps/notes' has neither a Dockerfile nor a step\.json that reads"):
        shell(*run)


def test_a_merge_is_what_it_brings(exported: Path) -> None:
    git(exported, "checkout", "-qb", "side")
    (exported / "steps/one/src/step_one.sh").write_text("echo side\n")
    commit(exported)
    git(exported, "checkout", "-q", "main")
    (exported / "steps/two/src/step_two.sh").write_text("echo main\n")
    commit(exported)
    git(exported, "merge", "-q", "--no-edit", "side")
    assert whats(exported, "HEAD^1", "HEAD") == {"one": "rebuilt"}
    assert whats(exported, "HEAD^2", "HEAD") == {"two": "rebuilt"}


def test_shallow_clones_are_told_apart(exported: Path, tmp_path: Path) -> None:
    first = git(exported, "rev-parse", "HEAD")
    (exported / "steps/one/src/step_one.sh").write_text("echo next\n")
    commit(exported)
    git(tmp_path, "clone", "-q", "--depth=1", exported.as_uri(), "shallow")
    with pytest.raises(DeliveryError, match="which is shallow") as caught:
        whats(tmp_path / "shallow", first, "HEAD")
    assert "git fetch --unshallow" in str(caught.value)
    assert whats(tmp_path / "shallow", first, "HEAD", or_all=True) == {"one": "new", "two": "new"}
    with pytest.raises(DeliveryError, match="There is no commit 'nowhere' in this clone"):
        whats(exported, "nowhere")
    with pytest.raises(DeliveryError, match="not a git repository"):
        whats(tmp_path)


def shell(*words: object, **variables: str) -> str:
    command = [sys.executable, "-m", "kfp_magics.cli", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | variables, timeout=90, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_run_and_hook_rebuild_what_changed(exported: Path, registry: Server, repository: str) -> None:
    target = f"{registry.host}/{repository}"
    built = shell("ci", "run", "--dir", exported, "--since", "", "--registry", target)
    assert f"one {target}/one@sha256:" in built
    assert f"two {target}/two@sha256:" in built
    store = Store(Settings().store_path)
    (build,) = [store.get(one.id) for one in store.list(kind="build")]
    assert (build.state, build.started_by, build.target) == (State.SUCCEEDED, "cli", target)
    assert {(one.id, one.outputs["did"]) for one in build.tasks} == {("one", "everything"), ("two", "everything")}
    hook = exported / ".git/hooks/post-commit"
    hook.write_text("#!/bin/sh\necho mine > mine.txt\nexit 0\n")
    for _ in range(2):  # the second time changes nothing
        shell("ci", "hook", "--dir", exported, "--registry", target)
    assert hook.read_text().count("ci run") == 1
    (exported / "steps/one/src/step_one.sh").write_text("echo by the hook\n")
    git(exported, "add", "-A")
    said = subprocess.run(
        ["git", "commit", "-qm", "x"], cwd=exported, env=os.environ | ME, capture_output=True, text=True, check=True
    )
    assert f"one {target}/one@sha256:" in said.stderr + said.stdout
    assert "two " + target not in said.stderr + said.stdout
    newest = store.get(store.list(kind="build")[0].id)
    assert [(one.id, one.outputs["did"]) for one in newest.tasks] == [("one", "code")]
    store.close()
    assert (exported / "mine.txt").read_text() == "mine\n"
    hook.write_text("#!/usr/bin/env python3\n")
    with pytest.raises(AssertionError, match="is no shell script"):
        shell("ci", "hook", "--dir", exported, "--registry", target)


def test_an_image_that_cannot_be_built_fails_the_command_and_is_seen(
    exported: Path, registry: Server, repository
) -> None:
    (exported / "steps/one/Dockerfile").write_text("FROM nowhere\nRUN false\n")
    commit(exported)
    words = ["ci", "run", "--dir", str(exported), "--since", "", "--builder", "append"]
    command = [sys.executable, "-m", "kfp_magics.cli", *words, "--registry", f"{registry.host}/{repository}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "The image of 'one' cannot be built" in done.stderr
    store = Store(Settings().store_path)
    build = store.get(store.list(kind="build")[0].id)
    store.close()
    assert build.state is State.FAILED
    assert {one.id: one.state for one in build.tasks} == {"one": State.FAILED, "two": State.SUCCEEDED}


FILES = st.sampled_from(["src/a.py", "src/b/c.py", "Dockerfile", "notes.txt", ".dockerignore", "component.yaml"])
EDIT = st.tuples(st.sampled_from(["x", "y", "z"]), FILES, st.sampled_from(["", "1\n", "notes.txt\n", "FROM x\n"]))


@settings(max_examples=8, deadline=None)
@given(st.lists(st.lists(EDIT, max_size=3), min_size=1, max_size=4))
def test_a_plan_names_exactly_the_steps_whose_tag_changed(history: list[list[tuple[str, str, str]]]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "repo")
        for name in "xyz":
            (folder / "steps" / name / "src").mkdir(parents=True)
            (folder / "steps" / name / "Dockerfile").write_text(f"FROM {name}\n")
        git(folder, "init", "-qb", "main")
        commits, tags = [commit(folder)], [_tags(folder)]
        for edits in history:
            for name, path, text in edits:
                place = folder / "steps" / name / path
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(text)
            commits.append(commit(folder))
            tags.append(_tags(folder))
        with planned(folder, commits[0], commits[-1]) as plan:
            named = {one.folder for one in plan.changes if one.builds}
        assert named == {name for name in "xyz" if tags[0][name] != tags[-1][name]}


def _tags(folder: Path) -> dict[str, str]:
    return {one.name: folder_spec(one).tag for one in (folder / "steps").iterdir()}


def test_part_of_a_larger_repository(exported: Path) -> None:
    inner = exported / "steps" / "one"
    assert Repository(inner).prefix == "steps/one/"
    outer = exported / "ml"
    git(exported, "mv", "-k", "steps", "pipelines", "ml") if outer.is_dir() else outer.mkdir()
    git(exported, "mv", "steps", "ml/steps")
    commit(exported)
    (outer / "steps/one/src/step_one.sh").write_text("echo inner\n")
    (exported / "top.txt").write_text("")
    git(exported, "add", "top.txt")
    with planned(outer) as plan:
        assert {one.folder: one.what for one in plan.changes} == {"one": "rebuilt"}
        assert plan.outside == ("top.txt",)


def notebook(path: Path, *cells: str) -> None:
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(one) for one in cells]), path)


def test_build_changed_since_takes_the_steps_of_a_notebook_that_are_others(
    registry: Server, repository: str, tmp_path: Path
) -> None:
    base = push_description(registry, f"{repository}-base")
    path, web = tmp_path / "house.ipynb", tmp_path / "web"
    web.mkdir()
    (web / "main.sh").write_text("echo $2\n")
    say = "%%kfp_component say --lang bash --in text:str\necho $text\n"
    other = f"%%kfp_component other --lang bash\necho {repository}\n"
    folder = f"%kfp_component web --context web --base-image {base} --in n:int"
    notebook(path, say, folder)
    git(tmp_path, "init", "-q")
    first = commit(tmp_path)
    target = f"{registry.host}/{repository}"

    def built(since: str, *names: str) -> set[str]:
        words = ["build", path, *names, "--changed-since", since, "--registry", target]
        said = shell(*words, KFP_MAGICS_BASE_IMAGE=base)
        return {name for name in ("say", "web", "other") if re.search(rf"\b{name}\b.*sha256", said)}

    assert built("HEAD") == set()
    (web / "main.sh").write_text("echo changed\n")
    assert built("HEAD") == {"web"}
    notebook(path, say.replace("echo", "printf"), folder, other)
    commit(tmp_path)
    assert built("HEAD") == set()
    assert built(first) == {"say", "web", "other"}
    assert built(first, "other") == {"other"}
    with pytest.raises(AssertionError, match="There is no commit 'nowhere' in this clone"):
        built("nowhere")
