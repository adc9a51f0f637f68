"""Credentials that are refused, have expired, may not act for another account, or are not there: said at once.

Vertex AI with a certificate, a service for tokens, and processes with Google's own client in between.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from kfp_magics.backends.connections import parse
from kfp_magics.errors import LoginError
from tests.serving import Serving

_ACT = "/v1/projects/-/serviceAccounts/runner@shop.iam.gserviceaccount.com:generateAccessToken"
_NO_ACT = "Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist)."
_ANSWERS = {
    "/token": (200, {"access_token": "t", "issued_token_type": "x", "token_type": "Bearer", "expires_in": 3600}),
    "/expired": (400, {"error": "invalid_grant", "error_description": "Token has been expired or revoked."}),
    _ACT: (403, {"error": {"code": 403, "message": _NO_ACT, "status": "PERMISSION_DENIED"}}),
}
_ASK = """
import os, sys
from kfp_magics.backends.connections import Connection
from kfp_magics.backends.vertex.service import Service
from kfp_magics.errors import KfpMagicsError
os.environ["GOOGLE_APPLICATION_CREDENTIALS"] = sys.argv[2]
connection = Connection(name="x", kind="vertex", project="shop", region="europe-west4", endpoint=sys.argv[1])
try:
    print(list(Service(connection, timeout=10, patience=float(sys.argv[3])).jobs()))
except KfpMagicsError as error:
    print(type(error).__name__)
    print(error)
"""


class _Tokens(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        code, answer = _ANSWERS[self.path]
        body = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def tokens() -> Iterator[str]:
    serving = Serving(HTTPServer(("127.0.0.1", 0), _Tokens))
    yield serving.url
    serving.close()


@pytest.mark.parametrize(
    ("token", "acts_for", "kind", "why", "hint"),
    [
        ("/token", "", "[]", "", ""),
        ("/expired", "", "LoginError", "Token has been expired or revoked.", "gcloud auth application-default login"),
        ("/token", _ACT, "LoginError", _NO_ACT, "Ask for roles/iam.serviceAccountTokenCreator on that account."),
        (None, "", "UnavailableError", "Google cannot be asked for a token", "Look at the network and try again."),
    ],
    ids=["good", "expired", "may not act for another", "not reached"],
)
def test_who_asks_is_looked_at(encrypted, tokens, tmp_path, token, acts_for, kind, why, hint) -> None:
    server, authority = encrypted
    (tmp_path / "subject").write_text("somebody")
    credentials = {
        "type": "external_account",
        "audience": "//iam.googleapis.com/pool",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": f"{tokens}{token}" if token else "http://127.0.0.1:9/token",
        "credential_source": {"file": str(tmp_path / "subject")},
    }
    if acts_for:
        credentials["service_account_impersonation_url"] = f"{tokens}{acts_for}"
    file = tmp_path / "credentials.json"
    file.write_text(json.dumps(credentials))
    patience = 3600.0 if token else 0.0  # a refusal is final: nobody waits for another answer
    asked = subprocess.run(
        [sys.executable, "-c", _ASK, server.endpoint, str(file), str(patience)],
        env=os.environ | {"GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(authority)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    said = asked.stdout.splitlines()
    assert said[0] == kind, asked
    if kind != "[]":
        assert len(said) == 3
        assert why in said[1]
        assert hint in said[2]


def test_a_file_that_is_not_there_is_named(backend, monkeypatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/key.json")
    with pytest.raises(
        LoginError, match=r"in '/nowhere/key\.json', which GOOGLE_APPLICATION_CREDENTIALS names"
    ) as caught:
        backend.check(parse("vertex:shop/europe-west4"))
    assert caught.value.hint == "gcloud auth application-default login"
