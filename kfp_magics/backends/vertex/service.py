"""Google's own clients for the pipelines of one project and region, made when they are first needed.

Of google-cloud-aiplatform only the generated part ``aiplatform_v1`` is imported: it takes a third of the time and not
two thirds of the memory of the whole, which adds ways of its own to wait, print and retry, and none that we lack.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from google.api_core import exceptions
from google.api_core.retry import Retry
from google.auth.credentials import AnonymousCredentials
from google.cloud import aiplatform_v1 as vertex
from google.cloud.aiplatform_v1.services.pipeline_service.transports import PipelineServiceGrpcTransport
from google.cloud.aiplatform_v1.services.schedule_service.transports import ScheduleServiceGrpcTransport

from kfp_magics.backends.buckets import Buckets
from kfp_magics.errors import BackendError, LoginError, NotFoundError, UnavailableError
from kfp_magics.google import Words, may_pass, transport

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from google.cloud import storage
    from google.cloud.logging_v2.services.logging_service_v2 import LoggingServiceV2Client

    from kfp_magics.backends.connections import Connection

WORDS = Words(
    service="Vertex AI",
    rights="Ask for roles/aiplatform.user on the project, and roles/iam.serviceAccountUser on its service account.",
    quota="A quota is used up: wait a minute, start fewer runs at once, or ask for more quota.",
    mend="Mend what it names and try again.",
    again="Try again later; a run that it has goes on meanwhile.",
    refused=LoginError,
    missing=NotFoundError,
    wrong=BackendError,
    silent=UnavailableError,
)
LOG_WORDS = replace(WORDS, service="Cloud Logging", rights="Ask for roles/logging.viewer on the project.")
FILE_WORDS = replace(
    WORDS, service="Cloud Storage", rights="Ask for roles/storage.objectViewer on the bucket; steps need objectAdmin."
)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 8.0


def _again(error: Exception) -> bool:
    """Whether a call is tried again: what we ask for changes nothing, or is told apart by an id."""
    return may_pass(error) or isinstance(error, exceptions.TooManyRequests)


class Service:
    """Vertex AI Pipelines of one project and region.

    Args:
        connection: Which, and how it is reached.
        timeout: Seconds that one answer may take.
        patience: Seconds for which what fails is tried again.

    Raises:
        LoginError: There are no credentials.
        BackendError: The address is neither encrypted nor on this machine.
    """

    def __init__(self, connection: Connection, *, timeout: float, patience: float) -> None:
        WORDS.is_encrypted(connection.endpoint)
        self.connection = connection
        self.timeout = timeout
        self.patience = patience
        self.credentials = AnonymousCredentials() if self._is_emulated else WORDS.credentials()[0]

    @property
    def _is_emulated(self) -> bool:
        return self.connection.endpoint.startswith("http:")  # on this machine: nothing else is let through

    @property
    def parent(self) -> str:
        """Project and region, as Vertex AI's names begin."""
        return f"projects/{self.connection.project}/locations/{self.connection.region}"

    @property
    def where(self) -> str:
        """Project and region for a person."""
        return f"the project {self.connection.project} in {self.connection.region}"

    @property
    def retry(self) -> Retry:
        """Tries again what may be tried again."""
        pause = min(_FIRST_PAUSE, max(self.patience, 0.01))
        return Retry(_again, initial=pause, maximum=_LONGEST_PAUSE, multiplier=2, timeout=self.patience)

    def _transport(self, kind: Any, host: str = "") -> Any:  # noqa: ANN401  (Google's transports)
        return transport(kind, self.connection.endpoint, self.credentials, host)

    @cached_property
    def _jobs(self) -> vertex.PipelineServiceClient:
        host = f"{self.connection.region}-aiplatform.googleapis.com"
        return vertex.PipelineServiceClient(transport=self._transport(PipelineServiceGrpcTransport, host))

    @cached_property
    def schedules(self) -> vertex.ScheduleServiceClient:
        """The client for schedules."""
        host = f"{self.connection.region}-aiplatform.googleapis.com"
        return vertex.ScheduleServiceClient(transport=self._transport(ScheduleServiceGrpcTransport, host))

    @cached_property
    def logging(self) -> LoggingServiceV2Client:
        """The client for logs."""
        from google.cloud.logging_v2.services.logging_service_v2 import LoggingServiceV2Client  # noqa: PLC0415
        from google.cloud.logging_v2.services.logging_service_v2.transports import (  # noqa: PLC0415  (only for logs)
            LoggingServiceV2GrpcTransport,
        )

        return LoggingServiceV2Client(transport=self._transport(LoggingServiceV2GrpcTransport))

    @cached_property
    def storage(self) -> storage.Client:
        """The client for what runs write."""
        from google.cloud import storage  # noqa: PLC0415  (only for artifacts)

        on_emulator = "STORAGE_EMULATOR_HOST" in os.environ
        credentials = AnonymousCredentials() if on_emulator else self.credentials
        return storage.Client(project=self.connection.project, credentials=credentials)

    @property
    def buckets(self) -> Buckets:
        """What runs write."""
        return Buckets(client=self.storage, words=FILE_WORDS, timeout=self.timeout)

    # Runs

    def _name(self, run_id: str) -> str:
        return f"{self.parent}/pipelineJobs/{run_id}"

    def create(self, job: vertex.PipelineJob, run_id: str) -> vertex.PipelineJob:
        """Starts a run once: its id is ours, so that a second request whose first answer got lost starts nothing."""
        request = vertex.CreatePipelineJobRequest(parent=self.parent, pipeline_job=job, pipeline_job_id=run_id)
        end = time.monotonic() + self.patience
        pause = _FIRST_PAUSE
        with WORDS.said(f"start a run in {self.where}"):
            while True:
                try:
                    return self._jobs.create_pipeline_job(request=request, retry=None, timeout=self.timeout)
                except exceptions.AlreadyExists:
                    return self._jobs.get_pipeline_job(name=self._name(run_id), retry=self.retry, timeout=self.timeout)
                except exceptions.GoogleAPICallError as error:
                    if not _again(error) or time.monotonic() + pause > end:
                        raise
                    time.sleep(pause)
                    pause = min(2 * pause, _LONGEST_PAUSE)

    def job(self, run_id: str) -> vertex.PipelineJob:
        """Looks where a run stands; one try, so that whoever watches can say that there was no answer."""
        with WORDS.said(f"show the run {run_id}"):
            return self._jobs.get_pipeline_job(name=self._name(run_id), retry=None, timeout=self.timeout)

    def jobs(self, wanted: str = "", *, page: int = 50) -> Iterator[vertex.PipelineJob]:
        """Lists runs without their tasks, newest first.

        Args:
            wanted: Vertex AI's filter.
            page: How many are asked for at once.
        """
        request = vertex.ListPipelineJobsRequest(
            parent=self.parent, filter=wanted, page_size=page, order_by="create_time desc"
        )
        with WORDS.said(f"list the runs of {self.where}"):
            yield from self._jobs.list_pipeline_jobs(request=request, retry=self.retry, timeout=self.timeout)

    def changed_since(self, moment: datetime, *, page: int) -> Iterator[vertex.PipelineJob]:
        """Lists the runs that changed at a moment or later, first changes first: name, state and time only.

        Args:
            moment: By Vertex AI's clock.
            page: How many are asked for at once.
        """
        request = vertex.ListPipelineJobsRequest(
            parent=self.parent,
            filter=f'update_time>="{moment.isoformat().replace("+00:00", "Z")}"',
            order_by="update_time",
            page_size=page,
            read_mask={"paths": ["name", "state", "update_time"]},
        )
        with WORDS.said(f"list the runs of {self.where}"):
            yield from self._jobs.list_pipeline_jobs(request=request, retry=None, timeout=self.timeout)

    def cancel(self, run_id: str) -> None:
        """Asks for the end of a run."""
        with WORDS.said(f"cancel the run {run_id}"):
            self._jobs.cancel_pipeline_job(name=self._name(run_id), retry=self.retry, timeout=self.timeout)

    def delete(self, run_id: str) -> None:
        """Removes a run that has ended; one that is gone is no mistake."""
        with WORDS.said(f"delete the run {run_id}"):
            try:
                self._jobs.delete_pipeline_job(name=self._name(run_id), retry=self.retry, timeout=self.timeout)
            except exceptions.NotFound:
                return
