"""KFP's generated REST client with patience: logins renewed, cut answers asked for again, errors in two lines."""

from __future__ import annotations

import json
import random
import time
import urllib.request
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import kfp_server_api
import urllib3
from kfp_server_api.exceptions import ApiException

from kfp_magics import mlmd
from kfp_magics.errors import BackendError, LoginError, NotFoundError, UnavailableError, UncertainError

if TYPE_CHECKING:
    from kfp_magics.backends.connections import Connection
    from kfp_magics.backends.kfp.logins import Login
    from kfp_magics.model import Json

_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0  # seconds between two attempts
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})  # answers that may be another one a moment later
_UNTOUCHED = frozenset({425, 429, 503})  # answers of which a proxy or server says that it has done nothing
_REPEATABLE = (":terminate", ":archive", ":unarchive", ":enable", ":disable")  # asked twice, they do the same
_MESSAGE_LENGTH = 300


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
        configuration.ssl_ca_cert = connection.ca_file or None
        configuration.retries = urllib3.Retry(0, redirect=False)  # a redirect is a login page, or a wrong address
        configuration.connection_pool_maxsize = 8
        configuration.proxy = _proxy(connection.host)
        try:
            super().__init__(configuration)
        except OSError as error:
            raise LoginError(f"The certificates {connection.ca_file!r} cannot be read: {error.strerror}.") from error
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
            raise self._login_page()
        found: urllib3.BaseHTTPResponse = answer
        return found

    def _attempt(self, method: str, url: str, *args: Any, whole: bool = True, **kwargs: Any) -> Any:  # noqa: ANN401  (as above)
        kwargs["headers"] = {**kwargs.get("headers", {}), **self._login.headers()}
        kwargs["_request_timeout"] = self._timeout
        host = self.connection.host
        try:
            answer = super().request(method, url, *args, **(kwargs | {"_preload_content": False}))
            if not whole:
                return answer
            _ = answer.data  # read here, so that an answer that is cut counts as none
        except ApiException as error:
            if isinstance(error.__context__, urllib3.exceptions.SSLError):
                raise self._untrusted(error.__context__) from error
            raise self._refused(error) from error
        except urllib3.exceptions.HTTPError as error:
            if isinstance(cause := getattr(error, "reason", error), urllib3.exceptions.SSLError):
                raise self._untrusted(cause) from error
            raise _lost(error, host) from error
        if _is_page(answer):
            raise self._login_page()
        return answer

    def _untrusted(self, error: Exception) -> BackendError:
        text = str(error)
        if "CERTIFICATE_VERIFY_FAILED" in text:
            return BackendError(
                f"The certificate of {self.connection.host} is signed by nobody that is trusted here.",
                "If it is your own, name the file with it: --ca-file PATH.",
            )
        if "WRONG_VERSION_NUMBER" in text:
            http = self.connection.host.replace("https://", "http://")
            return BackendError(f"{self.connection.host} does not speak TLS.", f"%kfp_connect {http}")
        return UnavailableError(f"The connection to {self.connection.host} did not come about: {text[:200]}")

    def _login_page(self) -> LoginError:
        host, way = self.connection.host, self.connection.login
        return LoginError(
            f"{host} answered with a login page; it was asked with {way}.",
            "Say who asks: --token-env, --token-file, --dex-user-env and --dex-password-env, --cookie-file, "
            "--iap-client-id or --service-account-token of %kfp_connect.",
        )

    def _refused(self, error: ApiException) -> BackendError | NotFoundError:
        """What an answer that is no success means."""
        status, host = error.status, self.connection.host
        said = _said(error)
        said = f": {said}" if said else ""
        if status in {301, 302, 303, 307, 308}:
            return self._redirected(error)
        if status in {401, 403}:
            return self._unwelcome(status, said)
        if status == 404 and not _looks_like_a_page(error.body):
            return NotFoundError(f"{host} knows nothing of that (404){said}")
        if status in _PASSING:
            kind = UnavailableError if status in _UNTOUCHED else UncertainError
            return kind(f"{host} fails ({status}){said}")
        if status == 404:
            return BackendError(
                f"There is no Kubeflow Pipelines API at {host}.", "On Kubeflow its address is https://HOST/pipeline."
            )
        return BackendError(f"{host} refuses ({status}){said}")

    def _unwelcome(self, status: int, said: str) -> LoginError:
        host = self.connection.host
        if status == 401:
            return LoginError(
                f"{host} does not know who asks (401); it was asked with {self.connection.login}.",
                f"Renew the login, and connect again: %kfp_connect {host} …",
            )
        where = f" in namespace {self.connection.namespace!r}" if self.connection.namespace else ""
        return LoginError(
            f"{host} does not let this login do that{where} (403){said}",
            "Ask for access to the namespace, or name another one: %kfp_connect … --namespace NAME.",
        )

    def _redirected(self, error: ApiException) -> BackendError:
        target = dict(error.headers or {}).get("Location") or dict(error.headers or {}).get("location", "")
        here, there = urlsplit(self.connection.host), urlsplit(target)
        asked = f"{here.hostname}{here.path}/apis/"
        if f"{there.hostname}{there.path}".startswith(asked):
            elsewhere = f"{there.scheme}://{there.netloc}{here.path}"
            return BackendError(f"{self.connection.host} has moved to {elsewhere}.", f"%kfp_connect {elsewhere}")
        return self._login_page()


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
    return found


def _lost(error: Exception, host: str) -> UnavailableError:
    never_sent = (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)
    cause = getattr(error, "reason", error)
    if isinstance(cause, urllib3.exceptions.NameResolutionError):
        return UnavailableError(
            f"There is no host {urlsplit(host).hostname!r}.", "Look at the address, and the network."
        )
    if isinstance(cause, never_sent):
        return UnavailableError(f"{host} cannot be reached.", "Is it up, and the port-forward or VPN running?")
    what = "did not answer in time" if isinstance(cause, urllib3.exceptions.TimeoutError) else "cut the connection"
    return UncertainError(f"{host} {what}.")


def _proxy(host: str) -> str | None:
    parts = urlsplit(host)
    if urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    return urllib.request.getproxies().get(parts.scheme)


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
        return ""
    words = [found.get(key) for key in ("message", "error", "error_message")] if isinstance(found, dict) else []
    text = next((word for word in words if word), "")
    line = " ".join(str(text).split())
    return line if len(line) <= _MESSAGE_LENGTH else line[: _MESSAGE_LENGTH - 1] + "…"
