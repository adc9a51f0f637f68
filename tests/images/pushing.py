"""What tests of registries do again and again."""

from __future__ import annotations

import json

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


def push_image(
    registry: Registry, repository: str, tag: str, layer: bytes = LAYER, machine: str = "amd64", *, probe: bool = True
) -> str:
    """Pushes a little image as builders do: blobs first, the tag last."""
    config = json.dumps({"os": "linux", "architecture": machine, "rootfs": {"diff_ids": []}}).encode()
    for content in (config, layer):
        registry.put_blob(repository, digest_of(content), len(content), content, probe=probe)
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": digest_of(config), "size": len(config)},
        "layers": [{"mediaType": OCI_LAYER, "digest": digest_of(layer), "size": len(layer)}],
    }
    return registry.put_manifest(repository, tag, json.dumps(manifest).encode(), OCI_MANIFEST)
