"""Blobs of one registry: read and verified, pushed, mounted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, BinaryIO, Literal, TypeAlias, cast
from urllib.parse import urlencode

import httpx

from kfp_magics.errors import AccessDeniedError, DigestMismatchError, RegistryError
from kfp_magics.images.auth import Access
from kfp_magics.images.references import Verifier
from kfp_magics.images.wire import PassingError, Patience

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kfp_magics.images.exchange import Exchange

Content: TypeAlias = bytes | Callable[[], BinaryIO | Iterator[bytes]]
"""The bytes themselves, or what opens them anew for each attempt: as a file, or piece by piece."""
Put: TypeAlias = Literal["present", "mounted", "uploaded"]
PULL, PUSH = frozenset({"pull"}), frozenset({"pull", "push"})
_PIECE = 1 << 20
_SLOWEST = 4 << 20  # bytes a second that a registry takes to store and check what it was sent
_EMPTY = {"Content-Length": "0"}
_OCTETS = {"Content-Type": "application/octet-stream"}


class Blobs:
    """The blobs of one registry.

    Args:
        exchange: Asks it.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._unmountable: set[tuple[str, str]] = set()
        self._shaky: set[tuple[str, str]] = set()

    def has(self, repository: str, digest: str, actions: frozenset[str] = PULL) -> bool:
        """Whether a blob is there. Tried once."""
        url = self._exchange.url(repository, "blobs", digest)
        response = self._exchange.once("HEAD", url, Access(repository, actions))
        if response.status_code != 404:
            self._exchange.expect(response, {200}, f"the repository {repository}")
        return response.status_code == 200

    def read(self, repository: str, digest: str) -> Iterator[bytes]:
        """Reads a blob piece by piece; goes on where it was when the connection is cut.

        Raises:
            ImageNotFoundError: There is no such blob.
            DigestMismatchError: The content is another one; raised at the end.
        """
        wire = self._exchange.wire
        check = Verifier(digest, f"a blob of {wire.host}/{repository}")
        patience = Patience(wire, f"reading a blob of {repository}")
        while True:
            try:
                with closing(self._open(repository, digest, check.size)) as response:
                    skip = check.size if response.status_code == 200 else 0
                    for piece in response.iter_raw(_PIECE):
                        fresh, skip = piece[skip:], max(0, skip - len(piece))
                        if fresh:
                            check.update(fresh)
                            patience.succeeded()
                            yield fresh
                break
            except PassingError as error:
                patience.failed(error)
            except httpx.RequestError as error:
                failure = wire.failure(error)
                if not isinstance(failure, PassingError):
                    raise failure from error
                patience.failed(failure)
        check.check()

    def put(self, repository: str, digest: str, size: int, content: Content, mount_from: str, *, probe: bool) -> Put:
        """Brings a blob into a repository. Tried once.

        Args:
            repository: Path in this registry.
            digest: Of the content.
            size: Its bytes.
            content: What to send.
            mount_from: Repository of this registry that has the blob already, perhaps.
            probe: Look first whether it is there.

        Returns:
            How it got there.
        """
        if probe and self.has(repository, digest, PUSH):
            return "present"
        session = self._mount(repository, digest, mount_from) if mount_from else self._session(repository)
        if not session:
            return "mounted"
        headers = {**_OCTETS, "Content-Length": str(size)}
        self._finish(repository, session, digest, headers, lambda: _body(content, size))
        return "uploaded"

    def upload(self, repository: str, pieces: Iterable[bytes], finish: Callable[[], str]) -> str:
        """Pushes a blob while it is being made. Tried once.

        Args:
            repository: Path in this registry.
            pieces: The content.
            finish: Called after the last piece; tells the digest.

        Returns:
            The digest.
        """
        session = self._session(repository)
        response = self._exchange.once(
            "PATCH", session, Access(repository, PUSH), headers=_OCTETS, body=lambda: pieces, replay=False
        )
        self._exchange.expect(response, {202, 204}, f"a blob for {repository}")
        digest = finish()
        self._finish(repository, self._exchange.location(response), digest, _EMPTY, None)
        return digest

    def _open(self, repository: str, digest: str, start: int) -> httpx.Response:
        url = self._exchange.url(repository, "blobs", digest)
        headers = {"Range": f"bytes={start}-"} if start else {}
        response = self._exchange.once("GET", url, Access(repository), headers=headers, stream=True)
        self._exchange.expect(response, {200, 206}, f"the blob {digest[:19]}… in {repository}")
        return response

    def begin_and_give_up(self, repository: str) -> None:
        """Begins an upload, which takes the right to push, and ends it without a byte."""
        session = self._session(repository)
        self._exchange.once(
            "DELETE", session, Access(repository, PUSH)
        )  # where that is not known, it runs out by itself

    def _session(self, repository: str) -> str:
        url = self._exchange.url(repository, "blobs", "uploads/")
        response = self._exchange.once("POST", url, Access(repository, PUSH), headers=_EMPTY)
        self._exchange.expect(response, {202}, f"the repository {repository}")
        return self._exchange.location(response)

    def _mount(self, repository: str, digest: str, source: str) -> str:
        """Mounts a blob, or opens an upload where that is not possible; empty when it is mounted."""
        pair = (repository, source)
        if pair in self._unmountable:
            return self._session(repository)
        query = urlencode({"mount": digest, "from": source})
        url = f"{self._exchange.url(repository, 'blobs', 'uploads/')}?{query}"
        try:
            response = self._exchange.once("POST", url, Access(repository, PUSH, frozenset({source})), headers=_EMPTY)
        except AccessDeniedError:
            # Nothing may be read there, or the token server is strict: what follows says what is really missing.
            self._unmountable.add(pair)
            return self._session(repository)
        except PassingError:
            # Some fail at nothing but mounting: after the second time the blob travels.
            if pair not in self._shaky:
                self._shaky.add(pair)
                raise
            self._unmountable.add(pair)
            return self._session(repository)
        if response.status_code == 201:
            return ""
        if response.status_code == 202:
            return self._exchange.location(response)
        self._unmountable.add(pair)
        return self._session(repository)

    def _finish(
        self,
        repository: str,
        session: str,
        digest: str,
        headers: dict[str, str],
        body: Callable[[], bytes | Iterable[bytes]] | None,
    ) -> None:
        url = f"{session}{'&' if '?' in session else '?'}{urlencode({'digest': digest})}"
        patience = int(headers["Content-Length"]) / _SLOWEST
        response = self._exchange.once(
            "PUT", url, Access(repository, PUSH), headers=headers, body=body, patience=patience
        )
        self._exchange.expect(response, {200, 201, 202, 204}, f"a blob for {repository}")
        if response.status_code == 202:
            raise RegistryError(f"{self._exchange.host} did not finish an upload.", "Ask its owner.")


def _body(content: Content, size: int) -> bytes | Iterator[bytes]:
    return content if isinstance(content, bytes) else _of_size(_pieces(content), size)


def _of_size(pieces: Iterator[bytes], size: int) -> Iterator[bytes]:
    for piece in pieces:
        size -= len(piece)
        if size >= 0:
            yield piece
    if size:
        raise DigestMismatchError(
            "What is being pushed changed its length meanwhile.", "Nothing was published: build again."
        )


def _pieces(opener: Callable[[], BinaryIO | Iterator[bytes]]) -> Iterator[bytes]:
    opened = opener()
    if not hasattr(opened, "read"):
        yield from opened
        return
    with cast("BinaryIO", opened) as file:
        while piece := file.read(_PIECE):
            yield piece
