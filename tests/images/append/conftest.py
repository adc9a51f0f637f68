"""A registry with a base image, builders as on several machines, and requirements that need no index."""

from __future__ import annotations

import io
import json
import random
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kfp_magics.images.append import AppendBuilder
from kfp_magics.images.base import ImageRef, ImageSpec
from kfp_magics.images.credentials import Anonymous
from kfp_magics.images.manifests import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST
from kfp_magics.images.references import digest_of
from kfp_magics.images.registry import Registry
from tests.images.append.wheelhouse import Wheelhouse
from tests.images.containers import PLATFORM, push_base, skopeo_inspect
from tests.images.recording import RecordingLog
from tests.images.registries import Server

ENV = {"PYTHONPATH": "/opt/kfpm/src:/opt/kfpm/site", "_KFP_RUNTIME": "true", "PYTHONUNBUFFERED": "1"}
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


class Lines(RecordingLog):
    """A log that keeps what it is told."""

    def step(self, what: str, done: float | None = None) -> None:
        assert done is None or 0 <= done <= 1
        super().step(what, done)


class Site:
    """A registry with a base image, and builders for it.

    Attributes:
        host: The registry's, or a proxy's before it.
        base: The base image, pinned.
        path: Where images go; no other test's.
    """

    def __init__(self, host: str, base: str, path: str, folder: Path, credentials: Any = None) -> None:
        self.host, self.base, self.path, self._folder = host, base, path, folder
        self._credentials = credentials or Anonymous()
        self._clients: dict[str, Registry] = {}

    def client(self, host: str = "") -> Registry:
        host = host or self.host
        if host not in self._clients:
            self._clients[host] = Registry(
                host, credentials=self._credentials, sleep=lambda seconds: None, timeout=20.0, attempts=2
            )
        return self._clients[host]

    def builder(self, machine: str = "here", destination: str = "", **options: Any) -> AppendBuilder:
        """A builder as on a machine of that name: each has a cache of its own."""
        return AppendBuilder(destination or f"{self.host}/{self.path}", self.client, self._folder / machine, **options)

    def spec(self, code: str = "print('hello')\n", *requirements: str, **options: Any) -> ImageSpec:
        given = {"name": "train", "base": self.base, "python": HERE, "platform": PLATFORM, "env": ENV} | options
        return ImageSpec(requirements=requirements, files={"src/step_train.py": code.encode()}, **given)

    def tags(self, name: str = "train") -> list[str]:
        return self.client().tags(f"{self.path}/{name}")

    def layers(self, digest: str, name: str = "train") -> list[tarfile.TarFile]:
        """The layers of an image, without those of its base."""
        manifest = self.client().manifest(f"{self.path}/{name}", digest)
        assert manifest is not None
        blobs = [self.client().blob(f"{self.path}/{name}", one.digest) for one in manifest.layers[1:]]
        return [tarfile.open(fileobj=io.BytesIO(blob)) for blob in blobs]

    def close(self) -> None:
        for client in self._clients.values():
            client.close()


@pytest.fixture
def small_base(registry: Server) -> str:
    """A base image of one small file, which cannot run: for tests that do not run anything."""
    return push_small_base(registry.host)


def push_small_base(host: str, *, machines: tuple[str, ...] = ("amd64", "arm64"), credentials: Any = None) -> str:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo("etc/base"))
    layer = out.getvalue()
    entries = []
    with Registry(host, credentials=credentials or Anonymous()) as client:
        client.put_blob("base/small", digest_of(layer), len(layer), layer)
        for machine in machines:
            config = json.dumps(
                {
                    "os": "linux",
                    "architecture": machine,
                    "config": {"Env": [f"PYTHON_VERSION={HERE}.1"]},
                    "rootfs": {"type": "layers", "diff_ids": [f"sha256:{'1' * 64}"]},
                }
            ).encode()
            client.put_blob("base/small", digest_of(config), len(config), config)
            manifest = {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "config": {"mediaType": OCI_CONFIG, "digest": digest_of(config), "size": len(config)},
                "layers": [{"mediaType": f"{OCI_LAYER}+gzip", "digest": digest_of(layer), "size": len(layer)}],
            }
            body = json.dumps(manifest).encode()
            digest = client.put_manifest("base/small", "", body, OCI_MANIFEST)
            platform = {"os": "linux", "architecture": machine}
            entries.append({"mediaType": OCI_MANIFEST, "digest": digest, "size": len(body), "platform": platform})
        index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
        return f"{host}/base/small@{client.put_manifest('base/small', '', index, OCI_INDEX)}"


@pytest.fixture
def site(registry: Server, repository: str, small_base: str, tmp_path: Path) -> Iterator[Site]:
    made = Site(registry.host, small_base, repository, tmp_path / "machines")
    yield made
    made.close()


@pytest.fixture
def real(registry: Server, repository: str, tmp_path: Path) -> Iterator[Site]:
    """With a base image that runs."""
    made = Site(registry.host, push_base(registry.host), repository, tmp_path / "machines")
    yield made
    made.close()


def big(seed: int) -> bytes:
    """Content that makes a distribution large."""
    return random.Random(seed).randbytes(1 << 20)


@pytest.fixture
def requirements(wheelhouse: Wheelhouse) -> tuple[str, ...]:
    """Two large distributions and two small ones."""
    return (
        wheelhouse.locked("kfpm_big", {"kfpm_big/__init__.py": "one = 1\n", "kfpm_big/data": big(1)}),
        wheelhouse.locked("kfpm_vast", {"kfpm_vast.py": "two = 2\n", "kfpm_vast.dat": big(2)}),
        wheelhouse.locked("kfpm_tiny", {"kfpm_tiny.py": "three = 3\n"}, scripts="tiny = kfpm_tiny:print"),
        wheelhouse.locked("kfpm_least", {"kfpm_least/__init__.py": "four = 4\n", "kfpm_least/tests/test_it.py": ""}),
    )


@pytest.fixture
def wheelhouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Wheelhouse:
    """A wheelhouse that is all that uv knows."""
    made = Wheelhouse(tmp_path / "wheelhouse")
    monkeypatch.setenv("UV_FIND_LINKS", str(made.folder))
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    return made


def layers_of(ref: ImageRef) -> list[dict[str, Any]]:
    return list(skopeo_inspect(str(ref), "--raw")["layers"])
