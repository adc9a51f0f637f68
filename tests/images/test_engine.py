"""docker, podman and buildah as builders, for real: what they build is pushed, inspected and run."""

import subprocess
from pathlib import Path

import psutil
import pytest
from kfp import dsl

from kfp_magics.backends.base import SubmitOptions
from kfp_magics.errors import BuildCancelledError, BuildError
from kfp_magics.images.base import ImageSpec
from kfp_magics.images.engine import EngineBuilder
from kfp_magics.images.folders import digest_of, read_folder
from kfp_magics.settings import Settings
from tests.images.containers import PLATFORM, Podman, skopeo_inspect
from tests.images.recording import RecordingLog
from tests.images.registries import Server
from tests.local.conftest import Engine


@pytest.fixture(params=["buildah", "podman", "docker"])
def builder(request: pytest.FixtureRequest, podman: Podman, registry: Server, repository: str) -> EngineBuilder:
    if request.param == "docker":
        request.getfixturevalue("docker")
    return EngineBuilder(request.param, f"{registry.host}/{repository}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "step"
    made.mkdir()
    return made


def spec_of(folder: Path, dockerfile: str, name: str = "tool") -> ImageSpec:
    (folder / "Dockerfile").write_text(dockerfile, encoding="utf-8")
    found = read_folder(folder)
    return ImageSpec(
        name=name,
        folder=str(found.root),
        folder_digest=digest_of(found),
        platform=PLATFORM,
        secret_names=found.secrets,
    )


def tags_of(builder: EngineBuilder, registry: Server, name: str = "tool") -> list[str]:
    reference = f"{builder._destination}/{name}"
    done = subprocess.run(
        ["skopeo", "list-tags", "--tls-verify=false", f"docker://{reference}"], capture_output=True, check=False
    )
    return [] if done.returncode else [line.strip(' ",') for line in done.stdout.decode().splitlines() if "c-" in line]


def test_a_folder_becomes_an_image(builder: EngineBuilder, folder: Path, base_image: str, podman: Podman) -> None:
    (folder / "run.sh").write_text('#!/bin/sh\necho "gebaut: ä $1"\ncat /opt/data/x\n', encoding="utf-8")
    (folder / "run.sh").chmod(0o755)
    (folder / "data").mkdir()
    (folder / "data" / "x").write_text("x\n")
    (folder / "data" / "y").symlink_to("x")
    (folder / ".env").write_text("PASSWORD=secret\n")
    (folder / "notes.txt").write_text("not needed\n")
    (folder / ".dockerignore").write_text("*.txt\n")
    spec = spec_of(
        folder,
        f"# syntax is old\nFROM {base_image} AS first\nRUN echo made > /made\nFROM {base_image}\n"
        'COPY --from=first /made /made\nCOPY . /opt/\nENV \\\n  A=1 \\\n  B=2\nENTRYPOINT ["/opt/run.sh"]\n',
    )
    log = RecordingLog()
    made = builder.build(spec, log)
    assert str(made) == f"{builder._destination}/tool@{made.digest}"
    assert podman.run(str(made), "now") == "gebaut: ä now\nx\n"
    found = podman.run(str(made), "/opt", "/made", options=("--entrypoint", "find"))
    assert "/opt/data/y" in found
    assert "/made" in found
    assert ".env" not in found
    assert "notes.txt" not in found
    seen = skopeo_inspect(f"{made.repository}:{spec.tag}")
    assert seen["Digest"] == made.digest
    assert {"A=1", "B=2"} <= set(seen["Env"])
    assert seen["Labels"]["org.opencontainers.image.title"] == "tool"
    assert "gebaut" not in log.text
    assert any("COPY" in step for step in log.steps), log.steps
    assert log.shares == sorted(log.shares)
    again = builder.build(spec, RecordingLog())
    assert again.tag == made.tag


def test_two_machines_build_the_same_image(
    podman: Podman, registry: Server, repository: str, base_image: str, request: pytest.FixtureRequest
) -> None:
    files = {"Dockerfile": f"FROM {base_image}\nCOPY src /opt/kfpm/src\n".encode(), "src/x.py": b"x = 1\n"}
    spec = ImageSpec(name="same", base=base_image, files=files, platform=PLATFORM)
    first = EngineBuilder("podman", f"{registry.host}/{repository}/first").build(spec, RecordingLog())
    request.getfixturevalue("other_podman")
    second = EngineBuilder("podman", f"{registry.host}/{repository}/second").build(spec, RecordingLog())
    assert first.digest == second.digest
    assert first.repository != second.repository


def test_names_without_a_host_are_docker_hubs(
    other_podman: Podman, registry: Server, repository: str, base_image: str, folder: Path, settings: Settings
) -> None:
    other_podman.find_on_docker_hub("acme", f"{registry.host}/base")
    spec = spec_of(folder, "FROM acme/python:3.11\nCMD echo hub\n")
    for name in ("buildah", "podman"):
        made = EngineBuilder(name, f"{registry.host}/{repository}/{name}").build(spec, RecordingLog())
        assert other_podman.run(str(made)) == "hub\n"
    other_podman("rmi", "--all", "--force")

    @dsl.container_component
    def say(said: dsl.OutputPath(str)):  # type: ignore[valid-type]
        return dsl.ContainerSpec(image="acme/python:3.11", command=["sh", "-c", 'echo ran > "$0"'], args=[said])

    @dsl.pipeline(name="hub")
    def hub():
        say()

    with Engine(settings) as engine:
        assert engine.run(hub, SubmitOptions(executor="container")).tasks[0].outputs == {"said": "ran\n"}


def test_the_line_that_failed(builder: EngineBuilder, folder: Path, base_image: str, registry: Server) -> None:
    spec = spec_of(
        folder,
        f"FROM {base_image}\n\n# comment\nRUN echo first && \\\n    echo second\nRUN echo bad >&2 && \\\n  exit 3\n",
    )
    log = RecordingLog()
    with pytest.raises(BuildError) as caught:
        builder.build(spec, log)
    assert f"{builder.name} cannot build 'tool' at line 6 of its Dockerfile (RUN echo bad" in caught.value.message
    assert "bad" in log.text
    assert tags_of(builder, registry) == []


def test_an_interrupted_build_leaves_nothing(
    builder: EngineBuilder, folder: Path, base_image: str, registry: Server, podman: Podman
) -> None:
    spec = spec_of(folder, f"FROM {base_image}\nRUN echo begun && exec sleep 9.25\n")
    with pytest.raises(BuildCancelledError):
        builder.build(spec, RecordingLog(cancel_at="begun\n"))
    assert tags_of(builder, registry) == []
    if builder.name == "docker":
        return  # what a daemon does when its client goes is the daemon's own; podman's goes on
    sleeping = [one for one in psutil.process_iter(["cmdline"]) if "9.25" in (one.info["cmdline"] or [])]
    psutil.wait_procs(sleeping, timeout=20)
    assert not any(one.is_running() for one in sleeping)


def test_a_base_that_does_not_exist(builder: EngineBuilder, folder: Path, registry: Server) -> None:
    spec = spec_of(folder, f"FROM {registry.host}/base/nothing:1\n")
    with pytest.raises(BuildError, match="base/nothing"):
        builder.build(spec, RecordingLog())


def test_a_registry_that_refuses(builder: EngineBuilder, folder: Path, base_image: str, basic_registry: Server) -> None:
    refused = EngineBuilder(builder.name, f"{basic_registry.host}/team")
    with pytest.raises(BuildError, match="cannot be pushed") as caught:
        refused.build(spec_of(folder, f"FROM {base_image}\nRUN echo {builder.name} > /x\n"), RecordingLog())
    assert f"{builder.name} login" in caught.value.hint


def test_files_cannot_lead_out_of_the_folder(builder: EngineBuilder, folder: Path, base_image: str) -> None:
    outside = folder.parent / "outside"
    spec = ImageSpec(name="tool", files={"Dockerfile": b"FROM scratch\n", "../outside": b"!"}, platform=PLATFORM)
    with pytest.raises(BuildError, match="leads out of"):
        builder.build(spec, RecordingLog())
    assert not outside.exists()
    (folder / "link").symlink_to("/etc")
    with pytest.raises(BuildError, match="leads out of"):
        spec_of(folder, f"FROM {base_image}\nCOPY . /x\n")


def test_a_folder_that_changed_meanwhile(builder: EngineBuilder, folder: Path, base_image: str) -> None:
    spec = spec_of(folder, f"FROM {base_image}\n")
    (folder / "new").write_text("!")
    with pytest.raises(BuildError, match="changed while it was read"):
        builder.build(spec, RecordingLog())


def test_an_engine_that_is_not_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildError, match="buildah is not on this machine"):
        EngineBuilder("buildah", "127.0.0.1:9/x").build(ImageSpec(name="x"), RecordingLog())


def test_a_docker_that_does_not_run(docker: Podman, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(BuildError, match="docker is here but does not work") as caught:
        EngineBuilder("docker", "127.0.0.1:9/x").build(ImageSpec(name="x"), RecordingLog())
    assert "DOCKER_HOST" in caught.value.hint
