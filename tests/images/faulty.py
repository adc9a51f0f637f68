"""A proxy in front of a registry that does wrong what it is told to, and writes down what passed."""

from __future__ import annotations

import http.client
import re
import ssl
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Fault:
    """What goes wrong with some requests.

    Attributes:
        match: Regular expression, searched in ``METHOD /path?query``.
        times: How many of them it hits; after that they pass.
        status: Answered instead of the registry's answer; the registry is not asked.
        headers: Of that answer, or added to the registry's.
        body: Of that answer.
        delay: Seconds between the request and the answer.
        cut: Bytes of the request's body (or, without one, of the answer's) after which the connection ends.
        tamper: Flips a bit in the middle of the answer's body.
        drop: Headers of the registry's answer that get lost.
        forget: Headers of the request that get lost.
        elsewhere: Host that takes the proxy's place in ``Location``.
    """

    match: str
    times: int = 1
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    delay: float = 0.0
    cut: int | None = None
    tamper: bool = False
    drop: tuple[str, ...] = ()
    forget: tuple[str, ...] = ()
    elsewhere: str = ""


@dataclass
class Passed:
    """A request that came (names of headers in small letters), and what was answered (0: the connection was cut)."""

    method: str
    path: str
    headers: dict[str, str]
    size: int
    status: int = 0

    @property
    def line(self) -> str:
        return f"{self.method} {self.path}"


class Faulty:
    """The proxy. `host` is what to call instead of the registry.

    Args:
        upstream: The registry, open to plain HTTP.
        certificate: File of a key and a certificate; with it the proxy speaks TLS.

    Attributes:
        faults: What is still to go wrong.
        latency: Seconds that every request takes longer.
        passed: What came, in order.
    """

    def __init__(self, upstream: str, certificate: str = "") -> None:
        self.upstream = upstream
        self.faults: list[Fault] = []
        self.latency = 0.0
        self.passed: list[Passed] = []
        self._lock = threading.Lock()
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        self._http.daemon_threads = True
        self._http.block_on_close = False
        self.host = f"127.0.0.1:{self._http.server_port}"
        self.url = f"{'https' if certificate else 'http'}://{self.host}"
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def fail(self, match: str, times: int = 1, **what: object) -> None:
        """Adds a fault, as `Fault` describes it."""
        self.faults.append(Fault(match, times, **what))  # type: ignore[arg-type]

    def lines(self, match: str = "") -> list[str]:
        """The requests that came, as ``METHOD /path?query``."""
        return [one.line for one in self.passed if re.search(match, one.line)]

    def take(self, line: str) -> Fault | None:
        with self._lock:
            for fault in self.faults:
                if fault.times > 0 and re.search(fault.match, line):
                    fault.times -= 1
                    return fault
        return None

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


class _Handler(BaseHTTPRequestHandler):
    owner: Faulty
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle_any(self) -> None:
        line = f"{self.command} {self.path}"
        fault = self.owner.take(line) or Fault("")
        time.sleep(self.owner.latency)
        has_body = self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers
        limit = fault.cut if has_body else None
        body = self._body(limit)
        headers = {name.lower(): value for name, value in self.headers.items()}
        passed = Passed(self.command, self.path, headers, len(body))
        self.owner.passed.append(passed)
        time.sleep(fault.delay)
        if limit is not None:
            self.close_connection = True
            return
        if fault.status:
            passed.status = fault.status
            self._answer(fault.status, {"Content-Length": str(len(fault.body)), **fault.headers}, fault.body, None)
            return
        status, headers, answer = self._ask(body, {*_HOP, *fault.forget})
        passed.status = status
        if fault.tamper:
            middle = len(answer) // 2
            answer = answer[:middle] + bytes([answer[middle] ^ 1]) + answer[middle + 1 :]
        headers = {name: value for name, value in headers.items() if name.lower() not in fault.drop} | fault.headers
        if fault.elsewhere:
            headers["Location"] = headers["Location"].replace(self.owner.host, fault.elsewhere)
        self._answer(status, headers, answer, fault.cut)

    # http.server asks for these names.
    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815

    def _body(self, limit: int | None) -> bytes:
        if "Transfer-Encoding" not in self.headers:
            size = int(self.headers.get("Content-Length", 0))
            return self.rfile.read(size if limit is None else min(limit, size))
        pieces = b""
        while (size := int(self.rfile.readline(), 16)) and (limit is None or len(pieces) < limit):
            pieces += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return pieces

    def _ask(self, body: bytes, lost: set[str]) -> tuple[int, dict[str, str], bytes]:
        upstream = http.client.HTTPConnection(self.owner.upstream, timeout=60)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in lost}
            if body or self.command in {"POST", "PUT", "PATCH"}:
                headers["Content-Length"] = str(len(body))
            upstream.request(self.command, self.path, body or None, headers)
            response = upstream.getresponse()
            answer = response.read()
            found = {name: value for name, value in response.getheaders() if name.lower() not in _HOP}
            if self.command != "HEAD":
                found["Content-Length"] = str(len(answer))
            return response.status, found, answer
        finally:
            upstream.close()

    def _answer(self, status: int, headers: dict[str, str], body: bytes, cut: int | None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if cut is not None:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body if cut is None else body[:cut])
        self.close_connection = self.close_connection or cut is not None

    def log_message(self, *words: object) -> None:
        pass


_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}
