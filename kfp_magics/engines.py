"""Container engines on this machine: which are here, which of them work, and what they can do."""

from __future__ import annotations

import json
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kfp_magics import addresses
from kfp_magics.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kfp_magics.model import Json

_PATIENCE = 20.0  # seconds for an engine to say that it works
_INSTALL = {
    "docker": "Install Docker, or take another: --builder append builds without any engine.",
    "podman": "Install podman (Debian: apt install podman), or take another.",
    "buildah": "Install buildah (Debian: apt install buildah), or take another.",
}
_START = {
    "docker": "Start it (systemctl start docker, or Docker Desktop), or set DOCKER_HOST.",
    "podman": "`podman info` says more; on macOS: podman machine start.",
    "buildah": "`buildah info` says more.",
}
_INIT_PLACES = ("/usr/libexec/podman/catatonit", "/usr/lib/podman/catatonit", "/usr/libexec/catatonit/catatonit")


@dataclass(frozen=True, kw_only=True, slots=True)
class Engine:
    """A container engine that is here and works.

    Attributes:
        name: docker, podman or buildah.
        program: Path of its command.
        limits: Which resources it can limit: ``cpu``, ``memory``.
        init: Options of ``run`` that put a small init process first, so that a signal ends a step at once.
        rootless: Whether it runs without root.
    """

    name: str
    program: str
    limits: frozenset[str] = frozenset()
    init: tuple[str, ...] = ()
    rootless: bool = False


def find(name: str, patience: float = _PATIENCE) -> Engine:
    """Looks for an engine and asks whether it works.

    Args:
        name: docker, podman or buildah.
        patience: Seconds in which it has to answer.

    Raises:
        EngineError: It is not here, or does not work; the message has its own words.
    """
    program = shutil.which(name)
    if program is None:
        raise EngineError(f"{name} is not on this machine.", _INSTALL[name])
    command = [program, "info", "--format", "{{json .}}"] if name != "buildah" else [program, "info"]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=patience, check=False
        )
    except subprocess.TimeoutExpired:
        raise EngineError(f"{name} does not answer within {patience:g} s.", _START[name]) from None
    except OSError as error:
        raise EngineError(f"{name} cannot be started: {error.strerror}.", _INSTALL[name]) from error
    said: dict[str, Json] = {}
    with suppress(ValueError):
        said = json.loads(done.stdout)
    refused = said.get("ServerErrors") or []
    if done.returncode or not said or refused:
        raise EngineError(f"{name} is here but does not work: {_last([*refused, done.stderr])}", _START[name])
    return _docker(program, said) if name == "docker" else _podman(name, program, said)


def first(names: Iterable[str]) -> Engine:
    """Finds the first of several engines that works.

    Raises:
        EngineError: None does; the message says why for each.
    """
    reasons = []
    for name in names:
        try:
            return find(name)
        except EngineError as error:
            reasons.append(error.message.rstrip("."))
    raise EngineError(f"No container engine works here: {'; '.join(reasons)}.", _INSTALL["podman"])


def _docker(program: str, said: dict[str, Json]) -> Engine:
    limits = {"memory": said.get("MemoryLimit"), "cpu": said.get("CpuCfsQuota")}
    commit = (said.get("InitCommit") or {}).get("ID", "")
    return Engine(
        name="docker",
        program=program,
        limits=frozenset(name for name, able in limits.items() if able),
        init=("--init",) if said.get("InitBinary") and commit not in {"", "N/A"} else (),
        rootless=any("rootless" in str(one) for one in said.get("SecurityOptions") or ()),
    )


def _podman(name: str, program: str, said: dict[str, Json]) -> Engine:
    host = said.get("host", {})
    controllers = set(host.get("cgroupControllers") or ())
    init = shutil.which("catatonit") or next((place for place in _INIT_PLACES if Path(place).exists()), "")
    options: tuple[str, ...] = ("--init", f"--init-path={init}") if init else ()
    return Engine(
        name=name,
        program=program,
        limits=frozenset(controllers & {"cpu", "memory"}),
        init=("--init",) if host.get("serviceIsRemote") else options,  # the machine that it runs on has its own
        rootless=bool(host.get("security", {}).get("rootless", host.get("rootless", False))),
    )


def _last(texts: Iterable[str]) -> str:
    lines = [line.strip() for text in texts for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it gave no reason."


def is_loopback(reference: str) -> bool:
    """Whether an image reference or a registry names a host on loopback, where plain HTTP is safe.

    Args:
        reference: ``127.0.0.1:5000/team/train@sha256:…``, or just the host and port.
    """
    host = reference.partition("/")[0]
    name = host.rpartition(":")[0] if host.count(":") == 1 else host
    if "]" in host:
        name = host.partition("]")[0].lstrip("[")
    if name == "localhost" or name.endswith(".localhost"):
        return ":" in host  # "localhost/name" is what podman calls an image that is only here
    return addresses.is_loopback(name)


def names(engine: Engine, reference: str) -> tuple[str, ...]:
    """The names under which an image is looked for, one after the other.

    An image without a host is Docker Hub's to docker and to clusters. podman and buildah look where their own
    configuration says, which on many machines is nowhere, and Docker Hub comes last.
    """
    first, slash, _ = reference.partition("/")
    has_host = bool(slash) and ("." in first or ":" in first or first == "localhost")
    if engine.name == "docker" or has_host:
        return (reference,)
    return reference, f"docker.io/{reference}" if slash else f"docker.io/library/{reference}"


UNRESOLVED = "short-name"
"""What podman and buildah say of an image without a host that they look for nowhere."""


def plain_http(engine: Engine, reference: str, asked: str = "") -> tuple[str, ...]:
    """The options that let an engine speak plain HTTP to a registry: on loopback, or where the user asked for it.

    Docker has its own settings for that.

    Args:
        engine: The engine.
        reference: The image, or the registry and a path.
        asked: Hosts where it is asked for, separated by commas (setting ``registry_plain_http``).
    """
    hosts = {host.strip() for host in asked.split(",")}
    allowed = is_loopback(reference) or reference.partition("/")[0] in hosts
    return ("--tls-verify=false",) if engine.name != "docker" and allowed else ()
