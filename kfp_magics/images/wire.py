"""Requests to one registry: connections, certificates, proxies, redirects, patience with what fails for a moment."""

from __future__ import annotations

import email.utils
import logging
import random
import ssl
import threading
import time
import urllib.request
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import httpx

from kfp_magics import __version__, addresses
from kfp_magics.errors import RegistryError, RegistryUnavailableError
from kfp_magics.images.references import api_host

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

T = TypeVar("T")
_log = logging.getLogger(__name__)
_HEADERS = {"User-Agent": f"kfp-magics/{__version__}", "Accept": "*/*", "Accept-Encoding": "identity"}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
_NOT_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL"})
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 60.0
_CERTIFICATE_FOLDERS = ("/etc/docker/certs.d", "/etc/containers/certs.d")


class PassingError(Exception):
    """Something failed that may well succeed when tried again; `Wire.retrying` does, nobody else sees it.

    Attributes:
        said: What happened, after the registry's name: ``answered 503 Service Unavailable``.
        hint: What the user can do when it keeps happening.
        wait: Seconds that the registry asked to wait, if it did.
    """

    def __init__(self, said: str, hint: str = "", wait: float | None = None) -> None:
        super().__init__(said)
        self.said, self.hint, self.wait = said, hint, wait


class Wire:
    """The connections to one registry, kept open and shared by threads.

    Args:
        host: The registry, as people write it.
        plain_http: Without TLS; None means only when the host is this machine and no `ca_file` is given.
        ca_file: Certificates to trust besides the usual ones.
        timeout: Seconds without a byte after which a request counts as failed.
        attempts: How often something is tried before it counts as failed.
        sleep: Waits between two attempts.
    """

    def __init__(
        self,
        host: str,
        *,
        plain_http: bool | None = None,
        ca_file: str = "",
        timeout: float = 60.0,
        attempts: int = 5,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.host = host
        self.attempts = attempts
        here = is_loopback(host)
        self.plain_http = (here and not ca_file) if plain_http is None else plain_http
        self.base = f"{'http' if self.plain_http else 'https'}://{api_host(host)}"
        self._origin = _origin(httpx.URL(self.base))
        self._timeout, self._sleep = timeout, sleep
        # Without httpx's client, which writes every address into the log: some are signed.
        self._transport = _Transport(lambda: _certificates(host, ca_file), {} if here else urllib.request.getproxies())

    def close(self) -> None:
        """Closes the connections."""
        self._transport.close()

    def is_ours(self, url: str | httpx.URL) -> bool:
        """Whether a URL leads to the registry itself, so that it may see what logs us in, and ask for it."""
        return _origin(httpx.URL(url)) == self._origin

    def join(self, location: str, request: httpx.URL) -> str:
        """A ``Location``, relative or absolute, as a URL; behind a proxy that ends TLS it may wrongly say http."""
        try:
            url = request.join(location)
        except httpx.InvalidURL as error:
            raise _no_address(self.host, location) from error
        if url.scheme == "http" and not self.plain_http and url.host == httpx.URL(self.base).host:
            url = url.copy_with(scheme="https", port=None if url.port in {None, 80} else url.port)
        return str(url)

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | Iterable[bytes] | None = None,
        data: Mapping[str, str] | None = None,
        stream: bool = False,
        patience: float = 0.0,
    ) -> httpx.Response:
        """Sends one request.

        Args:
            method: As in HTTP.
            url: Absolute.
            headers: Besides the usual ones.
            content: The body.
            data: A form instead of a body.
            stream: Leave the body of a success to be read piece by piece and closed by the caller.
            patience: Seconds more that the answer may take.

        Returns:
            The answer; its ``request`` is the one that was answered in the end, after redirects.

        Raises:
            PassingError: It may succeed when tried again.
            RegistryError: It will not.
        """
        try:
            request = httpx.Request(
                method,
                url,
                headers={**_HEADERS, **(headers or {})},
                content=content,
                data=data,
                extensions={"timeout": self._limits(patience)},
            )
            response = self._transport.handle_request(request)
            if not stream or response.status_code not in {200, 206}:
                with closing(response):
                    response.read()
        except httpx.RequestError as error:
            raise self.failure(error) from error
        except httpx.InvalidURL as error:
            raise _no_address(self.host, url) from error
        if response.status_code in _BUSY:
            raise _busy(response)
        return response

    def _limits(self, patience: float) -> dict[str, float | None]:
        return httpx.Timeout(
            self._timeout, connect=min(self._timeout, 15.0), read=self._timeout + patience, pool=None
        ).as_dict()

    def retrying(self, what: str, once: Callable[[], T]) -> T:
        """Does something that may be done again, until it succeeds or has failed too often.

        Args:
            what: Named in the error: ``pushing to team/train``.
            once: One attempt; raises PassingError when another one may help.

        Raises:
            RegistryUnavailableError: It failed each time.
        """
        patience = Patience(self, what)
        while True:
            try:
                return once()
            except PassingError as error:
                patience.failed(error)

    def pause(self, seconds: float) -> None:
        """Waits."""
        self._sleep(seconds)

    def failure(self, error: httpx.RequestError) -> PassingError | RegistryError:
        """What a request that got no whole answer means: worth another attempt, or not and why."""
        return self._lasting(error) or self._passing(error)

    def _lasting(self, error: httpx.RequestError) -> RegistryError | None:
        tls = _tls_error(error)
        if isinstance(tls, ssl.SSLCertVerificationError):
            return RegistryUnavailableError(
                f"{self.host} shows a certificate that is not trusted here ({tls.verify_message}).",
                "Name your authority's file in the setting registry_ca_file (KFP_MAGICS_REGISTRY_CA_FILE).",
            )
        if tls is not None and tls.reason in _NOT_TLS:
            return RegistryUnavailableError(
                f"{self.host} speaks plain HTTP where HTTPS is wanted.",
                "If you trust the network between: add it to the setting registry_plain_http.",
            )
        if isinstance(error, httpx.UnsupportedProtocol | httpx.TooManyRedirects):
            return RegistryError(f"{self.host} leads us in circles or to no address.", "Ask its owner.")
        return None

    def _passing(self, error: httpx.RequestError) -> PassingError:
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return PassingError(f"could not be reached ({error or 'no answer'})")
        if isinstance(error, httpx.TimeoutException):
            return PassingError(f"sent nothing for {self._timeout:g} s")
        return PassingError("cut the connection")


class Patience:
    """Counts what failed, and waits longer each time.

    Args:
        wire: Of the registry.
        what: Is being done: ``pushing to team/train``.
    """

    def __init__(self, wire: Wire, what: str) -> None:
        self._wire, self._what, self._failures = wire, what, 0

    def succeeded(self) -> None:
        """Forgets earlier failures."""
        self._failures = 0

    def failed(self, error: PassingError) -> None:
        """Waits before another attempt.

        Raises:
            RegistryUnavailableError: That was the last one.
        """
        self._failures += 1
        pause = _pause(self._failures, error.wait)
        if self._failures >= self._wire.attempts or pause > _LONGEST_PAUSE:
            raise self.gives_up(self._wire.host, self._what, error, self._failures) from error.__cause__
        _log.info("%s %s while %s; trying again in %.1f s", self._wire.host, error.said, self._what, pause)
        self._wire.pause(pause)

    @staticmethod
    def gives_up(host: str, what: str, error: PassingError, failures: int = 1) -> RegistryUnavailableError:
        """The error for what failed too often."""
        times = f", {failures} times" if failures > 1 else ""
        waits = f" and asks to wait {error.wait:.0f} s" if error.wait and error.wait > _LONGEST_PAUSE else ""
        hint = error.hint or "Is it up, and is the name right? Try again later."
        return RegistryUnavailableError(f"{host} {error.said}{times}{waits} while {what}.", hint)


class _Transport(httpx.BaseTransport):
    """Follows redirects itself, so that what logs us in stays with the registry."""

    def __init__(self, certificates: Callable[[], ssl.SSLContext], proxies: Mapping[str, str]) -> None:
        self._certificates, self._proxies = certificates, proxies
        self._ways: dict[tuple[str, str], httpx.HTTPTransport] = {}
        self._lock = threading.Lock()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        for _ in range(8):
            response = self._way(request.url).handle_request(request)
            location = response.headers.get("location")
            moved = response.status_code in _REDIRECTS and request.method in {"GET", "HEAD"}
            if not moved or not location:
                response.request = request
                return response
            response.close()
            request = _onward(request, location)
        raise httpx.TooManyRedirects("too many redirects", request=request)

    def _way(self, url: httpx.URL) -> httpx.HTTPTransport:
        proxy = self._proxy(url)
        with self._lock:
            if (url.scheme, proxy) not in self._ways:
                # Reading the usual authorities takes longer than a whole upload to this machine: only where used.
                tls = "https" in {url.scheme, proxy.partition(":")[0]}
                context = self._certificates() if tls else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                limits = httpx.Limits(max_connections=None, max_keepalive_connections=16, keepalive_expiry=55.0)
                made = httpx.HTTPTransport(verify=context, limits=limits, proxy=proxy or None)
                self._ways[url.scheme, proxy] = made
            return self._ways[url.scheme, proxy]

    def _proxy(self, url: httpx.URL) -> str:
        proxy = self._proxies.get(url.scheme) or self._proxies.get("all", "")
        if not proxy or is_loopback(url.host) or urllib.request.proxy_bypass(url.host):
            return ""
        proxy = proxy if "://" in proxy else f"http://{proxy}"
        return proxy if proxy.startswith(("http://", "https://")) else ""

    def close(self) -> None:
        for transport in self._ways.values():
            transport.close()


def _onward(request: httpx.Request, location: str) -> httpx.Request:
    url = request.url.join(location)
    if request.url.scheme == "https" and url.scheme != "https":
        raise RegistryError(
            f"{request.url.host} redirects to {url.host} without TLS.", "Nothing was sent there: ask its owner."
        )
    private = set() if _origin(url) == _origin(request.url) else {"authorization"}
    headers = {name: value for name, value in request.headers.items() if name not in private | {"host"}}
    return httpx.Request(request.method, url, headers=headers, extensions=request.extensions)


def _certificates(host: str, ca_file: str) -> ssl.SSLContext:
    context = httpx.create_ssl_context()
    files = [path for folder in _CERTIFICATE_FOLDERS for path in sorted((Path(folder) / host).glob("*.crt"))]
    for path in [*files, Path(ca_file).expanduser()] if ca_file else files:
        try:
            context.load_verify_locations(path)
        except (OSError, ssl.SSLError) as error:
            raise RegistryError(
                f"The certificates in {path} for {host} cannot be read ({error}).", "They must be in PEM format."
            ) from error
    return context


def own_words(response: httpx.Response) -> str:
    """What the registry says about a refusal, in one short line."""
    try:
        first = response.json()["errors"][0]
        text = ": ".join(str(first[key]) for key in ("code", "message") if first.get(key))
    except (ValueError, LookupError, TypeError, AttributeError):
        return ""
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())[:200]


def _no_address(host: str, url: str) -> RegistryError:
    return RegistryError(f"{host} sends us to {url[:200]!r}, which is no address.", "Ask its owner.")


def _busy(response: httpx.Response) -> PassingError:
    hint = ""
    if response.status_code == 429:
        hint = "You asked it too often. Wait, or log in if you have not: docker login raises the limit."
    words = own_words(response)
    said = f"answered {response.status_code} {response.reason_phrase}".rstrip() + (f" ({words})" if words else "")
    return PassingError(said, hint, _retry_after(response.headers.get("retry-after", "")))


def _retry_after(text: str) -> float | None:
    with suppress(ValueError):
        return max(0.0, float(text))
    with suppress(ValueError, TypeError):
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    return None


def _pause(attempt: int, asked: float | None) -> float:
    spread = random.uniform(0.5, 1.0)  # noqa: S311  (spreads requests, guards nothing)
    return max(asked or 0.0, min(_FIRST_PAUSE * 2.0 ** (attempt - 1), 10.0) * spread)


def _tls_error(error: BaseException | None) -> ssl.SSLError | None:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port or {"http": 80, "https": 443}.get(url.scheme)


def is_loopback(host: str) -> bool:
    """Whether a host, with or without a port, is this machine."""
    name = host.partition("]")[0].removeprefix("[") if host.startswith("[") else host
    if name.count(":") == 1:
        name = name.partition(":")[0]
    return addresses.is_loopback(name)
