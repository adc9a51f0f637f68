"""Cloud Storage for tests: the emulator, and what it leaves out: preconditions, and an event for each object."""

from __future__ import annotations

import http.server
import io
import json
from collections.abc import Callable
from email.parser import BytesParser
from functools import partial
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from gcp_storage_emulator.exceptions import NotFound
from gcp_storage_emulator.server import RequestHandler
from gcp_storage_emulator.storage import Storage

from tests.serving import Serving

Meta = dict[str, Any]


class StorageServer(Serving):
    """Buckets on a port of this machine, one request at a time.

    Attributes:
        finalized: Called with the metadata of each new object, before the answer is given.
        asked: Called with the method and the path of each request, before it is looked at.
        calls: Method and path of each request.
    """

    def __init__(self) -> None:
        self.finalized: Callable[[Meta], None] = lambda meta: None
        self.asked: Callable[[str, str], None] = lambda method, path: None
        self.calls: list[tuple[str, str]] = []
        self.storage = Storage(use_memory_fs=True, data_dir=None, project_number=None)
        super().__init__(http.server.HTTPServer(("127.0.0.1", 0), partial(_Handler, self)))

    def meta(self, bucket: str, name: str) -> Meta:
        """What is known of an object; empty when there is none."""
        try:
            return dict(self.storage.get_file_obj(bucket, name))
        except NotFound:
            return {}

    def names(self, bucket: str, start: str = "") -> list[str]:
        found, _ = self.storage.get_file_list(bucket, start, None)
        return sorted(one["name"] for one in found)


class _Handler(RequestHandler):
    def __init__(self, owner: StorageServer, *words: Any) -> None:
        self._owner = owner
        super().__init__(owner.storage, *words)

    def do_GET(self) -> None:  # noqa: N802  (the base class\'s)
        self._guarded(super().do_GET)

    def do_POST(self) -> None:  # noqa: N802  (the base class\'s)
        self._guarded(super().do_POST)

    def do_PUT(self) -> None:  # noqa: N802  (the base class\'s)
        self._guarded(super().do_PUT)

    def do_DELETE(self) -> None:  # noqa: N802  (the base class\'s)
        self._guarded(super().do_DELETE)

    def _guarded(self, carry_out: Callable[[], None]) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.rfile = io.BytesIO(body)
        path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        self._owner.calls.append((self.command, path))
        self._owner.asked(self.command, path)
        bucket, name = self._object(path, query, body)
        before = self._owner.meta(bucket, name) if name else {}
        wanted = query.get("ifGenerationMatch")
        if wanted and wanted[0] != str(before.get("generation", 0)):
            self._refuse(412, "conditionNotMet")
            return
        answer, self.wfile = self.wfile, io.BytesIO()
        try:
            carry_out()
            after = self._owner.meta(bucket, name) if name and self.command in {"POST", "PUT"} else {}
            if after and after["generation"] != before.get("generation"):
                self._owner.finalized(after)
        finally:
            answer.write(self.wfile.getvalue())  # only now, so that whoever wrote an object knows that it was told of
            self.wfile = answer

    def _refuse(self, code: int, reason: str) -> None:
        content = json.dumps({"error": {"code": code, "message": reason, "errors": [{"reason": reason}]}}).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _object(self, path: str, query: dict[str, list[str]], body: bytes) -> tuple[str, str]:
        """The object that a request is about."""
        parts = path.split("/")
        if "b" not in parts:
            return (parts[1], unquote("/".join(parts[2:]))) if self.command == "PUT" else ("", "")
        at = parts.index("b")
        bucket = parts[at + 1] if len(parts) > at + 1 else ""
        if len(parts) > at + 3:
            return bucket, unquote("/".join(parts[at + 3 :]))
        if "name" in query:
            return bucket, query["name"][0]
        kind = self.headers.get("Content-Type") or ""
        if not kind.startswith("multipart/related"):
            return bucket, ""
        found = BytesParser().parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + body).get_payload()
        return bucket, json.loads(found[0].get_payload())["name"]
