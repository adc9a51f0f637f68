"""Google's own clients, made once and asked with patience: Cloud Build over gRPC, Cloud Storage over HTTP."""

from __future__ import annotations

import os
import tempfile
import uuid
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Self

from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.cloud.devtools import cloudbuild_v1 as cb
from google.cloud.devtools.cloudbuild_v1.services.cloud_build.transports import CloudBuildGrpcTransport

from kfp_magics.errors import BuildError
from kfp_magics.google import TRANSIENT, Words, is_loopback, transport
from kfp_magics.images.cloudbuild.archive import pack_source
from kfp_magics.options import default_bucket

if TYPE_CHECKING:
    from kfp_magics.images.base import ImageSpec
    from kfp_magics.settings import Settings

WORDS = Words(
    service="Cloud Build",
    rights="Ask for roles/cloudbuild.builds.editor and roles/storage.admin on the project.",
    quota="A quota is used up: wait a minute, build fewer steps at once, or ask for more quota.",
    mend="Mend what it names and build again.",
    again="Try again; nothing was published.",
    refused=BuildError,
    missing=BuildError,
    wrong=BuildError,
    silent=BuildError,
)
said = WORDS.said
_TRIES = 3  # of a creation whose answer was lost
_CALL = 30.0  # seconds that one call may take


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where builds run.

    Attributes:
        project: Google Cloud project; that of the credentials when empty.
        region: Where, or ``global``.
        bucket: Bucket for sources; Cloud Build's usual one of the project when empty.
        endpoint: Address of another Cloud Build, ``http://127.0.0.1:…`` without encryption on this machine only.
    """

    project: str = ""
    region: str = "global"
    bucket: str = ""
    endpoint: str = ""


class Google:
    """Cloud Build and Cloud Storage of one project.

    Args:
        place: Where builds run.

    Raises:
        BuildError: There are no credentials, or no project is known.
    """

    def __init__(self, place: Place) -> None:
        WORDS.is_encrypted(place.endpoint)
        emulated = bool(place.endpoint) and is_loopback(place.endpoint)
        credentials, project = (AnonymousCredentials(), "") if emulated else WORDS.credentials()
        self.project = place.project or project
        if not self.project:
            raise BuildError(
                "Cloud Build needs a project, and none is known.",
                "Set it: KFP_MAGICS_GOOGLE_PROJECT=my-project, or: gcloud config set project my-project",
            )
        self._place = place
        self._builds = cb.CloudBuildClient(transport=transport(CloudBuildGrpcTransport, place.endpoint, credentials))
        on_emulator = "STORAGE_EMULATOR_HOST" in os.environ
        self._storage = storage.Client(
            project=self.project, credentials=AnonymousCredentials() if on_emulator else credentials
        )

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Makes the one that the settings describe; errors as above."""
        return cls(
            Place(
                project=settings.google_project,
                region=settings.google_region,
                bucket=settings.cloudbuild_bucket,
                endpoint=settings.cloudbuild_endpoint,
            )
        )

    @property
    def builds(self) -> cb.CloudBuildClient:
        """Google's client."""
        return self._builds

    # Sources

    def upload(self, spec: ImageSpec) -> cb.StorageSource:
        """Packs and uploads a build's source, unless the very same is there.

        Returns:
            Where it is, its generation included, so that nobody can put another in its place.
        """
        with tempfile.TemporaryFile() as file, said(f"put the source into the project {self.project}"):
            name = f"source/{pack_source(spec, file)}.tgz"
            bucket = self._bucket()
            blob = bucket.get_blob(name) or self._put(bucket.blob(name), file)
        return cb.StorageSource(bucket=bucket.name, object_=name, generation=blob.generation)

    @staticmethod
    def _put(blob: storage.Blob, file: IO[bytes]) -> storage.Blob:
        blob.upload_from_file(file, rewind=True, content_type="application/gzip", checksum="auto")
        return blob

    def _bucket(self) -> storage.Bucket:
        name = self._place.bucket or default_bucket(self.project, self._place.region)
        found = self._storage.lookup_bucket(name)
        if found is None:
            where = None if self._place.region == "global" else self._place.region
            return self._storage.create_bucket(name, location=where)
        # The usual name can be guessed, and a stranger may own it: it would get our code, and choose what is built.
        if not self._place.bucket and name not in {one.name for one in self._storage.list_buckets(prefix=name)}:
            raise BuildError(
                f"The bucket {name!r} exists and belongs to another project than {self.project!r}.",
                "Make one of your own and name it: KFP_MAGICS_CLOUDBUILD_BUCKET=my-bucket",
            )
        return found

    # Builds

    @property
    def parent(self) -> str:
        """Project and region, as Cloud Build's names begin."""
        return f"projects/{self.project}/locations/{self._place.region}"

    def create(self, build: cb.Build) -> cb.Build:
        """Starts a build; an answer that is lost on the way does not start it twice."""
        mark = f"kfp-magics-{uuid.uuid4().hex[:16]}"
        build.tags.append(mark)
        request = cb.CreateBuildRequest(parent=self.parent, project_id=self.project, build=build)
        with said(f"start a build in the project {self.project}"):
            for attempt in range(_TRIES):
                try:
                    operation = self._builds.create_build(request=request, timeout=_CALL)
                except TRANSIENT:
                    if (found := self._with_tag(mark)) is not None:
                        return found
                    if attempt == _TRIES - 1:
                        raise
                else:
                    created: cb.Build = operation.metadata.build
                    return created
        raise AssertionError

    def _with_tag(self, tag: str) -> cb.Build | None:
        request = cb.ListBuildsRequest(parent=self.parent, project_id=self.project, filter=f'tags="{tag}"')
        return next(iter(self._builds.list_builds(request=request, timeout=_CALL)), None)

    def get(self, build_id: str) -> cb.Build:
        """Looks where a build stands; one try, so that whoever asks can do something else in between."""
        name = f"{self.parent}/builds/{build_id}"
        request = cb.GetBuildRequest(name=name, project_id=self.project, id=build_id)
        return self._builds.get_build(request=request, retry=None, timeout=_CALL)

    def cancel(self, build_id: str) -> None:
        """Asks for the end of a build."""
        name = f"{self.parent}/builds/{build_id}"
        with said(f"cancel the build {build_id}"):
            self._builds.cancel_build(
                request=cb.CancelBuildRequest(name=name, project_id=self.project, id=build_id), timeout=_CALL
            )

    def log(self, build: cb.Build, position: int) -> bytes:
        """Reads what a build has printed since the last look; nothing when there is nothing, or nothing yet."""
        bucket, _, folder = build.logs_bucket.removeprefix("gs://").partition("/")
        if not bucket:
            return b""
        blob = self._storage.bucket(bucket).blob(f"{folder}/log-{build.id}.txt".lstrip("/"))
        try:
            piece: bytes = blob.download_as_bytes(start=position, raw_download=True, checksum=None, timeout=_CALL)
        except (exceptions.NotFound, exceptions.RequestRangeNotSatisfiable):
            return b""
        return piece
