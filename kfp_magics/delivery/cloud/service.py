"""Google's own clients for functions, services, triggers and their logs, and what they refuse in two lines."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from google.api_core.exceptions import NotFound
from google.api_core.future.polling import DEFAULT_POLLING
from google.auth.credentials import AnonymousCredentials

from kfp_magics.errors import DeliveryError
from kfp_magics.google import Words, is_loopback, transport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from google.cloud.eventarc_v1 import EventarcClient
    from google.cloud.functions_v2 import FunctionServiceClient
    from google.cloud.logging_v2.services.logging_service_v2 import LoggingServiceV2Client
    from google.cloud.run_v2 import ServicesClient

    from kfp_magics.settings import Settings

CALL = 60.0
"""Seconds that one call may take."""
_CHANGE = 900.0  # seconds until a function is built and serves
_APIS = "cloudfunctions run eventarc cloudbuild artifactregistry pubsub storage logging"
_WORDS = Words(
    service="Google Cloud",
    rights="Ask for roles/cloudfunctions.developer, run.developer, eventarc.admin and iam.serviceAccountUser.",
    quota="A quota is used up: wait a minute, or ask for more.",
    mend="Mend what it names and try again.",
    again="Try again; what was applied stays, and is not done twice.",
    refused=DeliveryError,
    missing=DeliveryError,
    wrong=DeliveryError,
    silent=DeliveryError,
)
_NEAR = {"us": "us-central1", "eu": "europe-west1", "asia": "asia-east1", "nam4": "us-central1", "eur4": "europe-west4"}


class Cloud:
    """Google Cloud as far as new data concerns it.

    Args:
        settings: Which project and region.
        region: Where functions are; the one of the settings, or of the bucket, when empty.

    Raises:
        DeliveryError: There are no credentials, or no project is known.
    """

    def __init__(self, settings: Settings, region: str = "") -> None:
        self._endpoint = settings.delivery_endpoint
        _WORDS.is_encrypted(self._endpoint)
        emulated = bool(self._endpoint) and is_loopback(self._endpoint)
        self._credentials, project = (AnonymousCredentials(), "") if emulated else _WORDS.credentials()
        self.project = settings.google_project or project
        if not self.project:
            raise DeliveryError(
                "A function needs a project, and none is known.",
                "Set it: KFP_MAGICS_GOOGLE_PROJECT=my-project, or: gcloud config set project my-project",
            )
        self.region = region or ("" if settings.google_region == "global" else settings.google_region)

    @property
    def parent(self) -> str:
        """Project and region, as names begin; all regions when none is named."""
        return f"projects/{self.project}/locations/{self.region or '-'}"

    def _transport(self, kind: Any) -> Any:  # noqa: ANN401  (Google's transports)
        return transport(kind, self._endpoint, self._credentials)

    @cached_property
    def functions(self) -> FunctionServiceClient:
        """The client of Cloud Functions."""
        from google.cloud.functions_v2 import FunctionServiceClient  # noqa: PLC0415  (an extra)
        from google.cloud.functions_v2.services.function_service.transports import (  # noqa: PLC0415
            FunctionServiceGrpcTransport,
        )

        return FunctionServiceClient(transport=self._transport(FunctionServiceGrpcTransport))

    @cached_property
    def services(self) -> ServicesClient:
        """The client of Cloud Run."""
        from google.cloud.run_v2 import ServicesClient  # noqa: PLC0415  (an extra)
        from google.cloud.run_v2.services.services.transports import ServicesGrpcTransport  # noqa: PLC0415

        return ServicesClient(transport=self._transport(ServicesGrpcTransport))

    @cached_property
    def triggers(self) -> EventarcClient:
        """The client of Eventarc."""
        from google.cloud.eventarc_v1 import EventarcClient  # noqa: PLC0415  (an extra)
        from google.cloud.eventarc_v1.services.eventarc.transports import EventarcGrpcTransport  # noqa: PLC0415

        return EventarcClient(transport=self._transport(EventarcGrpcTransport))

    @cached_property
    def logging(self) -> LoggingServiceV2Client:
        """The client of Cloud Logging."""
        from google.cloud.logging_v2.services.logging_service_v2 import LoggingServiceV2Client  # noqa: PLC0415
        from google.cloud.logging_v2.services.logging_service_v2.transports import (  # noqa: PLC0415
            LoggingServiceV2GrpcTransport,
        )

        return LoggingServiceV2Client(transport=self._transport(LoggingServiceV2GrpcTransport))

    @cached_property
    def _storage(self) -> Any:  # noqa: ANN401  (Google's client)
        from google.cloud import storage  # noqa: PLC0415  (an extra)

        on_emulator = "STORAGE_EMULATOR_HOST" in os.environ
        return storage.Client(
            project=self.project, credentials=AnonymousCredentials() if on_emulator else self._credentials
        )

    # Buckets

    def location(self, bucket: str) -> str:
        """Where a bucket is: its events can only be waited for there.

        Raises:
            DeliveryError: There is no such bucket, or it may not be looked at.
        """
        with self.said(f"look at the bucket {bucket}"):
            found = self._storage.lookup_bucket(bucket, timeout=CALL)
        if found is None:
            raise DeliveryError(
                f"There is no bucket {bucket!r}.", f"Make it: gcloud storage buckets create gs://{bucket}"
            )
        return str(found.location).lower()

    def settle(self, bucket: str) -> str:
        """Finds the region for what waits for a bucket where none is named, and gives the bucket's location."""
        location = self.location(bucket)
        self.region = self.region or _NEAR.get(location, location)
        return location

    def facts(self, bucket: str, name: str) -> dict[str, Any]:
        """What Cloud Storage says of an object.

        Raises:
            DeliveryError: There is none, or it may not be looked at.
        """
        with self.said(f"look at gs://{bucket}/{name}"):
            blob = self._storage.bucket(bucket).get_blob(name, timeout=CALL)
        if blob is None:
            raise DeliveryError(f"There is no object gs://{bucket}/{name}.", "Name one, or a file of this machine.")
        known = {"size": str(blob.size), "generation": str(blob.generation), "contentType": blob.content_type}
        moment = blob.time_created.isoformat().replace("+00:00", "Z") if blob.time_created else ""
        return {key: value for key, value in {**known, "timeCreated": moment}.items() if value}

    # Calls

    @contextmanager
    def said(self, what: str) -> Iterator[None]:
        """Says in two lines what Google refused, and the command that mends it where that is known.

        Args:
            what: What was tried, as it follows "may not" and "cannot".

        Raises:
            DeliveryError: It was refused, or Google did not answer.
        """
        try:
            with _WORDS.said(what):
                yield
        except DeliveryError as error:
            raise DeliveryError(error.message, self._hint(error.message) or error.hint) from error.__cause__

    def _hint(self, message: str) -> str:
        member = "gcloud projects add-iam-policy-binding {0} --member serviceAccount:{1} --role {2}"
        number = f"$(gcloud projects describe {self.project} --format 'value(projectNumber)')"
        known = {
            r"has not been used|is disabled|SERVICE_DISABLED": (
                f"gcloud services enable {' '.join(f'{one}.googleapis.com' for one in _APIS.split())}"
            ),
            r"Eventarc Service Agent": member.format(
                self.project,
                f"service-{number}@gcp-sa-eventarc.iam.gserviceaccount.com",
                "roles/eventarc.serviceAgent; then wait a minute and try again.",
            ),
            r"pubsub\.publisher|publish to Cloud Pub/Sub": member.format(
                self.project,
                f"$(gcloud storage service-agent --project {self.project})",
                "roles/pubsub.publisher",
            ),
            r"actAs|iam\.serviceaccounts": "Ask for roles/iam.serviceAccountUser on the service account that it names.",
            r"eventarc\.events\.receiveEvent|eventReceiver": member.format(
                self.project, "ACCOUNT", "roles/eventarc.eventReceiver, for the account of --service-account"
            ),
            r"storage\.buckets\.get": "Ask for roles/storage.bucketViewer on the bucket. Is it in this project?",
            r"(?i)(region|location).*bucket|bucket.*(region|location)": (
                "A trigger waits where its bucket is: leave --region out, or make a bucket in the region."
            ),
        }
        return next((hint for pattern, hint in known.items() if re.search(pattern, message)), "")

    def found(self, what: str, ask: Callable[[], Any]) -> Any:  # noqa: ANN401  (whatever was asked for)
        """Asks for something that need not be there; None when it is not."""
        with self.said(what):
            try:
                return ask()
            except NotFound:
                return None

    def done(self, what: str, start: Callable[[], Any]) -> Any:  # noqa: ANN401  (whatever comes of it)
        """Starts what takes long, and waits for its end."""
        with self.said(what):
            return start().result(timeout=_CHANGE, polling=DEFAULT_POLLING.with_delay(initial=0.2, maximum=10.0))
