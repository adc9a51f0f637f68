"""A registry of images over its HTTP API: manifests and blobs, read, checked, pushed and mounted."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Self

from kfp_magics.errors import DigestMismatchError, RegistryError
from kfp_magics.images.auth import Access
from kfp_magics.images.blobs import PUSH, Blobs, Content, Put
from kfp_magics.images.credentials import Credentials, default_credentials
from kfp_magics.images.exchange import Exchange
from kfp_magics.images.manifests import ACCEPTED, Manifest, kind_of
from kfp_magics.images.references import Verifier, canonical_host, digest_of, is_digest, mismatch
from kfp_magics.images.wire import PassingError, Patience, Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType

    import httpx

    from kfp_magics.settings import Settings

_SMALL = 32 << 20  # bytes; what `blob` holds in memory at most
_ACCEPT = {"Accept": ", ".join(ACCEPTED)}


class Registry:
    """One registry. Safe to share by threads; keeps its connections and tokens; close it, or use it in ``with``.

    Every method that asks the registry raises `AccessDeniedError` where the login may not, `RegistryUnavailableError`
    when the registry cannot be reached or keeps failing, and `RegistryError` for whatever else it refuses.

    Args:
        host: Host and port as people write them; ``docker.io`` for Docker Hub.
        plain_http: Without TLS; None means only when the host is this machine and no `ca_file` is given.
        ca_file: Certificates (PEM) to trust besides the usual ones and docker's ``/etc/docker/certs.d/HOST``.
        credentials: Where logins come from; what this machine and user know when left out.
        timeout: Seconds without a byte after which a request counts as failed.
        attempts: How often something is tried before it counts as failed.
        sleep: Waits between two attempts.
    """

    def __init__(
        self,
        host: str,
        *,
        plain_http: bool | None = None,
        ca_file: str = "",
        credentials: Credentials | None = None,
        timeout: float = 60.0,
        attempts: int = 5,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.host = canonical_host(host)
        self._wire = Wire(
            self.host, plain_http=plain_http, ca_file=ca_file, timeout=timeout, attempts=attempts, sleep=sleep
        )
        self._exchange = Exchange(self._wire, credentials or default_credentials())
        self._blobs = Blobs(self._exchange)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, stack: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Registry({self.host!r})"

    def close(self) -> None:
        """Closes the connections."""
        self._wire.close()

    def manifest(self, repository: str, reference: str) -> Manifest | None:
        """Reads a manifest or an index.

        Args:
            repository: Path in this registry.
            reference: Tag or digest.

        Returns:
            The manifest, verified against its digest; None where there is none.

        Raises:
            DigestMismatchError: The content is another one than its digest says.
        """
        response = self._manifest("GET", repository, reference, "reading")
        if response.status_code == 404:
            return None
        told = reference if is_digest(reference) else response.headers.get("docker-content-digest", "")
        digest = told if is_digest(told) else digest_of(response.content)
        check = Verifier(digest, f"the manifest of {self.host}/{repository}")
        check.update(response.content)
        check.check()
        kind = kind_of(response.content, response.headers.get("content-type", ""))
        return Manifest(body=response.content, media_type=kind, digest=digest)

    def has_manifest(self, repository: str, reference: str) -> str | None:
        """Looks whether a tag or digest exists, without reading it.

        Returns:
            Its digest, or None.
        """
        response = self._manifest("HEAD", repository, reference, "looking for")
        if response.status_code == 404:
            return None
        digest = str(response.headers.get("docker-content-digest", ""))
        if is_digest(digest):
            return digest
        found = self.manifest(repository, reference)
        return found.digest if found else None

    def put_manifest(self, repository: str, reference: str, body: bytes, media_type: str) -> str:
        """Publishes a manifest under a tag or its digest; everything it points to must be there already.

        Args:
            repository: Path in this registry.
            reference: Tag; empty for the digest alone.
            body: The manifest.
            media_type: Which kind it is.

        Returns:
            Its digest.
        """
        digest = digest_of(body)
        name = _name(repository, reference or digest)
        url = self._exchange.url(repository, "manifests", reference or digest)
        headers = {"Content-Type": media_type}
        access = Access(repository, PUSH)

        def once() -> httpx.Response:
            response = self._exchange.once("PUT", url, access, headers=headers, body=lambda: body)
            try:
                self._exchange.expect(response, {200, 201, 202}, f"the image {name}")
            except DigestMismatchError as error:
                # Also said by a registry on files that reads what another push of the same is just writing anew.
                raise PassingError("took it for something else than its digest says", error.hint) from error
            return response

        response = self._wire.retrying(f"publishing {name}", once)
        told = response.headers.get("docker-content-digest", digest)
        if told.startswith("sha256:") and told != digest:
            raise mismatch(f"what {self.host} made of {name}", digest, told)
        return digest

    def delete_manifest(self, repository: str, digest: str) -> bool:
        """Deletes a manifest with all its tags.

        Returns:
            Whether it was there.
        """
        url, name = self._exchange.url(repository, "manifests", digest), _name(repository, digest)
        access = Access(repository, frozenset({"delete", "pull"}))
        response = self._exchange.ask("DELETE", url, access, f"deleting {name}")
        if response.status_code == 404:
            return False
        self._exchange.expect(response, {200, 202, 204}, f"to delete {name}")
        return True

    def tags(self, repository: str) -> list[str]:
        """All tags of a repository, sorted; none where it does not exist."""
        found: set[str] = set()
        url = self._exchange.url(repository, "tags", "list?n=1000")
        while url:
            response = self._exchange.ask("GET", url, Access(repository), f"listing the tags of {repository}")
            if response.status_code == 404:
                break
            self._exchange.expect(response, {200}, f"the tags of {repository}")
            try:
                found |= {str(tag) for tag in response.json().get("tags") or []}
            except (ValueError, AttributeError, TypeError) as error:
                raise RegistryError(f"{self.host} lists the tags of {repository} unreadably.", _IS_ONE) from error
            following = response.links.get("next", {}).get("url")
            url = self._wire.join(following, response.request.url) if following else ""
        return sorted(found)

    def may_push(self, repository: str) -> None:
        """Asks whether something may be pushed: an upload is begun and given up; no image and no blob comes of it.

        Raises:
            AccessDeniedError: It may not.
        """
        self._wire.retrying(f"asking to push to {repository}", lambda: self._blobs.begin_and_give_up(repository))

    def has_blob(self, repository: str, digest: str) -> bool:
        """Whether a blob is in a repository."""
        return self._wire.retrying(f"looking for a blob of {repository}", lambda: self._blobs.has(repository, digest))

    def blob(self, repository: str, digest: str) -> bytes:
        """Reads a small blob, such as an image's configuration.

        Raises:
            ImageNotFoundError: There is no such blob.
            DigestMismatchError: The content is another one.
        """
        content = bytearray()
        for piece in self._blobs.read(repository, digest):
            content += piece
            if len(content) > _SMALL:
                raise RegistryError(
                    f"The blob {digest[:19]}… of {self.host}/{repository} is over {_SMALL >> 20} MiB.",
                    "That is no configuration of an image: build and push that image again.",
                )
        return bytes(content)

    def blob_stream(self, repository: str, digest: str) -> Iterator[bytes]:
        """Reads a blob piece by piece; goes on where it was when the connection is cut.

        Nothing that came may be used before the end: only then it is known to be what the digest says.

        Raises:
            ImageNotFoundError: There is no such blob.
            DigestMismatchError: The content is another one; raised at the end.
        """
        return self._blobs.read(repository, digest)

    def put_blob(
        self, repository: str, digest: str, size: int, content: Content, *, mount_from: str = "", probe: bool = True
    ) -> Put:
        """Brings a blob into a repository, with as few bytes as possible; as a whole again when it is cut off.

        Args:
            repository: Path in this registry.
            digest: Of the content.
            size: Its bytes.
            content: The bytes, or what opens them anew for each attempt: a file, or pieces such as another
                registry's `blob_stream`.
            mount_from: Repository of this registry that has the blob already, perhaps.
            probe: Look first whether it is there; False saves a request for content that is certainly new.

        Returns:
            How it got there.

        Raises:
            DigestMismatchError: The content is not what the digest says.
        """
        looks = iter([probe])  # after a failure always: the first attempt may have come through

        def once() -> Put:
            return self._blobs.put(repository, digest, size, content, mount_from, probe=next(looks, True))

        return self._wire.retrying(f"pushing to {repository}", once)

    def upload(self, repository: str, pieces: Iterable[bytes], finish: Callable[[], str]) -> str:
        """Pushes a blob while it is being made, when neither its size nor its digest are known yet. Tried once.

        Args:
            repository: Path in this registry.
            pieces: The content.
            finish: Called after the last piece; tells the digest.

        Returns:
            The digest.

        Raises:
            RegistryUnavailableError: It was cut off; with the finished content `put_blob` can try again.
        """
        try:
            return self._blobs.upload(repository, pieces, finish)
        except PassingError as error:
            raise Patience.gives_up(self.host, f"pushing to {repository}", error) from error.__cause__

    def _manifest(self, method: str, repository: str, reference: str, doing: str) -> httpx.Response:
        url, name = self._exchange.url(repository, "manifests", reference), _name(repository, reference)
        response = self._exchange.ask(method, url, Access(repository), f"{doing} {name}", headers=_ACCEPT)
        self._exchange.expect(response, {200, 404}, f"the image {name}")
        return response


class Registries:
    """The registries that are in use, one client each, as the settings say. Safe to share by threads.

    Args:
        settings: Which hosts speak plain HTTP, whom to trust, where logins are.
        timeout: Seconds without a byte after which a request counts as failed.
        attempts: How often something is tried before it counts as failed.
    """

    def __init__(self, settings: Settings, *, timeout: float = 60.0, attempts: int = 5) -> None:
        self._settings = settings
        self._timeout, self._attempts = timeout, attempts
        self._open: dict[str, Registry] = {}
        self._lock = threading.Lock()

    def __call__(self, host: str) -> Registry:
        """The client for a host, with its open connections."""
        host = canonical_host(host)
        settings = self._settings
        with self._lock:
            if host not in self._open:
                plain = {canonical_host(name.strip()) for name in settings.registry_plain_http.split(",")}
                self._open[host] = Registry(
                    host,
                    plain_http=True if host in plain else None,
                    ca_file=settings.registry_ca_file,
                    credentials=default_credentials(settings.registry_secrets),
                    timeout=self._timeout,
                    attempts=self._attempts,
                )
            return self._open[host]

    def close(self) -> None:
        """Closes all connections."""
        with self._lock:
            for registry in self._open.values():
                registry.close()
            self._open.clear()


_IS_ONE = "Is it a registry of images? Check the name."


def _name(repository: str, reference: str) -> str:
    return f"{repository}{'@' if is_digest(reference) else ':'}{reference}"
