"""Where logins for registries come from: docker's and podman's files, helpers, pull secrets, Google's defaults."""

from __future__ import annotations

import base64
import binascii
import json
import os
import shutil
import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from kfp_magics.images.references import DOCKER_HUB, canonical_host

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_HUB_KEYS = ("https://index.docker.io/v1/", "index.docker.io", "registry-1.docker.io")
_FILE_NAMES = ("config.json", ".dockerconfigjson", ".dockercfg")
_HELPER_SECONDS = 30.0
_IDENTITY = "<token>"  # the user name by which helpers say that the secret is an identity token


@dataclass(frozen=True, kw_only=True, slots=True)
class Login:
    """Who we are for a registry; without a secret, nobody in particular.

    Attributes:
        username: For Basic.
        secret: Password or access token.
        identity_token: Exchanged for access tokens (OAuth2 refresh).
        registry_token: Sent as it is.
        source: Where it was found, for messages.
        trouble: What could not be asked on the way here, for the case that we are refused.
    is_whole: Whether it counts for all of the registry; podman knows logins for parts of one.
    """

    username: str = ""
    secret: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)
    source: str = ""
    trouble: str = ""
    is_whole: bool = True

    @property
    def is_anonymous(self) -> bool:
        """Whether there is nothing to log in with."""
        return not (self.secret or self.identity_token or self.registry_token)


class Credentials(Protocol):
    """Something that knows logins."""

    def login(self, host: str, repository: str = "") -> Login:
        """The login for a registry, an anonymous one where none is known.

        Args:
            host: The registry, as people write it.
            repository: Path there; some files know logins for parts of a registry.
        """


class Anonymous:
    """Logs in nowhere."""

    def login(self, host: str, repository: str = "") -> Login:  # noqa: ARG002  (the protocol's)
        """Nobody."""
        return Login()


@dataclass(frozen=True, slots=True)
class Password:
    """One login for one registry, as given by the caller."""

    host: str
    username: str
    secret: str = field(repr=False)

    def login(self, host: str, repository: str = "") -> Login:  # noqa: ARG002  (the protocol's)
        """The login, for its own registry only: no other one must ever see it."""
        if canonical_host(host) != canonical_host(self.host):
            return Login()
        return Login(username=self.username, secret=self.secret, source="the arguments")


@dataclass(frozen=True, slots=True)
class FirstOf:
    """Asks one after another."""

    sources: Sequence[Credentials]

    def login(self, host: str, repository: str = "") -> Login:
        """The first login that is not anonymous; else nobody, with what went wrong on the way."""
        troubles, is_whole = [], True
        for source in self.sources:
            found = source.login(host, repository)
            is_whole = is_whole and found.is_whole
            if not found.is_anonymous:
                return replace(found, is_whole=is_whole)
            if found.trouble:
                troubles.append(found.trouble)
        return Login(trouble=" ".join(troubles), is_whole=is_whole)


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """Logins in a file as docker, podman and Kubernetes' pull secrets have it, and in the helpers that it names.

    It is read each time: a ``docker login`` in a terminal counts at once.
    """

    path: Path

    def login(self, host: str, repository: str = "") -> Login:
        """What the file or its helper says for a registry."""
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return Login()
        except (OSError, ValueError) as error:
            return Login(trouble=f"{self._shown} cannot be read ({type(error).__name__}).")
        if not isinstance(content, dict):
            return Login(trouble=f"{self._shown} holds no logins.")
        old_form = self.path.name == ".dockercfg" and "auths" not in content
        entries = content if old_form else _table(content, "auths")
        is_whole = not any(key.startswith(f"{canonical_host(host)}/") for key in entries)
        return replace(self._look(host, repository, content, entries), is_whole=is_whole)

    def _look(self, host: str, repository: str, content: dict[str, Any], entries: dict[str, Any]) -> Login:
        helpers = _table(content, "credHelpers")
        named = next((helpers[key] for key in _keys(host, "") if helpers.get(key)), "")
        if named:
            return self._ask(str(named), host)
        stored = next((entries[key] for key in _keys(host, repository) if entries.get(key)), None)
        found = self._stored(stored) if isinstance(stored, dict) else Login()
        if found.is_anonymous and not found.trouble and content.get("credsStore"):
            return self._ask(str(content["credsStore"]), host)
        return found

    @property
    def _shown(self) -> str:
        text = str(self.path)
        home = str(Path.home())
        return f"~{text.removeprefix(home)}" if text.startswith(home + os.sep) else text

    def _stored(self, entry: dict[str, Any]) -> Login:
        username, secret = str(entry.get("username") or ""), str(entry.get("password") or "")
        if entry.get("auth"):
            try:
                plain = base64.b64decode(str(entry["auth"]), validate=True).decode()
            except (binascii.Error, UnicodeDecodeError):
                return Login(trouble=f"A login in {self._shown} is not readable: docker login writes it anew.")
            username, _, secret = plain.rstrip("\0").partition(":")
        return Login(
            username=username,
            secret=secret,
            identity_token=str(entry.get("identitytoken") or ""),
            registry_token=str(entry.get("registrytoken") or ""),
            source=self._shown,
        )

    def _ask(self, helper: str, host: str) -> Login:
        name = f"docker-credential-{helper}"
        program = shutil.which(name) if os.sep not in helper else None
        if program is None:
            return Login(trouble=f"{name}, named in {self._shown}, is not on the PATH.")
        server = _HUB_KEYS[0] if canonical_host(host) == DOCKER_HUB else host
        try:
            done = subprocess.run(
                [program, "get"], input=server, capture_output=True, text=True, timeout=_HELPER_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            return Login(trouble=f"{name} did not answer within {_HELPER_SECONDS:.0f} s.")
        except (OSError, UnicodeDecodeError) as error:
            return Login(trouble=f"{name} cannot be run ({type(error).__name__}).")
        if done.returncode:
            unknown = "credentials not found" in done.stdout.lower() + done.stderr.lower()
            return Login(trouble="" if unknown else f"{name} failed: echo {server} | {name} get says why.")
        return _from_helper(name, done.stdout)


def _from_helper(name: str, text: str) -> Login:
    try:
        answer = json.loads(text)
        username, secret = str(answer["Username"]), str(answer["Secret"])
    except (ValueError, KeyError, TypeError):
        return Login(trouble=f"{name} answered something that is no login.")
    if username == _IDENTITY:
        return Login(identity_token=secret, source=name)
    return Login(username=username, secret=secret, source=name)


def _table(content: dict[str, Any], name: str) -> dict[str, Any]:
    value = content.get(name)
    return value if isinstance(value, dict) else {}


def _keys(host: str, repository: str) -> Iterator[str]:
    """Under which names a file may know a registry, the most special first."""
    host = canonical_host(host)
    parts = repository.split("/") if repository else []
    for length in range(len(parts), 0, -1):
        yield "/".join([host, *parts[:length]])
    for name in (host, *(_HUB_KEYS if host == DOCKER_HUB else ())):
        yield name
        yield from (
            f"https://{name}",
            f"https://{name}/",
            f"https://{name}/v1/",
            f"https://{name}/v2/",
            f"http://{name}",
        )


def default_credentials(secrets: str = "") -> Credentials:
    """Everything that this machine and this user know, the most special first.

    Args:
        secrets: A pull secret's file, or a folder where such secrets are mounted, asked before all others.
    """
    from kfp_magics.images.google import GoogleDefault  # noqa: PLC0415  (only where registries are really used)

    files = [*_secret_files(secrets), *_config_files()]
    return FirstOf([*(ConfigFile(path) for path in files), GoogleDefault()])


def _secret_files(secrets: str) -> Iterable[Path]:
    if not secrets:
        return []
    path = Path(secrets).expanduser()
    if not path.is_dir():
        return [path]
    return [
        found for name in _FILE_NAMES for found in (path / name, *sorted(path.glob(f"*/{name}"))) if found.is_file()
    ]


def _config_files() -> Iterator[Path]:
    if named := os.environ.get("REGISTRY_AUTH_FILE"):
        yield Path(named)
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        yield Path(runtime) / "containers" / "auth.json"
    yield Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "containers" / "auth.json"
    folder = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    yield from (folder / name for name in _FILE_NAMES)
