"""What adapters of Google's services share: credentials, addresses, and refusals said in two lines."""

from __future__ import annotations

import ipaddress
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import google.auth
from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kfp_magics.errors import KfpMagicsError

TRANSIENT = (
    exceptions.ServiceUnavailable,
    exceptions.DeadlineExceeded,
    exceptions.InternalServerError,
    exceptions.Aborted,
    exceptions.Unknown,
)
LOG_IN = "gcloud auth application-default login"
_WITHOUT_LOGIN = "metadata from plugin failed"  # how gRPC says that the credentials gave no token


@dataclass(frozen=True, kw_only=True, slots=True)
class Words:
    """How a service's refusals are said.

    Attributes:
        service: Its name.
        rights: What to ask for when something is not allowed.
        quota: What to do when a quota is used up.
        mend: What to do when the request was wrong.
        again: What to do when the service failed.
        refused: Raised when something is not allowed, or nobody knows who asks.
        missing: Raised when something does not exist.
        wrong: Raised for all other refusals.
        silent: Raised when there is no answer, or none but failures.
    """

    service: str
    rights: str
    quota: str
    mend: str
    again: str
    refused: type[KfpMagicsError]
    missing: type[KfpMagicsError]
    wrong: type[KfpMagicsError]
    silent: type[KfpMagicsError]

    def is_encrypted(self, endpoint: str) -> None:
        """Looks whether an address may be asked.

        Raises:
            KfpMagicsError: It is elsewhere, and not encrypted.
        """
        if endpoint.startswith("http:") and not is_loopback(endpoint):
            raise self.wrong(
                f"The {self.service} endpoint {endpoint!r} is not encrypted.",
                "Use https://, or an address of this machine.",
            )

    def credentials(self) -> tuple[Any, str]:
        """Google's Application Default Credentials and the project that they belong to, or nothing for it.

        Raises:
            KfpMagicsError: There are none.
        """
        try:
            found, project = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
        except GoogleAuthError as error:
            raise self.refused(f"There are no Google credentials here for {self.service}.", LOG_IN) from error
        return found, project or ""

    @contextmanager
    def said(self, what: str) -> Iterator[None]:
        """Says in two lines what Google refused.

        Args:
            what: What was tried, as it follows "may not" and "cannot".

        Raises:
            KfpMagicsError: It was refused, or Google did not answer.
        """
        try:
            yield
        except exceptions.GoogleAPICallError as error:
            raise self._translated(what, error) from error
        except exceptions.RetryError as error:  # what was tried again failed to the end
            if isinstance(error.cause, exceptions.GoogleAPICallError):
                raise self._translated(what, error.cause) from error
            raise self.silent(f"{self.service} cannot {what}: {first_line(error)}", self.again) from error
        except GoogleAuthError as error:
            raise self._no_token(error) from error
        except OSError as error:
            raise self.silent(
                f"Google does not answer: {first_line(error)}", "Look at the network and try again."
            ) from error

    def _no_token(self, error: object) -> KfpMagicsError:
        return self.refused(f"Google refuses the credentials: {first_line(error)}", LOG_IN)

    def _translated(self, what: str, error: exceptions.GoogleAPICallError) -> KfpMagicsError:
        why = first_line(error.message or error)
        if isinstance(error, exceptions.ServiceUnavailable) and _WITHOUT_LOGIN in why.lower():
            return self._no_token(why)
        cannot = f"{self.service} cannot {what}: {why}"
        match error:
            case exceptions.Forbidden() | exceptions.Unauthorized():
                return self.refused(f"You may not {what}: {why}", self.rights)
            case exceptions.TooManyRequests():
                return self.silent(f"{self.service} cannot {what} now: {why}", self.quota)
            case exceptions.NotFound():
                return self.missing(cannot, self.mend)
            case exceptions.BadRequest() | exceptions.Conflict() if not isinstance(error, TRANSIENT):
                return self.wrong(cannot, self.mend)
        return self.silent(cannot, self.again)


def transport(kind: Any, endpoint: str, credentials: object, host: str = "") -> Any:  # noqa: ANN401  (Google's own)
    """The connection of one of Google's generated clients.

    Args:
        kind: Its transport over gRPC.
        endpoint: Address of another service, without encryption when it begins with ``http:``; Google's when empty.
        credentials: Who asks.
        host: Address of Google's own; the usual one when empty.
    """
    address = urlsplit(endpoint)
    if address.scheme == "http":
        import grpc  # noqa: PLC0415  (who only reads from buckets need not have it)

        return kind(channel=grpc.insecure_channel(address.netloc))
    where = address.netloc or host
    return kind(host=where, credentials=credentials) if where else kind(credentials=credentials)


def is_loopback(endpoint: str) -> bool:
    """Whether an address is one of this machine."""
    host = urlsplit(endpoint).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def first_line(error: object) -> str:
    """The first line of what an error says."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
