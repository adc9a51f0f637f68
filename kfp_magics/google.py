"""What adapters of Google's services share: credentials, addresses, and refusals said in two lines."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import google.auth
from google.api_core import exceptions
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError

from kfp_magics import addresses

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
_KEY_FILE = "GOOGLE_APPLICATION_CREDENTIALS"
_WITHOUT_LOGIN = "metadata from plugin failed"  # how gRPC says that the credentials gave no token
_NO_ANSWER = re.compile("max retries exceeded|connection|timed out|metadata.google", re.IGNORECASE)
_REASON = re.compile(r'"message":\s*"([^"]+)"')  # inside of what Google says of a token that it does not give
_SAID = re.compile(r"^\('([^']+)'")  # the first of the words in an error of google-auth


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
        except DefaultCredentialsError as error:
            if file := os.environ.get(_KEY_FILE):
                raise self.refused(
                    f"There are no Google credentials for {self.service} in {file!r}, which {_KEY_FILE} names:"
                    f" unset it, or name another file. {first_line(error)}",
                    LOG_IN,
                ) from error
            raise self.refused(f"There are no Google credentials here for {self.service}.", LOG_IN) from error
        except GoogleAuthError as error:  # some are tried at once
            raise self._no_token(error) from error
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
        text = re.sub("^.*plugin failed with error: ", "", str(error))
        found = _REASON.search(text) or _SAID.search(text)
        why = first_line(found[1] if found else text).replace("\\'", "'")
        if "impersonated" in text.lower():
            return self.refused(
                f"This login may not act as the service account that it stands for: {why}",
                "Ask for roles/iam.serviceAccountTokenCreator on that account.",
            )
        if _NO_ANSWER.search(text):
            return self.silent(f"Google cannot be asked for a token: {why}", "Look at the network and try again.")
        if file := os.environ.get(_KEY_FILE):
            why = f"{why.rstrip('.')}. They are in {file!r}, which {_KEY_FILE} names."
        return self.refused(f"Google refuses the credentials: {why}", LOG_IN)

    def _translated(self, what: str, error: exceptions.GoogleAPICallError) -> KfpMagicsError:
        if is_without_login(error):
            return self._no_token(error.message)
        why = _told(error)
        cannot = f"{self.service} cannot {what}: {why}"
        match error:
            case exceptions.Unauthorized() | exceptions.Forbidden():
                is_known = isinstance(error, exceptions.Forbidden)
                hint = _way_out(error) or self.rights if is_known else LOG_IN
                return self.refused(f"You may not {what}: {why}", hint)
            case exceptions.TooManyRequests():
                return self.silent(f"{self.service} cannot {what} now: {why}", self.quota)
            case exceptions.NotFound():
                return self.missing(cannot, self.mend)
            case exceptions.BadRequest() | exceptions.Conflict() if not isinstance(error, TRANSIENT):
                return self.wrong(cannot, _way_out(error) or self.mend)
        return self.silent(cannot, self.again)


def is_without_login(error: Exception) -> bool:
    """Whether a call failed before it was made, as the credentials gave no token."""
    return isinstance(error, exceptions.ServiceUnavailable) and _WITHOUT_LOGIN in (error.message or "").lower()


def may_pass(error: Exception) -> bool:
    """Whether a call that failed may be tried again: Google failed, or was not reached; it did not refuse."""
    if not isinstance(error, TRANSIENT):
        return False
    return not is_without_login(error) or _NO_ANSWER.search(str(error)) is not None


def _told(error: exceptions.GoogleAPICallError) -> str:
    """What Google says, in a line: all of it where the first line only begins a list."""
    lines = [" ".join(line.split()) for line in str(error.message or error).strip().splitlines()]
    return " ".join(lines) if lines and lines[0].endswith(":") else first_line("\n".join(lines) or error)


def _way_out(error: exceptions.GoogleAPICallError) -> str:
    """What mends a refusal that has nothing to do with what was asked for; empty for any other."""
    why = str(error.message)
    if "quota project" in why:
        return "gcloud auth application-default set-quota-project PROJECT"
    metadata = (error.metadata or {}) if error.reason == "SERVICE_DISABLED" else {}
    found = re.search(r"apis?/(?:api/)?([a-z]+\.googleapis\.com)\S*[?&]project=([\w:.-]+)", why)
    service = metadata.get("service") or (found[1] if found else "")
    project = str(metadata.get("consumer", "")).rpartition("/")[2] or (found[2] if found else "")
    if service:
        return f"gcloud services enable {service}" + (f" --project {project}" if project else "")
    if error.reason == "BILLING_DISABLED" or "requires billing" in why:
        return "Link the project to a billing account: gcloud billing projects link PROJECT --billing-account ACCOUNT"
    if "act as" in why or "actAs" in why:
        return "Ask for roles/iam.serviceAccountUser on the service account that it names."
    return ""


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
    return addresses.is_loopback(urlsplit(endpoint).hostname or "")


def first_line(error: object) -> str:
    """The first line of what an error says, without what Python's connections say of themselves below it."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].partition(" (Caused by")[0]
