"""Where logins come from, and what registries with passwords and tokens make of them."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import trustme

from kfp_magics.errors import AccessDeniedError, RegistryError, RegistryUnavailableError
from kfp_magics.images.auth import Access, Authenticator, parse_challenges
from kfp_magics.images.credentials import ConfigFile, Login, Password, default_credentials
from kfp_magics.images.google import GoogleDefault, is_google
from kfp_magics.images.references import digest_of
from kfp_magics.images.wire import Wire
from tests.images.faulty import Faulty
from tests.images.pushing import LAYER, login, open_registry, push_image
from tests.images.registries import Server, TokenServer


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user who has no logins at all; the path is home, and ``bin`` there is on the PATH."""
    home = tmp_path / "somebody"
    (home / "bin").mkdir(parents=True)
    for name in ("REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "DOCKER_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PATH", f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return home


@pytest.fixture
def tokens(token_registry: Server) -> TokenServer:
    """The token server, with nothing asked yet; what a test changes is put back."""
    assert token_registry.tokens is not None
    token_registry.tokens.requests.clear()
    return token_registry.tokens


def write(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def helper(home: Path, name: str, answers: dict[str, tuple[str, str]], failure: str = "credentials not found") -> None:
    """A credential helper that knows some servers, and counts how often it is asked."""
    cases = "".join(
        f"{server}) echo '{json.dumps({'ServerURL': server, 'Username': user, 'Secret': secret})}';;\n"
        for server, (user, secret) in answers.items()
    )
    text = f'#!/bin/sh\n[ "$1" = get ] || exit 2\nread -r server\necho "$server" >> {home}/asked\n'
    text += f'case "$server" in\n{cases}*) echo "{failure}"; exit 1;;\nesac\n'
    program = write(home / "bin" / f"docker-credential-{name}", text)
    program.chmod(0o755)


def coded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


ADA = ("ada", "p:w")
OWN, FOREIGN = {"auth": coded("ada:p:w")}, {"auth": coded("no:no")}
FORMS: list[tuple[str, dict[str, Any], tuple[str, str]]] = [
    ("reg.test", {"auths": {"reg.test": OWN}}, ADA),
    ("reg.test", {"auths": {"https://reg.test": OWN}}, ADA),
    ("reg.test", {"auths": {"https://reg.test/v2/": {"username": "ada", "password": "p:w"}}}, ADA),
    ("reg.test:5000", {"auths": {"reg.test": FOREIGN, "reg.test:5000": OWN}}, ADA),
    ("docker.io", {"auths": {"https://index.docker.io/v1/": OWN}}, ADA),
    ("docker.io", {"auths": {"docker.io": OWN}}, ADA),
    ("reg.test", {"auths": {"reg.test": FOREIGN, "reg.test/team/a": OWN}}, ADA),
    ("reg.test", {"auths": {"reg.test/team": OWN, "reg.test/tea": FOREIGN}}, ADA),
    ("other.test", {"auths": {"reg.test": OWN}}, ("", "")),
    ("reg.test", {"credHelpers": {"reg.test": "known"}, "auths": {"reg.test": FOREIGN}}, ("helped", "h1")),
    ("reg.test", {"credsStore": "known", "auths": {"reg.test": {}}}, ("helped", "h1")),
    ("docker.io", {"credsStore": "known"}, ("hub", "h2")),
    ("other.test", {"credsStore": "known"}, ("", "")),
]


@pytest.mark.parametrize(("host", "content", "wanted"), FORMS)
def test_files_of_docker_and_podman(machine: Path, host: str, content: dict[str, Any], wanted: tuple[str, str]) -> None:
    helper(machine, "known", {"reg.test": ("helped", "h1"), "https://index.docker.io/v1/": ("hub", "h2")})
    found = ConfigFile(write(machine / ".docker/config.json", content)).login(host, "team/a")
    assert (found.username, found.secret, found.trouble) == (*wanted, "")
    assert found.source == {"h1": "docker-credential-known", "h2": "docker-credential-known", "": ""}.get(
        found.secret, "~/.docker/config.json"
    )


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "config.json cannot be read"),
        ("[1]", "holds no logins"),
        ({"auths": {"reg.test": {"auth": "%%"}}}, "docker login writes it anew"),
        ({"credsStore": "nowhere"}, "docker-credential-nowhere, named in ~/.docker/config.json, is not on the PATH"),
        ({"credsStore": "../bin/evil"}, "is not on the PATH"),
        ({"credsStore": "broken"}, "docker-credential-broken failed: echo reg.test | docker-credential-broken get"),
        ({"credsStore": "babbling"}, "answered something that is no login"),
    ],
)
def test_what_could_not_be_asked_is_said_when_it_matters(machine: Path, content: object, says: str) -> None:
    helper(machine, "broken", {}, "hush: the keyring is locked")
    write(machine / "bin/docker-credential-babbling", "#!/bin/sh\necho hush\n").chmod(0o755)
    write(machine / ".docker/config.json", content)
    found = default_credentials().login("reg.test", "team/a")
    assert found.is_anonymous
    assert says in found.trouble
    assert "hush" not in found.trouble


def test_the_most_special_place_counts(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def entry(name: str) -> dict[str, Any]:
        return {"auths": {"reg.test": {"username": name, "password": "x"}}}

    def who(secrets: str = "") -> str:
        return default_credentials(secrets).login("reg.test").username

    assert who() == ""
    write(machine / ".docker/config.json", entry("docker"))
    assert who() == "docker"
    monkeypatch.setenv("DOCKER_CONFIG", str(write(machine / "mounted/.dockerconfigjson", entry("mounted")).parent))
    assert who() == "mounted"
    write(machine / ".config/containers/auth.json", entry("podman"))
    assert who() == "podman"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(machine / "run"))
    write(machine / "run/containers/auth.json", entry("runtime"))
    assert who() == "runtime"
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(write(machine / "named.json", entry("named"))))
    assert who() == "named"
    old = write(machine / "secrets/one/.dockercfg", entry("secret")["auths"])
    assert who(str(old)) == who(str(old.parent)) == who(str(old.parents[1])) == "secret"


def test_a_login_is_for_its_own_registry_only() -> None:
    own = Password("reg.test", "ada", "pw")
    assert own.login("REG.test", "a").secret == "pw"
    assert own.login("reg.test.evil.test", "a").is_anonymous
    assert own.login("reg.test:5000", "a").is_anonymous


def test_a_login_made_meanwhile_is_seen_at_once(machine: Path, basic_registry: Server, repository: str) -> None:
    with open_registry(basic_registry, credentials=default_credentials()) as client:
        with pytest.raises(AccessDeniedError, match="does not let anonymous users push to"):
            push_image(client, repository, "v1")
        wrong, right = coded("ada:wrong"), coded(f"{basic_registry.username}:{basic_registry.password}")
        path = write(machine / ".docker/config.json", {"auths": {basic_registry.host: {"auth": wrong}}})
        with pytest.raises(AccessDeniedError, match=r"does not let the login from ~/.docker/config.json push to"):
            push_image(client, repository, "v1")
        write(path, {"auths": {basic_registry.host: {"auth": right}}})
        assert push_image(client, repository, "v1") == client.has_manifest(repository, "v1")


def test_tokens_are_few_and_say_what_they_are_for(token_registry: Server, tokens: TokenServer, repository: str) -> None:
    with open_registry(token_registry, credentials=login(token_registry)) as client:
        push_image(client, repository, "v1")
        copy = f"{repository}/copy"
        assert client.put_blob(copy, digest_of(LAYER), len(LAYER), LAYER, mount_from=repository) == "mounted"
        blobs = [bytes([number]) * 99 for number in range(16)]
        with ThreadPoolExecutor(8) as pool:
            done = pool.map(
                lambda one: client.put_blob(copy, digest_of(one), len(one), one, mount_from=repository), blobs
            )
            assert set(done) == {"uploaded"}
        digest = client.has_manifest(repository, "v1")
        assert digest is not None
        assert client.delete_manifest(repository, digest)
    both = [f"repository:{copy}:pull,push", f"repository:{repository}:pull"]
    assert [one.scopes for one in tokens.requests] == [
        [f"repository:{repository}:pull,push"],
        [f"repository:{copy}:pull,push"],
        both,
        [f"repository:{repository}:delete,pull,push"],
    ]


def test_tokens_are_kept_while_they_last(
    token_registry: Server, tokens: TokenServer, repository: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    wire = Wire(token_registry.host)
    auth = Authenticator(wire, login(token_registry), lambda: now)
    reading, writing = Access(repository), Access(repository, frozenset({"pull", "push"}))
    assert auth.header(reading) == ""
    assert auth.challenged(wire.send("HEAD", f"{wire.base}/v2/"), "")
    first = auth.header(reading)
    assert first.startswith("Bearer ")
    assert auth.header(reading) == first
    wide = auth.header(writing)
    assert auth.header(reading) in {first, wide}
    now += tokens.lasts - 5
    again = auth.header(reading)
    assert again not in {first, wide}
    assert auth.header(writing) == again, "what was needed before is asked for at once"
    assert len(tokens.requests) == 3
    now += tokens.lasts
    monkeypatch.setattr(tokens, "strict", True)
    monkeypatch.setitem(tokens.rights, "ada", {"": {"pull"}})
    assert auth.header(reading), "and is not insisted on"
    with pytest.raises(AccessDeniedError, match="does not let the login from the arguments push to"):
        auth.header(writing)
    wire.close()


def test_a_token_server_that_gives_none(registry: Server, repository: str, faulty: Callable[..., Faulty]) -> None:
    proxy = faulty(registry)
    proxy.fail("GET /v2/", 9, status=401, headers={"WWW-Authenticate": f'Bearer realm="{proxy.url}/token?x=1"'})
    with open_registry(proxy) as client:
        for answer in (b"{}", b"[]", b"<html>", b'{"token": "a", "expires_in": "soon"}'):
            proxy.fail("GET /token", status=200, body=answer)
            with pytest.raises(RegistryError, match="answered 200 without a token"):
                client.manifest(repository, "v1")
        proxy.fail("GET /token", 5, status=503)
        with pytest.raises(RegistryUnavailableError, match="answered 503 Service Unavailable, 5 times while reading"):
            client.manifest(repository, "v1")
    assert proxy.lines("GET /token")[0] == f"GET /token?x=1&scope=repository%3A{repository.replace('/', '%2F')}%3Apull"


def test_a_token_that_the_registry_forgot_is_made_anew(
    token_registry: Server, tokens: TokenServer, repository: str, faulty: Callable[..., Faulty]
) -> None:
    proxy = faulty(token_registry)
    credentials = Password(proxy.host, token_registry.username, token_registry.password)
    challenge = {"WWW-Authenticate": f'Bearer realm="{tokens.realm}",service="{tokens.service}"'}
    with open_registry(proxy, credentials=credentials) as client:
        push_image(client, repository, "v1")
        asked = len(tokens.requests)
        proxy.fail("PUT .*/blobs/", status=401, headers=challenge)
        assert client.put_blob(repository, digest_of(b"new"), 3, b"new") == "uploaded"
        assert len(tokens.requests) == asked + 1


def test_who_may_only_read_is_told_so(token_registry: Server, tokens: TokenServer, repository: str) -> None:
    with open_registry(token_registry, credentials=login(token_registry)) as client:
        push_image(client, repository, "v1")
    reader = Password(token_registry.host, "reader", tokens.passwords["reader"])
    with open_registry(token_registry, credentials=reader) as client:
        with pytest.raises(AccessDeniedError) as caught:
            push_image(client, repository, "v2")
        assert str(caught.value).splitlines() == [
            f"{token_registry.host} does not let the login from the arguments push to {repository} "
            "(it says: UNAUTHORIZED: authentication required).",
            f"Type: docker login {token_registry.host} with an account that may push to {repository}.",
        ]
        assert client.tags(repository) == ["v1"]


def test_everybody_may_read_what_is_public(token_registry: Server, tokens: TokenServer, repository: str) -> None:
    with open_registry(token_registry, credentials=login(token_registry)) as client:
        digest = push_image(client, f"public/{repository}", "v1")
    with open_registry(token_registry) as client:
        assert client.has_manifest(f"public/{repository}", "v1") == digest
        with pytest.raises(AccessDeniedError, match="anonymous users pull from"):
            client.manifest(repository, "v1")


@pytest.mark.parametrize("strict", [False, True], ids=["gives less", "gives nothing"])
def test_what_may_not_be_mounted_is_uploaded(
    token_registry: Server, tokens: TokenServer, repository: str, strict: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_registry(token_registry, credentials=login(token_registry)) as client:
        push_image(client, f"hidden/{repository}", "v1")
    monkeypatch.setitem(tokens.rights, "ada", {"test/": {"pull", "push"}})
    monkeypatch.setattr(tokens, "strict", strict)
    with open_registry(token_registry, credentials=login(token_registry)) as client:
        for content in (LAYER, b"never seen"):
            done = client.put_blob(
                repository, digest_of(content), len(content), content, mount_from=f"hidden/{repository}"
            )
            assert done == "uploaded"


def test_a_helper_gives_an_identity_that_is_changed_for_tokens(
    machine: Path, token_registry: Server, tokens: TokenServer, repository: str
) -> None:
    identity = next(iter(tokens.identities))
    helper(machine, "store", {token_registry.host: ("<token>", identity)})
    write(machine / ".docker/config.json", {"credHelpers": {token_registry.host: "store"}})
    with open_registry(token_registry, credentials=default_credentials()) as client:
        push_image(client, repository, "v1")
        push_image(client, f"{repository}/b", "v1")
    assert {(one.method, one.user) for one in tokens.requests} == {("POST", "robot")}
    assert (machine / "asked").read_text().splitlines() == [token_registry.host]
    write(machine / ".docker/config.json", {"auths": {token_registry.host: {"identitytoken": "identity-unknown"}}})
    refusal = "the token server refuses the login"
    with open_registry(token_registry, credentials=default_credentials()) as client:
        with pytest.raises(AccessDeniedError, match=refusal) as caught:
            client.manifest(repository, "v1")
        assert "identity-unknown" not in str(caught.value)


def test_a_token_as_it_is(machine: Path, token_registry: Server, tokens: TokenServer, repository: str) -> None:
    token = tokens.sign("ada", [{"type": "repository", "name": repository, "actions": ["pull", "push"]}])
    path = machine / ".docker/config.json"
    write(path, {"auths": {token_registry.host: {"registrytoken": token}}})
    with open_registry(token_registry, credentials=default_credentials()) as client:
        push_image(client, repository, "v1")
    write(path, {"auths": {token_registry.host: {"registrytoken": "hush\nhush"}}})
    with open_registry(token_registry, credentials=default_credentials()) as client:
        with pytest.raises(RegistryError, match=r"What ~/.docker/config.json gives for .* is no token") as caught:
            client.manifest(repository, "v1")
        assert "hush" not in str(caught.value)
    assert tokens.requests == []


def test_a_login_is_not_sent_to_a_token_server_without_tls(
    registry: Server, tls_registry: Server, repository: str, faulty: Callable[..., Faulty]
) -> None:
    proxy = faulty(registry, certificate=str(tls_registry.folder / "server.pem"))
    for realm, says in (
        ("http://tokens.test/token", "without TLS"),
        ("nonsense", "names no token server"),
        ("http://a:port/", "names no token server"),
    ):
        proxy.fail("GET", status=401, headers={"WWW-Authenticate": f'Bearer realm="{realm}"'})
        with open_registry(
            proxy, ca_file=tls_registry.ca_file, credentials=Password(proxy.host, "ada", "hush")
        ) as client:
            with pytest.raises(RegistryError, match=says) as caught:
                client.manifest(repository, "v1")
            assert "hush" not in str(caught.value)


def test_challenges_of_all_kinds() -> None:
    assert parse_challenges(['Bearer realm="https://a/t?x=1,2",service="a \\"b\\"", scope="r:a:pull,push"']) == {
        "bearer": {"realm": "https://a/t?x=1,2", "service": 'a "b"', "scope": "r:a:pull,push"}
    }
    assert parse_challenges(["Negotiate", 'BASIC realm=here, Bearer realm="b"']) == {
        "negotiate": {},
        "basic": {"realm": "here"},
        "bearer": {"realm": "b"},
    }
    assert parse_challenges([]) == {}


@pytest.mark.parametrize(
    ("host", "google"),
    [
        ("gcr.io", True),
        ("eu.gcr.io", True),
        ("us-central1-docker.pkg.dev", True),
        ("pkg.dev.evil.test", False),
        ("evilgcr.io", False),
        ("gcr.io:5000", False),
        ("docker.io", False),
    ],
)
def test_tokens_of_google_are_for_google(host: str, google: bool) -> None:
    assert is_google(host) is google


def test_googles_default_credentials(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert GoogleDefault().login("reg.test") == Login()
    nobody = GoogleDefault().login("europe-docker.pkg.dev", "project/images/train")
    assert nobody.is_anonymous
    assert "Google's default credentials do not work" in nobody.trouble

    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.rfile.read(int(self.headers["Content-Length"])))
            body = json.dumps(
                {"access_token": f"ya29.{len(asked)}", "expires_in": 3600, "token_type": "Bearer"}
            ).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        key = trustme.CA(key_type=trustme.KeyType.RSA).private_key_pem.bytes().decode()
        account = {
            "type": "service_account",
            "project_id": "p",
            "private_key_id": "k",
            "private_key": key,
            "client_email": "robot@p.iam.gserviceaccount.com",
            "token_uri": f"http://127.0.0.1:{server.server_port}/token",
        }
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(write(machine / "robot.json", account)))
        google = GoogleDefault()
        found = google.login("europe-docker.pkg.dev")
        assert (found.username, found.secret) == ("oauth2accesstoken", "ya29.1")
        assert google.login("gcr.io") == found
        assert len(asked) == 1
        server.shutdown()


def test_what_to_type_for_google(machine: Path) -> None:
    host, writing = "europe-docker.pkg.dev", Access("p/images/train", frozenset({"pull", "push"}))
    wire = Wire(host)
    refusal = Authenticator(wire, default_credentials()).denied(writing)
    assert refusal.message == f"{host} does not let anonymous users push to p/images/train."
    assert "gcloud auth application-default login" in refusal.hint
    assert "roles/artifactregistry.writer" in refusal.hint
    wire.close()
