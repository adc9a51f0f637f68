"""The same pipelines, their images built by each builder, run in containers with equal outputs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import kfp
import pytest
from gcp_storage_emulator.server import create_server
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from kfp_magics.backends.base import SubmitOptions
from kfp_magics.cells.options import CellOptions
from kfp_magics.compiler import step_source
from kfp_magics.compiler_images import with_images
from kfp_magics.images.append import AppendBuilder
from kfp_magics.images.base import Builder, ImageRef
from kfp_magics.images.bases import Bases
from kfp_magics.images.cloudbuild import CloudBuildBuilder
from kfp_magics.images.cloudbuild.builder import BuildOptions
from kfp_magics.images.cloudbuild.service import Place
from kfp_magics.images.context import Base, content_of, image_spec
from kfp_magics.images.engine import EngineBuilder
from kfp_magics.images.lock import Locks
from kfp_magics.images.registry import Registries
from kfp_magics.model import Run, State
from kfp_magics.session import Session
from kfp_magics.settings import Settings
from tests.images import repository as five
from tests.images.cloudbuild_server import CloudBuildServer
from tests.images.containers import PLATFORM, Podman, skopeo_inspect
from tests.images.recording import RecordingLog
from tests.images.registries import Server
from tests.local.conftest import Engine

BUILDERS = ["append", "buildah", "podman", "docker", "cloudbuild"]
COUNT = """\
import six

LIMIT = 3

def scale(number):
    return number * six.integer_types[0](10)

def count(words: Input[Dataset], report: Output[Markdown], times: int = 2) -> NamedTuple("Outputs", [("total", int)]):
    found = open(words.path).read().split()
    if len(found) > LIMIT:
        raise ValueError(f"{len(found)} words are too many")
    report.metadata["words"] = len(found)
    open(report.path, "w").write(f"# {len(found)} words")
    return (scale(len(found) * times),)
"""
WRITE = """\
printf '%s\\n' "$text" > "$words"
echo "wrote $text" >&2
printf %s "${#text}" > /length.txt
"""
SHOW = """
FROM {base}
ENTRYPOINT ["bash", "-c", "printf '%s of %s' \\"$2\\" \\"$4\\" > \\"$6\\"", "show"]
"""
PIPELINE = """
def mixed(text: str = "so it goes"):
    written = write(text=text)
    counted = count(words=written.outputs["words"])
    show(total=counted.outputs["total"], length=written.outputs["length"])
"""


@pytest.fixture
def engine(settings: Settings, podman: Podman) -> Iterator[Engine]:
    with Engine(settings) as made:
        yield made


@pytest.fixture
def registries(settings: Settings) -> Iterator[Registries]:
    with contextlib.closing(Registries(settings)) as made:
        yield made


@pytest.fixture
def cloud(base_image: str, podman: Podman, monkeypatch: pytest.MonkeyPatch) -> Iterator[CloudBuildServer]:
    """Cloud Build on this machine, with its storage."""
    storage_server = create_server("localhost", 0, in_memory=True)
    storage_server.start()
    host, port = storage_server._api._httpd.server_address[:2]
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://{host}:{port}")
    client = storage.Client(project="shop", credentials=AnonymousCredentials())
    made = CloudBuildServer(client, dict(os.environ), base_image)
    yield made
    made.close()
    storage_server.stop()


@pytest.fixture(params=BUILDERS)
def builder(
    request: pytest.FixtureRequest,
    registry: Server,
    repository: str,
    podman: Podman,
    tmp_path: Path,
    registries: Registries,
) -> Builder:
    destination = f"{registry.host}/{repository}"
    if request.param == "append":
        return AppendBuilder(destination, registries, tmp_path / "images")
    if request.param == "cloudbuild":
        server: CloudBuildServer = request.getfixturevalue("cloud")
        place = Place(project="shop", endpoint=server.endpoint)
        return CloudBuildBuilder(destination, place, registries, BuildOptions(interval=0.05))
    if request.param == "docker":
        request.getfixturevalue("docker")
    return EngineBuilder(request.param, destination)


@pytest.fixture
def python_base(builder: Builder, base_image: str, request: pytest.FixtureRequest) -> str:
    """Base image of Python steps; Cloud Build installs their requirements in it, the others here."""
    if builder.name != "cloudbuild":
        return base_image
    with_pip: str = request.getfixturevalue("pip_image")
    return with_pip


@pytest.fixture
def built(
    builder: Builder, tmp_path: Path, registry: Server, repository: str, registries: Registries
) -> Callable[..., dict[str, ImageRef]]:
    """Builds steps; those with a Dockerfile by podman where the builder carries none out."""
    bases = Bases(tmp_path / "bases", registries)
    locks = Locks(tmp_path / "locks")

    def build(session: Session, *names: str) -> dict[str, ImageRef]:
        images = {}
        for name in names:
            component = session.definitions.step(name).component
            content = content_of(component, as_it_is=builder.name == "cloudbuild")
            base = bases.find(component.base_image, PLATFORM) if content.folder is None else Base(reference="")
            kfp_version = kfp.__version__ if content.kfp else ""
            wanted = content.requirements or kfp_version
            locked = (
                locks.lock(content.requirements, python=base.python, platform=PLATFORM, kfp=kfp_version)
                if wanted
                else ()
            )
            spec = image_spec(component, content, base=base, locked=locked, platform=PLATFORM)
            fitting = builder
            if content.folder is not None and builder.name == "append":
                fitting = EngineBuilder("podman", f"{registry.host}/{repository}")
            images[name] = fitting.build(spec, RecordingLog())
        return images

    return build


def submitted(session: Session, pipeline: str, images: Mapping[str, ImageRef]) -> tuple[str, SubmitOptions]:
    compiled = with_images(session.resolve(pipeline), images)
    sources = {name: step_source(component) for name, component in compiled.components.items()}
    return compiled.ir, SubmitOptions(executor="container", sources=sources)


def run_in_containers(engine: Engine, session: Session, pipeline: str, images: Mapping[str, ImageRef]) -> Run:
    run = engine.run(*submitted(session, pipeline, images))
    assert run.state is State.SUCCEEDED, (run.error, [engine.log(run, task.id) for task in run.tasks])
    assert {task.image for task in run.tasks if task.kind == "step"} == {str(image) for image in images.values()}
    return run


def test_python_bash_and_dockerfile_steps(
    engine: Engine,
    built: Callable[..., dict[str, ImageRef]],
    base_image: str,
    python_base: str,
    tmp_path: Path,
    podman: Podman,
) -> None:
    (tmp_path / "show").mkdir()
    (tmp_path / "show" / "Dockerfile").write_text(SHOW.format(base=base_image))
    session = Session(engine.settings)
    session.component(COUNT, CellOptions(base_image=python_base, infer=False, packages=("six==1.16.0",)))
    ports = {"inputs": ("text:str",), "outputs": ("words:Dataset", "length:int=/length.txt")}
    session.component(WRITE, CellOptions(name="write", lang="bash", base_image=base_image, **ports))
    session.component(
        "",
        CellOptions(
            name="show",
            context=str(tmp_path / "show"),
            inputs=("total:int", "length:int"),
            outputs=("shown:str",),
            base_image=base_image,
        ),
    )
    session.pipeline(PIPELINE)
    images = built(session, "count", "write", "show")
    run = run_in_containers(engine, session, "mixed", images)
    assert engine.task(run, "show").outputs == {"shown": "60 of 10"}
    assert engine.task(run, "count").outputs == {"total": 60}
    [report] = [one for one in engine.task(run, "count").artifacts if one.io == "output"]
    assert (report.metadata, Path(report.uri).read_text()) == ({"words": 3}, "# 3 words")
    assert engine.log(run, "write") == "wrote so it goes\n"
    for image in images.values():
        assert skopeo_inspect(str(image))["Digest"] == image.digest
    inside = podman.run(str(images["count"]), "find", "/opt/kfpm", "-name", "*.py", "-path", "*s[ri][ct]*").split()
    assert "/opt/kfpm/src/step_count.py" in inside
    assert "/opt/kfpm/site/six.py" in inside
    failed = engine.run(*submitted(session, "mixed", images), text="this is one word too many")
    error = engine.task(failed, "count").error
    assert error is not None
    assert error.message == "ValueError: 6 words are too many"
    assert error.text == 'raise ValueError(f"{len(found)} words are too many")'
    assert error.line == 12
    assert "File \"<cell 'count'>\", line 12" in error.traceback


@pytest.mark.parametrize("builder", ["append", "podman", "cloudbuild"], indirect=True)
def test_the_folders_of_a_repository(
    engine: Engine, built: Callable[..., dict[str, ImageRef]], base_image: str, tmp_path: Path
) -> None:
    folder = five.copy(tmp_path / "containers", base_image)
    session = Session(engine.settings)
    five.take_in(session, folder, base_image)
    run = run_in_containers(engine, session, "weights", built(session, *five.STEPS))
    assert run.outputs == {"Output": five.VERSION}
    [page] = [one for one in engine.task(run, "deployapp").artifacts if one.io == "output"]
    assert Path(page.uri).read_text() == f"<h1>Weights</h1><p>Served by {five.VERSION}.</p>\n"
