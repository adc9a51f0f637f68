from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable

import pytest

from kfp_magics.errors import AccessDeniedError, ImageNotFoundError
from kfp_magics.images.credentials import Anonymous, Password
from kfp_magics.images.manifests import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST
from kfp_magics.images.references import digest_of
from kfp_magics.images.registry import Registry
from tests.images.faulty import Faulty
from tests.images.registries import Server

LAYER = b"not really a layer, " * 200


def open_registry(server: Server | Faulty, **options: object) -> Registry:
    given = {"credentials": Anonymous(), "sleep": lambda seconds: None, "timeout": 20.0} | options
    return Registry(server.host, **given)  # type: ignore[arg-type]


def login(server: Server) -> Password:
    return Password(server.host, server.username, server.password)


def push_image(registry: Registry, repository: str, tag: str, layer: bytes = LAYER, machine: str = "amd64") -> str:
    config = json.dumps({"os": "linux", "architecture": machine, "rootfs": {"diff_ids": []}}).encode()
    for content in (config, layer):
        registry.put_blob(repository, digest_of(content), len(content), content)
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": digest_of(config), "size": len(config)},
        "layers": [{"mediaType": OCI_LAYER, "digest": digest_of(layer), "size": len(layer)}],
    }
    return registry.put_manifest(repository, tag, json.dumps(manifest).encode(), OCI_MANIFEST)


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


def test_a_blob_travels_once(registry: Server, repository: str, faulty: Callable[[Server], Faulty]) -> None:
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

    def pieces() -> object:
        for number in range(5):
            piece = bytes([number]) * 700_000
            sha.update(piece)
            yield piece

    with open_registry(registry) as client:
        digest = client.upload(repository, pieces(), lambda: f"sha256:{sha.hexdigest()}")  # type: ignore[arg-type]
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
        f"Type: docker login {basic_registry.host}",
    ]


def test_tokens(token_registry: Server, repository: str) -> None:
    assert token_registry.tokens is not None
    before = len(token_registry.tokens.requests)
    with open_registry(token_registry, credentials=login(token_registry)) as client:
        push_image(client, repository, "v1")
        assert (
            client.put_blob(f"{repository}/b", digest_of(LAYER), len(LAYER), LAYER, mount_from=repository) == "mounted"
        )
    asked = token_registry.tokens.requests[before:]
    assert [one.scopes for one in asked] == [
        [f"repository:{repository}:pull,push"],
        [f"repository:{repository}/b:pull,push"],
        [f"repository:{repository}/b:pull,push", f"repository:{repository}:pull"],
    ]


def test_what_is_not_there(registry: Server, repository: str) -> None:
    with open_registry(registry) as client, pytest.raises(ImageNotFoundError, match="has no blob"):
        client.blob(repository, digest_of(b"never"))
