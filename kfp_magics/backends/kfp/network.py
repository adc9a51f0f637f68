"""The way to a server: the certificates that are trusted, the proxy in between, and what went wrong on it."""

from __future__ import annotations

import base64
import ssl
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from kfp_magics.addresses import is_loopback
from kfp_magics.errors import BackendError, UnavailableError

if TYPE_CHECKING:
    from kfp_magics.backends.connections import Connection


def trusted_file(connection: Connection) -> str | None:
    """The file of certificates that a server's is signed with; None for those that everybody trusts.

    Raises:
        BackendError: It cannot be read, or holds none.
    """
    if not connection.ca_file:
        return None
    path = str(Path(connection.ca_file).expanduser())
    try:
        ssl.create_default_context(cafile=path)
    except ssl.SSLError as error:
        raise BackendError(
            f"The file {connection.ca_file!r} of --ca-file holds no certificates.",
            "It is a text with -----BEGIN CERTIFICATE----- in it (PEM).",
        ) from error
    except OSError as error:
        raise BackendError(
            f"The file {connection.ca_file!r} of --ca-file cannot be read: {error.strerror}.", "Look at its path."
        ) from error
    return path


def proxy_of(host: str) -> str:
    """The proxy on the way to a host, with its scheme; empty without one.

    Raises:
        BackendError: It is of a kind that is not spoken here.
    """
    parts = urlsplit(host)
    name = parts.hostname or ""
    if is_loopback(name) or urllib.request.proxy_bypass(name):
        return ""
    known = urllib.request.getproxies()
    given = known.get(parts.scheme, "") or (usual if (usual := known.get("all", "")).startswith("http") else "")
    if given and "://" not in given:
        given = f"http://{given}"
    scheme = given.partition("://")[0].lower()
    if scheme not in {"", "http", "https"}:
        raise BackendError(
            f"The proxy of ${parts.scheme.upper()}_PROXY speaks {scheme}, and only http and https are known here.",
            f"Name another one, or none for this host: NO_PROXY={name}",
        )
    return given


def proxy_headers(proxy: str) -> dict[str, str]:
    """What a proxy is told of who asks, when a login stands in its address."""
    parts = urlsplit(proxy)
    if parts.username is None:
        return {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"proxy-authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def bare(proxy: str) -> str:
    """The address of a proxy without the login in it."""
    return f"{urlsplit(proxy).scheme}://{urlsplit(proxy).netloc.rpartition('@')[2]}"


def proxy_fails(host: str, said: str) -> UnavailableError:
    """The error for a proxy that is not there, or does not let this through."""
    proxy, name = bare(proxy_of(host)), urlsplit(host).hostname
    variable = f"${urlsplit(host).scheme.upper()}_PROXY"
    if "407" in said:
        return UnavailableError(
            f"The proxy {proxy} wants a login (407).", f"{variable} may have one: http://USER:PASSWORD@HOST:PORT"
        )
    return UnavailableError(
        f"The proxy {proxy} does not let a connection to {name} through.",
        f"Look at {variable}; without a proxy for this host: NO_PROXY={name}",
    )


def untrusted(connection: Connection, said: str) -> BackendError:
    """The error for a connection that TLS did not let come about.

    Args:
        connection: How the server is reached.
        said: What the TLS library says.
    """
    host = connection.host
    if "WRONG_VERSION_NUMBER" in said or "record layer failure" in said.lower():
        return BackendError(f"{host} does not speak TLS.", f"%kfp_connect {host.replace('https://', 'http://')}")
    if "CERTIFICATE_VERIFY_FAILED" not in said:
        return UnavailableError(f"The connection to {host} did not come about: {said[:200]}")
    if "ostname mismatch" in said or "IP address mismatch" in said:
        return BackendError(
            f"The certificate of {host} is for another name than {urlsplit(host).hostname}.",
            "Connect with the name that it is for.",
        )
    if "has expired" in said:
        return BackendError(f"The certificate of {host} has expired.", "Who runs the server renews it.")
    if connection.ca_file:
        return BackendError(
            f"The certificate of {host} is not signed by one of {connection.ca_file}.",
            "Ask who runs the server for the certificate of its authority: --ca-file PATH.",
        )
    return BackendError(
        f"The certificate of {host} is signed by nobody that is trusted here.",
        "If it is your own, name the file with it: --ca-file PATH.",
    )


def no_such_host(host: str) -> UnavailableError:
    """The error for a name that nobody knows."""
    return UnavailableError(f"There is no host {urlsplit(host).hostname!r}.", "Look at the address, and the network.")


def not_there(host: str) -> UnavailableError:
    """The error for a host where nobody listens."""
    return UnavailableError(f"{host} cannot be reached.", "Is it up, and the port-forward or VPN running?")


def hint_for_tls(host: str) -> str:
    """What to try where a conversation without encryption was cut off: the server may want it."""
    return f"If it speaks TLS: %kfp_connect {host.replace('http://', 'https://')}" if host.startswith("http:") else ""
