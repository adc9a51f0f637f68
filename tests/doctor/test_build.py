"""What building images needs: there, missing, broken."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest

from kfp_magics.doctor.build import CHECKS
from kfp_magics.doctor.findings import Case, examine, typed
from kfp_magics.images.registry import Registry
from tests.doctor.conftest import says


@pytest.fixture
def login(tmp_path, monkeypatch):
    """Writes a login as ``docker login`` does."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "nothing"))
    (tmp_path / "docker").mkdir()

    def write(host: str, username: str, password: str) -> None:
        auth = base64.b64encode(f"{username}:{password}".encode()).decode()
        (tmp_path / "docker" / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))

    return write


def test_without_a_registry_nothing_is_wrong_until_somebody_wants_to_build(look, settings) -> None:
    assert says(look("build", "registry"))[0] == "not needed"
    found = look("build", "registry", wanted=frozenset(["build"]))
    assert found.fails
    assert says(found)[2] == "export KFP_MAGICS_REGISTRY=HOST/PATH"
    assert found.answer.mend.magic == "%env KFP_MAGICS_REGISTRY=HOST/PATH\n%reload_ext kfp_magics"
    settings.executor = "container"
    assert look("build", "registry").fails


def test_a_registry_that_takes_images_and_is_not_changed(look, settings, registry, repository) -> None:
    settings.registry = f"{registry.host}/{repository}"
    assert says(look("build", "registry"))[:2] == ("ok", f"{settings.registry} takes images")
    with Registry(registry.host) as client:
        assert client.tags(f"{repository}/kfpm-layers") == []
    folder = registry.folder / "content/docker/registry/v2/repositories" / repository / "kfpm-layers"
    assert not [path for path in folder.rglob("*") if path.name in {"_layers", "_manifests", "data"}]


def test_a_registry_with_a_wrong_password(look, settings, basic_registry, repository, login) -> None:
    settings.registry = f"{basic_registry.host}/{repository}"
    login(basic_registry.host, basic_registry.username, "POISON")
    word, note, mend = says(look("build", "registry"))
    assert word == "broken"
    assert f"does not let the login from {'~' if '~' in note else '/'}" in note
    assert mend.startswith(f"docker login {basic_registry.host}")
    assert "POISON" not in note + mend
    login(basic_registry.host, basic_registry.username, basic_registry.password)
    assert says(look("build", "registry"))[0] == "ok"


def test_a_login_that_may_read_and_not_push(look, settings, token_registry, login) -> None:
    settings.registry = f"{token_registry.host}/team"
    login(token_registry.host, "reader", token_registry.tokens.passwords["reader"])
    word, note, _ = says(look("build", "registry"))
    assert (word, "push to team/kfpm-layers" in note) == ("broken", True)


def test_a_registry_that_does_not_answer(look, settings, closed_port) -> None:
    settings.registry = f"127.0.0.1:{closed_port}/x"
    word, note, mend = says(look("build", "registry"))
    assert (word, mend) == ("broken", f"curl -v http://{settings.registry.removesuffix('/x')}/v2/")
    assert "Is it up" in note


def test_a_name_that_is_no_registry(look, settings) -> None:
    settings.registry = "https://ghcr.io/me"
    assert says(look("build", "registry"))[0] == "broken"


def test_a_folder_in_place_of_a_registry(look, settings, tmp_path) -> None:
    settings.registry = f"oci:{tmp_path}/images"
    assert says(look("build", "registry"))[:2] == ("ok", f"images go into the folder {tmp_path}/images")
    assert not (tmp_path / "images").exists()
    (tmp_path / "file").write_text("")
    settings.registry = f"oci:{tmp_path}/file/images"
    assert says(look("build", "registry"))[:2] == ("broken", f"nothing can be written to {tmp_path}/file")


def test_engines_are_here_or_not_or_do_not_answer(look, settings, programs, tmp_path, monkeypatch) -> None:
    programs("podman", "echo 'Error: cannot reach the machine' >&2; exit 125")
    found = look("build", "podman")
    assert says(found)[:2] == ("broken", "does not work: Error: cannot reach the machine")
    assert not found.fails  # nothing asks for it
    settings.builder = "podman"
    assert look("build", "podman").fails
    programs("buildah", "echo '{\"host\": {}}'")
    assert says(look("build", "buildah"))[0] == "ok"
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    found = look("build", "docker")
    assert says(found)[:2] == ("not needed", "not on this machine")
    settings.builder = "docker"
    assert look("build", "docker").fails
    assert look("build", "append").answer.word == "ok"


def test_a_check_without_an_answer_is_left_behind(settings, programs) -> None:
    programs("docker", "exec sleep 600")
    [check] = [one for one in CHECKS if one.name == "docker"]
    [finding] = examine(Case(settings=settings), [replace(check, patience=0.2, mend=typed("docker info"))])
    assert says(finding) == ("broken", "no answer within 0.2 s", "docker info")


def test_cloud_build(look, settings, monkeypatch, tmp_path) -> None:
    assert says(look("build", "Cloud Build"))[:2] == ("not needed", "no Google Cloud project is set")
    settings.google_project = "shop-123"
    key = tmp_path / "nothing.json"
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key))
    settings.builder = "cloudbuild"
    found = look("build", "Cloud Build")
    assert found.fails
    state, what, mend = says(found)
    assert (state, mend) == ("broken", "gcloud auth application-default login")
    assert f"no Google credentials for Cloud Build in {str(key)!r}" in what
    settings.cloudbuild_endpoint = "http://127.0.0.1:1"
    assert says(look("build", "Cloud Build"))[:2] == ("ok", "credentials are here, project shop-123")
