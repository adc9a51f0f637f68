"""What runs wrote, through the server that runs them; nothing else is asked but what a run names.

There are three ways, by what the artifact's URI says: the file route of the server's pages (``minio``, ``s3``, ``gs``),
Google's own for ``gs`` where the pages do not have it, and the API's ``:read`` for what lies on the server's own disk.
"""

from __future__ import annotations

import base64
import binascii
import io
import os
import re
from typing import TYPE_CHECKING, BinaryIO, cast

import urllib3

from kfp_magics.backends.base import Content
from kfp_magics.backends.buckets import Buckets, checked
from kfp_magics.errors import BackendError, LoginError, NotFoundError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kfp_magics.backends.kfp.service import Service
    from kfp_magics.model import Artifact, Run, Task

_SOURCES = {"minio": "minio", "s3": "s3", "gs": "gcs"}  # scheme → what the pages' route calls it
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PIECE = 1 << 18  # bytes that are asked for at once
_BEGIN = re.compile(rb'\s*\{\s*"data"\s*:\s*"')
_LONGEST_BEGIN = 64


class Files:
    """The artifacts of runs of one server.

    Args:
        service: The server.
        timeout: Seconds that one answer may take.
    """

    def __init__(self, service: Service, timeout: float) -> None:
        self._service = service
        self._timeout = timeout

    def content(self, run_id: str, nodes: Callable[[], Sequence[str]], artifact: Artifact) -> Content:
        """Says what an artifact holds: its size, where it can be told without reading it; see `open`."""
        if artifact.uri.startswith("gs://"):
            try:
                return self._buckets().content(artifact.uri)
            except (LoginError, UnavailableError):  # not with the login of this machine; the server's may do
                pass
        self.open(run_id, nodes, artifact).close()
        return Content()

    def open(
        self, run_id: str, nodes: Callable[[], Sequence[str]], artifact: Artifact, inside: str = "", *, start: int = 0
    ) -> BinaryIO:
        """Opens an artifact.

        Args:
            run_id: The run.
            nodes: Finds the names that the pod of the step that made it may have.
            artifact: The artifact.
            inside: A file in an artifact that is a folder.
            start: The first byte that is wanted.
        """
        scheme, _, place = artifact.uri.partition("://")
        if not place:
            found = self._through_the_api(run_id, nodes(), artifact, inside)
        elif scheme not in _SOURCES:
            raise BackendError(
                f"{artifact.name!r} is at {artifact.uri}, which {self._service.short_host} does not hand out.",
                "Open it there.",
            )
        else:
            try:
                found = self._through_the_pages(scheme, place, artifact, inside)
            except (BackendError, NotFoundError) as error:
                if scheme != "gs":
                    raise _refused(artifact, error) from error
                return self._buckets().open(artifact.uri, inside, start=start)
        if start:
            _skip(found, start)
        return found

    def _buckets(self) -> Buckets:
        from google.auth.credentials import AnonymousCredentials  # noqa: PLC0415  (only for these artifacts)
        from google.cloud import storage  # noqa: PLC0415  (as above)

        from kfp_magics.google import Words  # noqa: PLC0415  (as above)

        words = Words(
            service="Cloud Storage",
            rights="Ask for roles/storage.objectViewer on the bucket.",
            quota="Try again later.",
            mend="Look at the run's page.",
            again="Try again later.",
            refused=LoginError,
            missing=NotFoundError,
            wrong=BackendError,
            silent=UnavailableError,
        )
        on_emulator = "STORAGE_EMULATOR_HOST" in os.environ
        login = AnonymousCredentials() if on_emulator else words.credentials()[0]
        return Buckets(client=storage.Client(project="-", credentials=login), words=words, timeout=self._timeout)

    def _through_the_pages(self, scheme: str, place: str, artifact: Artifact, inside: str) -> BinaryIO:
        bucket, _, key = place.partition("/")
        if inside:
            key = f"{key.rstrip('/')}/{checked(inside)}"
        # A path that climbs would be another one of the server's addresses, asked with the user's login.
        if not _BUCKET.fullmatch(bucket) or any(part in {"", ".", ".."} for part in key.split("/")):
            raise BackendError(f"{artifact.uri} is no place in a bucket.", "Look at the run's page.")
        is_page = artifact.type == "system.HTML" or key.endswith((".html", ".htm"))
        answer = self._service.open_file(_SOURCES[scheme], bucket, key, may_be_a_page=is_page)
        return cast("BinaryIO", io.BufferedReader(_Answer(answer, self._service.short_host), _PIECE))

    def _through_the_api(self, run_id: str, nodes: Sequence[str], artifact: Artifact, inside: str) -> BinaryIO:
        if inside:
            raise NotFoundError(f"{artifact.name!r} comes as one archive.", "Download it.")
        for node in nodes:
            try:
                answer = self._service.open_artifact(run_id, node, artifact.name)
            except NotFoundError:
                continue
            return cast("BinaryIO", io.BufferedReader(_Encoded(answer, self._service.short_host), _PIECE))
        raise NotFoundError(
            f"{self._service.host} does not give the content of {artifact.name!r} away.",
            f"Its page has it: {self._service.page_url(run_id)}",
        )


def maker_of(run: Run, task: Task, artifact: Artifact) -> tuple[Task, Artifact]:
    """The task that wrote what another one reads, and what it calls it; the task itself when nobody else did."""
    if artifact.io == "output" or not artifact.uri:
        return task, artifact
    made = ((one, output) for one in run.tasks for output in one.artifacts if output.io == "output")
    return next(((one, output) for one, output in made if output.uri == artifact.uri), (task, artifact))


def _refused(artifact: Artifact, error: BackendError | NotFoundError) -> BackendError:
    if isinstance(error, LoginError | UnavailableError):
        return error
    return BackendError(
        f"{artifact.uri} cannot be had through the server: {error.message}",
        "Its pages hand out files: connect to ml-pipeline-ui. Or read it with your own login to that storage.",
    )


def _skip(file: BinaryIO, count: int) -> None:
    while count > 0 and (piece := file.read(min(count, _PIECE))):
        count -= len(piece)


class _Answer(io.RawIOBase):
    """An answer of the server as a file."""

    def __init__(self, answer: urllib3.BaseHTTPResponse, host: str) -> None:
        super().__init__()
        self._answer = answer
        self._host = host

    def readable(self) -> bool:
        return True

    def _more(self, count: int) -> bytes:
        try:
            return self._answer.read(count)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise UnavailableError(f"{self._host} cut the connection in the middle of a file.") from error

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # the base class names a protocol
        piece = self._more(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        self._answer.close()
        super().close()


class _Encoded(_Answer):
    """The content that the API writes into JSON, in base64."""

    def __init__(self, answer: urllib3.BaseHTTPResponse, host: str) -> None:
        super().__init__(answer, host)
        begin = self._more(_LONGEST_BEGIN)
        match = _BEGIN.match(begin)
        if match is None:
            answer.close()
            if begin.strip() in {b"{}", b""}:
                self._rest, self._over, self._ready = b"", True, b""
                return
            raise self._unread()
        self._rest, self._over, self._ready = begin[match.end() :], False, b""

    def _unread(self) -> BackendError:
        return BackendError(f"The answer of {self._host} about an artifact does not read.")

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # as above
        while not self._ready and not self._over:
            self._decode()
        piece, self._ready = self._ready[: len(buffer)], self._ready[len(buffer) :]
        buffer[: len(piece)] = piece
        return len(piece)

    def _decode(self) -> None:
        text, quote, _ = self._rest.partition(b'"')
        if not quote:
            more = self._more(_PIECE)
            if not more:
                raise UnavailableError(f"{self._host} cut the connection in the middle of a file.")
            text, quote, _ = (self._rest + more).partition(b'"')
        whole = len(text) if quote else len(text) // 4 * 4
        try:
            self._ready = base64.b64decode(text[:whole], validate=True)
        except (binascii.Error, ValueError) as error:
            raise self._unread() from error
        self._rest, self._over = text[whole:], bool(quote)
