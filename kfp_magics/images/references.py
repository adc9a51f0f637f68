"""How images are called: ``python:3.11-slim``, ``ghcr.io/team/train@sha256:…``, and what is behind such a name."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace

from kfp_magics.errors import DefinitionError, DigestMismatchError

DOCKER_HUB = "docker.io"
_HUB_NAMES = {DOCKER_HUB, "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"}
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_PART}(?:/{_PART})*")
_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]+)?")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """The name of an image, taken apart.

    Attributes:
        host: Registry as people write it, with its port; ``docker.io`` for Docker Hub.
        repository: Path there, ``library/python``.
        tag: Empty when only a digest is given.
        digest: ``sha256:…``; empty when only a tag is given.
    """

    host: str
    repository: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Reads a name as docker does: no host means Docker Hub, no tag and no digest mean ``latest``.

        Args:
            text: ``[host/]repository[:tag][@digest]``.

        Raises:
            DefinitionError: It is no name of an image.
        """
        rest, _, digest = text.strip().partition("@")
        head, slash, tail = rest.rpartition("/")
        last, _, tag = tail.partition(":")
        host, repository = _host_and_path(f"{head}{slash}{last}")
        if not _HOST.fullmatch(host) or not _REPOSITORY.fullmatch(repository) or len(repository) > 255:
            lower = rest.lower()
            hint = f"Upper case is not allowed: {lower!r}." if repository != repository.lower() else _EXAMPLE
            raise DefinitionError(f"{text!r} is not the name of an image.", hint)
        if (":" in tail and not _TAG.fullmatch(tag)) or ("@" in text and not is_digest(digest)):
            wrong = f"digest {digest!r}" if "@" in text and not is_digest(digest) else f"tag {tag!r}"
            raise DefinitionError(f"{text!r} is not the name of an image: the {wrong} is malformed.", _EXAMPLE)
        return cls(host=host, repository=repository, tag=tag or ("" if digest else "latest"), digest=digest)

    @property
    def name(self) -> str:
        """Host and path without tag and digest."""
        return f"{self.host}/{self.repository}"

    @property
    def identifier(self) -> str:
        """What a registry is asked for: the digest where there is one, else the tag."""
        return self.digest or self.tag

    def at(self, digest: str) -> Reference:
        """The same image pinned to a digest; the tag stays as a remark for people."""
        return replace(self, digest=digest)

    @property
    def pinned(self) -> str:
        """``host/repository@digest`` without the tag.

        Raises:
            ValueError: There is no digest.
        """
        if not self.digest:
            raise ValueError(f"{self} has no digest")
        return f"{self.name}@{self.digest}"

    def __str__(self) -> str:
        return f"{self.name}{':' + self.tag if self.tag else ''}{'@' + self.digest if self.digest else ''}"


_EXAMPLE = "Write it like ghcr.io/team/train:v1, or python:3.11-slim for Docker Hub."


def _host_and_path(text: str) -> tuple[str, str]:
    first, slash, rest = text.partition("/")
    if not slash or not (set(".:[") & set(first) or first == "localhost"):
        first, rest = DOCKER_HUB, text
    host = canonical_host(first)
    if host == DOCKER_HUB and rest and "/" not in rest:
        rest = f"library/{rest}"
    return host, rest


def canonical_host(host: str) -> str:
    """The one name of a registry that has several: Docker Hub's become ``docker.io``, letters become small."""
    host = host.lower()
    return DOCKER_HUB if host in _HUB_NAMES else host


def api_host(host: str) -> str:
    """Where a registry's API is: for Docker Hub not at the name that people write."""
    return "registry-1.docker.io" if canonical_host(host) == DOCKER_HUB else host


def is_digest(text: str) -> bool:
    """Whether a text is a whole digest rather than a tag."""
    return _DIGEST.fullmatch(text) is not None


def digest_of(content: bytes) -> str:
    """The digest under which a registry keeps this content."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Verifier:
    """Hashes content as it passes and tells at the end whether it is what the digest says.

    Args:
        digest: What the content must be.
        what: Named in the error: ``a blob of team/train``.
    """

    def __init__(self, digest: str, what: str) -> None:
        if not is_digest(digest):
            raise DefinitionError(f"{digest!r} is not a digest.", "It is sha256: and 64 hex digits.")
        self._digest, self._what = digest, what
        self._hash = hashlib.new(digest.partition(":")[0])
        self.size = 0

    def update(self, chunk: bytes) -> None:
        """Takes in the next piece."""
        self._hash.update(chunk)
        self.size += len(chunk)

    def check(self) -> None:
        """Compares.

        Raises:
            DigestMismatchError: The content is another one.
        """
        found = f"{self._hash.name}:{self._hash.hexdigest()}"
        if found != self._digest:
            raise mismatch(self._what, self._digest, found)


def mismatch(what: str, wanted: str, found: str) -> DigestMismatchError:
    """The error for content that is not what its digest says."""
    return DigestMismatchError(
        f"Refused {what}: it should be {wanted[:19]}… and is {found[:19]}….",
        "It was damaged or tampered with on the way: try again, and look at proxies between here and the registry.",
    )
