"""Builds that take long: in a process of their own, by podman, for real."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from kfp_magics.cells.options import CellOptions
from kfp_magics.errors import BuildCancelledError, BuildError
from kfp_magics.model import State
from kfp_magics.options import BuildOptions
from kfp_magics.session import Session
from kfp_magics.settings import Settings
from tests.images.cloudbuild_server import CloudBuildServer
from tests.images.containers import Podman
from tests.images.registries import Server
from tests.images.test_cloudbuild import base, google_storage, server  # noqa: F401  (fixtures)


@pytest.fixture
def session(registry: Server, repository: str, settings: Settings, podman: Podman) -> Session:
    settings.registry = f"{registry.host}/{repository}"
    return Session(settings)


def folder(session: Session, place: Path, *lines: str) -> Path:
    place.mkdir(exist_ok=True)
    (place / "Dockerfile").write_text("\n".join(lines) + "\n")
    (place / ".env").write_text("TOKEN=1")
    session.component("", CellOptions(name="folder", context=str(place)))
    return place


def until(session: Session, run_id: str, *states: State) -> Any:
    deadline = time.monotonic() + 90
    while (run := session.find(run_id)).state not in states:
        assert time.monotonic() < deadline, run
        time.sleep(0.05)
    return run


def test_a_build_outlives_whoever_started_it(session: Session, base_image: str, tmp_path: Path) -> None:
    place = folder(session, tmp_path / "folder", f"FROM {base_image}", "RUN sleep 2; echo built", "COPY . /app")
    program = f"""
import os
from kfp_magics.cells.options import CellOptions
from kfp_magics.session import Session
from kfp_magics.settings import Settings
session = Session(Settings(home={session.settings.home!r}, registry={session.settings.registry!r}))
session.component("", CellOptions(name="folder", context={str(place)!r}))
print(session.build(["folder"]).run.id, flush=True)
os._exit(1)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    run_id = done.stdout.strip()
    assert session.find(run_id).state is State.RUNNING, done.stderr
    run = until(session, run_id, State.SUCCEEDED, State.FAILED)
    assert run.state is State.SUCCEEDED, run.error
    log = "".join(session.logs(run, "folder"))
    assert "built" in log
    assert "Left out, since it looks like a secret: .env" in log
    assert "1 secret file left out" in run.tasks[0].reason
    # Whoever comes next finds the image, and need not build it.
    build = session.build(["folder"])
    assert build.result()["folder"].digest == run.tasks[0].outputs["digest"]
    assert build.run.tasks[0].outputs["did"] == "unchanged"


def test_it_is_cancelled_and_its_failure_is_told(session: Session, base_image: str, tmp_path: Path) -> None:
    folder(session, tmp_path / "folder", f"FROM {base_image}", "RUN echo sleeping; sleep 600")
    build = session.build(["folder"])
    while "sleeping" not in "".join(session.logs(build.run, "folder")):
        assert not build.wait(0.1), build.run
    session.cancel(build.run.id)
    with pytest.raises(BuildCancelledError):
        build.result()
    assert build.run.tasks[0].state is State.CANCELLED
    folder(session, tmp_path / "folder", f"FROM {base_image}", "RUN echo sorry >&2; exit 3")
    with pytest.raises(BuildError, match=r"'folder' cannot be built: .*exit 3"):
        session.build(["folder"], BuildOptions(builder="podman")).result()


def test_cloud_build_carries_out_a_folder_of_its_own(
    session: Session,
    server: CloudBuildServer,  # noqa: F811  (the fixture)
    base_image: str,
    tmp_path: Path,
) -> None:
    session.settings.google_project, session.settings.cloudbuild_endpoint = "shop", server.endpoint
    place = tmp_path / "deploy"
    place.mkdir()
    (place / "main.sh").write_text("echo hello\n")
    (place / "Made").write_text(f"FROM {base_image}\nCOPY main.sh /main.sh\n")
    (place / "cloudbuild.yaml").write_text(
        "steps:\n"
        "- name: gcr.io/cloud-builders/docker\n"
        "  args: [build, -f, Made, -t, '${_REGISTRY}/deploy:${_TAG}', .]\n"
        "images: ['${_REGISTRY}/deploy:${_TAG}']\n"
    )
    session.component("", CellOptions(context=str(place), base_image=base_image))
    build = session.build(["deploy"])
    ref = build.result()["deploy"]
    assert ref.repository == f"{session.settings.registry}/deploy"
    assert "by cloudbuild" in "".join(session.logs(build.run, "deploy"))
    again = session.build(["deploy"])
    assert again.result() == {"deploy": ref}
    assert again.run.tasks[0].outputs["did"] == "unchanged"
