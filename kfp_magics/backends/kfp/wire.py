"""KFP's generated REST client with patience: logins renewed, cut answers asked for again, errors in two lines."""

from __future__ import annotations

import json
import random
import re
import time
from html import unescape
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import kfp_server_api
import urllib3
from kfp_server_api.exceptions import ApiException

from kfp_magics import mlmd
from kfp_magics.backends.kfp import network
from kfp_magics.backends.kfp.logins import expired, mending, without_secrets
from kfp_magics.errors import BackendError, LoginError, NotFoundError, UnavailableError, UncertainError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kfp_magics.backends.connections import Connection
    from kfp_magics.backends.kfp.logins import Login
    from kfp_magics.model import Json

_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0  # seconds between two attempts
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})  # answers that may be another one a moment later
_UNTOUCHED = frozenset({425, 429, 503})  # answers of which a proxy or server says that it has done nothing
_REPEATABLE = (":terminate", ":archive", ":unarchive", ":enable", ":disable")  # asked twice, they do the same
_MESSAGE_LENGTH = 300
_TITLE = re.compile(r"<title[^>]*>([^<]+)</title>", re.IGNORECASE)
_ASKS = re.compile(rb"type\s*=\s*[\"']password|/oauth2/|/dex/|<form|log ?in|sign ?in", re.IGNORECASE)
"""What the pages have that ask who somebody is."""


class Client(kfp_server_api.ApiClient):  # type: ignore[misc]  # generated without types
    """The generated client, for one server.

    Args:
        connection: How the server is reached.
        login: Says who asks.
        timeout: Seconds that one answer may take.
        patience: Seconds for which what failed is tried again.
    """

    def __init__(self, connection: Connection, login: Login, *, timeout: float, patience: float) -> None:
        configuration = kfp_server_api.Configuration(host=connection.host)
        configuration.ssl_ca_cert = network.trusted_file(connection)
        configuration.retries = urllib3.Retry(0, redirect=False)  # a redirect is a login page, or a wrong address
        configuration.connection_pool_maxsize = 8
        configuration.proxy = network.proxy_of(connection.host)
        configuration.proxy_headers = network.proxy_headers(configuration.proxy) or None
        super().__init__(configuration)
        self.connection = connection
        self.patience = patience
        self._login = login
        self._timeout = (min(10.0, timeout), timeout)
        self.user_agent = "kfp-magics"

    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  (the generated client's)
        """Carries out one request with patience; what could be done twice by that is tried once.

        Raises:
            UncertainError: It changes something, and the answer got lost.
        """
        harmless = method in {"GET", "DELETE"} or url.endswith(_REPEATABLE) or mlmd.PATH in url
        end = time.monotonic() + self.patience
        pause, renewed = _FIRST_PAUSE, False
        while True:
            try:
                return self._attempt(method, url, *args, **kwargs)
            except LoginError:
                if renewed:
                    raise
                renewed = True
                self._login.renew()
                continue
            except UncertainError as error:
                if not harmless:
                    raise
                trouble: UnavailableError = error
            except UnavailableError as error:
                trouble = error
            if time.monotonic() + pause > end:
                raise UnavailableError(trouble.message, trouble.hint) from trouble
            time.sleep(pause * random.uniform(0.7, 1.3))  # noqa: S311  (many clients must not come at once)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def post(self, url: str, headers: dict[str, str], body: bytes) -> bytes:
        """Sends a message that only asks something, and gives the answer."""
        answer = self.request("POST", url, headers={"User-Agent": self.user_agent, **headers}, body=body)
        data: bytes = answer.data
        return data

    def open(self, url: str, *, may_be_a_page: bool) -> urllib3.BaseHTTPResponse:
        """Asks for a file that is read piece by piece.

        Args:
            url: Where it is, at this server.
            may_be_a_page: Whether it may be HTML; elsewise that is a login page.
        """
        answer = self.request("GET", url, headers={"User-Agent": self.user_agent}, whole=False)
        if not may_be_a_page and "text/html" in answer.headers.get("Content-Type", ""):
            answer.close()
            raise self._page(b"")
        found: urllib3.BaseHTTPResponse = answer
        return found

    def _attempt(self, method: str, url: str, *args: Any, whole: bool = True, **kwargs: Any) -> Any:  # noqa: ANN401  (as above)
        sent = self._login.headers()
        kwargs["headers"] = {**kwargs.get("headers", {}), **sent}
        kwargs["_request_timeout"] = self._timeout
        try:
            answer = super().request(method, url, *args, **(kwargs | {"_preload_content": False}))
            if not whole:
                return answer
            _ = answer.data  # read here, so that an answer that is cut counts as none
        except ApiException as error:
            if isinstance(error.__context__, urllib3.exceptions.SSLError):
                raise network.untrusted(self.connection, str(error.__context__)) from error
            raise self._refused(error, sent) from error
        except urllib3.exceptions.HTTPError as error:
            if isinstance(cause := getattr(error, "reason", error), urllib3.exceptions.SSLError):
                raise network.untrusted(self.connection, str(cause)) from error
            raise _lost(error, self.connection.host) from error
        if _is_page(answer):
            raise self._page(answer.data)
        return answer

    def _page(self, answer: bytes) -> LoginError:
        """The error for a page where an answer should be: mostly it asks for a login."""
        title = _TITLE.search(answer.decode("utf-8", "replace"))
        called = f" ({' '.join(unescape(title[1]).split())[:60]!r})" if title else ""
        one = self.connection
        if one.login == "no login" or _ASKS.search(answer):
            return self._login_page(called)
        return LoginError(
            f"{one.host} answered with a page{called} instead of Kubeflow Pipelines; it was asked with {one.login}.",
            f"{self._other_path()}; or the login has ended: {mending(one)}",
        )

    def _login_page(self, which: str) -> LoginError:
        one = self.connection
        return LoginError(f"{one.host} answered with a login page{which}; it was asked with {one.login}.", mending(one))

    def _other_path(self) -> str:
        parts = urlsplit(self.connection.host)
        if parts.path:
            return f"Perhaps its address has no path: %kfp_connect {parts.scheme}://{parts.netloc}"
        return f"On Kubeflow its address ends so: %kfp_connect {self.connection.host}/pipeline"

    def _refused(self, error: ApiException, sent: Mapping[str, str]) -> BackendError | NotFoundError:
        """What an answer that is no success means, when it was asked with these headers."""
        status, host = error.status, self.connection.host
        said = without_secrets(_said(error), sent)
        said = f": {said}" if said else ""
        if status in {301, 302, 303, 307, 308}:
            return self._redirected(error)
        if status in {401, 403}:
            return self._unwelcome(status, said, expired(sent))
        if status == 404 and not _looks_like_a_page(error.body):
            return NotFoundError(f"{host} knows nothing of that (404){said}")
        if status in _PASSING:
            kind = UnavailableError if status in _UNTOUCHED else UncertainError
            return kind(f"{host} fails ({status}){said}")
        return self._elsewhere(status, str(error.body)) or BackendError(f"{host} refuses ({status}){said}")

    def _elsewhere(self, status: int, body: str) -> BackendError | None:
        """The error where the answer shows that the address is not that of Kubeflow Pipelines; else None."""
        host = self.connection.host
        if status == 407:
            return network.proxy_fails(host, "407")
        if status == 404:
            return BackendError(f"There is no Kubeflow Pipelines API at {host}.", self._other_path())
        if status == 400 and "HTTPS port" in body:  # as nginx says it
            return BackendError(f"{host} speaks TLS.", f"%kfp_connect {host.replace('http://', 'https://')}")
        return None

    def _unwelcome(self, status: int, said: str, expired: float) -> LoginError:
        one = self.connection
        if expired:
            since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(expired))
            return LoginError(f"The {one.login} expired at {since} ({status} of {one.host}).", mending(one))
        if status == 401:
            return LoginError(
                f"{one.host} does not know who asks (401){said.rstrip('.')}; it was asked with {one.login}.",
                mending(one),
            )
        if one.login == "no login" and not one.namespace:
            return LoginError(f"{one.host} lets nobody in without a login (403){said}", mending(one))
        where = f" in namespace {one.namespace!r}" if one.namespace else ""
        return LoginError(
            f"{one.host} does not let this login do that{where} (403){said}",
            "Ask for access to the namespace, or name another one: %kfp_connect … --namespace NAME.",
        )

    def _redirected(self, error: ApiException) -> BackendError:
        target = dict(error.headers or {}).get("Location") or dict(error.headers or {}).get("location", "")
        here, there = urlsplit(self.connection.host), urlsplit(target)
        asked = f"{here.hostname}{here.path}/apis/"
        if f"{there.hostname}{there.path}".startswith(asked):
            elsewhere = f"{there.scheme}://{there.netloc}{here.path}"
            return BackendError(f"{self.connection.host} has moved to {elsewhere}.", f"%kfp_connect {elsewhere}")
        return self._login_page(f" at {there.hostname}" if there.hostname not in {here.hostname, None} else "")


def read(answer: Any) -> dict[str, Json]:  # noqa: ANN401  (urllib3's response)
    """The JSON of an answer.

    Raises:
        BackendError: It is none.
    """
    try:
        found = json.loads(answer.data or b"{}")
    except ValueError as error:
        raise BackendError(
            "The server answered with something that is no JSON.", "Is it Kubeflow Pipelines?"
        ) from error
    if not isinstance(found, dict):
        raise BackendError("The server answered with JSON that is no object.", "Is it Kubeflow Pipelines?")
    return {key: value for key, value in found.items() if value is not None}  # as some servers write what they lack


def _lost(error: Exception, host: str) -> UnavailableError:
    never_sent = (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)
    cause = getattr(error, "reason", error)
    if isinstance(cause, urllib3.exceptions.ProxyError):
        return network.proxy_fails(host, str(cause.original_error))
    if isinstance(cause, urllib3.exceptions.NameResolutionError):
        return network.no_such_host(host)
    if isinstance(cause, never_sent):
        return network.not_there(host)
    if isinstance(cause, urllib3.exceptions.TimeoutError):
        return UncertainError(f"{host} did not answer in time.")
    return UncertainError(f"{host} cut the connection.", network.hint_for_tls(host))


def _is_page(answer: Any) -> bool:  # noqa: ANN401  (urllib3's response)
    return "text/html" in answer.headers.get("Content-Type", "") and _looks_like_a_page(answer.data)


def _looks_like_a_page(body: Json) -> bool:
    text = body if isinstance(body, bytes) else str(body or "").encode()
    return text.lstrip()[:1] == b"<"


def _said(error: ApiException) -> str:
    """What the server says of it, on one line."""
    if error.body is None or _looks_like_a_page(error.body):
        return ""
    try:
        found = json.loads(error.body)
    except ValueError:
        found = {"message": error.body if isinstance(error.body, str) else error.body.decode("utf-8", "replace")}
    words = [found.get(key) for key in ("message", "error", "error_message")] if isinstance(found, dict) else []
    text = next((word for word in words if word), "")
    line = " ".join(str(text).split())
    return line if len(line) <= _MESSAGE_LENGTH else line[: _MESSAGE_LENGTH - 1] + "…"
