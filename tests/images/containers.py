"""Real containers for tests: a base image of our own, and a podman that shares nothing with anybody else's.

No image can be pulled where the tests run, so the base is made by debootstrap, once per machine, and every registry of
a test gets it by `push_base`.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import certifi
import platformdirs
import pytest
from filelock import FileLock
from uv import find_uv_bin

from tests.conftest import requires
from tests.images.registries import Server

_SUITE = "bookworm"
_PACKAGES = ("python3",)
_FORMAT = "1"  # one more when what is made below changes
_UNWANTED = ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale", "usr/share/man", "var/log")
_ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}.get(platform.machine(), platform.machine())
_AUTHORITIES = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")

PLATFORM = f"linux/{_ARCHITECTURE}"
"""What the base image, and so every container here, runs on."""


def cache_folder() -> Path:
    """Where what is made once per machine is kept; outside the tree, shared by all worktrees."""
    folder = Path(os.environ.get("KFP_MAGICS_TEST_CACHE") or platformdirs.user_cache_path("kfp-magics-tests"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def base_layout() -> Path:
    """An OCI layout folder with one image, ``base``: Debian with Python, a shell and little else."""
    debootstrap = requires("debootstrap")
    if os.geteuid() != 0:
        lacking("debootstrap needs to be root: run the tests of containers as root")
    recipe = hashlib.sha256(" ".join((_SUITE, *_PACKAGES, *_UNWANTED, _ARCHITECTURE, _FORMAT)).encode()).hexdigest()
    place = cache_folder() / f"base-{recipe[:12]}"
    with FileLock(f"{place}.lock"):
        if not place.exists():
            with tempfile.TemporaryDirectory(prefix="debootstrap-", dir=cache_folder()) as scratch:
                root, draft = Path(scratch, "root"), Path(scratch, "layout")
                _install(debootstrap, root)
                _write_layout(root, draft)
                draft.rename(place)
    return place


def lacking(message: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def _install(debootstrap: str, root: Path) -> None:
    command = [debootstrap, "--variant=minbase", f"--include={','.join(_PACKAGES)}", _SUITE, str(root)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"DPKG_FORCE": "unsafe-io"}
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    for name in _UNWANTED:
        for entry in (root / name).iterdir():
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    for name in ("etc/resolv.conf", "etc/hostname", "etc/machine-id"):
        (root / name).unlink(missing_ok=True)


def _write_layout(root: Path, layout: Path) -> None:
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    archive = layout / "layer.tar"
    with tarfile.open(archive, "w", format=tarfile.GNU_FORMAT) as tar:
        tar.add(root, arcname=".")
    packed = layout / "layer.tar.gz"
    with archive.open("rb") as source, gzip.GzipFile(packed, "wb", compresslevel=1, mtime=0) as target:
        shutil.copyfileobj(source, target, 1 << 20)
    with archive.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    archive.unlink()
    with packed.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    size = packed.stat().st_size
    packed.rename(blobs / digest)
    config = {
        "architecture": _ARCHITECTURE,
        "os": "linux",
        "created": "2024-01-01T00:00:00Z",
        "config": {
            "Env": [
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "LANG=C.UTF-8",
                f"PYTHON_VERSION={_python_version(root)}",
            ],
            "Cmd": ["python3"],
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{content}"]},
        "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "debootstrap"}],
    }
    layer = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": f"sha256:{digest}", "size": size}
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **_blob(blobs, config)},
        "layers": [layer],
    }
    index = {
        "schemaVersion": 2,
        "manifests": [
            {
                "mediaType": manifest["mediaType"],
                **_blob(blobs, manifest),
                "platform": {"architecture": _ARCHITECTURE, "os": "linux"},
                "annotations": {"org.opencontainers.image.ref.name": "base"},
            }
        ],
    }
    (layout / "index.json").write_text(json.dumps(index))
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def _blob(blobs: Path, value: Any) -> dict[str, Any]:
    content = json.dumps(value).encode()
    digest = hashlib.sha256(content).hexdigest()
    (blobs / digest).write_bytes(content)
    return {"digest": f"sha256:{digest}", "size": len(content)}


def _python_version(root: Path) -> str:
    status = (root / "var/lib/dpkg/status").read_text(encoding="utf-8")
    found = re.search(r"^Package: python3\n(?:.+\n)*?Version: (\d+\.\d+\.\d+)", status, re.MULTILINE)
    assert found is not None
    return found[1]


def push_base(registry: str, repository: str = "base/python", tag: str = "3.11") -> str:
    """Puts the base image into a registry.

    Args:
        registry: Host and port on loopback, without a scheme.
        repository: Its name there.
        tag: Its tag there.

    Returns:
        The image by digest: ``127.0.0.1:5000/base/python@sha256:…``.
    """
    skopeo = requires("skopeo")
    target = f"{registry}/{repository}"
    with tempfile.NamedTemporaryFile("r") as digest:
        command = [skopeo, "copy", "--quiet", "--dest-tls-verify=false", "--digestfile", digest.name]
        _checked([*command, f"oci:{base_layout()}:base", f"docker://{target}:{tag}"])
        return f"{target}@{digest.read().strip()}"


def skopeo_inspect(reference: str, *options: str) -> Any:
    """What skopeo, which is none of ours, reads about an image in a registry on loopback.

    Args:
        reference: With a tag or a digest, without ``docker://``.
        options: Such as ``--config`` (its configuration) or ``--raw`` (its manifest as stored).
    """
    command = [requires("skopeo"), "inspect", "--tls-verify=false", *options, f"docker://{reference}"]
    return json.loads(_checked(command))


def _checked(command: list[str], environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-3000:]}"
    return done.stdout


class Podman:
    """podman and buildah with storage of their own.

    Args:
        folder: Where everything of theirs is; short, because sockets lie in it.

    Attributes:
        environment: Variables that send podman and buildah to that storage: for whoever calls them himself.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._program = requires("podman")
        requires("runc")
        (folder / "storage.conf").write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/root"\nrunroot = "{folder}/run"\n'
        )
        (folder / "registries.conf").write_text("unqualified-search-registries = []\n")
        (folder / "containers.conf").write_text(
            "[containers]\n"
            'default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n'
            'cgroups = "enabled"\n'
            'netns = "host"\n'
            "[engine]\n"
            'cgroup_manager = "cgroupfs"\n'
            'events_logger = "file"\n'
            'runtime = "runc"\n'
            'lock_type = "file"\n'  # locks in shared memory are everybody's
            f'tmp_dir = "{folder}/tmp"\n'
        )
        self.environment = {
            "CONTAINERS_CONF": str(folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
            "CONTAINERS_REGISTRIES_CONF": str(folder / "registries.conf"),
        }

    def __call__(self, *words: str) -> str:
        """Calls podman and gives what it printed; fails with what it complained about."""
        return _checked([self._program, *words], os.environ | self.environment)

    def run(self, image: str, *command: str, options: tuple[str, ...] = ()) -> str:
        """Runs a command in a new container of an image, pulled from a registry on loopback when it is not here."""
        return self("run", "--rm", "--quiet", "--tls-verify=false", *options, image, *command)

    @contextmanager
    def serve(self, socket: Path, plain_http: Iterable[str]) -> Iterator[None]:
        """Answers Docker's API; as Docker does it, some registries may do without TLS."""
        command = [self._program, "system", "service", "--time", "300", f"unix://{socket}"]
        config = self.folder / "docker-registries.conf"
        config.write_text("".join(f'[[registry]]\nlocation = "{host}"\ninsecure = true\n' for host in plain_http))
        environment = os.environ | self.environment | {"CONTAINERS_REGISTRIES_CONF": str(config)}
        with (self.folder / "service.log").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        deadline = time.monotonic() + 30
        while not socket.exists():
            assert process.poll() is None, (self.folder / "service.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        try:
            yield
        finally:
            process.terminate()
            process.wait(10)
            socket.unlink(missing_ok=True)

    def find_on_docker_hub(self, path: str, place: str) -> None:
        """Has images under a path of Docker Hub's come from a registry on loopback."""
        (self.folder / "registries.conf").write_text(
            "unqualified-search-registries = []\n"
            f'[[registry]]\nprefix = "docker.io/{path}"\nlocation = "{place}"\ninsecure = true\n'
        )

    def close(self) -> None:
        """Ends its containers and removes its storage."""
        self("rm", "--all", "--force", "--time", "0")
        for attempt in range(10):  # what cleans up after a killed container may mount the storage once more
            for mount in reversed(self._mounts()):
                subprocess.run(["umount", "--lazy", mount], check=False, capture_output=True)
            try:
                shutil.rmtree(self.folder)
            except OSError:
                if attempt == 9:
                    raise
                time.sleep(0.2)
            else:
                return

    def _mounts(self) -> list[str]:
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        return [mount for mount in mounts if mount.startswith(f"{self.folder}/")]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test that needs the base image waits until it is made."""
    for item in items:
        waits = {"podman", "base_image", "pip_image"} & set(getattr(item, "fixturenames", ()))
        if waits and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(scope="session")
def base_image(registry: Server) -> str:
    """The base image in the open registry, by digest."""
    return push_base(registry.host)


@pytest.fixture(scope="session")
def pip_image(base_image: str, podman_storage: Podman, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The base image with pip, which finds this machine's package index; by digest."""
    folder = tmp_path_factory.mktemp("pip-image")
    _checked(
        [find_uv_bin(), "pip", "install", "--quiet", "--python", sys.executable, "--target", f"{folder}/site", "pip"]
    )
    authorities = next((path for name in _AUTHORITIES if (path := os.environ.get(name)) and Path(path).is_file()), None)
    shutil.copy(authorities or certifi.where(), folder / "ca.crt")
    index = next((os.environ[name] for name in ("PIP_INDEX_URL", "UV_INDEX_URL") if name in os.environ), "")
    lines = ["[global]", "cert = /etc/ca.crt", *([f"index-url = {index}"] if index else [])]
    (folder / "pip.conf").write_text("\n".join(lines))
    (folder / "pip").write_text('#!/bin/sh\nexec python3 -m pip "$@"\n')
    (folder / "pip").chmod(0o755)
    (folder / "Dockerfile").write_text(
        f"FROM {base_image}\nCOPY site /usr/lib/python3/dist-packages\nCOPY pip /usr/local/bin/\n"
        "COPY pip.conf ca.crt /etc/\nRUN rm -f /usr/lib/python3.*/EXTERNALLY-MANAGED\n"
    )
    target = f"{base_image.partition('/')[0]}/base/pip"
    podman_storage("build", "--quiet", "--tls-verify=false", "--tag", target, str(folder))
    podman_storage("push", "--quiet", "--tls-verify=false", "--digestfile", str(folder / "digest"), target)
    return f"{target}@{(folder / 'digest').read_text().strip()}"


@pytest.fixture(scope="session")
def podman_storage() -> Iterator[Podman]:
    """One podman for the whole session of a worker; what it pulled or built is there for every test."""
    made = Podman(Path(tempfile.mkdtemp(prefix="kfpm-", dir="/tmp")))
    yield made
    made.close()


@pytest.fixture
def other_podman(monkeypatch: pytest.MonkeyPatch) -> Iterator[Podman]:
    """podman as on another machine, where it has nothing yet; whatever the test starts uses it."""
    made = Podman(Path(tempfile.mkdtemp(prefix="kfpm-", dir="/tmp")))
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    yield made
    made.close()


@pytest.fixture
def podman(podman_storage: Podman, monkeypatch: pytest.MonkeyPatch) -> Podman:
    """podman with storage of its own; whatever the test starts uses the same."""
    for name, value in podman_storage.environment.items():
        monkeypatch.setenv(name, value)
    return podman_storage


@pytest.fixture
def docker(
    podman: Podman, registry: Server, basic_registry: Server, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Podman]:
    """Docker's command with podman behind it as its daemon; what it builds is in podman's storage."""
    requires("docker")
    socket, config = podman.folder / "docker.sock", podman.folder / "docker"
    config.mkdir(exist_ok=True)
    (config / "config.json").write_text("{}")
    monkeypatch.setenv("DOCKER_CONFIG", str(config))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{socket}")
    with podman.serve(socket, plain_http=[registry.host, basic_registry.host]):
        yield podman
