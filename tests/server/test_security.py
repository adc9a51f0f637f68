"""Cookies, XSRF and who may do what."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jupyter_server.auth import Authorizer
from tornado.httpclient import HTTPClientError

from kfp_magics.model import Run, State
from kfp_magics.runs.store import Store
from tests.server import contract

ACTIONS = [(path, method) for path, method, _ in contract.operations() if method != "GET"]
REFUSED: set[str] = set()


class Readers(Authorizer):
    """Lets everybody do everything but what a test has taken away."""

    def is_authorized(self, handler: Any, user: Any, action: str, resource: str) -> bool:
        return resource != "kfp_magics" or action not in REFUSED


@pytest.fixture
def jp_server_config() -> dict[str, Any]:
    extensions = {"jpserver_extensions": {"kfp_magics": True}}
    return {"ServerApp": {**extensions, "authorizer_class": Readers}}


async def status(jp_fetch: Any, path: str, method: str, headers: dict[str, str]) -> tuple[int, Any]:
    url = f"kfp-magics/api{path.replace('{run_id}', 'r')}"
    try:
        answer = await jp_fetch(url, method=method, body="{}" if method == "POST" else None, headers=headers)
    except HTTPClientError as error:
        answer = error.response
        contract.validator("Error").validate(json.loads(answer.body))
    return answer.code, answer.headers


async def log_in(jp_fetch: Any, http_server_client: Any, token: str, base: str) -> dict[str, str]:
    """The cookies that a browser has after it was shown the page with the token."""
    answer = await http_server_client.fetch(f"{base}tree?token={token}", follow_redirects=False, raise_error=False)
    cookies = [one.partition(";")[0] for one in answer.headers.get_list("Set-Cookie")]
    return {"Cookie": "; ".join(cookies), "Authorization": ""}


@pytest.mark.parametrize(("path", "method"), ACTIONS)
async def test_a_browser_needs_the_xsrf_token_for_every_action(
    jp_fetch: Any, http_server_client: Any, jp_serverapp: Any, jp_base_url: str, path: str, method: str, store: Store
) -> None:
    store.save(Run(id="r", name="x", state=State.FAILED, backend="elsewhere"))
    cookies = await log_in(jp_fetch, http_server_client, jp_serverapp.identity_provider.token, jp_base_url)
    assert (await status(jp_fetch, "/runs", "GET", cookies))[0] == 200  # so it is logged in
    code, _ = await status(jp_fetch, path, method, cookies)
    assert code == 403
    assert store.get("r").state is State.FAILED
    xsrf = next(one.partition("=")[2] for one in cookies["Cookie"].split("; ") if one.startswith("_xsrf="))
    code, _ = await status(jp_fetch, path, method, {**cookies, "X-XSRFToken": xsrf})
    assert code != 403


@pytest.mark.parametrize(("action", "lost"), [("read", "GET"), ("write", "DELETE"), ("execute", "POST")])
async def test_what_a_user_may_not_do_is_refused(
    jp_fetch: Any, action: str, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{__name__}.REFUSED", {action})
    path = "/runs/{run_id}/clone" if lost == "POST" else "/runs/{run_id}"
    for method, where in [("GET", "/runs/{run_id}"), ("DELETE", "/runs/{run_id}"), ("POST", "/runs/{run_id}/clone")]:
        code, _ = await status(jp_fetch, where, method, {})
        assert code == (403 if (method, where) == (lost, path) else 404)
