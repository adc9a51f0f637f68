"""One image by Google Cloud Build: source up, build started, log and states followed, digest read from the result."""

from __future__ import annotations

import codecs
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from google.api_core import exceptions
from google.cloud.devtools import cloudbuild_v1 as cb

from kfp_magics.errors import BuildCancelledError, BuildError, did_you_mean
from kfp_magics.google import TRANSIENT
from kfp_magics.images.base import ImageRef
from kfp_magics.images.cloudbuild.archive import find_config
from kfp_magics.images.cloudbuild.config import dockerfile_config, read_config
from kfp_magics.images.cloudbuild.service import Google, Place, said
from kfp_magics.images.references import Reference

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kfp_magics.images.base import ImageSpec, Log
    from kfp_magics.images.registry import Registries
    from kfp_magics.settings import Settings

_Status = cb.Build.Status
_UNFINISHED = {_Status.STATUS_UNKNOWN, _Status.PENDING, _Status.QUEUED, _Status.WORKING}
_GOODBYE = 20.0  # seconds that a cancelled build may take to say so


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildOptions:
    """What a build asks of Cloud Build, unless the folder's own configuration says otherwise.

    Attributes:
        service_account: Whose rights the build has; the project's usual one when empty.
        machine_type: E.g. ``E2_HIGHCPU_8``.
        worker_pool: Full name of a private pool.
        timeout: Seconds; Google's own limit when 0.
        substitutions: Name → value for the folder's own configuration.
        interval: Seconds between two looks at a build.
        patience: Seconds that Google may be out of reach before the build is given up here; it goes on there.
    """

    service_account: str = ""
    machine_type: str = ""
    worker_pool: str = ""
    timeout: int = 0
    substitutions: Mapping[str, str] = field(default_factory=dict)
    interval: float = 1.0
    patience: float = 300.0


class CloudBuildBuilder:
    """Builds images in the cloud; see `Builder`.

    Args:
        destination: Registry and path that images go to.
        place: Where builds run.
        registries: Clients of registries, to tag what a configuration of the user's pushed.
        options: What builds ask for.
    """

    name = "cloudbuild"

    def __init__(
        self, destination: str, place: Place, registries: Registries, options: BuildOptions | None = None
    ) -> None:
        self._destination = destination
        self._registries = registries
        self._google = Google(place)
        self._options = options or BuildOptions()

    @classmethod
    def from_settings(
        cls,
        destination: str,
        settings: Settings,
        registries: Registries,
        substitutions: Mapping[str, str] | None = None,
    ) -> Self:
        """Makes the builder that the settings describe.

        Args:
            destination: Registry and path that images go to.
            settings: Where builds run and what they ask for.
            registries: Clients of registries.
            substitutions: Name → value for the folder's own configuration.

        Raises:
            BuildError: There are no credentials, or no project is known.
        """
        place = Place(
            project=settings.google_project,
            region=settings.google_region,
            bucket=settings.cloudbuild_bucket,
            endpoint=settings.cloudbuild_endpoint,
        )
        options = BuildOptions(
            service_account=settings.cloudbuild_service_account,
            machine_type=settings.cloudbuild_machine_type,
            worker_pool=settings.cloudbuild_worker_pool,
            timeout=settings.cloudbuild_timeout,
            substitutions=substitutions or {},
        )
        return cls(destination, place, registries, options)

    def build(self, spec: ImageSpec, log: Log) -> ImageRef:
        """Builds and publishes one image; see `Builder.build`."""
        build = self._configured(spec)
        log.step("uploading the source", 0.0)
        build.source = cb.Source(storage_source=self._google.upload(spec))
        log.check()
        log.step("waiting for Cloud Build", 0.0)
        created = self._google.create(build)
        log.write(f"Cloud Build {created.id}: {created.log_url}\n")
        ended = self._follow(created, log)
        if ended.status is not _Status.SUCCESS:
            raise _failure(ended)
        return self._image(spec, ended)

    def _configured(self, spec: ImageSpec) -> cb.Build:
        image = f"{self._destination}/{spec.name}:{spec.tag}"
        offered = {
            "_REGISTRY": self._destination,
            "_TAG": spec.tag,
            "TAG_NAME": spec.tag,
            # Many repositories keep a folder per container and fill in where it is before they submit it.
            **dict.fromkeys(("_DIR_IN_REPO", "DIR_IN_REPO", "_DIR"), "."),
            **dict.fromkeys(("_CONTAINER_NAME", "CONTAINER_NAME"), spec.name),
            **self._options.substitutions,
        }
        where, text = find_config(spec)
        build = read_config(text or dockerfile_config(image), offered, where or "cloudbuild.yaml")
        self._give_options(build)
        return build

    def _give_options(self, build: cb.Build) -> None:
        wanted = self._options
        if wanted.timeout and not build.timeout:
            build.timeout = {"seconds": wanted.timeout}
        if wanted.machine_type and not build.options.machine_type:
            build.options.machine_type = _machine_type(wanted.machine_type)
        if wanted.worker_pool and not build.options.pool.name:
            build.options.pool.name = wanted.worker_pool
        if wanted.service_account and not build.service_account:
            account = wanted.service_account
            build.service_account = account if "/" in account else f"projects/-/serviceAccounts/{account}"
        own_logs = build.logs_bucket or build.options.logging or build.options.default_logs_bucket_behavior
        if build.service_account and not own_logs:
            # Google refuses a build with an account of one's own that does not say where its log goes.
            behavior = cb.BuildOptions.DefaultLogsBucketBehavior.REGIONAL_USER_OWNED_BUCKET
            build.options.default_logs_bucket_behavior = behavior

    def _follow(self, build: cb.Build, log: Log) -> cb.Build:
        reader = _LogReader(self._google, log)
        try:
            while True:
                log.check()
                build = self._look(build, log)
                _report(build, log)
                reader.read(build)
                if build.status not in _UNFINISHED:
                    reader.read(build)  # what was written between the last look and the end
                    return build
                time.sleep(self._options.interval)
        except (BuildCancelledError, KeyboardInterrupt):
            self._cancel(build)
            raise

    def _look(self, build: cb.Build, log: Log) -> cb.Build:
        since = time.monotonic()
        while True:
            try:
                return self._google.get(build.id)
            except TRANSIENT as error:
                if time.monotonic() - since > self._options.patience:
                    raise BuildError(
                        f"Cloud Build is out of reach: {error.message}", f"The build goes on there: {build.log_url}"
                    ) from error
                log.step("Cloud Build does not answer; trying again")
            except exceptions.GoogleAPICallError:
                with said(f"look at the build {build.id}"):
                    raise
            log.check()
            time.sleep(self._options.interval)

    def _cancel(self, build: cb.Build) -> None:
        self._google.cancel(build.id)
        deadline = time.monotonic() + _GOODBYE
        while time.monotonic() < deadline:
            with suppress(*TRANSIENT):
                if self._google.get(build.id).status not in _UNFINISHED:
                    return
            time.sleep(self._options.interval)

    def _image(self, spec: ImageSpec, build: cb.Build) -> ImageRef:
        pushed = {Reference.parse(image.name).name: image for image in build.results.images if image.digest}
        wanted = Reference.parse(f"{self._destination}/{spec.name}").name
        same_name = [one for one in pushed if one.rpartition("/")[2] == spec.name]
        candidates = [wanted] if wanted in pushed else same_name or list(pushed)
        if len(candidates) == 1:
            found = pushed[candidates[0]]
            return self._tagged(Reference.parse(found.name).at(found.digest), spec.tag)
        what = f"several images: {', '.join(pushed)}" if pushed else "no image that Cloud Build knows of"
        raise BuildError(
            f"The build of {spec.name!r} pushed {what}.",
            f"Name the step's image under images: in cloudbuild.yaml, as {wanted}:${{_TAG}}",
        )

    def _tagged(self, image: Reference, tag: str) -> ImageRef:
        """Puts the content's tag on an image that the user's own configuration tagged otherwise."""
        if image.tag != tag:
            registry = self._registries(image.host)
            manifest = registry.manifest(image.repository, image.digest)
            if manifest is not None:
                registry.put_manifest(image.repository, tag, manifest.body, manifest.media_type)
        return ImageRef(repository=image.name, digest=image.digest, tag=tag)


def _machine_type(name: str) -> cb.BuildOptions.MachineType:
    known = cb.BuildOptions.MachineType
    if name not in known.__members__:
        raise BuildError(f"Cloud Build has no machine type {name!r}.", did_you_mean(name, known.__members__))
    return known[name]


class _LogReader:
    """Hands on what a build prints, as it grows."""

    def __init__(self, google: Google, log: Log) -> None:
        self._google = google
        self._log = log
        self._position = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def read(self, build: cb.Build) -> None:
        """Writes what is new; a log out of reach is read at the next look."""
        with suppress(*TRANSIENT, OSError):
            while piece := self._google.log(build, self._position):
                self._position += len(piece)
                self._log.write(self._decoder.decode(piece))


def _report(build: cb.Build, log: Log) -> None:
    if build.status in {_Status.PENDING, _Status.QUEUED}:
        log.step("waiting for Cloud Build")
        return
    done = [step for step in build.steps if step.status not in _UNFINISHED]
    working = [step.id or step.name.rpartition("/")[2] for step in build.steps if step.status is _Status.WORKING]
    if working:
        log.step(f"step {', '.join(working)} ({len(done) + 1} of {len(build.steps)})", len(done) / len(build.steps))
    elif done and len(done) == len(build.steps):
        log.step("pushing", 1.0)


def _failure(build: cb.Build) -> BuildError:
    match build.status:
        case _Status.TIMEOUT:
            limit = int(build.timeout.total_seconds()) if build.timeout else 600
            return BuildError(
                f"Cloud Build ended the build after its time limit of {limit} s.",
                f"Raise it: timeout: {2 * limit}s in cloudbuild.yaml, or KFP_MAGICS_CLOUDBUILD_TIMEOUT={2 * limit}",
            )
        case _Status.CANCELLED:
            return BuildCancelledError("The build was cancelled in Cloud Build.", f"Its log is {build.log_url}")
        case _Status.EXPIRED:
            return BuildError("The build waited too long in Cloud Build's queue.", "Build fewer steps at once.")
        case _Status.INTERNAL_ERROR:
            return BuildError(f"Cloud Build itself failed: {build.status_detail}", "Build again.")
    failed = next((step for step in build.steps if step.status is _Status.FAILURE), None)
    detail = build.failure_info.detail or build.status_detail or "it says no more"
    where = f" in step {failed.id or failed.name!r}, exit code {failed.exit_code}" if failed else ""
    hint = f"Its log is {build.log_url}"
    if build.failure_info.type_ in {
        cb.Build.FailureInfo.FailureType.PUSH_NOT_AUTHORIZED,
        cb.Build.FailureInfo.FailureType.PUSH_FAILED,
    }:
        hint = "Give the account that builds the role roles/artifactregistry.writer on the repository."
    return BuildError(f"Cloud Build failed{where}: {detail}", hint)
