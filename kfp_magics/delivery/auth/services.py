"""Google's services: which client is imported, what is called on it, and the smallest role that allows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

VIEWER, USER, ADMIN = "roles/storage.objectViewer", "roles/storage.objectUser", "roles/storage.objectAdmin"
"""Reading objects; writing them, too; changing who may see them, too."""
BUCKETS = "roles/storage.bucketViewer"
STORAGE_ADMIN = "roles/storage.admin"
JOBS, TABLES_READ, TABLES_WRITE = (
    "roles/bigquery.jobUser",
    "roles/bigquery.dataViewer",
    "roles/bigquery.dataEditor",
)
VERTEX = "roles/aiplatform.user"
SECRETS = "roles/secretmanager.secretAccessor"


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """A service of Google's, and what its client's methods need.

    Attributes:
        name: How people call it.
        api: The API that has to be enabled; empty for none.
        always: Roles that every use needs.
        reads: What is enough while only `reading` is called.
        reading: Methods that only look.
        otherwise: What is needed when it cannot be told what is called.
        calls: Method → role that it needs, besides `always`.
        resources: Methods whose results are clients or resources again, not data.
    """

    name: str
    api: str = ""
    always: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    reading: frozenset[str] = frozenset()
    otherwise: tuple[str, ...] = ()
    calls: Mapping[str, str] = field(default_factory=dict)
    resources: frozenset[str] = frozenset()


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


STORAGE = Service(
    name="Cloud Storage",
    api="storage.googleapis.com",
    reads=(VIEWER,),
    reading=_words(
        "download_as_bytes download_as_string download_as_text download_to_file download_to_filename exists reload "
        "download_blob_to_file list_blobs get_blob download_many download_many_to_path download_chunks_concurrently"
    ),
    otherwise=(ADMIN,),
    calls={
        **dict.fromkeys(
            _words(
                "upload_from_file upload_from_filename upload_from_string create_resumable_upload_session delete "
                "delete_blob delete_blobs compose rewrite copy_blob rename_blob restore_blob patch update "
                "update_storage_class upload_many upload_many_from_filenames upload_chunks_concurrently"
            ),
            USER,
        ),
        **dict.fromkeys(_words("make_public make_private acl get_iam_policy set_iam_policy"), ADMIN),
        **dict.fromkeys(_words("get_bucket lookup_bucket list_buckets"), BUCKETS),
        **dict.fromkeys(_words("create_bucket create"), STORAGE_ADMIN),
    },
    resources=_words("bucket get_bucket lookup_bucket create_bucket blob get_blob list_blobs list_buckets from_string"),
)
BIGQUERY = Service(
    name="BigQuery",
    api="bigquery.googleapis.com",
    reads=(TABLES_READ, JOBS),
    reading=_words(
        "query query_and_wait list_rows list_tables list_datasets get_table get_dataset extract_table result "
        "to_dataframe to_arrow read_gbq"
    ),
    otherwise=(TABLES_WRITE, JOBS),
    calls=dict.fromkeys(
        _words(
            "load_table_from_dataframe load_table_from_file load_table_from_json load_table_from_uri copy_table "
            "create_table create_dataset create_routine update_table update_dataset delete_table delete_dataset "
            "insert_rows insert_rows_json insert_rows_from_dataframe to_gbq"
        ),
        TABLES_WRITE,
    ),
)
SERVICES: Mapping[str, Service] = {
    "google.cloud.storage": STORAGE,
    "gcsfs": Service(name="Cloud Storage", api="storage.googleapis.com", otherwise=(USER,)),
    "google.cloud.bigquery": BIGQUERY,
    "pandas_gbq": BIGQUERY,
    "google.cloud.bigquery_storage": Service(
        name="BigQuery Storage",
        api="bigquerystorage.googleapis.com",
        always=("roles/bigquery.readSessionUser", TABLES_READ),
    ),
    "google.cloud.aiplatform": Service(name="Vertex AI", api="aiplatform.googleapis.com", always=(VERTEX,)),
    "google.cloud.aiplatform_v1": Service(name="Vertex AI", api="aiplatform.googleapis.com", always=(VERTEX,)),
    "google.cloud.aiplatform_v1beta1": Service(name="Vertex AI", api="aiplatform.googleapis.com", always=(VERTEX,)),
    "google_cloud_pipeline_components": Service(name="Vertex AI", api="aiplatform.googleapis.com", always=(VERTEX,)),
    "vertexai": Service(name="Vertex AI", api="aiplatform.googleapis.com", always=(VERTEX,)),
    "google.genai": Service(name="Vertex AI", api="aiplatform.googleapis.com", always=(VERTEX,)),
    "google.cloud.secretmanager": Service(
        name="Secret Manager",
        api="secretmanager.googleapis.com",
        reads=(SECRETS,),
        reading=_words("access_secret_version"),
        otherwise=(SECRETS,),
        calls={
            "add_secret_version": "roles/secretmanager.secretVersionAdder",
            **dict.fromkeys(_words("create_secret delete_secret update_secret"), "roles/secretmanager.admin"),
            **dict.fromkeys(_words("list_secrets get_secret list_secret_versions"), "roles/secretmanager.viewer"),
        },
    ),
    "google.cloud.pubsub": Service(
        name="Pub/Sub",
        api="pubsub.googleapis.com",
        otherwise=("roles/pubsub.publisher", "roles/pubsub.subscriber"),
        calls={
            "PublisherClient": "roles/pubsub.publisher",
            "SubscriberClient": "roles/pubsub.subscriber",
            **dict.fromkeys(_words("create_topic delete_topic create_subscription"), "roles/pubsub.editor"),
        },
    ),
    "google.cloud.firestore": Service(
        name="Firestore", api="firestore.googleapis.com", always=("roles/datastore.user",)
    ),
    "google.cloud.datastore": Service(
        name="Datastore", api="datastore.googleapis.com", always=("roles/datastore.user",)
    ),
    "google.cloud.bigtable": Service(name="Bigtable", api="bigtable.googleapis.com", always=("roles/bigtable.user",)),
    "google.cloud.spanner": Service(
        name="Spanner", api="spanner.googleapis.com", always=("roles/spanner.databaseUser",)
    ),
    "google.cloud.sql": Service(name="Cloud SQL", api="sqladmin.googleapis.com", always=("roles/cloudsql.client",)),
    "google.cloud.logging": Service(
        name="Cloud Logging", api="logging.googleapis.com", always=("roles/logging.logWriter",)
    ),
    "google.cloud.error_reporting": Service(
        name="Error Reporting", api="clouderrorreporting.googleapis.com", always=("roles/errorreporting.writer",)
    ),
    "google.cloud.monitoring": Service(
        name="Cloud Monitoring", api="monitoring.googleapis.com", always=("roles/monitoring.metricWriter",)
    ),
    "google.cloud.translate": Service(
        name="Cloud Translation", api="translate.googleapis.com", always=("roles/cloudtranslate.user",)
    ),
    "google.cloud.speech": Service(name="Speech-to-Text", api="speech.googleapis.com", always=("roles/speech.client",)),
    "google.cloud.documentai": Service(
        name="Document AI", api="documentai.googleapis.com", always=("roles/documentai.apiUser",)
    ),
    "google.cloud.vision": Service(
        name="Cloud Vision", api="vision.googleapis.com", always=("roles/serviceusage.serviceUsageConsumer",)
    ),
    "google.cloud.language": Service(
        name="Natural Language", api="language.googleapis.com", always=("roles/serviceusage.serviceUsageConsumer",)
    ),
    "google.cloud.dlp": Service(name="Sensitive Data Protection", api="dlp.googleapis.com", always=("roles/dlp.user",)),
    "google.cloud.kms": Service(
        name="Key Management", api="cloudkms.googleapis.com", always=("roles/cloudkms.cryptoKeyEncrypterDecrypter",)
    ),
    "google.cloud.tasks": Service(
        name="Cloud Tasks", api="cloudtasks.googleapis.com", always=("roles/cloudtasks.enqueuer",)
    ),
    "google.cloud.dataproc": Service(name="Dataproc", api="dataproc.googleapis.com", always=("roles/dataproc.editor",)),
    "google.cloud.run": Service(name="Cloud Run", api="run.googleapis.com", always=("roles/run.developer",)),
    "google.cloud.devtools.cloudbuild": Service(
        name="Cloud Build", api="cloudbuild.googleapis.com", always=("roles/cloudbuild.builds.editor",)
    ),
    "google.cloud.container": Service(
        name="Kubernetes Engine", api="container.googleapis.com", always=("roles/container.developer",)
    ),
}
"""Module → the service that it is the client of; versions such as ``pubsub_v1`` count as the module itself."""

DISCOVERED: Mapping[str, str] = {
    "aiplatform": "google.cloud.aiplatform",
    "bigquery": "google.cloud.bigquery",
    "ml": "google.cloud.aiplatform",
    "pubsub": "google.cloud.pubsub",
    "secretmanager": "google.cloud.secretmanager",
    "storage": "google.cloud.storage",
}
"""Name of an API for ``googleapiclient.discovery.build`` → the module with the same service."""

CONTAINS: Mapping[str, tuple[str, ...]] = {
    USER: (VIEWER,),
    ADMIN: (USER, VIEWER),
    STORAGE_ADMIN: (ADMIN, USER, VIEWER, BUCKETS),
    TABLES_WRITE: (TABLES_READ,),
    "roles/pubsub.editor": ("roles/pubsub.publisher", "roles/pubsub.subscriber"),
    "roles/secretmanager.admin": (SECRETS, "roles/secretmanager.secretVersionAdder", "roles/secretmanager.viewer"),
}
"""Role → the roles that it makes needless."""


def service_of(module: str) -> tuple[str, Service | None]:
    """Finds the service that a module is the client of.

    Args:
        module: As it is imported.

    Returns:
        The key of `SERVICES` and the service; the module and None for one of ``google.cloud`` that is not known, an
        empty text and None for what is not Google's.
    """
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        key = ".".join(parts[:length])
        for candidate in (key, key.rpartition("_v")[0]):
            if candidate in SERVICES:
                return candidate, SERVICES[candidate]
    return (module if module.startswith("google.cloud.") else ""), None
