"""Who may come in: whoever knows the token."""

from __future__ import annotations

import hmac
import ipaddress
import os
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse

from kfp_magics.errors import ArgumentError
from kfp_magics.gateway.status import UNAUTHENTICATED, http_status, status

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

VARIABLE = "KFP_MAGICS_SERVE_TOKEN"
OPEN = frozenset({"/", "/apis/v2beta1/healthz", "/apis/v1beta1/healthz"})
"""What anybody may ask."""
_SHORTEST = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Token:
    """The token.

    Attributes:
        value: What clients send.
        source: Where it comes from, for a person; empty when it was made just now, and nobody knows it yet.
    """

    value: str
    source: str = ""


def token_of(file: str) -> Token:
    """Gives the token: from a file, else from the environment, else a new one.

    Args:
        file: Path of a file that holds it; empty for none.

    Raises:
        ArgumentError: The file cannot be read, or the token is too short.
    """
    if not file and not os.environ.get(VARIABLE):
        return Token(value=secrets.token_urlsafe(32))
    source = f"the file {file!r}" if file else f"the variable {VARIABLE}"
    try:
        value = Path(file).expanduser().read_text(encoding="utf-8").strip() if file else os.environ[VARIABLE].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ArgumentError(f"The token cannot be read from {source}: {error}.", "Give a file of one line.") from error
    if len(value) < _SHORTEST or not value.isascii() or len(value.split()) != 1:
        raise ArgumentError(
            f"The token in {source} is none: it needs {_SHORTEST} letters or digits in a row.",
            "Make one: python -c 'import secrets; print(secrets.token_urlsafe(32))'",
        )
    return Token(value=value, source=source)


def check_address(host: str, *, remote: bool) -> None:
    """Refuses to be reached from elsewhere unless that is wanted.

    Raises:
        ArgumentError: The host has an address that others reach, or none.
    """
    try:
        found = {one[4][0] for one in socket.getaddrinfo(host, None)}
    except OSError as error:
        raise ArgumentError(f"The host {host!r} has no address: {error}.", "Leave --host out.") from error
    if not remote and not all(ipaddress.ip_address(str(one).partition("%")[0]).is_loopback for one in found):
        raise ArgumentError(
            f"{host!r} can be reached from other machines, and whoever knows the token runs code here.",
            "Say --allow-remote if that is wanted, and put TLS in front of it.",
        )


class Guard:
    """Lets through what carries the token, and answers the rest itself.

    Args:
        app: What is guarded.
        token: The token.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._wanted = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        if scope["type"] == "http" and scope["path"] not in OPEN and not self._knows(scope):
            body = status(UNAUTHENTICATED, "The token is missing or wrong.", "kfp --existing-token TOKEN …")
            headers = {"WWW-Authenticate": "Bearer"}
            await JSONResponse(body, http_status(UNAUTHENTICATED), headers)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _knows(self, scope: Scope) -> bool:
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        return hmac.compare_digest(given, self._wanted)
