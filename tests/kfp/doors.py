"""What stands before a server: oauth2-proxy with Dex behind it, and a proxy of a company."""

from __future__ import annotations

import base64
import contextlib
import socket
import threading
import urllib.parse
import uuid
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

SIGN_IN = b"""<!DOCTYPE html><html><head><title>Sign In</title></head><body>
<form method="GET" action="/oauth2/start"><input type="hidden" name="rd" value="/"><button>Sign in</button></form>
<script>if (window.location.hash) { /* /oauth2/sign_in */ }</script></body></html>"""
CHOICES = b"""<html><head><title>dex</title></head><body><h2>Log in to dex</h2>
<a href="/dex/auth/google?client_id=proxy&amp;state=n" target="_self">Google</a>
<a href="/dex/auth/%s?client_id=proxy&amp;state=n" target="_self">Email</a></body></html>"""
FORM = b"""<html><head><title>dex</title></head><body><form method="post" action="/dex/auth/%s/login?back=&amp;state=r">
<input type="text" name="login"/><input type="password" name="password"/></form></body></html>"""
APPROVAL = b"""<html><head><title>dex</title></head><body><h2>Grant Access</h2><form method="post">
<input type="hidden" name="req" value="r"/><input type="hidden" name="approval" value="approve"></form></body></html>"""


@dataclass
class Oidc:
    """oauth2-proxy and Dex, as they send a browser back and forth.

    Attributes:
        way: The way to log in that takes a password.
        sends_on: Where the form's answer sends the whole form again (307), when it does.
        sessions: Cookies that are let in.
        codes: What Dex gave, and the proxy has not yet exchanged.
    """

    way: str = "local"
    sends_on: str = ""
    sessions: set[str] = field(default_factory=set)
    codes: set[str] = field(default_factory=set)

    def answer(self, http: BaseHTTPRequestHandler, path: str, body: bytes, known: dict[str, str]):
        """What is answered in the server's place; None lets the request through to it."""
        cookies = dict(one.partition("=")[::2] for one in (http.headers.get("Cookie") or "").split("; "))
        if cookies.get("_oauth2_proxy_0", "") + cookies.get("_oauth2_proxy_1", "") in self.sessions:
            return None
        asked = dict(urllib.parse.parse_qsl(http.path.partition("?")[2]))
        way = self.way
        match (http.command, path):
            case ("GET", "/oauth2/start"):
                there = "/dex/auth?client_id=proxy&response_type=code&state=n"
                return self._on(302, there, {"Set-Cookie": "_oauth2_proxy_csrf=c; Path=/; HttpOnly"})
            case ("GET", "/dex/auth"):
                return 200, CHOICES % way.encode(), "text/html", {}
            case ("GET", one) if one == f"/dex/auth/{way}":
                return self._on(302, f"/dex/auth/{way}/login?back=&state=r")
            case ("GET", one) if one == f"/dex/auth/{way}/login":
                return 200, FORM % way.encode(), "text/html", {}
            case ("POST", one) if one == f"/dex/auth/{way}/login":
                form = dict(urllib.parse.parse_qsl(body.decode()))
                if self.sends_on:
                    return self._on(307, self.sends_on)
                if known.get(form["login"]) != form["password"]:
                    return 200, FORM % way.encode() + b"Invalid Email Address and Password", "text/html", {}
                return self._on(303, "/dex/approval?req=r&hmac=h")
            case ("GET", "/dex/approval"):
                return 200, APPROVAL, "text/html", {}
            case ("POST", "/dex/approval"):
                form = dict(urllib.parse.parse_qsl(body.decode()))
                assert (form, asked) == ({"approval": "approve", "req": "r"}, {"req": "r", "hmac": "h"})
                self.codes.add(code := uuid.uuid4().hex)
                return self._on(303, f"/oauth2/callback?code={code}&state=n")
            case ("GET", "/oauth2/callback") if (
                cookies.get("_oauth2_proxy_csrf") == "c" and asked["code"] in self.codes
            ):
                self.codes.discard(asked["code"])
                self.sessions.add(session := uuid.uuid4().hex)
                halves = enumerate((session[:16], session[16:]))  # a cookie that is too long for one
                kept = [("Set-Cookie", f"_oauth2_proxy_{number}={one}; Path=/; HttpOnly") for number, one in halves]
                return 302, b"", "text/html", [("Location", "/"), *kept]
        if "json" in (http.headers.get("Accept") or ""):
            return 401, b"Unauthorized\n", "text/plain", {}
        return 403, SIGN_IN, "text/html", {}

    @staticmethod
    def _on(status: int, there: str, headers: dict[str, str] | None = None):
        return status, b"", "text/html", {"Location": there, **(headers or {})}


class Proxy:
    """A company's proxy, with a login: it alone knows where other hosts are, and all of them are one server.

    Args:
        port: Of that server.
        login: ``name:password`` that it wants.

    Attributes:
        asked: The first line of each request, and whether it was let through.
    """

    def __init__(self, port: int, login: str) -> None:
        self.asked: list[tuple[str, bool]] = []
        self._port = port
        self._login = f"Basic {base64.b64encode(login.encode()).decode()}"
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"localhost:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._listen, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                threading.Thread(target=self._serve, args=(self._listener.accept()[0],), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                piece = client.recv(65536)
                if not piece:
                    return
                head += piece
            first, *lines = head.decode("latin-1").split("\r\n")
            told = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            allowed = told.get("proxy-authorization") == self._login
            self.asked.append((first, allowed))
            if not allowed:
                client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
                return
            with socket.create_connection(("127.0.0.1", self._port)) as server:
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                back = threading.Thread(target=self._pump, args=(server, client), daemon=True)
                back.start()
                self._pump(client, server)
                back.join()

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                sink.sendall(piece)
            sink.shutdown(socket.SHUT_WR)
