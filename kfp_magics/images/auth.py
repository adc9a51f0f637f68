"""What logs us in to one registry: it asks by ``WWW-Authenticate``, we answer with Basic or a token for our scopes."""

from __future__ import annotations

import base64
import re
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import httpx

from kfp_magics.errors import AccessDeniedError, RegistryError
from kfp_magics.images.google import is_google
from kfp_magics.images.wire import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from kfp_magics.images.credentials import Credentials, Login
    from kfp_magics.images.wire import Wire

_WORD = re.compile(r"""([A-Za-z][\w-]*)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))|([A-Za-z][\w-]*)""")
_LOGIN_KEPT = 300.0  # seconds: a helper is a process, and what it says stays true for a while


@dataclass(frozen=True, slots=True)
class Access:
    """What a request needs to be allowed.

    Attributes:
        repository: Where it goes.
        actions: ``pull``, ``push`` or ``delete``.
        sources: Repositories that it reads besides, to mount their blobs.
    """

    repository: str
    actions: frozenset[str] = frozenset({"pull"})
    sources: frozenset[str] = frozenset()

    @property
    def scopes(self) -> list[str]:
        """As token servers want them: what is pushed to first, since some look only there."""
        own = f"repository:{self.repository}:{','.join(sorted(self.actions))}"
        return [own, *(f"repository:{source}:pull" for source in sorted(self.sources - {self.repository}))]

    def covers(self, other: Access) -> bool:
        """Whether a token for this is good for the other as well."""
        same = self.repository == other.repository
        return same and self.actions >= other.actions and self.sources >= other.sources

    def __or__(self, other: Access) -> Access:
        return Access(self.repository, self.actions | other.actions, self.sources | other.sources)

    def __str__(self) -> str:
        verb = next(word for word in ("delete", "push", "pull") if word in self.actions)
        preposition = {"delete": "delete in", "push": "push to", "pull": "pull from"}[verb]
        return f"{preposition} {self.repository}"


@dataclass(slots=True)
class _Token:
    access: Access
    header: str = field(repr=False)
    expires: float


class Authenticator:
    """Answers a registry's challenges; keeps tokens while they last and asks for few of them.

    Args:
        wire: The registry's connections.
        credentials: Where logins come from.
        clock: Seconds that never go back.
    """

    def __init__(self, wire: Wire, credentials: Credentials, clock: Callable[[], float] = time.monotonic) -> None:
        self._wire, self._credentials, self._clock = wire, credentials, clock
        self._lock = threading.RLock()
        self._scheme = ""
        self._challenge: Mapping[str, str] = {}
        self._tokens: list[_Token] = []
        self._asked: dict[str, Access] = {}
        self._logins: dict[str, tuple[Login, float]] = {}

    def header(self, access: Access) -> str:
        """The ``Authorization`` of a request, empty as long as the registry has not asked for one.

        Raises:
            AccessDeniedError: The token server refuses the login.
            PassingError: The token server fails for the moment.
        """
        with self._lock:
            if self._scheme == "basic":
                return _basic(self.login(access))
            if self._scheme != "bearer":
                return ""
            now = self._clock()
            self._tokens = [token for token in self._tokens if token.expires > now]
            kept = next((token for token in self._tokens if token.access.covers(access)), None)
            return (kept or self._new_token(access)).header

    def challenged(self, response: httpx.Response, sent: str) -> bool:
        """Learns from a 401 and tells whether to try again.

        Args:
            response: The refusal.
            sent: The ``Authorization`` that was refused, if one was sent.
        """
        found = parse_challenges(response.headers.get_list("www-authenticate"))
        with self._lock:
            known = self._scheme
            self._scheme = next((name for name in ("bearer", "basic") if name in found), "")
            if not self._scheme:
                return False
            self._challenge = {name: value for name, value in found[self._scheme].items() if name != "scope"}
            self._tokens = [token for token in self._tokens if token.header != sent]
            if known == self._scheme == "basic" and sent:
                self._logins.clear()
            return True

    def login(self, access: Access) -> Login:
        """Who we are for a repository; kept for some minutes."""
        with self._lock:
            kept = self._kept_login(access)
            if kept is None:
                kept = self._credentials.login(self._wire.host, access.repository)
                self._logins["" if kept.is_whole else access.repository] = kept, self._clock() + _LOGIN_KEPT
            return kept

    def _kept_login(self, access: Access) -> Login | None:
        kept, until = self._logins.get(access.repository) or self._logins.get("") or (None, 0.0)
        return kept if until > self._clock() else None

    def denied(self, access: Access, said: str = "") -> AccessDeniedError:
        """The error for a refusal: which permission on what, and what to type.

        Args:
            access: What was wanted.
            said: The registry's own words.
        """
        host = self._wire.host
        with self._lock:
            login = self.login(access)
            # Whoever logs in now and tries again is seen at once.
            self._logins.clear()
            self._tokens = [token for token in self._tokens if token.access.repository != access.repository]
        who = f"the login from {login.source}" if not login.is_anonymous else "anonymous users"
        remark = f" (it says: {said})" if said else ""
        message = f"{host} does not let {who} {access}{remark}."
        return AccessDeniedError(message, " ".join(filter(None, (login.trouble, _advice(host, access, login)))))

    def _new_token(self, access: Access) -> _Token:
        # What was needed before will be needed again: one token for all of it.
        wide = self._asked.get(access.repository, access) | access
        try:
            token = self._fetch(wide)
        except AccessDeniedError:
            if wide == access:
                raise
            token = self._fetch(access)
        self._asked[access.repository] = token.access
        self._tokens.append(token)
        return token

    def _fetch(self, access: Access) -> _Token:
        kept = self._kept_login(access) is not None
        login = self.login(access)
        if login.registry_token:
            return self._token(access, login.registry_token, _LOGIN_KEPT, login.source)
        realm = self._realm(login)
        if login.identity_token:
            response = self._wire.send("POST", realm, data=self._form(access, login.identity_token))
        else:
            query = urlencode([*self._service(), *(("scope", scope) for scope in access.scopes)])
            basic = _basic(login)
            response = self._wire.send(
                "GET",
                f"{realm}{'&' if '?' in realm else '?'}{query}",
                headers={"Authorization": basic} if basic else {},
            )
        if response.status_code in {400, 401, 403}:
            if kept:  # it may have run out: what is in the files now?
                self._logins.clear()
                return self._fetch(access)
            raise self.denied(access, "the token server refuses the login" * (not login.is_anonymous))
        return self._read(access, response)

    def _realm(self, login: Login) -> str:
        realm = self._challenge.get("realm", "")
        try:
            url = httpx.URL(realm)
        except httpx.InvalidURL:
            url = httpx.URL("")
        if url.scheme not in {"http", "https"} or not url.host:
            raise RegistryError(f"{self._wire.host} names no token server ({realm!r}).", "Ask its owner.")
        if url.scheme == "http" and not login.is_anonymous and not (self._wire.plain_http or is_loopback(url.host)):
            raise RegistryError(
                f"{self._wire.host} wants the login to be sent to {url.host} without TLS.",
                "Nothing was sent: ask its owner for a token server with https.",
            )
        return realm

    def _service(self) -> list[tuple[str, str]]:
        return [("service", self._challenge["service"])] if "service" in self._challenge else []

    def _form(self, access: Access, identity_token: str) -> dict[str, str]:
        return {
            "grant_type": "refresh_token",
            "client_id": "kfp-magics",
            "scope": " ".join(access.scopes),
            "refresh_token": identity_token,
            **dict(self._service()),
        }

    def _read(self, access: Access, response: httpx.Response) -> _Token:
        try:
            answer: dict[str, Any] = response.json()
            token = str(answer.get("token") or answer["access_token"])
            lasts = float(answer.get("expires_in") or 60)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RegistryError(
                f"The token server of {self._wire.host} answered {response.status_code} without a token.",
                "Is the registry's name right? Ask its owner.",
            ) from error
        return self._token(access, token, lasts, f"the token server of {self._wire.host}")

    def _token(self, access: Access, token: str, lasts: float, source: str) -> _Token:
        # What does not fit into a header is refused here, where the error does not show it.
        if not re.fullmatch(r"[\x21-\x7e]+", token):
            raise RegistryError(f"What {source} gives for {self._wire.host} is no token.", "Log in anew.")
        return _Token(access, f"Bearer {token}", self._clock() + lasts - min(10.0, lasts / 5))


def parse_challenges(headers: Iterable[str]) -> dict[str, dict[str, str]]:
    """Reads ``WWW-Authenticate`` headers, several challenges in one or in many.

    Args:
        headers: Their values.

    Returns:
        Scheme in small letters → its parameters.
    """
    found: dict[str, dict[str, str]] = {}
    for header in headers:
        current: dict[str, str] = {}
        for name, quoted, bare, scheme in _WORD.findall(header):
            if scheme:
                current = found.setdefault(scheme.lower(), {})
            else:
                current[name.lower()] = bare or re.sub(r"\\(.)", r"\1", quoted)
    return found


def _basic(login: Login) -> str:
    if login.is_anonymous or not login.secret:
        return ""
    return "Basic " + base64.b64encode(f"{login.username}:{login.secret}".encode()).decode()


def _advice(host: str, access: Access, login: Login) -> str:
    if is_google(host):
        role = "reader" if access.actions == {"pull"} else "writer"
        get_in = "gcloud auth application-default login" if login.is_anonymous else "ask"
        return f"Type: {get_in}; the account needs roles/artifactregistry.{role} there."
    reads = access.actions == {"pull"}
    name = ", or check the name: what does not exist is often refused in the same words." if reads else ""
    if login.is_anonymous:
        return f"Type: docker login {host}{name}"
    return f"Type: docker login {host} with an account that may {access}{name or '.'}"
