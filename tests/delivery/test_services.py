"""Cloud Run services with Eventarc triggers, from images of our own builders."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import uuid
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from kfp_magics.delivery.cloud.folder import function_files
from kfp_magics.delivery.cloud.image import function_image
from kfp_magics.delivery.cloud.target import Target
from kfp_magics.delivery.cloud.trial import event_of
from kfp_magics.delivery.newdata.rules import Rule
from kfp_magics.options import BuildOptions
from kfp_magics.session import Session
from kfp_magics.settings import Settings
from tests.delivery.cloud_server import CloudServer
from tests.delivery.test_cloud import CREATE, SECRET, Say
from tests.images.bases import push_description
from tests.images.containers import Podman
from tests.images.registries import Server
from tests.ports import free_port

ACCOUNT = "runner@shop.iam.gserviceaccount.com"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("services")


@pytest.fixture(autouse=True)
def _one_home(home: Path, _own_home: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """One home for all: requirements are locked and packed once."""
    monkeypatch.setenv("KFP_MAGICS_HOME", str(home))


@pytest.fixture
def create(registry: Server, repository: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The words that make a service, with a base image that costs nothing."""
    base = push_description(registry, f"{repository}/base", python="3.12")
    monkeypatch.setenv("KFP_MAGICS_REGISTRY", f"{registry.host}/{repository}")
    return [*CREATE, *SECRET, "--service", "--base-image", base, "--service-account", ACCOUNT]


def test_a_service_is_shown_then_made_and_then_the_same(
    create: list[str],
    say: Say,
    google: CloudServer,
    registry: Server,
    repository: str,
) -> None:
    shown = say(*create)
    assert "create  fit in europe-west4" in shown
    assert "(not built yet)" in shown
    assert google.services == {}
    say(*create, "--apply")
    [service], [trigger] = google.services.values(), google.triggers.values()
    [container] = service.template.containers
    assert container.image.startswith(f"{registry.host}/{repository}/new-data-fit@sha256:")
    assert service.ingress.name == "INGRESS_TRAFFIC_INTERNAL_ONLY"
    assert {one.attribute: one.value for one in trigger.event_filters} == {
        "type": "google.cloud.storage.object.v1.finalized",
        "bucket": "wares",
    }
    assert trigger.destination.cloud_run.service == "fit"
    assert trigger.name == "projects/shop/locations/europe-west4/triggers/fit"
    assert trigger.service_account == ACCOUNT
    assert "same    fit" in say(*create, "--apply")
    shown = say(*create, "epochs=5", "--apply")
    assert "update  fit in europe-west4\n" in shown
    assert container.image not in {one.image for one in next(iter(google.services.values())).template.containers}


def test_what_somebody_changed_is_said_and_put_back(create: list[str], say: Say, google: CloudServer) -> None:
    say(*create, "--apply")
    next(iter(google.triggers.values())).destination.cloud_run.service = "other"
    shown = say(*create)
    assert "(changed by hand meanwhile)" in shown
    assert '"calls": "other in europe-west4"' in shown
    say(*create, "--apply")
    google.triggers.clear()
    assert "(changed by hand meanwhile)" in say(*create)
    say(*create, "--apply")
    assert len(google.triggers) == 1
    assert "same    fit" in say(*create)


def test_services_are_listed_read_and_deleted(create: list[str], say: Say, google: CloudServer) -> None:
    say(*create, "--apply")
    assert "fit   service  europe-west4  active  Is called for new objects of gs://wares" in say("list", "--cloud")
    google.print("fit", "a line")
    assert "a line" in say("logs", "fit", "--cloud")
    shown = say(*CREATE, *SECRET, "--apply", code=2)
    assert "'fit' is a service already, and both would be called for each object." in shown
    say("delete", "fit", "--cloud")
    assert (google.services, google.triggers) == ({}, {})


def test_it_is_said_who_calls_a_service(create: list[str], say: Say, google: CloudServer) -> None:
    assert "--service-account EMAIL" in say(*create[:-2], code=2)
    assert google.services == {}


@pytest.mark.slow
def test_the_image_serves_the_function(
    base_image: str, registry: Server, repository: str, podman: Podman, tmp_path: Path
) -> None:
    session = Session(Settings(registry=f"{registry.host}/{repository}"))
    target = Target(facts={"kind": "local"})
    files = function_files(
        Rule(name="fit", on="gs://wares/in/*", pipeline="fit"), "pipelineInfo: {name: fit}\n", target
    )
    image = function_image("fit", files, session.images, BuildOptions(), base_image)
    built = image.build(lambda text: None)
    assert image.reference() == built
    name = f"fit-{uuid.uuid4().hex[:8]}"
    port = free_port()
    command = ["podman", "run", "--rm", "--tls-verify=false", "--name", name, "--env", f"PORT={port}", built]
    process = subprocess.Popen(
        command, env=podman.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.1)
        attributes, data = event_of("gs://wares/", "gs://wares/other/file", {})
        headers = {f"ce-{name}": value for name, value in attributes.items()}
        assert httpx.post(f"http://127.0.0.1:{port}/", json=data, headers=headers, timeout=60).status_code == 200
    finally:
        command = ["podman", "rm", "--force", "--time", "1", name]
        subprocess.run(command, env=podman.environment, check=False)
        output, _ = process.communicate(timeout=60)
    said = [json.loads(line) for line in output.splitlines() if line.startswith('{"severity"')]
    assert said[-1]["message"] == "Declined: gs://wares/other/file is not what the rule waits for."
