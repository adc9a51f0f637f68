"""One request to a registry and its answer: logged in, tried again where that helps, refusals turned into errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kfp_magics.errors import DigestMismatchError, ImageNotFoundError, RegistryError
from kfp_magics.images.auth import Access, Authenticator
from kfp_magics.images.wire import PassingError, Wire, own_words

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    import httpx

    from kfp_magics.images.credentials import Credentials


class Exchange:
    """Asks a registry.

    Args:
        wire: Its connections.
        credentials: Where logins come from.
    """

    def __init__(self, wire: Wire, credentials: Credentials) -> None:
        self.wire = wire
        self._auth = Authenticator(wire, credentials)

    @property
    def host(self) -> str:
        """The registry, as people write it."""
        return self.wire.host

    def url(self, repository: str, kind: str, name: str = "") -> str:
        """The address of a manifest, a blob or an upload."""
        return f"{self.wire.base}/v2/{repository}/{kind}/{name}"

    def once(
        self,
        method: str,
        url: str,
        access: Access,
        *,
        headers: Mapping[str, str] | None = None,
        body: Callable[[], bytes | Iterable[bytes]] | None = None,
        replay: bool = True,
        stream: bool = False,
        patience: float = 0.0,
    ) -> httpx.Response:
        """Sends a request, a second time when the registry wants to know who we are.

        Args:
            method: As in HTTP.
            url: Absolute; a login goes only to the registry itself.
            access: What it needs to be allowed.
            headers: Besides the usual ones.
            body: Makes the body anew for each time it is sent.
            replay: Whether `body` can do that.
            stream: Leave the body of a success unread.
            patience: Seconds more that the answer may take.

        Raises:
            AccessDeniedError: We may not.
            PassingError: It may succeed when tried again.
        """
        ours = self.wire.is_ours(url)
        for last in (False, True):
            sent = self._auth.header(access) if ours else ""
            login = {"Authorization": sent} if sent else {}
            content = body() if body else None
            response = self.wire.send(
                method, url, headers={**(headers or {}), **login}, content=content, stream=stream, patience=patience
            )
            # Only the registry may ask for our login, not where it redirects to.
            answers = self.wire.is_ours(response.request.url)
            refused = response.status_code == 401 and ours and answers
            if not refused or last or not self._auth.challenged(response, sent) or not replay:
                break
        if response.status_code in {401, 403} and not answers:
            raise PassingError(f"sends us to {response.request.url.host}, which refuses")
        if response.status_code in {401, 403}:
            raise self._auth.denied(access, own_words(response))
        return response

    def ask(
        self,
        method: str,
        url: str,
        access: Access,
        what: str,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Sends a request that may be repeated until it is answered.

        Args:
            method: As in HTTP.
            url: Absolute.
            access: What it needs to be allowed.
            what: Is being done: ``reading team/train:v1``.
            headers: Besides the usual ones.
        """
        return self.wire.retrying(what, lambda: self.once(method, url, access, headers=headers))

    def expect(self, response: httpx.Response, good: Collection[int], what: str) -> None:
        """Raises unless the status is a good one.

        Args:
            response: Of the registry.
            good: Statuses that are.
            what: Was asked for: ``the image team/train:v1``.

        Raises:
            PassingError: An upload was forgotten, so that it has to begin anew.
            RegistryError: The registry refuses for good.
        """
        status = response.status_code
        if status in good:
            return
        said = own_words(response)
        if "BLOB_UPLOAD_UNKNOWN" in said or "BLOB_UPLOAD_INVALID" in said:
            raise PassingError("forgot an upload that was under way")
        if "DIGEST_INVALID" in said:
            raise DigestMismatchError(
                f"{self.host} refused {what}: what arrived is not what its digest says.",
                "It was changed on the way or while it was sent: build again.",
            )
        if status == 404:
            raise ImageNotFoundError(f"{self.host} has no {what.removeprefix('the ')}{_remark(said)}.", self._absent())
        if status == 400 and self.wire.plain_http and "https" in response.text.lower():
            raise RegistryError(
                f"{self.host} speaks HTTPS where plain HTTP was asked for.",
                "Take it out of the setting registry_plain_http.",
            )
        hint = {
            405: "It does not allow that: ask its owner.",
            413: "It takes no blob of that size: ask its owner, or let the image install less.",
        }.get(status, "Its own words say what to mend; its owner finds more in its log.")
        raise RegistryError(f"{self.host} refused {what}: it answered {status}{_remark(said)}.", hint)

    def location(self, response: httpx.Response) -> str:
        """Where an upload goes on.

        Raises:
            RegistryError: The registry does not say it.
        """
        location = response.headers.get("location", "")
        if not location:
            raise RegistryError(f"{self.host} opened an upload without saying where.", "Ask its owner.")
        return self.wire.join(location, response.request.url)

    def _absent(self) -> str:
        if self.host.endswith(".pkg.dev"):
            return "Check the name; gcloud artifacts repositories create makes a repository for images."
        return "Check the name and the tag; docker push or %kfp_build puts images there."


def _remark(said: str) -> str:
    return f" ({said})" if said else ""
