from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kfp_magics.errors import AccessDeniedError, DefinitionError, ImageNotFoundError, RegistryError
from kfp_magics.images.manifests import DOCKER_INDEX, OCI_INDEX, OCI_MANIFEST
from kfp_magics.images.platforms import resolve
from kfp_magics.images.references import Reference, digest_of
from kfp_magics.images.registry import Registries, Registry
from kfp_magics.settings import Settings
from tests.images.faulty import Faulty
from tests.images.pushing import LAYER, login, open_registry, push_image
from tests.images.registries import Server, start


def test_an_image_goes_there_and_comes_back(registry: Server, repository: str) -> None:
    with open_registry(registry) as client:
        assert client.manifest(repository, "v1") is None
        assert client.has_manifest(repository, "v1") is None
        digest = push_image(client, repository, "v1")
        assert client.has_manifest(repository, "v1") == client.has_manifest(repository, digest) == digest
        found = client.manifest(repository, "v1")
        assert found is not None
        assert (found.digest, found.media_type, found.is_index) == (digest, OCI_MANIFEST, False)
        assert client.blob(repository, found.layers[0].digest) == LAYER
        assert json.loads(client.blob(repository, found.config.digest))["os"] == "linux"
        assert client.tags(repository) == ["v1"]
        assert client.delete_manifest(repository, digest)
        assert client.manifest(repository, "v1") is None
        assert not client.delete_manifest(repository, digest)


def test_a_blob_travels_once(registry: Server, repository: str, faulty: Callable[..., Faulty]) -> None:
    proxy = faulty(registry)
    content = b"x" * 3_000_000
    digest, size = digest_of(content), len(content)
    with open_registry(proxy) as client:
        assert client.put_blob(repository, digest, size, lambda: io.BytesIO(content)) == "uploaded"
        assert client.put_blob(repository, digest, size, content) == "present"
        assert client.put_blob(f"{repository}/copy", digest, size, content, mount_from=repository) == "mounted"
        assert client.has_blob(f"{repository}/copy", digest)
        assert sum(one.size for one in proxy.passed) == size
        assert b"".join(client.blob_stream(repository, digest)) == content


def test_a_blob_can_be_sent_while_it_is_made(registry: Server, repository: str) -> None:
    sha = hashlib.sha256()

    def pieces() -> Iterator[bytes]:
        for number in range(5):
            piece = bytes([number]) * 700_000
            sha.update(piece)
            yield piece

    with open_registry(registry) as client:
        digest = client.upload(repository, pieces(), lambda: f"sha256:{sha.hexdigest()}")
        assert sum(map(len, client.blob_stream(repository, digest))) == 3_500_000


def test_passwords(basic_registry: Server, repository: str) -> None:
    with open_registry(basic_registry, credentials=login(basic_registry)) as client:
        digest = push_image(client, repository, "v1")
        assert client.has_manifest(repository, "v1") == digest
    with open_registry(basic_registry) as client, pytest.raises(AccessDeniedError) as caught:
        client.manifest(repository, "v1")
    assert str(caught.value).splitlines() == [
        f"{basic_registry.host} does not let anonymous users pull from {repository} "
        "(it says: UNAUTHORIZED: authentication required).",
        f"Type: docker login {basic_registry.host}, or check the name: "
        "what does not exist is often refused in the same words.",
    ]


def test_what_is_not_there(registry: Server, repository: str) -> None:
    with open_registry(registry) as client, pytest.raises(ImageNotFoundError, match="has no blob"):
        client.blob(repository, digest_of(b"never"))


def test_a_manifest_waits_for_its_blobs(registry: Server, repository: str) -> None:
    with open_registry(registry) as client:
        digest = push_image(client, repository, "v1")
        manifest = client.manifest(repository, digest)
        assert manifest is not None
        with pytest.raises(RegistryError, match=r"refused the image .*:v2: it answered 400 \(MANIFEST_BLOB_UNKNOWN"):
            client.put_manifest(f"{repository}/other", "v2", manifest.body, manifest.media_type)
        assert client.tags(f"{repository}/other") == []


def test_a_blob_goes_from_one_registry_to_another(registry: Server, basic_registry: Server, repository: str) -> None:
    content = b"abc" * 1_000_000
    digest = digest_of(content)
    with open_registry(registry) as source, open_registry(basic_registry, credentials=login(basic_registry)) as target:
        source.put_blob(repository, digest, len(content), content)
        target.put_blob(repository, digest, len(content), lambda: source.blob_stream(repository, digest))
        assert b"".join(target.blob_stream(repository, digest)) == content


def test_many_threads_share_a_client(registry: Server, repository: str) -> None:
    blobs = [bytes([number]) * 10_000 for number in range(24)]
    with open_registry(registry) as client, ThreadPoolExecutor(12) as pool:
        done = list(pool.map(lambda one: client.put_blob(repository, digest_of(one), len(one), one), blobs))
        assert done == ["uploaded"] * 24
        assert list(pool.map(lambda one: client.blob(repository, digest_of(one)), blobs)) == blobs


def test_a_code_change_takes_few_requests(registry: Server, repository: str, faulty: Callable[..., Faulty]) -> None:
    proxy = faulty(registry)
    with open_registry(proxy) as client:
        push_image(client, repository, "v1", probe=False)
    assert [line.partition("?")[0].partition(" ")[0] for line in proxy.lines()] == ["POST", "PUT"] * 2 + ["PUT"]


def test_where_an_upload_goes_on_may_be_said_without_the_host(tmp_path: Path, repository: str) -> None:
    for host in start(tmp_path, relativeurls=True):
        with open_registry(Server(host, tmp_path)) as client:
            assert push_image(client, repository, "v1") == client.has_manifest(repository, "v1")


def test_tags_come_in_pages(registry: Server, repository: str, faulty: Callable[..., Faulty]) -> None:
    proxy = faulty(registry)
    proxy.fail("tags/list", headers={"Link": f'</v2/{repository}/tags/list?n=1000&last=a>; rel="next"'})
    with open_registry(proxy) as client:
        push_image(client, repository, "b")
        push_image(client, repository, "a")
        assert client.tags(repository) == ["a", "b"]
        assert len(proxy.lines("tags/list")) == 2


def index_of(client: Registry, repository: str, media_type: str = OCI_INDEX) -> str:
    entries = []
    for machine in ("amd64", "arm64"):
        digest = push_image(client, repository, machine, machine=machine)
        where = {"os": "linux", "architecture": machine} | ({"variant": "v8"} if machine == "arm64" else {})
        found = client.manifest(repository, digest)
        assert found is not None
        entries.append({"mediaType": OCI_MANIFEST, "digest": digest, "size": len(found.body), "platform": where})
    nothing = {"os": "unknown", "architecture": "unknown"}  # how an attestation stands in an index
    body = {"schemaVersion": 2, "mediaType": media_type, "manifests": [entries[0] | {"platform": nothing}, *entries]}
    return client.put_manifest(repository, "all", json.dumps(body).encode(), media_type)


@pytest.mark.parametrize("media_type", [OCI_INDEX, DOCKER_INDEX])
@pytest.mark.parametrize(
    ("platform", "machine"), [("linux/amd64", "amd64"), ("linux/arm64", "arm64"), ("linux/arm64/v8", "arm64")]
)
def test_an_index_leads_to_the_platform(
    registry: Server, repository: str, media_type: str, platform: str, machine: str
) -> None:
    with open_registry(registry) as client:
        index = index_of(client, repository, media_type)
        found = resolve(client, repository, "all", platform)
        assert found.index_digest == index
        assert found.config["architecture"] == machine
        assert found.digest == client.has_manifest(repository, machine)
        assert str(found.reference) == f"{registry.host}/{repository}@{found.digest}"
        assert len(found.manifest.layers) == 1
        assert resolve(client, repository, found.digest, platform).index_digest == ""


def test_a_platform_that_does_not_exist_is_refused_with_those_that_do(registry: Server, repository: str) -> None:
    with open_registry(registry) as client:
        index_of(client, repository)
        for reference, known in (("all", "linux/amd64, linux/arm64/v8."), ("amd64", "linux/amd64.")):
            with pytest.raises(ImageNotFoundError) as caught:
                resolve(client, repository, reference, "linux/s390x")
            assert str(caught.value) == (
                f"{registry.host}/{repository}:{reference} does not exist for linux/s390x.\nIt does for: {known}"
            )
        with pytest.raises(ImageNotFoundError, match=r"There is no image .*:none"):
            resolve(client, repository, "none", "linux/amd64")


def test_settings_say_how_to_speak(
    tls_registry: Server, basic_registry: Server, repository: str, tmp_path: Path
) -> None:
    secret = tmp_path / "secrets" / "mine" / ".dockerconfigjson"
    secret.parent.mkdir(parents=True)
    entry = {"username": basic_registry.username, "password": basic_registry.password}
    secret.write_text(json.dumps({"auths": {basic_registry.host: entry}}))
    given = Settings(registry_ca_file=tls_registry.ca_file, registry_secrets=str(tmp_path / "secrets"))
    plain = Settings(
        registry_plain_http=f"other.test, {basic_registry.host}", registry_secrets=str(tmp_path / "secrets")
    )
    for settings, server in ((given, tls_registry), (plain, basic_registry)):
        registries = Registries(settings)
        client = registries(server.host)
        assert client is registries(server.host)
        assert push_image(client, repository, "v1") == client.has_manifest(repository, "v1")
        registries.close()


SHA = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("python", ("docker.io", "library/python", "latest", "")),
        ("python:3.11-slim", ("docker.io", "library/python", "3.11-slim", "")),
        ("team/train:v1", ("docker.io", "team/train", "v1", "")),
        ("index.docker.io/python", ("docker.io", "library/python", "latest", "")),
        ("localhost/train", ("localhost", "train", "latest", "")),
        ("127.0.0.1:5000/a/b__c:v1", ("127.0.0.1:5000", "a/b__c", "v1", "")),
        ("[::1]:5000/a", ("[::1]:5000", "a", "latest", "")),
        ("GHCR.io/team/train:v1", ("ghcr.io", "team/train", "v1", "")),
        (f"eu-docker.pkg.dev/p/r/i@{SHA}", ("eu-docker.pkg.dev", "p/r/i", "", SHA)),
        (f"python:3.11@{SHA}", ("docker.io", "library/python", "3.11", SHA)),
    ],
)
def test_names_of_images(text: str, parts: tuple[str, ...]) -> None:
    found = Reference.parse(text)
    assert (found.host, found.repository, found.tag, found.digest) == parts
    assert Reference.parse(str(found)) == found
    assert found.at(SHA).pinned == f"{found.name}@{SHA}"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not the name"),
        ("Team/Train", "'team/train'"),
        ("a//b", "not the name"),
        ("ghcr.io/", "not the name"),
        ("a:b:c", "malformed"),
        ("a:", "malformed"),
        ("a@sha256:12", "malformed"),
        ("a@", "malformed"),
        ("../etc:1", "not the name"),
        ("http://ghcr.io/a", "not the name"),
        ("a b", "not the name"),
    ],
)
def test_what_is_no_name_of_an_image(text: str, says: str) -> None:
    with pytest.raises(DefinitionError, match=says):
        Reference.parse(text)
