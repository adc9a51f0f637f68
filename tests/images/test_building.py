"""From steps to images in a registry: what is built, what is not, how it is seen, and how runs use it."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from kfp_magics.building.build import Build
from kfp_magics.building.choice import _MAKERS
from kfp_magics.cells.options import CellOptions
from kfp_magics.errors import BackendError, BuildCancelledError, BuildError, DefinitionError, NotFoundError
from kfp_magics.images.base import Builder, ImageRef, ImageSpec, Log
from kfp_magics.images.wrappers import Cached, Shared
from kfp_magics.model import State
from kfp_magics.options import BUILDERS, BuildOptions, RunOptions
from kfp_magics.session import Session
from kfp_magics.settings import Settings
from tests.images.bases import push_description
from tests.images.registries import Server
from tests.interrupting import inside, interrupted

TRAIN = "\ndef train(n: int) -> int:\n    return n + 1\n"


@pytest.fixture
def session(registry: Server, repository: str, settings: Settings) -> Session:
    settings.registry = f"{registry.host}/{repository}"
    settings.base_image = push_description(registry, f"{repository}-base")
    session = Session(settings)
    session.component(TRAIN, CellOptions(infer=False), "cell-1")
    session.component("echo $text", CellOptions(name="say", lang="bash", inputs=("text:str",)), "cell-2")
    session.pipeline("\ndef both(n: int):\n    say(text=f'{train(n=n).output}')\n")
    return session


def finished(session: Session, *names: str, **options: Any) -> Any:
    build = session.build(names, BuildOptions(**options))
    assert build.wait(60)
    return session.find(build.run.id)


def did(run: Any) -> dict[str, str]:
    return {task.id: task.outputs["did"] for task in run.tasks}


def test_what_is_built_and_what_is_not(session: Session) -> None:
    first = finished(session)
    assert first.state is State.SUCCEEDED, first.error
    assert did(first) == {"train": "everything", "say": "everything"}
    assert {task.kind for task in first.tasks} == {"image"}
    assert first.tasks[0].image == f"{session.settings.registry}/train@{first.tasks[0].outputs['digest']}"
    assert did(finished(session)) == {"train": "unchanged", "say": "unchanged"}
    session.component(TRAIN.replace("+ 1", "+ 2"), CellOptions(infer=False), "cell-1")
    assert did(finished(session, "both")) == {"train": "code", "say": "unchanged"}
    session.component(TRAIN, CellOptions(infer=False, packages=("six==1.16.0",)), "cell-1")
    assert did(finished(session, "train")) == {"train": "dependencies"}
    # Another session that knows nothing but the registry finds the same images there.
    other = Session(Settings(home=session.settings.home + "2", registry=session.settings.registry))
    other.definitions = session.definitions
    found = finished(other, "train").tasks[0]
    kept = session.store.image(f"{session.settings.registry}/train")
    assert found.image == f"{kept.repository}@{kept.digest}"
    assert found.outputs["did"] == "unchanged"


def test_a_build_is_seen_like_any_run(session: Session) -> None:
    run = finished(session, "train")
    assert (run.kind, run.target, run.state) == ("build", session.settings.registry, State.SUCCEEDED)
    assert run.id in [one.id for one in session.runs(kind="build")]
    log = "".join(session.logs(run, "train"))
    assert "train:c-" in log
    assert log in "".join(session.logs(run))
    assert session.sources(run)["train"].cell_id == "cell-1"
    with pytest.raises(BackendError, match="not resumed"):
        session.retry(run.id)
    with pytest.raises(BackendError, match="has ended: it is succeeded"):
        session.cancel(run.id)


def test_runs_use_digests(session: Session, tmp_path: Path) -> None:
    seen: list[Any] = []
    path = session.compile("both", tmp_path / "both.yaml", build=True, on_build=seen.append)
    [build] = seen
    containers = {
        name: one["container"]
        for name, one in next(yaml.safe_load_all(path.read_text()))["deploymentSpec"]["executors"].items()
    }
    assert containers["exec-train"]["image"] == str(build.images["train"])
    assert containers["exec-say"]["image"] == str(build.images["say"])
    assert containers["exec-train"]["command"] == ["python3", "-m", "kfp.dsl.executor_main"]
    session.compile("both", tmp_path / "both.yaml", build=True, on_build=seen.append)
    assert len(seen) == 1  # everything is in sync: nothing to build
    plain = session.compile("both", tmp_path / "plain.yaml").read_text()
    assert "@sha256:" not in plain
    # A process needs no image, and its run is as it always was; asked for, they are built all the same.
    run = session.run("both", {"n": 1}, RunOptions(build=True), on_build=seen.append)
    assert session.wait(run).state is State.SUCCEEDED
    assert len(seen) == 1


def test_how_code_image_and_run_stand(session: Session) -> None:
    built = finished(session, "train").tasks[0]
    run = session.run("both", {"n": 1})
    session.wait(run)
    run = session.find(run.id)
    assert session.images.notes(run) == {}  # it ran without images

    def in_image(image: str) -> Any:
        return replace(run, tasks=tuple(replace(task, image=image) for task in run.tasks if task.component == "train"))

    assert session.images.notes(in_image(f"r.test/base@sha256:{'1' * 64}")) == {}  # nor in one of ours
    assert session.images.notes(in_image(built.image)) == {"train": "image in sync"}
    session.component(TRAIN.replace("+ 1", "+ 2"), CellOptions(infer=False), "cell-1")
    assert "code newer than image" in session.images.notes(in_image(built.image))["train"]
    finished(session, "train")
    assert session.images.notes(in_image(built.image)) == {"train": "image newer than this run"}


def test_the_reason_of_a_failure_is_recorded(session: Session, registry: Server, repository: str) -> None:
    session.component("\ndef bad() -> int:\n    return 1\n", CellOptions(packages=("six==99",), infer=False), "cell-3")
    session.component("\ndef lost() -> int:\n    return 1\n", CellOptions(base_image=f"{registry.host}/no/where:1"))
    run = finished(session, "bad", "lost", "train")
    states = {task.id: task.state for task in run.tasks}
    assert states == {"bad": State.FAILED, "lost": State.FAILED, "train": State.SUCCEEDED}
    errors = {task.id: task.error for task in run.tasks}
    assert "no version of six==99" in errors["bad"].message
    assert errors["bad"].cell_id == "cell-3"
    assert "no/where" in errors["lost"].message
    assert run.error.message.startswith("bad: ")
    assert "six==99" in "".join(session.logs(run, "bad"))
    with pytest.raises(BuildError, match=r"'bad' cannot be built: .*six==99"):
        session.build(["bad"]).result()
    assert "Image 'bad'" in str(session.failure(run))
    session.component(
        TRAIN, CellOptions(base_image=push_description(registry, f"{repository}-odd", python="")), "cell-1"
    )
    with pytest.raises(BuildError, match="does not say which Python"):
        session.build(["train"]).result()
    assert finished(session, "train", python="3.11").state is State.SUCCEEDED


def test_nothing_starts_without_knowing_what_and_where(session: Session, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no step or pipeline 'trian'"):
        session.build(["trian"])
    with pytest.raises(DefinitionError, match="is not the name of an image"):
        session.build(["train"], BuildOptions(registry="Upper/Case"))
    session.settings.registry = ""
    with pytest.raises(BuildError, match="not said where images go"):
        session.build(["train"])
    with pytest.raises(BuildError, match="no step to build"):
        Session(session.settings).build()
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    session.component("", CellOptions(name="folder", context=str(tmp_path)))
    with pytest.raises(BuildError, match="does not carry out"):
        session.build(["folder"], BuildOptions(registry="r.test/x", builder="append")).result()
    assert not session.runs(kind="build", states=[State.RUNNING])


def test_an_image_goes_to_a_folder(session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = finished(session, "train", registry="oci:images")
    assert run.state is State.SUCCEEDED, run.error
    assert run.tasks[0].image.startswith(f"oci:{tmp_path}/images@sha256:")
    assert (tmp_path / "images" / "index.json").is_file()
    session.settings.registry = "oci:images"
    with pytest.raises(BuildError, match="get their images from a registry"):
        session.run("both", {"n": 1}, RunOptions(build=True, executor="container"))
    with pytest.raises(BuildError, match="pushes to a registry"):
        session.build(["train"], BuildOptions(registry="oci:images", builder="cloudbuild")).result()


def test_dry_run_writes_folders_and_builds_nothing(session: Session, tmp_path: Path) -> None:
    folders = session.images.folders(["both"], BuildOptions(), tmp_path / "out")
    names = {one.planned.component.name: [path.name for path in one.files] for one in folders}
    assert names["train"] == [
        *(".dockerignore", "Dockerfile", "cloudbuild.yaml", "component.yaml", "requirements.txt", "step_train.py"),
    ]
    described = yaml.safe_load((tmp_path / "out" / "train" / "component.yaml").read_text())
    spec = next(one.planned.spec for one in folders if one.planned.component.name == "train")
    image = described["deploymentSpec"]["executors"]["exec-train"]["container"]["image"]
    assert image == f"{session.settings.registry}/train:{spec.tag}"
    assert session.runs(kind="build") == []
    assert finished(session, "train").tasks[0].outputs["tag"] == spec.tag


class Slow:
    """A builder whose speed a test decides."""

    name = "slow"

    def __init__(self) -> None:
        self.built: list[str] = []
        self.go = threading.Event()
        self.began = threading.Event()
        self.error: Exception | None = None

    def build(self, spec: ImageSpec, log: Log) -> ImageRef:
        self.built.append(spec.name)
        self.began.set()
        while not self.go.wait(0.02):
            log.check()
        if self.error:
            raise self.error
        return ImageRef(repository=f"r.test/{spec.name}", digest=f"sha256:{len(self.built)}", tag=spec.tag)


class Notes:
    """A log for a test."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.facts: dict[str, Any] = {}
        self.cancelled = False

    def write(self, text: str) -> None:
        self.check()

    def step(self, what: str, done: float | None = None) -> None:
        self.steps.append(what)

    def fact(self, name: str, value: Any) -> None:
        self.facts[name] = value

    def check(self) -> None:
        if self.cancelled:
            raise BuildCancelledError("cancelled")


def in_thread(builder: Any, spec: ImageSpec, log: Notes) -> tuple[threading.Thread, list[Any]]:
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(builder.build(spec, log))
        except Exception as error:  # noqa: BLE001  (the test looks at it)
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, found


def test_one_image_is_built_once_at_a_time(tmp_path: Path) -> None:
    slow, spec = Slow(), ImageSpec(name="one")
    shared = Shared(slow, tmp_path, "r.test")
    one, first = in_thread(shared, spec, Notes())
    slow.began.wait(60)
    log = Notes()
    two, second = in_thread(shared, spec, log)
    leaving = Notes()
    three, third = in_thread(shared, spec, leaving)
    while not (log.steps and leaving.steps):
        time.sleep(0.01)
    leaving.cancelled = True
    three.join(60)
    assert isinstance(third[0], BuildCancelledError)  # and the others go on
    slow.go.set()
    one.join(60)
    two.join(60)
    assert first == second
    assert slow.built == ["one"]
    assert log.facts == {"did": "unchanged"}


def test_who_waits_builds_when_the_first_is_cancelled_and_fails_when_it_fails(tmp_path: Path) -> None:
    slow, spec = Slow(), ImageSpec(name="one")
    shared = Shared(slow, tmp_path, "r.test")
    leaving, staying = Notes(), Notes()
    one, first = in_thread(shared, spec, leaving)
    slow.began.wait(60)
    two, second = in_thread(shared, spec, staying)
    while not staying.steps:
        time.sleep(0.01)
    leaving.cancelled = True
    one.join(60)
    slow.error = BuildError("no")
    slow.go.set()
    two.join(60)
    assert isinstance(first[0], BuildCancelledError)
    assert second == [slow.error]
    assert slow.built == ["one", "one"]


def test_another_process_waits(tmp_path: Path) -> None:
    program = f"""
import sys, time
from pathlib import Path
from kfp_magics.images.base import ImageSpec
from kfp_magics.images.wrappers import Shared
class Slow:
    name = "slow"
    def build(self, spec, log):
        print("building", flush=True)
        sys.stdin.readline()
class Log:
    def check(self): pass
    def step(self, what, done=None): pass
Shared(Slow(), Path({str(tmp_path)!r}), "r.test").build(ImageSpec(name="one"), Log())
"""
    other = subprocess.Popen([sys.executable, "-c", program], stdin=-1, stdout=-1)
    assert other.stdout.readline() == b"building\n"  # type: ignore[union-attr]
    slow, log, leaving = Slow(), Notes(), Notes()
    slow.go.set()
    shared = Shared(slow, tmp_path, "r.test")
    one, first = in_thread(shared, ImageSpec(name="one", env={"A": "1"}), leaving)
    while not leaving.steps:
        time.sleep(0.01)
    leaving.cancelled = True
    one.join(60)
    assert isinstance(first[0], BuildCancelledError)
    two, second = in_thread(shared, ImageSpec(name="one"), log)
    elsewhere = Shared(slow, tmp_path, "other.test").build(ImageSpec(name="one"), Notes())
    assert slow.built == ["one"]
    other.communicate(b"go\n", timeout=60)
    two.join(60)
    assert second == [ImageRef(repository="r.test/one", digest="sha256:2", tag=elsewhere.tag)]


def test_what_exists_is_not_built() -> None:
    slow, log = Slow(), Notes()
    slow.go.set()
    there = ImageRef(repository="r.test/there", digest="sha256:0")
    cached = Cached(slow, lambda spec: there if spec.name == "there" else None)
    assert cached.build(ImageSpec(name="there"), log) == there
    assert log.facts == {"did": "unchanged"}
    assert cached.build(ImageSpec(name="new"), Notes()).digest == "sha256:1"
    assert slow.built == ["new"]


def test_a_build_is_cancelled_from_anywhere(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow()
    session.images.builders.choose = lambda spec, options: slow  # type: ignore[method-assign]
    build = session.build(["train"])
    assert slow.began.wait(60)
    assert session.find(build.run.id).state is State.RUNNING
    elsewhere = Session(session.settings)
    elsewhere.cancel(build.run.id)
    assert build.wait(60)
    run = session.find(build.run.id)
    assert (run.state, run.tasks[0].state) == (State.CANCELLED, State.CANCELLED)
    with pytest.raises(BuildCancelledError, match="was cancelled"):
        build.result()
    # An interrupt of whoever waits ends it as well.
    slow.began.clear()
    build = session.build(["train"])
    assert slow.began.wait(60)
    with interrupted(lambda: inside(Build.wait)), pytest.raises(KeyboardInterrupt):
        build.wait()
    assert session.find(build.run.id).state is State.CANCELLED


def test_a_build_whose_process_is_gone_says_so(session: Session, tmp_path: Path) -> None:
    program = f"""
import json, os, time
from kfp_magics.building.record import Record
from kfp_magics.model import Component
from kfp_magics.runs.store import Store
from kfp_magics.settings import Settings
settings = Settings(home={session.settings.home!r})
train = Component(name="train", language="python", source="")
record = Record.begin(settings, Store(settings.store_path), [train], target="r")
with record.task("train"):
    print(record.run.id, flush=True)
    os._exit(1)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    run = session.find(done.stdout.strip())
    assert run.state is State.FAILED
    assert "process that built these images is gone" in run.error.message
    assert run.tasks[0].state is State.FAILED


@pytest.mark.parametrize("moment", ["installing", "packing", "bringing", "adding"])
def test_appending_ends_when_asked_to_and_leaves_no_tag(session: Session, tmp_path: Path, moment: str) -> None:
    class Leaving(Notes):
        def step(self, what: str, done: float | None = None) -> None:
            self.cancelled = self.cancelled or what.startswith(moment)

    [component] = session.images.components(["train"])
    options = BuildOptions().complete(session.settings)
    spec = session.images.planner().plan(component, options).spec
    builder = session.images.builders.choose(spec, options)
    with pytest.raises(BuildCancelledError):
        builder.build(spec, Leaving())
    registry = session.images._registries(options.registry.partition("/")[0])
    assert spec.tag not in registry.tags(options.registry.partition("/")[2] + "/train")
    assert builder.build(spec, Notes()).tag == spec.tag


def test_who_builds_what(session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {*_MAKERS, "auto"} == set(BUILDERS)
    monkeypatch.setenv("PATH", str(tmp_path))  # no engine is here
    with_dockerfile, with_steps = tmp_path / "a", tmp_path / "b"
    for folder, name in ((with_dockerfile, "Dockerfile"), (with_steps, "cloudbuild.yaml")):
        folder.mkdir()
        (folder / name).write_text("FROM scratch\n")

    def chosen(folder: Path | str, builder: str = "auto") -> Builder:
        options = BuildOptions(builder=builder).complete(session.settings)
        found = session.images.builders.choose(ImageSpec(name="x", folder=str(folder)), options)
        assert isinstance(found, Builder)
        return found

    assert chosen("").name == "append"
    for name in ("append", "docker", "podman", "buildah"):
        assert chosen("", name).name == name
    with pytest.raises(BuildError, match=r"has a Dockerfile. No container engine works here") as caught:
        chosen(with_dockerfile)
    assert "KFP_MAGICS_GOOGLE_PROJECT" in caught.value.hint
    session.settings.google_project, session.settings.cloudbuild_endpoint = "shop", "http://127.0.0.1:1"
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:1")
    with monkeypatch.context() as without:
        for name in [name for name in sys.modules if name.startswith("kfp_magics.images.cloudbuild")]:
            without.delitem(sys.modules, name)
        without.setitem(sys.modules, "google.cloud.devtools", None)
        with pytest.raises(BuildError, match="not here") as caught:
            chosen(with_dockerfile)
    assert caught.value.hint == "pip install 'kfp-magics[gcp]'"
    assert chosen(with_dockerfile).name == "cloudbuild"
    assert chosen(with_steps).name == "cloudbuild"
    assert chosen("").name == "append"
