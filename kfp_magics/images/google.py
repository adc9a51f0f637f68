"""Logins for Artifact Registry from Google's Application Default Credentials, where google-auth is installed."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING

from kfp_magics.images.credentials import Login

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

_HOSTS = re.compile(r"(?:[a-z0-9-]+\.)?gcr\.io|[a-z0-9-]+(?:\.[a-z0-9-]+)*\.pkg\.dev")
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"


def is_google(host: str) -> bool:
    """Whether a registry is Google's, so that it may be sent a token of Google's."""
    return _HOSTS.fullmatch(host) is not None


class GoogleDefault:
    """What ``gcloud auth application-default login``, a service account's file or a pod's identity give."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._credentials: Credentials | None = None

    def login(self, host: str, repository: str = "") -> Login:  # noqa: ARG002  (the protocol's)
        """An access token that lasts for some minutes at least, for Google's registries and no others."""
        if not is_google(host):
            return Login()
        try:
            import google.auth  # noqa: PLC0415  (an extra, and slow to import)
            import google.auth.exceptions  # noqa: PLC0415
            from google.auth.transport.requests import Request  # noqa: PLC0415
        except ImportError:
            return Login(trouble="Google's login needs pip install 'kfp-magics[gcp]'.")
        with self._lock:
            try:
                if self._credentials is None:
                    self._credentials, _ = google.auth.default(scopes=[_SCOPE])
                if not self._credentials.valid:
                    self._credentials.refresh(Request())
            except google.auth.exceptions.GoogleAuthError as error:
                self._credentials = None
                return Login(trouble=f"Google's default credentials do not work ({type(error).__name__}).")
            return Login(
                username="oauth2accesstoken",
                secret=str(self._credentials.token),
                source="Google's default credentials",
            )
