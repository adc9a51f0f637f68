"""Registries that are down, slow, cut off, forbidding, lying: a clear message, and no tag of something half-pushed."""

from __future__ import annotations

import base64
import email.utils
import io
import json
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kfp_magics.errors import (
    AccessDeniedError,
    DigestMismatchError,
    ImageNotFoundError,
    RegistryError,
    RegistryUnavailableError,
)
from kfp_magics.images.credentials import Password
from kfp_magics.images.platforms import resolve
from kfp_magics.images.references import digest_of
from tests.images.faulty import Faulty
from tests.images.pushing import LAYER, login, open_registry, push_image
from tests.images.registries import Server

MakeFaulty = Callable[..., Faulty]
BLOB_PUT, MANIFEST_PUT = "PUT .*/blobs/uploads/", "PUT .*/manifests/"


@pytest.mark.parametrize("step", ["HEAD .*/blobs/", "POST .*/blobs/uploads/", BLOB_PUT, MANIFEST_PUT])
@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_fails_for_a_moment_is_tried_again(
    registry: Server, repository: str, faulty: MakeFaulty, step: str, status: int
) -> None:
    proxy, pauses = faulty(registry), []
    proxy.fail(step, 2, status=status)
    with open_registry(proxy, sleep=pauses.append) as client:
        assert push_image(client, repository, "v1") == client.has_manifest(repository, "v1")
    assert len(pauses) == 2
    assert 0 < pauses[0] <= 0.2
    assert pauses[1] <= 0.4


@pytest.mark.parametrize("fault", [{"status": 429}, {"status": 500}, {"status": 403}, {"status": 401}, {"cut": 700}])
@pytest.mark.parametrize("step", [BLOB_PUT, MANIFEST_PUT])
def test_a_push_that_dies_leaves_no_tag(
    registry: Server, repository: str, faulty: MakeFaulty, step: str, fault: dict[str, int]
) -> None:
    proxy = faulty(registry)
    proxy.fail(step, 99, **fault)
    refused = fault.get("status") in {401, 403}
    with (
        open_registry(proxy) as client,
        pytest.raises(AccessDeniedError if refused else RegistryUnavailableError) as got,
    ):
        push_image(client, repository, "v1")
    if refused:
        assert got.value.message == f"{proxy.host} does not let anonymous users push to {repository}."
        assert len(proxy.lines(step)) == 1
    else:
        said = {429: "answered 429 Too Many Requests", 500: "answered 500 Internal Server Error"}
        what = f"pushing to {repository}" if step == BLOB_PUT else f"publishing {repository}:v1"
        happened = said.get(fault.get("status", 0), "cut the connection")
        assert got.value.message == f"{proxy.host} {happened}, 5 times while {what}."
        assert len(proxy.lines(step)) == 5
    with open_registry(registry) as client:
        assert client.tags(repository) == []


def test_the_registry_says_how_long_to_wait(registry: Server, repository: str, faulty: MakeFaulty) -> None:
    proxy, pauses = faulty(registry), []
    later = email.utils.formatdate(time.time() + 30, usegmt=True)
    for value in ("7", later, "soon"):
        proxy.fail("HEAD", status=429, headers={"Retry-After": value})
    with open_registry(proxy, sleep=pauses.append) as client:
        assert client.has_manifest(repository, "v1") is None
        assert pauses[0] == 7
        assert 20 < pauses[1] <= 30
        assert pauses[2] <= 0.8
        proxy.fail("HEAD", status=429, headers={"Retry-After": "3600"})
        with pytest.raises(RegistryUnavailableError, match="asks to wait 3600 s while looking for") as caught:
            client.has_manifest(repository, "v1")
        assert "docker login" in caught.value.hint
        assert len(pauses) == 3


def test_an_upload_that_is_cut_off_or_forgotten_begins_anew(
    registry: Server, repository: str, faulty: MakeFaulty
) -> None:
    proxy, content = faulty(registry), b"y" * 2_000_000
    gone = json.dumps({"errors": [{"code": "BLOB_UPLOAD_UNKNOWN", "message": "blob upload unknown"}]}).encode()
    proxy.fail(BLOB_PUT, cut=900_000)
    proxy.fail(BLOB_PUT, status=404, body=gone)
    with open_registry(proxy) as client:
        opened = []

        def opener() -> io.BytesIO:
            opened.append(io.BytesIO(content))
            return opened[-1]

        assert client.put_blob(repository, digest_of(content), len(content), opener, probe=False) == "uploaded"
        assert len(opened) == 3
        assert all(one.closed for one in opened)
        assert [one.method for one in proxy.passed] == ["POST", "PUT", *["HEAD", "POST", "PUT"] * 2]


def test_a_blob_that_came_through_though_the_answer_did_not_is_not_sent_again(
    registry: Server, repository: str, faulty: MakeFaulty
) -> None:
    proxy = faulty(registry)
    with open_registry(proxy) as client, open_registry(registry) as other:
        proxy.fail(BLOB_PUT, status=502)
        other.put_blob(repository, digest_of(LAYER), len(LAYER), LAYER)
        assert client.put_blob(repository, digest_of(LAYER), len(LAYER), LAYER, probe=False) == "present"


def test_an_upload_while_it_is_made_says_that_it_was_cut(registry: Server, repository: str, faulty: MakeFaulty) -> None:
    proxy = faulty(registry)
    proxy.fail("PATCH", cut=100_000)
    with open_registry(proxy) as client, pytest.raises(RegistryUnavailableError, match="cut the connection while"):
        client.upload(repository, iter([b"z" * 300_000] * 4), lambda: digest_of(b"z"))


@pytest.mark.parametrize("forget", [(), ("range",)], ids=["ranges", "no ranges"])
def test_a_download_goes_on_where_it_was_cut(
    registry: Server, repository: str, faulty: MakeFaulty, forget: tuple[str, ...]
) -> None:
    proxy, content = faulty(registry), bytes(range(256)) * 20_000
    with open_registry(proxy) as client:
        client.put_blob(repository, digest_of(content), len(content), content)
        proxy.fail("GET .*/blobs/", 2, cut=1_500_000, forget=forget)
        proxy.fail("GET .*/blobs/", 9, forget=forget)
        assert b"".join(client.blob_stream(repository, digest_of(content))) == content
        ranges = [one.headers.get("range") for one in proxy.passed if one.method == "GET"]
        assert ranges[0] is None
        assert ranges[1:]
        assert all(value and value.startswith("bytes=") for value in ranges[1:])


def test_what_is_tampered_with_is_refused(registry: Server, repository: str, faulty: MakeFaulty) -> None:
    proxy = faulty(registry)
    with open_registry(proxy) as client:
        digest = push_image(client, repository, "v1")
        proxy.fail("GET .*/blobs/", 3, tamper=True)
        with pytest.raises(DigestMismatchError, match=r"Refused a blob of .*: it should be sha256:"):
            client.blob(repository, digest_of(LAYER))
        with pytest.raises(DigestMismatchError):
            for _ in client.blob_stream(repository, digest_of(LAYER)):
                pass
        with pytest.raises(DigestMismatchError):
            resolve(client, repository, "v1", "linux/amd64")
        for reference in (digest, "v1"):
            proxy.fail("GET .*/manifests/", tamper=True)
            with pytest.raises(DigestMismatchError, match="Refused the manifest of"):
                client.manifest(repository, reference)
        proxy.fail(MANIFEST_PUT, headers={"Docker-Content-Digest": digest_of(b"another")})
        with pytest.raises(DigestMismatchError, match=r"what .* made of"):
            push_image(client, repository, "v2")


def test_a_manifest_that_the_registry_misread_is_sent_again(
    registry: Server, repository: str, faulty: MakeFaulty
) -> None:
    """Registries on files say so when another machine pushes the same at the same moment."""
    proxy = faulty(registry)
    misread = json.dumps({"errors": [{"code": "DIGEST_INVALID", "message": "did not match"}]}).encode()
    proxy.fail(MANIFEST_PUT, status=400, body=misread)
    with open_registry(proxy) as client:
        digest = push_image(client, repository, "v1")
        assert client.has_manifest(repository, "v1") == digest
        assert len(proxy.lines(MANIFEST_PUT)) == 2
        proxy.fail(MANIFEST_PUT, times=99, status=400, body=misread)
        with pytest.raises(RegistryUnavailableError, match="than its digest says, 5 times while publishing") as caught:
            push_image(client, repository, "v2")
        assert "changed on the way" in caught.value.hint
        assert client.tags(repository) == ["v1"]


def test_what_is_sent_must_be_what_the_digest_says(registry: Server, repository: str) -> None:
    with open_registry(registry) as client:
        for content in (b"other content", lambda: io.BytesIO(b"other content")):
            with pytest.raises(DigestMismatchError, match="what arrived is not what its digest says"):
                client.put_blob(repository, digest_of(b"this content"), 13, content)
        for other in (LAYER[:100], LAYER * 2):
            with pytest.raises(DigestMismatchError, match="changed its length"):
                client.put_blob(repository, digest_of(LAYER), len(LAYER), lambda: io.BytesIO(other))  # noqa: B023
        assert not client.has_blob(repository, digest_of(LAYER))


def test_slow_is_not_forever(registry: Server, repository: str, faulty: MakeFaulty) -> None:
    proxy = faulty(registry)
    with open_registry(proxy, timeout=0.3) as client:
        proxy.fail("HEAD", 1, delay=1.0)
        assert client.has_manifest(repository, "v1") is None
        proxy.fail("HEAD", 5, delay=1.0)
        with pytest.raises(RegistryUnavailableError, match=r"sent nothing for 0\.3 s, 5 times while looking for"):
            client.has_manifest(repository, "v1")


def test_storing_what_is_big_may_take_longer(registry: Server, repository: str, faulty: MakeFaulty) -> None:
    proxy, content = faulty(registry), bytes(8 << 20)
    proxy.fail(BLOB_PUT, delay=3.0)
    with open_registry(proxy, timeout=2.0, attempts=1) as client:
        assert client.put_blob(repository, digest_of(content), len(content), content) == "uploaded"


@pytest.mark.parametrize("status", [500, 405])
def test_where_mounting_fails_the_blob_travels(
    registry: Server, repository: str, faulty: MakeFaulty, status: int
) -> None:
    proxy = faulty(registry)
    with open_registry(proxy) as client:
        push_image(client, repository, "v1")
        proxy.fail("POST .*mount=", 99, status=status)
        for content in (LAYER, b"another"):
            copy = f"{repository}/copy"
            assert client.put_blob(copy, digest_of(content), len(content), content, mount_from=repository) == "uploaded"
        assert len(proxy.lines("POST .*mount=")) == {500: 2, 405: 1}[status]


def test_two_pushes_of_one_tag_at_once(registry: Server, repository: str) -> None:
    with open_registry(registry) as client, ThreadPoolExecutor(4) as pool:
        layers = [bytes([number]) * 5000 for number in range(8)]
        pushed = list(pool.map(lambda layer: push_image(client, repository, "v1", layer), layers))
        assert len(set(pushed)) == 8
        assert client.has_manifest(repository, "v1") in pushed
        for digest, layer in zip(pushed, layers, strict=True):
            found = client.manifest(repository, digest)
            assert found is not None
            assert client.blob(repository, found.layers[0].digest) == layer


def test_nobody_listens(repository: str, closed_port: int) -> None:
    pauses: list[float] = []
    nobody = Server(f"127.0.0.1:{closed_port}", Path())
    refusal = r"could not be reached \(.*refused\), 5 times while reading"
    with open_registry(nobody, sleep=pauses.append) as client, pytest.raises(RegistryUnavailableError, match=refusal):
        client.manifest(repository, "v1")
    assert len(pauses) == 4


def test_a_redirect_elsewhere_does_not_take_the_login_along(
    basic_registry: Server, registry: Server, repository: str, faulty: MakeFaulty, caplog: pytest.LogCaptureFixture
) -> None:
    here, elsewhere = faulty(basic_registry), faulty(registry)
    credentials = login(Server(here.host, Path(), username=basic_registry.username, password=basic_registry.password))
    digest = digest_of(LAYER)
    with open_registry(here, credentials=credentials) as client, open_registry(registry) as other:
        client.put_blob(repository, digest, len(LAYER), LAYER)
        other.put_blob(repository, digest, len(LAYER), LAYER)
        caplog.set_level(logging.INFO)
        signed = f"{elsewhere.url}/v2/{repository}/blobs/{digest}?signature=hush"
        here.fail("GET .*/blobs/", status=307, headers={"Location": signed})
        assert client.blob(repository, digest) == LAYER
        assert "hush" not in caplog.text
        same = f"/v2/{repository}/blobs/{digest}?moved"
        here.fail("GET .*/blobs/", status=302, headers={"Location": same})
        assert client.blob(repository, digest) == LAYER
        assert here.lines(r"GET .*\?moved")
        # An upload may go on elsewhere as well; that place decides for itself, without our password.
        here.fail("POST", elsewhere=elsewhere.host)
        more = b"more"
        assert client.put_blob(repository, digest_of(more), len(more), more) == "uploaded"
    assert all("authorization" in one.headers for one in here.passed[1:])
    assert [one.method for one in elsewhere.passed] == ["GET", "PUT"]
    assert not any("authorization" in one.headers for one in elsewhere.passed)


def test_only_the_registry_may_ask_for_our_login(
    basic_registry: Server, registry: Server, repository: str, faulty: MakeFaulty
) -> None:
    here, elsewhere, thief = faulty(basic_registry), faulty(registry), faulty(registry)
    credentials = Password(here.host, basic_registry.username, basic_registry.password)
    digest = digest_of(LAYER)
    with open_registry(here, credentials=credentials) as client:
        client.put_blob(repository, digest, len(LAYER), LAYER)
        here.fail(
            "GET .*/blobs/", 99, status=307, headers={"Location": f"{elsewhere.url}/v2/{repository}/blobs/{digest}"}
        )
        elsewhere.fail("GET", 99, status=401, headers={"WWW-Authenticate": f'Bearer realm="{thief.url}/token"'})
        with pytest.raises(RegistryUnavailableError, match=r"sends us to 127\.0\.0\.1, which refuses, 5 times"):
            client.blob(repository, digest)
        assert client.has_blob(repository, digest)
    assert thief.passed == []


def test_redirects_end(registry: Server, repository: str, faulty: MakeFaulty) -> None:
    proxy = faulty(registry)
    proxy.fail("GET", 99, status=307, headers={"Location": f"/v2/{repository}/manifests/v1"})
    with open_registry(proxy) as client, pytest.raises(RegistryError, match="leads us in circles"):
        client.manifest(repository, "v1")


def test_certificates(tls_registry: Server, registry: Server, repository: str, faulty: MakeFaulty) -> None:
    with open_registry(tls_registry, ca_file=tls_registry.ca_file) as client:
        push_image(client, repository, "v1")
    with open_registry(tls_registry, plain_http=False) as client:
        with pytest.raises(RegistryUnavailableError, match="certificate that is not trusted here") as caught:
            client.manifest(repository, "v1")
        assert "registry_ca_file" in caught.value.hint
    with open_registry(registry, plain_http=False) as client:
        with pytest.raises(RegistryUnavailableError, match="speaks plain HTTP where HTTPS is wanted") as caught:
            client.manifest(repository, "v1")
        assert "registry_plain_http" in caught.value.hint
    with open_registry(tls_registry, plain_http=True) as client:
        with pytest.raises(RegistryError, match="speaks HTTPS where plain HTTP was asked for") as refused:
            client.manifest(repository, "v1")
        assert "registry_plain_http" in refused.value.hint
    for path in (f"{tls_registry.folder}/nowhere.pem", f"{tls_registry.folder}/config.yml"):
        with open_registry(tls_registry, ca_file=path) as client, pytest.raises(RegistryError, match="cannot be read"):
            client.manifest(repository, "v1")


def test_behind_what_ends_tls(registry: Server, tls_registry: Server, repository: str, faulty: MakeFaulty) -> None:
    proxy = faulty(registry, certificate=str(tls_registry.folder / "server.pem"))
    with open_registry(proxy, ca_file=tls_registry.ca_file) as client:
        # The registry behind it does not know of TLS and says that uploads go on at http://.
        assert push_image(client, repository, "v1") == client.has_manifest(repository, "v1")
        proxy.fail("GET", status=307, headers={"Location": f"{registry.url}/v2/{repository}/manifests/v1"})
        with pytest.raises(RegistryError, match=r"redirects to 127\.0\.0\.1 without TLS"):
            client.manifest(repository, "v1")


def test_a_proxy_from_the_environment_is_used_for_what_is_not_here(
    registry: Server, repository: str, faulty: MakeFaulty, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = faulty(registry)
    monkeypatch.delenv("http_proxy", raising=False)
    monkeypatch.setenv("all_proxy", proxy.host)
    monkeypatch.delenv("no_proxy", raising=False)
    with open_registry(Server("registry.test:5000", Path()), plain_http=True) as client:
        assert client.has_manifest(repository, "v1") is None
    assert proxy.lines() == [f"HEAD http://registry.test:5000/v2/{repository}/manifests/v1"]
    with open_registry(registry) as client:
        assert client.has_manifest(repository, "v1") is None
    assert len(proxy.lines()) == 1
    monkeypatch.setenv("no_proxy", "registry.test")
    away = Server("registry.test:5000", Path())
    refusal = r"registry\.test:5000 could not be reached"
    with open_registry(away, plain_http=True, attempts=1) as client, pytest.raises(RegistryError, match=refusal):
        client.has_manifest(repository, "v1")
    assert len(proxy.lines()) == 1


def test_answers_that_make_no_sense(registry: Server, repository: str, faulty: MakeFaulty) -> None:
    proxy = faulty(registry)
    with open_registry(proxy) as client:
        proxy.fail("POST", drop=("location",))
        with pytest.raises(RegistryError, match="without saying where"):
            push_image(client, repository, "v1")
        for nonsense in ("http://a:port/", "ftp://there/"):
            proxy.fail("POST", headers={"Location": nonsense})
            with pytest.raises(RegistryError, match="no address"):
                push_image(client, repository, "v1")
        proxy.fail("tags/list", status=200, body=b"<html>")
        with pytest.raises(RegistryError, match="unreadably"):
            client.tags(repository)
        for body in (b"<html>", b"[]", b'{"mediaType": 7, "layers": 1}', b'{"layers": [{"digest": "x"}]}'):
            proxy.fail("GET .*/manifests/", status=200, body=body)
            found = client.manifest(repository, "v1")
            assert found is not None
            with pytest.raises(RegistryError, match="cannot be read"):
                _ = found.layers
        proxy.fail("GET .*/manifests/", status=200, body=b'{"schemaVersion": 1}')
        with pytest.raises(RegistryError, match="no image that can be used"):
            resolve(client, repository, "v1", "linux/amd64")
        proxy.fail("HEAD .*/manifests/", status=200)
        proxy.fail("GET .*/manifests/", status=200, body=b"{}", drop=("docker-content-digest",))
        assert client.has_manifest(repository, "v1") == digest_of(b"{}")
        proxy.fail("DELETE", status=405)
        with pytest.raises(RegistryError, match="answered 405") as caught:
            client.delete_manifest(repository, digest_of(b"{}"))
        assert "does not allow" in caught.value.hint
        proxy.fail(
            "POST", status=404, body=b'{"errors": [{"code": "NAME_UNKNOWN", "message": "no\\nsuch\\u001b[31m"}]}'
        )
        with pytest.raises(ImageNotFoundError, match=r"has no repository .* \(NAME_UNKNOWN: no such \[31m\)"):
            push_image(client, repository, "v1")


def test_secrets_stay_secret(
    token_registry: Server, repository: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert token_registry.tokens is not None
    caplog.set_level(logging.DEBUG)
    tokens: list[str] = []
    sign = token_registry.tokens.sign
    monkeypatch.setattr(token_registry.tokens, "sign", lambda *given: tokens.append(sign(*given)) or tokens[-1])
    credentials = login(token_registry)
    shown = [repr(credentials), repr(credentials.login(token_registry.host))]
    with open_registry(token_registry, credentials=credentials) as client:
        push_image(client, repository, "v1")
        shown.append(repr(client))
    token_registry.tokens.rights["ada"] = {}
    try:
        with (
            open_registry(token_registry, credentials=credentials) as client,
            pytest.raises(AccessDeniedError) as caught,
        ):
            client.manifest(repository, "v1")
    finally:
        token_registry.tokens.rights["ada"] = {"": {"pull", "push", "delete"}}
    shown += [str(caught.value), repr(caught.value), str(caught.getrepr(style="short")), caplog.text]
    basic = base64.b64encode(f"{token_registry.username}:{token_registry.password}".encode()).decode()
    assert tokens
    for secret in (token_registry.password, basic, *tokens):
        assert not any(secret in text for text in shown)
