"""How a server is told who asks: read anew each time or when it is refused, kept in memory only."""

from __future__ import annotations

import base64
import binascii
import http.cookiejar
import json
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from kfp_magics.errors import LoginError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kfp_magics.backends.connections import Connection
    from kfp_magics.model import Json

_SERVICE_ACCOUNT_ENV = "KF_PIPELINES_SA_TOKEN_PATH"  # KFP's own variable and place
_SERVICE_ACCOUNT_FILE = "/var/run/secrets/kubeflow/pipelines/token"
_CLOUD = "https://www.googleapis.com/auth/cloud-platform"
_INVERSE_PROXY = ".googleusercontent.com"


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
        found = variable(connection.token_env, "--token-env")
    elif connection.token_file:
        found = _file(connection.token_file, "--token-file")
    else:
        found = _service_account() if connection.service_account_token else ""
    return found.removeprefix("Bearer ").strip()  # as it is copied from a header


def variable(name: str, option: str) -> str:
    """What is in a variable that an option names.

    Raises:
        LoginError: It is not set, or nothing that a header can carry.
    """
    value = os.environ.get(name, "").strip()
    if not value:
        raise LoginError(
            f"The variable {name} of {option} is {'empty' if name in os.environ else 'not set'} here.",
            f'Type it where nothing keeps it: import os, getpass; os.environ["{name}"] = getpass.getpass()',
        )
    return _plain(value, f"the variable {name}", option)


def _file(path: str, option: str) -> str:
    return _plain(_content(path, option), f"the file {path!r}", option)


def _content(path: str, option: str) -> str:
    hint = "Save the cookies of a browser to it." if option == "--cookie-file" else "Write a token to it."
    try:
        value = Path(path).expanduser().read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise LoginError(f"The file {path!r} of {option} cannot be read: {reason}.", hint) from error
    if not value:
        raise LoginError(f"The file {path!r} of {option} is empty.", hint)
    return value


def _plain(value: str, where: str, option: str) -> str:
    if not value.isascii() or not value.isprintable():
        raise LoginError(
            f"What is in {where} is more than one line, or has signs that no login has.",
            f"{option} wants it as it is, on one line.",
        )
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
        line = text.removeprefix("Cookie:").strip()
        if "=" not in line:
            raise LoginError(
                f"The file {connection.cookie_file!r} holds no cookies: they have names.",
                "Save them as name=value; …, or as cookies.txt.",
            )
        return _plain(line, f"the file {connection.cookie_file!r}", "--cookie-file")
    jar = http.cookiejar.MozillaCookieJar()
    try:
        jar.load(str(Path(connection.cookie_file).expanduser()), ignore_discard=True, ignore_expires=True)
    except (OSError, http.cookiejar.LoadError) as error:
        raise LoginError(
            f"The file {connection.cookie_file!r} is no cookies.txt.",
            "Its first line is: # Netscape HTTP Cookie File",
        ) from error
    host = urlsplit(connection.host).hostname or ""
    found = [f"{one.name}={one.value}" for one in jar if covers(one.domain, host)]
    if not found:
        raise LoginError(
            f"The file {connection.cookie_file!r} has no cookie for {host}.", "Log in, and save them anew."
        )
    return "; ".join(found)


def covers(domain: str, host: str) -> bool:
    """Whether a cookie of a domain is for a host."""
    return host == domain.lstrip(".") or (domain.startswith(".") and host.endswith(domain))


def _dex(connection: Connection, timeout: float) -> str:
    from kfp_magics.backends.kfp.dex import log_in  # noqa: PLC0415  (most logins need no conversation)

    return log_in(connection, timeout)


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


def claims_of(headers: Mapping[str, str]) -> dict[str, Json]:
    """What a token says of itself: that is readable for everybody, only its signature is secret."""
    parts = headers.get("Authorization", "").removeprefix("Bearer ").split(".")
    if len(parts) != 3:
        return {}
    try:
        claims: Json = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}


def expired(headers: Mapping[str, str]) -> float:
    """When the token that is sent expired, in seconds since the epoch; 0 when it did not, or does not say it."""
    until = claims_of(headers).get("exp")
    return float(until) if isinstance(until, int | float) and until < time.time() else 0.0


def without_secrets(text: str, headers: Mapping[str, str]) -> str:
    """What a server said, without what it was sent to know who asks."""
    for value in headers.values():
        for secret in {value, value.removeprefix("Bearer "), *value.split("; ")}:
            text = text.replace(secret, "…")
    return text


def mending(connection: Connection) -> str:
    """What to do when the server does not take the login."""
    one = connection
    ways = {
        f"Put a new token into ${one.token_env}, and connect again.": one.token_env,
        f"Write a new token to {one.token_file}; it is read anew each time.": one.token_file,
        "Mount the token with the audience pipelines.kubeflow.org; see docs/clusters.md.": one.service_account_token,
        f"The session of Dex was not taken: look at ${one.dex_user_env} and the address.": one.dex_user_env,
        f"Log in with the browser, and save its cookies to {one.cookie_file} anew.": one.cookie_file,
        "Is it this proxy's client, and may the account pass (roles/iap.httpsResourceAccessor)?": one.iap_client_id,
        "gcloud auth application-default login, with an account that may pass.": one.google,
    }
    return next((text for text, used in ways.items() if used), _SAY_WHO_ASKS)


_SAY_WHO_ASKS = (
    "Say who asks: --token-env, --token-file, --dex-user-env and --dex-password-env, --cookie-file, "
    "--iap-client-id, --google or --service-account-token of %kfp_connect."
)
