"""Whether Vertex AI would run something, asked before anything is sent to it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kfp_magics.backends.connections import Checked
from kfp_magics.backends.vertex import logs
from kfp_magics.backends.vertex.service import FILE_WORDS
from kfp_magics.errors import ArgumentError, BackendError, NotFoundError, UnavailableError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kfp_magics.backends.connections import Connection
    from kfp_magics.backends.vertex.service import Service

_BUCKET = re.compile(r"gs://([a-z0-9][a-z0-9._-]+[a-z0-9])(/|$)")
_NETWORK = re.compile(r"projects/\d+/global/networks/[a-z][-a-z0-9]*")
_ACCOUNT = re.compile(r"[^@\s]+@[^@\s]+")
_NO_ADDRESS = re.compile(r"dns resolution failed|address lookup failed|errors? resolving", re.IGNORECASE)
REGIONS = (
    *("africa-south1", "asia-east1", "asia-east2", "asia-northeast1", "asia-northeast2", "asia-northeast3"),
    *("asia-south1", "asia-south2", "asia-southeast1", "asia-southeast2"),
    *("australia-southeast1", "australia-southeast2", "europe-central2", "europe-north1", "europe-north2"),
    *("europe-southwest1", "europe-west1", "europe-west2", "europe-west3", "europe-west4", "europe-west6"),
    *("europe-west8", "europe-west9", "europe-west12", "me-central1", "me-central2", "me-west1"),
    *("northamerica-northeast1", "northamerica-northeast2", "southamerica-east1", "southamerica-west1"),
    *("us-central1", "us-east1", "us-east4", "us-east5", "us-east7", "us-south1"),
    *("us-west1", "us-west2", "us-west3", "us-west4", "us-west8"),
)
"""Where Vertex AI is; one that is not among them is asked all the same, as there are new ones now and then."""


def check(service: Service) -> Checked:
    """Asks whether this login may see runs, logs and the bucket; see `Checks.check`.

    Args:
        service: Whom to ask; its patience should be short.
    """
    connection = service.connection
    _reads(connection)
    try:
        next(service.jobs(page=1), None)
    except UnavailableError as error:
        if _NO_ADDRESS.search(error.message):
            raise UnavailableError(
                f"Vertex AI is not to be found in {connection.region!r}: there is no such region, or no network here.",
                did_you_mean(connection.region, REGIONS)
                if connection.region not in REGIONS
                else "Look at the network.",
            ) from error
        raise
    user = getattr(service.credentials, "service_account_email", "") or ""
    return Checked(
        connection=connection,
        server=f"Vertex AI in {connection.region}, project {connection.project}",
        user=user if "@" in user else "",
        remarks=tuple(_remarks(service)),
    )


def _reads(connection: Connection) -> None:
    """Looks whether the options are of the form that Vertex AI takes; it would say so only when a run is started."""
    root, network, account = connection.pipeline_root, connection.network, connection.service_account
    if root and not _BUCKET.match(root):
        raise BackendError(
            f"Vertex AI writes to a bucket, and {root!r} is none.", "Write --pipeline-root gs://BUCKET/FOLDER"
        )
    if network and not _NETWORK.fullmatch(network):
        raise ArgumentError(
            f"{network!r} is no network as Vertex AI names it: with the number of its project.",
            "Write --network projects/NUMBER/global/networks/NAME; gcloud projects describe PROJECT shows the number.",
        )
    if account and not _ACCOUNT.fullmatch(account):
        raise ArgumentError(
            f"{account!r} is no address of a service account.",
            f"Write --service-account {account.split('@')[0]}@{connection.project}.iam.gserviceaccount.com",
        )


def _remarks(service: Service) -> Iterator[str]:
    connection = service.connection
    if not connection.pipeline_root:
        yield "no bucket is named: --pipeline-root gs://BUCKET/FOLDER, unless each pipeline names one"
    elif trouble := _trouble_with(service, connection.pipeline_root):
        yield trouble
    if trouble := logs.trouble(service):
        yield trouble
    if not connection.service_account:
        yield "steps have the rights of the project's Compute Engine account: --service-account names one"


def _trouble_with(service: Service, root: str) -> str:
    """Why runs could not write to a folder of a bucket, as far as can be told from here; empty when it looks well."""
    bucket, _, folder = root.removeprefix("gs://").partition("/")
    where = service.connection
    try:
        with FILE_WORDS.said(f"look into {root}"):
            found = service.storage.list_blobs(
                bucket, prefix=folder, max_results=1, timeout=service.timeout, retry=service.retry
            )
            next(iter(found), None)
    except NotFoundError:
        return (
            f"there is no bucket gs://{bucket}: gcloud storage buckets create gs://{bucket}"
            f" --location {where.region} --project {where.project}"
        )
    except BackendError as error:
        return f"{root}: {error.message} {error.hint}"
    return ""
