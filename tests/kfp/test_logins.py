"""How a server is told who asks; what is kept of it, and what is not."""

from __future__ import annotations

import base64
import json
import stat

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from kfp_magics.backends.base import SubmitOptions
from kfp_magics.backends.connections import Connection, Connections, parse
from kfp_magics.errors import ArgumentError, BackendError, LoginError, NotFoundError
from kfp_magics.session import Session
from tests.kfp.pipelines import ir_of
from tests.kfp.server import Fault, KfpServer

NAMED = SubmitOptions(name="watched")


def test_dex_is_logged_in_to_as_a_browser_does_and_again_when_the_session_ends(server, connect, monkeypatch) -> None:
    server.sessions, server.dex = set(), {"me@example.org": "s3cret&="}
    monkeypatch.setenv("ME", "me@example.org")
    monkeypatch.setenv("PASS", "s3cret&=")
    backend = connect(dex_user_env="ME", dex_password_env="PASS")
    backend.submit(ir_of("plain"), {}, NAMED)
    assert len(server.sessions) == 1
    server.sessions.clear()  # expired: what comes now is a redirect to the login page
    backend.submit(ir_of("plain"), {}, NAMED)
    assert len(server.sessions) == 1
    monkeypatch.setenv("PASS", "wrong")
    server.sessions.clear()
    with pytest.raises(LoginError, match="does not know this name and password") as caught:
        backend.submit(ir_of("plain"), {}, NAMED)
    assert "wrong" not in str(caught.value)


def test_a_password_goes_to_no_other_host_without_encryption(server, connect, monkeypatch) -> None:
    monkeypatch.setenv("ME", "me")
    monkeypatch.setenv("PASS", "secret")
    form = b'<form action="http://evil.example/login"><input type="password"></form>'
    server.faults.append(Fault("GET /", times=9, status=200, body=form, kind="text/html"))
    with pytest.raises(LoginError, match=r"sent to evil.example without encryption; it was not sent"):
        connect(dex_user_env="ME", dex_password_env="PASS").submit(ir_of("plain"), {}, NAMED)


@pytest.mark.parametrize("form", ["line", "jar"])
def test_cookies_of_a_browser(server, connect, tmp_path, form) -> None:
    server.sessions = {"abc"}
    path = tmp_path / "cookies"
    jar = "# Netscape HTTP Cookie File\nlocalhost\tFALSE\t/\tFALSE\t0\tauthservice_session\tabc\n"
    other = "elsewhere.example\tFALSE\t/\tFALSE\t0\tsecret\txyz\n"
    path.write_text("Cookie: authservice_session=abc" if form == "line" else jar + other, encoding="utf-8")
    backend = connect(cookie_file=str(path))
    backend.submit(ir_of("plain"), {}, NAMED)
    assert "xyz" not in str(backend.service().headers())
    path.unlink()
    with pytest.raises(LoginError, match="of --cookie-file cannot be read"):
        backend.submit(ir_of("plain"), {}, NAMED)


def test_the_token_that_kubernetes_mounts(server, connect, tmp_path, monkeypatch) -> None:
    server.tokens = {"mounted"}
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "token"))
    backend = connect(service_account_token=True)
    with pytest.raises(LoginError, match="no service account token at"):
        backend.submit(ir_of("plain"), {}, NAMED)
    (tmp_path / "token").write_text("mounted", encoding="utf-8")
    backend.submit(ir_of("plain"), {}, NAMED)


def test_identity_tokens_for_googles_proxy(server, connect, tmp_path, monkeypatch) -> None:
    def claims(part: dict) -> str:
        return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")

    token = f"{claims({'alg': 'none'})}.{claims({'exp': 4e9, 'aud': 'client'})}.c2ln"
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    account = {
        "type": "service_account",
        "client_email": "robot@example.iam.gserviceaccount.com",
        "private_key": pem,
        "private_key_id": "1",
        "token_uri": f"{server.url}/token",
    }
    (tmp_path / "key.json").write_text(json.dumps(account), encoding="utf-8")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
    answer = json.dumps({"id_token": token}).encode()
    server.faults.append(Fault("POST /token", times=9, status=200, body=answer))
    server.tokens = {token}
    connect(iap_client_id="client").submit(ir_of("plain"), {}, NAMED)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "nothing.json"))
    with pytest.raises(LoginError, match="no Google credentials that"):
        connect(iap_client_id="other").submit(ir_of("plain"), {}, NAMED)


def test_a_certificate_of_ones_own(settings, store, tmp_path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    server = KfpServer(str(tmp_path / "server.pem"))
    try:
        session = Session(settings)
        with pytest.raises(BackendError, match="signed by nobody that is trusted here"):
            session.servers.connect(server.url)
        assert session.settings.backend == "local"
        checked = session.servers.connect(server.url, {"ca_file": str(tmp_path / "ca.pem")})
        assert checked.server == "Kubeflow Pipelines 2.5.0"
        with pytest.raises(BackendError, match=r"does not speak TLS|cut the connection|cannot be reached"):
            session.servers.connect(server.url.replace("https", "http"))
    finally:
        server.close()


def test_connecting_checks_now_and_remembers_no_secret(server, settings, monkeypatch) -> None:
    claims = base64.urlsafe_b64encode(json.dumps({"email": "me@example.org"}).encode()).decode().rstrip("=")
    token = f"e30.{claims}.signature"
    monkeypatch.setenv("MY_TOKEN", token)
    server.tokens, server.multi_user, server.namespaces = {token}, True, {"team-a"}
    session = Session(settings)
    with pytest.raises(LoginError, match="does not know who asks"):
        session.servers.connect(server.url)
    with pytest.raises(LoginError, match=r"serves many users[^\n]*\n%kfp_connect http://\S+ --namespace NAME"):
        session.servers.connect(server.url, {"token_env": "MY_TOKEN"})
    with pytest.raises(LoginError, match="not let this login do that in namespace 'team-b'"):
        session.servers.connect(server.url, {"token_env": "MY_TOKEN", "namespace": "team-b"})
    assert session.servers.connections.all() == {}
    checked = session.servers.connect(server.url, {"token_env": "MY_TOKEN", "namespace": "team-a"})
    assert (checked.user, checked.server) == ("me@example.org", "Kubeflow Pipelines 2.5.0")
    path = settings.home_path / "connections.json"
    assert token not in path.read_text(encoding="utf-8")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    other = Session(settings)  # as the Jupyter server's watcher, or the command line, would reach it
    assert other.backend("kfp").service().connection == checked.connection
    run = session.run(_file(settings, "plain"))
    assert (run.backend, run.target) == ("kfp", checked.connection.name)
    assert session.servers.connect("local").connection == Connection()
    assert session.settings.backend == "local"


def _file(settings, name):
    path = settings.home_path / f"{name}.yaml"
    path.write_text(ir_of(name), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("word", "options", "message"),
    [
        ("https://me:secret@host", {}, "has a login in it"),
        ("https://host", {"token_env": "eyJhbGciOi.J9.x"}, "takes the name of an environment variable"),
        ("https://host", {"dex_user_env": "ME"}, "wants a name and a password"),
        (
            "https://host",
            {"token_env": "A", "google": True},
            "Only one login can be used",
        ),
        ("https://host", {"namespace": "No Such"}, "no name of a namespace"),
        ("ftp://host", {}, "no address of a server"),
        ("https://host:port", {}, "does not read"),
        ("locla", {}, "'locla' is no server"),
        ("vertex:project", {}, "no Vertex AI at"),
    ],
)
def test_what_does_not_read_is_refused_without_showing_a_secret(word, options, message) -> None:
    with pytest.raises(ArgumentError, match=message) as caught:
        parse(word, options)
    assert "secret" not in str(caught.value)
    assert "eyJ" not in str(caught.value)


def test_addresses_are_read_as_people_paste_them() -> None:
    assert parse("https://kf.example.org/pipeline/#/runs?x=1").host == "https://kf.example.org/pipeline"
    assert parse("localhost:8080").host == "http://localhost:8080"
    assert parse("kf.example.org/pipeline/").name == "kf.example.org/pipeline"
    assert parse("https://[::1]:8080").host == "https://[::1]:8080"
    vertex = parse("vertex:my-project/europe-west4", {"network": "n", "name": "v"})
    assert (vertex.kind, vertex.project, vertex.region, vertex.name) == ("vertex", "my-project", "europe-west4", "v")


def test_connections_are_kept_forgotten_and_read_by_other_versions(tmp_path) -> None:
    known = Connections(tmp_path)
    known.remember(parse("https://a.example", {"namespace": "x"}))
    known.remember(parse("https://b.example"))
    known.remember(parse("https://a.example", {"namespace": "y"}))
    assert list(known.all()) == ["b.example", "a.example"]
    assert known.get("kfp").namespace == "y"
    path = tmp_path / "connections.json"
    body = json.loads(path.read_text(encoding="utf-8"))
    body["connections"][0]["colour"] = "blue"
    body["connections"].append({"kind": "mainframe", "name": "m"})
    path.write_text(json.dumps(body), encoding="utf-8")
    known.forget("b.example")
    assert list(known.all()) == ["a.example"]
    with pytest.raises(NotFoundError, match=r"No connection is called 'b\.exampl'"):
        known.get("kfp", "b.exampl")
    with pytest.raises(NotFoundError, match="No server is known for the backend 'vertex'"):
        known.get("vertex")
