"""The place of these benchmarks: a registry, a base image with pip and uv, and the step that everybody builds."""

from __future__ import annotations

import itertools
import os
import shutil
import ssl
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import kfp
import pip
import uv

from kfp_magics.images.append import AppendBuilder
from kfp_magics.images.base import ImageSpec
from kfp_magics.images.credentials import Anonymous
from kfp_magics.images.lock import Locks
from kfp_magics.images.registry import Registry
from kfp_magics.images.wheels import Bytecode
from tests.images.containers import PLATFORM, Podman, push_base
from tests.images.registries import start

PYTHON = "3.11"
ENV = {"PYTHONPATH": "/opt/kfpm/src:/opt/kfpm/site", "PYTHONUNBUFFERED": "1", "_KFP_RUNTIME": "true"}
_BASE = """
FROM {plain}
COPY pip /usr/local/lib/python3.11/dist-packages/pip
COPY uv /usr/local/bin/uv
COPY certificates.pem /etc/ssl/certs/ca-certificates.crt
ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
ENV PIP_BREAK_SYSTEM_PACKAGES=1
RUN ln -s /usr/bin/python3 /usr/local/bin/python \\
 && printf '#!/bin/sh\\nexec python3 -m pip "$@"\\n' > /usr/local/bin/pip && chmod +x /usr/local/bin/pip
"""
_BUILD = """
FROM {base}
COPY requirements.txt /tmp/requirements.txt
RUN --mount=type=cache,target=/var/cache/uv \\
    uv --cache-dir /var/cache/uv pip install --quiet --link-mode copy --no-deps \\
    --python /usr/bin/python3 --target /opt/kfpm/site --requirement /tmp/requirements.txt
ENV {env}
COPY src /opt/kfpm/src
"""
_numbers = itertools.count(1)


class Silent:
    """A log that nobody reads, as in a build whose output is folded away."""

    def write(self, text: str) -> None:
        """Takes it in."""

    def step(self, what: str, done: float | None = None) -> None:
        """Takes it in."""

    def fact(self, name: str, value: str | float) -> None:
        """Takes it in."""

    def check(self) -> None:
        """Nobody interrupts."""


class Place:
    """Everything that a measurement needs.

    Attributes:
        folder: For whatever it writes.
        host: The registry.
        engines: Engines with storage of their own.
        base: The base image in the registry, pinned; the engines have it too.
        locked: The step's requirements.
        more: The same and one more, with what that needs.
    """

    def __init__(self, folder: Path, host: str) -> None:
        self.folder, self.host = folder, host
        self.engines = Podman(self._made("engines"))
        locks = Locks(folder / "locks")
        known = {"python": PYTHON, "platform": PLATFORM, "kfp": kfp.__version__}
        self.locked = locks.lock(("pandas", "scikit-learn"), **known)
        self.more = locks.lock(("pandas", "scikit-learn", "requests"), **known)
        self.base = self._push_base()

    def _made(self, name: str) -> Path:
        (self.folder / name).mkdir()
        return self.folder / name

    def _push_base(self) -> str:
        context = self._made("base")
        shutil.copytree(Path(pip.__file__).parent, context / "pip")
        shutil.copy(uv.find_uv_bin(), context / "uv")
        trusted = os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile
        shutil.copy(trusted or "/etc/ssl/certs/ca-certificates.crt", context / "certificates.pem")
        (context / "Dockerfile").write_text(_BASE.format(plain=push_base(self.host, "base/plain")))
        name = f"{self.host}/base/python"
        self.call("buildah", "bud", "--isolation", "chroot", "--tls-verify=false", "--tag", name, str(context))
        self.call("buildah", "push", "--tls-verify=false", "--digestfile", str(self.folder / "digest"), name)
        pinned = f"{name}@{(self.folder / 'digest').read_text()}"
        self.call("podman", "pull", "--tls-verify=false", pinned)
        return pinned

    def call(self, *words: str, environment: dict[str, str] | None = None) -> None:
        """Calls an engine; what it says is shown when it fails."""
        done = subprocess.run(
            words,
            env=os.environ | self.engines.environment | (environment or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(words)}\n{done.stdout[-3000:]}")

    def spec(self, code: str, locked: tuple[str, ...] | None = None, name: str = "train") -> ImageSpec:
        """The step with some code."""
        return ImageSpec(
            name=name,
            base=self.base,
            requirements=self.locked if locked is None else locked,
            files={"src/step_train.py": code.encode()},
            python=PYTHON,
            platform=PLATFORM,
            env=ENV,
        )

    def path(self) -> str:
        """A repository that nobody used before."""
        return f"p{next(_numbers)}-{uuid.uuid4().hex[:8]}"

    def builder(self, path: str, cache: Path, host: str = "", *, bytecode: Bytecode = "small") -> AppendBuilder:
        """A builder of ours, as in a kernel that just started; through another host if one is given."""
        client = Registry(host or self.host, credentials=Anonymous())
        # A proxy is the registry: the base image is not somewhere else.
        return AppendBuilder(f"{client.host}/{path}", lambda _: client, cache, bytecode=bytecode)

    def cache(self) -> Path:
        """An empty cache for layers."""
        return Path(tempfile.mkdtemp(prefix="cache-", dir=self.folder))

    def context(self, code: str, locked: tuple[str, ...], remark: str = "") -> Path:
        """A build context for the engines."""
        context = Path(tempfile.mkdtemp(prefix="context-", dir=self.folder))
        (context / "src").mkdir()
        env = " ".join(f"{name}={value}" for name, value in ENV.items())
        (context / "Dockerfile").write_text(_BUILD.format(base=self.base, env=env))
        (context / "requirements.txt").write_text(f"# {remark}\n" + "".join(f"{line}\n" for line in locked))
        (context / "src/step_train.py").write_text(code)
        return context


def timed(action: Callable[[], object]) -> float:
    """Seconds that it takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


@contextmanager
def place() -> Iterator[Place]:
    """A place for one benchmark; nothing of it is left afterwards."""
    with tempfile.TemporaryDirectory(prefix="kfpm-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        (Path(folder) / "registry").mkdir()
        for host in start(Path(folder) / "registry"):
            made = Place(Path(folder), host)
            try:
                yield made
            finally:
                made.engines.close()
