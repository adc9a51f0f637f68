"""A base image that costs nothing: its description is real, its only layer is empty. It cannot run."""

from __future__ import annotations

import gzip
import io
import json
import tarfile

from kfp_magics.images.credentials import Anonymous
from kfp_magics.images.manifests import OCI_CONFIG, OCI_MANIFEST
from kfp_magics.images.references import digest_of
from kfp_magics.images.registry import Registry
from tests.images.registries import Server


def push_description(server: Server, name: str, *, python: str = "3.11", user: str = "") -> str:
    """Pushes a base image and gives its name with its tag."""
    plain = io.BytesIO()
    tarfile.open(fileobj=plain, mode="w").close()
    layer = gzip.compress(plain.getvalue(), mtime=0)
    env = ["PATH=/usr/local/bin:/usr/bin:/bin", *([f"PYTHON_VERSION={python}.9"] if python else [])]
    config = json.dumps(
        {
            "os": "linux",
            "architecture": "amd64",
            "config": {"Env": env, "User": user},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(plain.getvalue())]},
        }
    ).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": digest_of(config), "size": len(config)},
        "layers": [{"mediaType": f"{LAYER}+gzip", "digest": digest_of(layer), "size": len(layer)}],
    }
    with Registry(server.host, credentials=Anonymous()) as registry:
        for content in (config, layer):
            registry.put_blob(name, digest_of(content), len(content), content)
        registry.put_manifest(name, "1", json.dumps(manifest).encode(), OCI_MANIFEST)
    return f"{server.host}/{name}:1"


LAYER = "application/vnd.oci.image.layer.v1.tar"
