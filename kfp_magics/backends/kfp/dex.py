"""A login with name and password, as a browser carries it out: by Dex, behind oauth2-proxy or without it."""

from __future__ import annotations

import re
import ssl
from contextlib import contextmanager
from html import unescape
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

import httpx

from kfp_magics.backends.kfp import network
from kfp_magics.backends.kfp.logins import covers, variable
from kfp_magics.errors import LoginError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kfp_magics.backends.connections import Connection

_FORM = re.compile(r"<form[^>]*\baction\s*=\s*[\"']([^\"']*)[\"']", re.IGNORECASE)
_PASSWORD = re.compile(r"<input[^>]*\btype\s*=\s*[\"']password[\"']", re.IGNORECASE)
_CHOICES = tuple(
    re.compile(rf"href\s*=\s*[\"']([^\"']*/auth/{way}[^\"']*)[\"']", re.IGNORECASE) for way in ("local", "ldap")
)  # the ways to log in that take a password, the first one first
_APPROVAL = re.compile(r"/approval$")
_SEE_OTHER = frozenset({301, 302, 303})  # after these a browser asks for a page, and sends no form again


def log_in(connection: Connection, timeout: float) -> str:
    """Logs in, and gives the session's cookies.

    Args:
        connection: How the server is reached.
        timeout: Seconds that one answer may take.

    Raises:
        LoginError: The name or the password is not known, or there is no such login.
        UnavailableError: There was no conversation.
    """
    user = variable(connection.dex_user_env, "--dex-user-env")
    password = variable(connection.dex_password_env, "--dex-password-env")
    with (
        _said(connection),
        httpx.Client(transport=_Ways(connection), follow_redirects=True, timeout=timeout) as browser,
    ):
        page = _login_page(browser, connection)
        if page is not None:
            _send(browser, connection, _post_target(page, connection), {"login": user, "password": password})
        cookies = [f"{one.name}={one.value}" for one in browser.cookies.jar if covers(one.domain, _name(connection))]
    if not cookies:
        raise LoginError(
            f"{connection.host} has no page that asks for a name and a password."
            if page is None
            else f"{connection.host} gave no session after the login.",
            "Connect without --dex-user-env and --dex-password-env, or with --token-file or --cookie-file.",
        )
    return "; ".join(cookies)


class _Ways(httpx.BaseTransport):
    """The ways to the hosts of a login, each through its own proxy, with the certificates of the connection.

    Args:
        connection: How the server is reached.
    """

    def __init__(self, connection: Connection) -> None:
        path = network.trusted_file(connection)
        self._context = ssl.create_default_context(cafile=path) if path else True
        self._made: dict[str, httpx.HTTPTransport] = {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        proxy = network.proxy_of(str(request.url))
        if proxy not in self._made:
            self._made[proxy] = httpx.HTTPTransport(verify=self._context, proxy=proxy or None, trust_env=False)
        return self._made[proxy].handle_request(request)

    def close(self) -> None:
        for one in self._made.values():
            one.close()


def _send(browser: httpx.Client, connection: Connection, target: str, form: dict[str, str]) -> None:
    """Sends the form, and goes on as a browser does; what a redirect would have sent again goes nowhere else."""
    done = browser.post(target, data=form, follow_redirects=False)
    if _PASSWORD.search(done.text) or done.status_code in {401, 403}:
        raise LoginError(
            f"Dex of {connection.host} does not know this name and password.",
            f"Look at ${connection.dex_user_env} and ${connection.dex_password_env}.",
        )
    if done.status_code in {307, 308}:
        raise LoginError(
            f"{connection.host} wants the password sent on to another address; it was not sent.",
            "Ask who runs the server, or use --token-file.",
        )
    if done.status_code in _SEE_OTHER:
        done = browser.get(urljoin(str(done.url), done.headers.get("location", "/")))
    if _APPROVAL.search(done.url.path):  # Dex asks whether the proxy may know who logged in
        browser.post(str(done.url), data={"approval": "approve", "req": done.url.params.get("req", "")})


@contextmanager
def _said(connection: Connection) -> Iterator[None]:
    """Says in two lines why there was no conversation."""
    host = connection.host
    try:
        yield
    except httpx.ProxyError as error:
        raise network.proxy_fails(host, str(error)) from error
    except httpx.ConnectError as error:
        said = str(error)
        if "SSL" in said or "CERTIFICATE" in said:
            raise network.untrusted(connection, said) from error
        if network.proxy_of(host):
            raise network.proxy_fails(host, said) from error
        if "Errno -" in said or "getaddrinfo" in said or "name resolution" in said:
            raise network.no_such_host(host) from error
        raise network.not_there(host) from error
    except httpx.TimeoutException as error:
        raise UnavailableError(f"The login at {host} took too long.", "Try again.") from error
    except httpx.TooManyRedirects as error:
        raise LoginError(
            f"The login at {host} sends in a circle.", "Is it the address of the server itself?"
        ) from error
    except httpx.HTTPError as error:
        raise UnavailableError(f"The login at {host} was cut off.", network.hint_for_tls(host)) from error


def _name(connection: Connection) -> str:
    name = urlsplit(connection.host).hostname or ""
    return name if "." in name else f"{name}.local"  # as cookie jars write the names of one word


def _login_page(browser: httpx.Client, connection: Connection) -> httpx.Response | None:
    """Finds the page with the form; None when the server wants no login."""
    page = browser.get(f"{connection.host}/")
    if page.status_code in {401, 403} or "/oauth2/sign_in" in page.text:  # oauth2-proxy asks before it sends to Dex
        page = browser.get(urljoin(f"{connection.host}/", "/oauth2/start?rd=/"))
    choice = next((found for one in _CHOICES if (found := one.search(page.text))), None)
    if choice and not _PASSWORD.search(page.text):  # several ways to log in
        page = browser.get(urljoin(str(page.url), unescape(choice[1])))
    return page if _PASSWORD.search(page.text) else None


def _post_target(page: httpx.Response, connection: Connection) -> str:
    form = _FORM.search(page.text)
    target = urljoin(str(page.url), unescape(form[1])) if form and form[1] else str(page.url)
    here, there = urlsplit(connection.host), urlsplit(target)
    if there.scheme != "https" and (there.hostname != here.hostname or here.scheme == "https"):
        raise LoginError(
            f"{connection.host} wants the password sent to {there.hostname} without encryption; it was not sent.",
            "Ask who runs the server, or use --token-file.",
        )
    return target
