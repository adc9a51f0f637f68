"""Real registries on loopback (Debian's docker-registry): open, with passwords, with tokens, with TLS, and faulty.

Fixtures: `registry`, `basic_registry`, `token_registry`, `tls_registry` live as long as the session; `faulty` puts a
proxy with faults in front of any of them. Repositories outlive a test: take names that no other test takes, or
`repository`, which is new for each.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import bcrypt
import jwt
import pytest
import trustme
import yaml

from tests.conftest import requires
from tests.images.faulty import Faulty
from tests.ports import free_port


@dataclass
class Server:
    """A registry that runs.

    Attributes:
        host: Host and port, as in the name of an image.
        folder: Its configuration, log and content.
        ca_file: The authority of its certificate, if it speaks TLS.
        username, password: Its only user's, where it has passwords.
        tokens: The server of its tokens, where it has one.
    """

    host: str
    folder: Path
    ca_file: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    tokens: TokenServer | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self.ca_file else 'http'}://{self.host}"


def start(folder: Path, *, auth: dict[str, Any] | None = None, **http: Any) -> Iterator[str]:
    """Runs a registry until the generator is closed; gives its host and port once it answers."""
    program = requires("docker-registry")
    for _ in range(5):
        host = f"127.0.0.1:{free_port()}"
        config: dict[str, Any] = {
            "version": 0.1,
            "log": {"level": "warn", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(folder / "content")}, "delete": {"enabled": True}},
            "http": {"addr": host, "secret": "for tests", **http},
        }
        if auth:
            config["auth"] = auth
        (folder / "config.yml").write_text(yaml.safe_dump(config))
        environment = {name: value for name, value in os.environ.items() if not name.startswith("REGISTRY_")}
        with (folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [program, "serve", str(folder / "config.yml")], stdout=log, stderr=log, env=environment
            )
        try:
            if _answers(host, process):
                yield host
                return
        finally:
            process.terminate()
            process.wait(60)
    pytest.fail(f"docker-registry does not start: {(folder / 'log').read_text()[-2000:]}")


def _answers(host: str, process: subprocess.Popen[bytes]) -> bool:
    name, _, port = host.partition(":")
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection((name, int(port)), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return process.poll() is None
    return False


@pytest.fixture
def repository() -> str:
    """A repository that no other test uses."""
    return f"test/{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Open to everybody."""
    folder = tmp_path_factory.mktemp("registry")
    for host in start(folder):
        yield Server(host, folder)


@pytest.fixture(scope="session")
def basic_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With a user name and a password."""
    folder = tmp_path_factory.mktemp("basic-registry")
    username, password = "ada", f"p:ss-{uuid.uuid4().hex}"
    coded = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4, prefix=b"2a")).decode()
    (folder / "htpasswd").write_text(f"{username}:{coded}\n")
    for host in start(folder, auth={"htpasswd": {"realm": "here", "path": str(folder / "htpasswd")}}):
        yield Server(host, folder, username=username, password=password)


@pytest.fixture(scope="session")
def tls_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With a certificate of an authority that nobody knows."""
    folder = tmp_path_factory.mktemp("tls-registry")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    authority.issue_cert("127.0.0.1", "localhost").private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    both = {"certificate": str(folder / "server.pem"), "key": str(folder / "server.pem")}
    for host in start(folder, tls=both):
        yield Server(host, folder, ca_file=str(folder / "ca.pem"))


@pytest.fixture(scope="session")
def token_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With tokens; its `tokens` knows who may what and can be told more."""
    folder = tmp_path_factory.mktemp("token-registry")
    with TokenServer() as tokens:
        (folder / "ca.pem").write_bytes(tokens.authority.cert_pem.bytes())
        auth = {
            "token": {
                "realm": tokens.realm,
                "service": tokens.service,
                "issuer": tokens.issuer,
                "rootcertbundle": str(folder / "ca.pem"),
            }
        }
        for host in start(folder, auth=auth):
            yield Server(host, folder, username="ada", password=tokens.passwords["ada"], tokens=tokens)


@dataclass
class Request:
    """What a token server was asked."""

    method: str
    user: str
    scopes: list[str]
    granted: list[dict[str, Any]]


class TokenServer:
    """Gives signed tokens to who may have them.

    Attributes:
        passwords: User → password; ``robot`` has none and comes with an identity token.
        rights: User → repository prefix → actions; the user ``""`` is everybody.
        identities: Identity token → user.
        lasts: Seconds that a token is good for.
        requests: What was asked, in order.
        strict: Refuses whoever asks for more than it may have, instead of giving less.
    """

    service, issuer = "registry of tests", "token server of tests"

    def __init__(self) -> None:
        self.authority = trustme.CA()
        certificate = self.authority.issue_cert("tokens.test")
        self._key = certificate.private_key_pem.bytes()
        pem = certificate.cert_chain_pems[0].bytes().decode()
        self._chain = ["".join(line for line in pem.splitlines() if "-----" not in line)]
        self.passwords = {"ada": f"secret-{uuid.uuid4().hex}", "reader": f"secret-{uuid.uuid4().hex}"}
        self.identities = {f"identity-{uuid.uuid4().hex}": "robot"}
        writes = {"": {"pull", "push", "delete"}}
        self.rights: dict[str, dict[str, set[str]]] = {
            "ada": writes,
            "robot": writes,
            "reader": {"": {"pull"}},
            "": {"public/": {"pull"}},
        }
        self.lasts, self.strict = 300, False
        self.requests: list[Request] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                query = parse_qs(urlsplit(self.path).query)
                user = ""
                if self.headers.get("Authorization", "").startswith("Basic "):
                    user, _, password = base64.b64decode(self.headers["Authorization"][6:]).decode().partition(":")
                    if server.passwords.get(user) != password:
                        return self.answer(401, {"details": "wrong password"})
                return self.give("token", user, query)

            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                assert form["grant_type"] == ["refresh_token"]
                user = server.identities.get(form["refresh_token"][0])
                if user is None:
                    return self.answer(401, {"details": "unknown identity"})
                return self.give("access_token", user, form | {"scope": form["scope"][0].split()})

            def give(self, name: str, user: str, query: dict[str, list[str]]) -> None:
                assert query["service"] == [server.service]
                scopes = query.get("scope", [])
                granted = [server.grant(user, scope) for scope in scopes]
                server.requests.append(Request(self.command, user, scopes, granted))
                if server.strict and any(
                    set(scope.rpartition(":")[2].split(",")) != set(one["actions"])
                    for scope, one in zip(scopes, granted, strict=True)
                ):
                    return self.answer(403, {"details": "too much"})
                return self.answer(200, {name: server.sign(user, granted), "expires_in": server.lasts})

            def answer(self, status: int, value: dict[str, Any]) -> None:
                body = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *words: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.realm = f"http://127.0.0.1:{self._http.server_port}/token"

    def grant(self, user: str, scope: str) -> dict[str, Any]:
        kind, name, actions = scope.split(":")
        own = self.rights.get(user, {})
        may = {action for prefix, some in own.items() if name.startswith(prefix) for action in some}
        return {"type": kind, "name": name, "actions": sorted(set(actions.split(",")) & may)}

    def sign(self, user: str, granted: list[dict[str, Any]]) -> str:
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "sub": user,
            "aud": self.service,
            "exp": now + self.lasts,
            "nbf": now - 10,
            "iat": now,
            "jti": uuid.uuid4().hex,
            "access": granted,
        }
        return jwt.encode(claims, self._key, algorithm="ES256", headers={"x5c": self._chain})

    def __enter__(self) -> Self:
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def faulty() -> Iterator[Callable[..., Faulty]]:
    """Puts a proxy in front of a registry: ``proxy = faulty(registry)``, then tell the proxy what to do wrong."""
    made: list[Faulty] = []

    def make(server: Server, certificate: str = "") -> Faulty:
        made.append(Faulty(server.host, certificate))
        return made[-1]

    yield make
    for one in made:
        one.close()
