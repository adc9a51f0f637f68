"""A notebook as a repository."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell

from kfp_magics import cli
from kfp_magics.cells.options import CellOptions
from kfp_magics.delivery.steps import folder_spec
from kfp_magics.delivery.writing import LOCK
from kfp_magics.errors import DeliveryError
from kfp_magics.options import BuildOptions
from kfp_magics.session import Session
from kfp_magics.settings import Settings
from kfp_magics.widgets.delivered import ExportCard
from tests.images.bases import push_description
from tests.images.registries import Server

TRAIN = "def train(n: int = 1) -> int:\n    return n + RATE\n\nRATE = 2\n"
SAY = "echo $text\n"
BOTH = "def both(n: int = 3):\n    say(text=train(n=n).output)\n"


@pytest.fixture
def base(registry: Server, repository: str) -> str:
    return push_description(registry, f"{repository}-base")


@pytest.fixture
def shell() -> Iterator[None]:
    """IPython without what another test defined."""
    InteractiveShell.clear_instance()
    yield
    InteractiveShell.clear_instance()


@pytest.fixture
def notebook(base: str, tmp_path: Path) -> Callable[..., Session]:
    def make(train: str = TRAIN, name: str = "") -> Session:
        session = Session(Settings(base_image=base, registry="images.test/team"), notebook="house.ipynb")
        session.component(train, CellOptions(name=name))
        session.component(SAY, CellOptions(name="say", lang="bash", inputs=("text:int",)))
        session.pipeline(BOTH.replace("train(", f"{name or 'train'}("))
        return session

    return make


def export(session: Session, target: Path, *, force: bool = False) -> object:
    return session.images.exported(BuildOptions(), notebook=session.notebook).write(target, force=force)


def tree(target: Path) -> dict[str, bytes]:
    return {p.relative_to(target).as_posix(): p.read_bytes() for p in target.rglob("*") if p.is_file()}


def test_the_folder_of_a_step_gives_the_notebooks_image(notebook, tmp_path: Path) -> None:
    session = notebook()
    export(session, tmp_path / "repo")
    for name in ("train", "say"):
        planned = session.images.planner().plan(
            session.definitions.step(name).component, BuildOptions().complete(session.settings)
        )
        assert folder_spec(tmp_path / "repo" / "steps" / name).tag == planned.spec.tag
        assert planned.spec.tag in (tmp_path / "repo" / "steps" / name / "component.yaml").read_text()


def test_the_same_notebook_gives_no_difference(notebook, tmp_path: Path, monkeypatch) -> None:
    target = tmp_path / "repo"
    export(notebook(), target)
    before = tree(target)
    monkeypatch.setenv("KFP_MAGICS_HOME", str(tmp_path / "another"))
    monkeypatch.setenv("KFP_MAGICS_OFFLINE", "true")  # nothing is looked up again
    again = export(notebook(), target)
    assert tree(target) == before
    assert again.written == again.removed == again.kept == []
    assert set(before) == {
        ".github/workflows/images.yml",
        "README.md",
        LOCK,
        "pipelines/__init__.py",
        "pipelines/both.py",
        "pipelines/both.yaml",
        "requirements.txt",
        *(f"steps/say/{one}" for one in (".dockerignore", "Dockerfile", "cloudbuild.yaml", "component.yaml")),
        *(f"steps/say/{one}" for one in ("requirements.txt", "src/step_say.sh", "step.json")),
        *(f"steps/train/{one}" for one in (".dockerignore", "Dockerfile", "cloudbuild.yaml", "component.yaml")),
        *(f"steps/train/{one}" for one in ("requirements.txt", "src/step_train.py", "step.json")),
        "tests/arguments.json",
        "tests/steps/say.yaml",
        "tests/steps/train.yaml",
        "tests/test_everything.py",
    }


def test_what_is_not_ours_is_left_alone(notebook, tmp_path: Path) -> None:
    target = tmp_path / "repo"
    export(notebook(), target)
    (target / "steps/train/notes.md").write_text("mine")
    (target / "tests/arguments.json").write_text("{}")
    (target / "README.md").write_text("by hand")
    changed = notebook(TRAIN.replace("RATE = 2", "RATE = 3"))
    done = export(changed, target)
    assert done.kept == ["README.md"]
    assert "steps/train/src/step_train.py" in done.written
    assert (target / "README.md").read_text() == "by hand"
    assert (target / "tests/arguments.json").read_text() == "{}"
    difference = changed.images.exported(BuildOptions(), notebook="house.ipynb").differences(target)
    assert list(difference) == ["README.md"]
    assert "-by hand" in difference["README.md"]
    assert export(changed, target, force=True).kept == []

    renamed = export(notebook(name="fit"), target)
    assert "steps/train/src/step_train.py" in renamed.removed
    assert sorted(p.name for p in (target / "steps/train").rglob("*")) == ["notes.md"]
    assert "both" in (target / "pipelines/both.py").read_text()


def test_a_folder_with_a_dockerfile_is_copied(notebook, tmp_path: Path) -> None:
    folder = tmp_path / "deploy"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM busybox\nCOPY run.sh /\n")
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    session = notebook()
    session.component("", CellOptions(name="deploy", context=str(folder), inputs=("n:int",)))
    export(session, tmp_path / "repo")
    spec = folder_spec(tmp_path / "repo/steps/deploy")
    assert spec.folder
    assert f"images.test/team/deploy:{spec.tag}" in (tmp_path / "repo/steps/deploy/component.yaml").read_text()
    assert (tmp_path / "repo/steps/deploy/run.sh").stat().st_mode & 0o100


def test_links_are_not_followed(notebook, tmp_path: Path) -> None:
    target, elsewhere = tmp_path / "repo", tmp_path / "elsewhere"
    elsewhere.mkdir()
    target.mkdir()
    (target / "steps").symlink_to(elsewhere)
    with pytest.raises(DeliveryError, match="is a link, or behind one"):
        export(notebook(), target)
    assert list(elsewhere.iterdir()) == []
    assert [one.name for one in target.iterdir()] == ["steps"]


def test_the_pipeline_is_importable_python(notebook, tmp_path: Path) -> None:
    target = tmp_path / "repo"
    export(notebook(), target)
    command = [sys.executable, "-m", "pipelines.both", str(tmp_path / "out.yaml")]
    subprocess.run(command, cwd=target, check=True, capture_output=True)
    assert "image: images.test/team/train:c-" in (tmp_path / "out.yaml").read_text()


def test_without_a_registry_pipelines_take_the_one_that_is_said(base: str, tmp_path: Path) -> None:
    session = Session(Settings(base_image=base))
    session.component(SAY, CellOptions(name="say_it", lang="bash", inputs=("text:int",)))
    session.pipeline("def alone(n: int = 3):\n    say_it(text=n)\n")
    assert "names no registry" in repr(ExportCard(export(session, tmp_path / "repo")))
    command = [sys.executable, "-m", "pipelines.alone", str(tmp_path / "out.yaml")]
    for registry, place in (("", "say-it:c-"), ("images.test/team/", "images.test/team/say-it:c-")):
        variables = os.environ | {"KFP_MAGICS_REGISTRY": registry}
        subprocess.run(command, cwd=tmp_path / "repo", env=variables, check=True, capture_output=True)
        assert f"image: {place}" in (tmp_path / "out.yaml").read_text()


def test_check_fails_when_notebook_and_folder_differ(
    shell: None, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KFP_MAGICS_BASE_IMAGE", base)
    cells = ["%load_ext kfp_magics", "%%kfp_component say --lang bash --in text:int\n" + SAY]
    path, repo = tmp_path / "house.ipynb", tmp_path / "repo"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(one) for one in cells]), path)
    check = ["ci", "check", str(path), "--dir", str(repo)]
    assert cli.main(["export", str(path), str(repo)]) == 0
    assert "wrote    steps/say/  (7 files)" in capsys.readouterr().out
    assert cli.main(check) == 0
    (repo / "steps/say/src/step_say.sh").write_text("by hand\n")
    assert cli.main(check) == 2
    told = capsys.readouterr()
    assert "--- a/steps/say/src/step_say.sh" in told.out
    assert "differs from 1 exported file." in told.err
    assert cli.main(["export", str(path), str(repo), "--replace"]) == 0
    assert cli.main(check) == 0


def write_notebook(path: Path, *cells: str) -> None:
    cells = ("%load_ext kfp_magics", *cells)
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(one) for one in cells]), path)


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        (("%%kfp_component\ndef train(n: int) -> int:\n    return n + RATE\n",), "RATE"),
        (("%%kfp_component\ndef train(n: int -> int:\n    return n\n",), "train"),
        (("%%kfp_component say --lang bash\necho", "%%kfp_pipeline\ndef p():\n    1 / 0\n"), "ZeroDivisionError"),
        (("import nothing_of_that_name\n\nprint('no step')",), "There is nothing to export."),
    ],
    ids=["unknown name", "no Python", "raises", "no step"],
)
def test_a_notebook_that_does_not_run_is_not_exported(
    shell: None, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    cells: tuple[str, ...], says: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("KFP_MAGICS_BASE_IMAGE", base)
    write_notebook(tmp_path / "house.ipynb", *cells)
    assert cli.main(["export", str(tmp_path / "house.ipynb"), str(tmp_path / "repo")]) == 2
    told = capsys.readouterr().err
    assert says in told
    assert told.count("\n") <= 3, told
    assert "Traceback" not in told
    assert not (tmp_path / "repo").exists()


def test_what_is_exported_depends_on_the_notebook_alone(base: str, tmp_path: Path) -> None:
    cells = [
        "from helper import helper",
        f"%%kfp_component --include helper\n{TRAIN}",
        "%%kfp_component say --lang bash --in text:int\n" + SAY,
    ]
    cells += [f"%%kfp_pipeline\n{BOTH}", "%kfp_component web --context web --in n:int --in m:int=2 --in k:str=a"]
    trees = []
    for number, (seed, zone, mask) in enumerate([("1", "Pacific/Auckland", 0o022), ("77", "America/New_York", 0o077)]):
        place = tmp_path / str(number) / ("x" * 40 * number)
        (place / "web").mkdir(parents=True)
        for name in sorted(["Dockerfile", "b.txt", "a.txt"], reverse=bool(number)):
            (place / "web" / name).write_text("FROM busybox\nENTRYPOINT echo\n" if name == "Dockerfile" else name)
        (place / "helper.py").write_text("def helper():\n    return {1, 2, 3}\n")
        write_notebook(place / "house.ipynb", *cells)
        variables = os.environ | {"PYTHONHASHSEED": seed, "TZ": zone, "KFP_MAGICS_BASE_IMAGE": base}
        variables |= {"KFP_MAGICS_HOME": str(place / "home"), "KFP_MAGICS_REGISTRY": "images.test/team"}
        command = [sys.executable, "-m", "kfp_magics.cli", "export", "house.ipynb", "out"]
        done = subprocess.run(
            command, cwd=place, env=variables, umask=mask, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        trees.append({path: (place / "out" / path).stat().st_mode for path in tree(place / "out")})
        trees.append(tree(place / "out"))
    assert trees[1] == trees[3]
    assert trees[0] == trees[2]
    assert {"steps/web/b.txt", "pipelines/both.py"} < set(trees[1])


@pytest.mark.parametrize("name", ["component.yaml", "step.json"])
def test_a_folder_that_holds_what_an_export_writes_is_refused(notebook, tmp_path: Path, name: str) -> None:
    folder, target = tmp_path / "deploy", tmp_path / "repo"
    folder.mkdir()
    (folder / "Dockerfile").write_text('FROM busybox\nENTRYPOINT ["true"]\n')
    (folder / name).write_text("mine")
    session = notebook()
    session.component("", CellOptions(name="deploy", context=str(folder), inputs=("n:int",)))
    with pytest.raises(DeliveryError, match=f"'deploy' holds '{name}', which an export writes itself") as caught:
        export(session, target)
    assert ".dockerignore" in caught.value.hint
    assert not target.exists()
    (folder / ".dockerignore").write_text(f"{name}\n")
    export(session, target)
    assert (target / "steps/deploy" / name).read_text() != "mine"
    assert (folder / name).read_text() == "mine"


def test_a_folder_in_its_own_place_keeps_what_is_the_users(notebook, tmp_path: Path) -> None:
    target = tmp_path / "repo"
    folder = target / "steps/deploy"
    folder.mkdir(parents=True)
    (folder / "Dockerfile").write_text('FROM busybox\nENTRYPOINT ["true"]\n')
    (folder / "component.yaml").write_text("mine")
    for _ in range(2):
        session = notebook()
        session.component("", CellOptions(name="deploy", context=str(folder), inputs=("n:int",)))
        assert export(session, target).kept == ["steps/deploy/component.yaml"]
        assert (folder / "component.yaml").read_text() == "mine"
    first = tree(target)
    (folder / "component.yaml").unlink()
    export(session, target)
    named = (folder / "component.yaml").read_text()
    assert folder_spec(folder).tag in named
    assert f"  _TAG: {folder_spec(folder).tag}\n" in (folder / "cloudbuild.yaml").read_text()
    session = notebook()
    session.component("", CellOptions(name="deploy", context=str(folder), inputs=("n:int",)))
    again = export(session, target)
    assert again.written == again.kept == again.removed == []
    assert first["steps/deploy/Dockerfile"] == (folder / "Dockerfile").read_bytes()


def test_a_folder_with_a_dockerfile_gives_the_notebooks_image(tmp_path: Path) -> None:
    folder = tmp_path / "deploy"
    folder.mkdir()
    (folder / "Dockerfile").write_text('FROM busybox\nENTRYPOINT ["true"]\n')
    (folder / ".dockerignore").write_text("*.log\n")
    (folder / ".gcloudignore").write_text("*.txt\n")
    (folder / "a.txt").write_text("a")
    (folder / "tool").write_bytes(b"\x7fELF")
    (folder / "tool").chmod(0o755)
    (folder / "sourced.sh").write_text("#!/bin/sh\n")
    session = Session(Settings(registry="images.test/team"))
    step = session.component("", CellOptions(name="deploy", context=str(folder), inputs=("n:int",)))
    for platform in ("linux/amd64", "linux/arm64"):
        options = BuildOptions(platform=platform)
        session.images.exported(options).write(tmp_path / "repo")
        spec = folder_spec(tmp_path / "repo/steps/deploy")
        planned = session.images.planner().plan(step.component, options.complete(session.settings))
        assert (spec.tag, spec.platform) == (planned.spec.tag, platform)
    (folder / "sourced.sh").chmod(0o755)
    assert session.images.exported(BuildOptions()).write(tmp_path / "repo").kept == []
    place = tmp_path / "repo/steps/deploy"
    assert {name: bool((place / name).stat().st_mode & 0o100) for name in ("tool", "sourced.sh", "a.txt")} == {
        "tool": True,
        "sourced.sh": True,
        "a.txt": False,
    }
