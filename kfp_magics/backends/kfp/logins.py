"""How a server is told who asks: read anew each time or when it is refused, kept in memory only."""

from __future__ import annotations

import http.cookiejar
import os
import re
import ssl
import threading
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urljoin, urlsplit

from kfp_magics.errors import LoginError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from kfp_magics.backends.connections import Connection

_SERVICE_ACCOUNT_ENV = "KF_PIPELINES_SA_TOKEN_PATH"  # KFP's own variable and place
_SERVICE_ACCOUNT_FILE = "/var/run/secrets/kubeflow/pipelines/token"
_CLOUD = "https://www.googleapis.com/auth/cloud-platform"
_INVERSE_PROXY = ".googleusercontent.com"
_FORM = re.compile(r"<form[^>]*\baction\s*=\s*[\"']([^\"']*)[\"']", re.IGNORECASE)
_PASSWORD = re.compile(r"<input[^>]*\btype\s*=\s*[\"']password[\"']", re.IGNORECASE)
_LOCAL = re.compile(r"href\s*=\s*[\"']([^\"']*/auth/local[^\"']*)[\"']", re.IGNORECASE)


class Login(Protocol):
    """What is sent with every request."""

    def headers(self) -> dict[str, str]:
        """The headers that say who asks.

        Raises:
            LoginError: Nobody can say.
        """

    def renew(self) -> None:
        """Forgets what was kept in memory: the server refused it."""


class _Fixed:
    """A header whose value is read anew for every request."""

    def __init__(self, header: str, read: Callable[[], str]) -> None:
        self._header = header
        self._read = read

    def headers(self) -> dict[str, str]:
        value = self._read()
        return {self._header: value} if value else {}

    def renew(self) -> None:
        """Nothing is kept."""


class _Kept:
    """A header whose value costs a conversation, and is kept until it is refused."""

    def __init__(self, header: str, make: Callable[[], str]) -> None:
        self._header = header
        self._make = make
        self._value = ""
        self._guard = threading.Lock()

    def headers(self) -> dict[str, str]:
        with self._guard:
            self._value = self._value or self._make()
            return {self._header: self._value}

    def renew(self) -> None:
        with self._guard:
            self._value = ""


def login_for(connection: Connection, timeout: float) -> Login:
    """Makes the login of a connection.

    Args:
        connection: How the server is reached.
        timeout: Seconds that one answer may take.
    """
    one = connection
    if one.dex_user_env:
        return _Kept("Cookie", lambda: _dex(one, timeout))
    if one.iap_client_id or one.google or one.host.endswith(_INVERSE_PROXY):
        return _Google(one, one.iap_client_id)
    if one.cookie_file:
        return _Fixed("Cookie", lambda: _cookies(one))
    return _Fixed("Authorization", lambda: f"Bearer {token}" if (token := _token(one)) else "")


def _token(connection: Connection) -> str:
    if connection.token_env:
        return _variable(connection.token_env, "--token-env")
    if connection.token_file:
        return _file(connection.token_file, "--token-file")
    return _service_account() if connection.service_account_token else ""


def _variable(name: str, option: str) -> str:
    value = os.environ.get(name, "").strip()
    if not value:
        raise LoginError(f"The variable {name} of {option} is empty or not set.", f"Set it: %env {name}=…")
    return _plain(value, f"the variable {name}")


def _file(path: str, option: str) -> str:
    return _plain(_content(path, option), f"the file {path!r}")


def _content(path: str, option: str) -> str:
    try:
        value = Path(path).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise LoginError(f"The file {path!r} of {option} cannot be read: {reason}.", "Write a token to it.") from error
    if not value:
        raise LoginError(f"The file {path!r} of {option} is empty.", "Write a token to it.")
    return value


def _plain(value: str, where: str) -> str:
    if not value.isascii() or not value.isprintable():
        raise LoginError(f"What is in {where} is no token: it has other signs than a header can carry.")
    return value


def _service_account() -> str:
    path = os.environ.get(_SERVICE_ACCOUNT_ENV, _SERVICE_ACCOUNT_FILE)
    if not Path(path).exists():
        raise LoginError(
            f"There is no service account token at {path}.",
            "Mount one into the pod (audience pipelines.kubeflow.org), or name its file: --token-file PATH.",
        )
    return _file(path, "--service-account-token")


def _cookies(connection: Connection) -> str:
    text = _content(connection.cookie_file, "--cookie-file")
    if "\t" not in text:
        return _plain(text.removeprefix("Cookie:").strip(), f"the file {connection.cookie_file!r}")
    jar = http.cookiejar.MozillaCookieJar()
    try:
        jar.load(str(Path(connection.cookie_file).expanduser()), ignore_discard=True, ignore_expires=True)
    except (OSError, http.cookiejar.LoadError) as error:
        raise LoginError(f"The file {connection.cookie_file!r} holds no cookies: {error}.") from error
    host = urlsplit(connection.host).hostname or ""
    found = [f"{one.name}={one.value}" for one in jar if _covers(one.domain, host)]
    if not found:
        raise LoginError(
            f"The file {connection.cookie_file!r} has no cookie for {host}.", "Log in, and save them anew."
        )
    return "; ".join(found)


def _covers(domain: str, host: str) -> bool:
    return host == domain.lstrip(".") or (domain.startswith(".") and host.endswith(domain))


def _dex(connection: Connection, timeout: float) -> str:
    """Logs in as a browser does, and gives the session's cookies."""
    import httpx  # noqa: PLC0415  (most logins need no conversation)

    user = _variable(connection.dex_user_env, "--dex-user-env")
    password = _variable(connection.dex_password_env, "--dex-password-env")
    verify = ssl.create_default_context(cafile=connection.ca_file) if connection.ca_file else True
    try:
        with httpx.Client(follow_redirects=True, timeout=timeout, verify=verify) as browser:
            page = _login_page(browser, connection)
            if page is not None:
                target = _post_target(page, connection)
                done = browser.post(target, data={"login": user, "password": password})
                if _PASSWORD.search(done.text) or done.status_code in {401, 403}:
                    raise LoginError(
                        f"Dex of {connection.host} does not know this name and password.",
                        f"Look at ${connection.dex_user_env} and ${connection.dex_password_env}.",
                    )
            cookies = [
                f"{one.name}={one.value}" for one in browser.cookies.jar if _covers(one.domain, _name(connection))
            ]
    except httpx.HTTPError as error:
        raise UnavailableError(f"The login at {connection.host} did not work: {type(error).__name__}.") from error
    if not cookies:
        raise LoginError(f"{connection.host} gave no session after the login.", "Is Dex in front of it?")
    return "; ".join(cookies)


def _name(connection: Connection) -> str:
    name = urlsplit(connection.host).hostname or ""
    return name if "." in name else f"{name}.local"  # as cookie jars write the names of one word


def _login_page(browser: httpx.Client, connection: Connection) -> httpx.Response | None:
    """Finds the page with the form; None when the server wants no login."""
    page = browser.get(f"{connection.host}/")
    if page.status_code in {401, 403} or "/oauth2/sign_in" in page.text:  # oauth2-proxy asks before it sends to Dex
        page = browser.get(urljoin(f"{connection.host}/", "/oauth2/start?rd=/"))
    if (choice := _LOCAL.search(page.text)) and not _PASSWORD.search(page.text):  # several ways to log in
        page = browser.get(urljoin(str(page.url), unescape(choice[1])))
    return page if _PASSWORD.search(page.text) else None


def _post_target(page: httpx.Response, connection: Connection) -> str:
    form = _FORM.search(page.text)
    target = urljoin(str(page.url), unescape(form[1])) if form and form[1] else str(page.url)
    here, there = urlsplit(connection.host), urlsplit(target)
    if there.scheme != "https" and there.hostname != here.hostname:
        raise LoginError(
            f"{connection.host} wants the password sent to {there.hostname} without encryption; it was not sent.",
            "Ask who runs the server, or use --token-file.",
        )
    return target


class _Google:
    """Tokens of Google's credentials on this machine.

    Args:
        connection: How the server is reached.
        audience: OAuth client that an identity token is for; an access token is sent when empty.
    """

    def __init__(self, connection: Connection, audience: str) -> None:
        self._connection = connection
        self._audience = audience
        self._credentials: object = None
        self._guard = threading.Lock()

    def headers(self) -> dict[str, str]:
        """An identity token for the proxy, or an access token."""
        from google.auth import default, exceptions  # noqa: PLC0415  (only for servers behind Google's logins)
        from google.auth.transport.requests import Request  # noqa: PLC0415
        from google.oauth2 import id_token  # noqa: PLC0415

        with self._guard:
            try:
                if self._credentials is None and self._audience:
                    self._credentials = id_token.fetch_id_token_credentials(self._audience, request=Request())
                elif self._credentials is None:
                    self._credentials, _ = default(scopes=[_CLOUD])
                credentials = self._credentials
                if not credentials.valid:  # type: ignore[attr-defined]
                    credentials.refresh(Request())  # type: ignore[attr-defined]
            except exceptions.TransportError as error:
                raise UnavailableError("Google's token server cannot be reached.") from error
            except exceptions.GoogleAuthError as error:
                raise LoginError(
                    f"There are no Google credentials that {self._connection.host} would take: {_first_line(error)}",
                    "gcloud auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS to a key file"
                    + (" (the proxy wants a service account)." if self._audience else "."),
                ) from error
            return {"Authorization": f"Bearer {credentials.token}"}  # type: ignore[attr-defined]

    def renew(self) -> None:
        """Asks Google anew next time."""
        with self._guard:
            self._credentials = None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:200]
