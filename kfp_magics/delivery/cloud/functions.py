"""Cloud Functions, 2nd generation: Google builds the source, and calls it for each new object."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING

from google.cloud import functions_v2 as gcf

from kfp_magics.delivery.cloud.deployment import (
    APPLIED,
    LABEL,
    MEMORY,
    OURS,
    Deployed,
    Plan,
    Wanted,
    compared,
    labels_of,
)
from kfp_magics.delivery.cloud.folder import ENTRY, RUNTIME, packed
from kfp_magics.delivery.cloud.service import CALL
from kfp_magics.delivery.newdata.rules import FINALIZED
from kfp_magics.errors import DeliveryError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kfp_magics.delivery.cloud.service import Cloud
    from kfp_magics.model import Json

_THEIRS = {"LOG_EXECUTION_ID"}  # variables that Google adds
_Retry = gcf.EventTrigger.RetryPolicy
_Ingress = gcf.ServiceConfig.IngressSettings


class Functions:
    """The functions of a project and region.

    Args:
        cloud: Google Cloud.
    """

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def plan(self, wanted: Wanted) -> Plan:
        """Compares what there is with what is wanted; see `Way.plan`."""
        found = self._get(wanted.rule.name)
        if found is None:
            return compared(wanted.rule.name, None, _settings(self._function(wanted), wanted), {}, wanted.files)
        if found.labels.get(LABEL) != OURS:
            raise DeliveryError(
                f"There is a function {wanted.rule.name!r} that kfp-magics did not make.", "Take another --name."
            )
        settings = _settings(found, wanted)
        now = settings, found.labels.get(APPLIED, "")
        return compared(
            wanted.rule.name, now, _settings(self._function(wanted), wanted), self._source(found), wanted.files
        )

    def apply(self, wanted: Wanted, plan: Plan) -> None:
        """Makes it as it should be; see `Way.apply`."""
        function = self._function(wanted)
        function.labels = labels_of(_settings(function, wanted), wanted.files)
        client, name = self._cloud.functions, wanted.rule.name
        if plan.what == "same":
            return
        function.build_config.source.storage_source = self._upload(wanted.files)
        if plan.what == "create":
            create = gcf.CreateFunctionRequest(parent=self._cloud.parent, function=function, function_id=name)
            self._cloud.done(f"create the function {name}", lambda: client.create_function(request=create))
            return
        paths = ["description", "build_config", "service_config", "event_trigger", "labels"]
        update = gcf.UpdateFunctionRequest(function=function, update_mask={"paths": paths})
        self._cloud.done(f"change the function {name}", lambda: client.update_function(request=update))

    def list(self) -> Sequence[Deployed]:
        """What there is that kfp-magics made; see `Way.list`."""
        with self._cloud.said("list the functions"):
            found = list(self._cloud.functions.list_functions(parent=self._cloud.parent, timeout=CALL))
        return [
            Deployed(
                name=one.name.rpartition("/")[2],
                kind="function",
                region=one.name.split("/")[3],
                state=one.state.name.lower(),
                about=one.description,
            )
            for one in found
            if one.labels.get(LABEL) == OURS
        ]

    def delete(self, name: str, region: str) -> None:
        """Removes a function, and with it what calls it; see `Way.delete`."""
        whole = f"projects/{self._cloud.project}/locations/{region}/functions/{name}"
        client = self._cloud.functions
        self._cloud.done(f"delete the function {name}", lambda: client.delete_function(name=whole))

    def log_filter(self, name: str) -> str:
        """How Cloud Logging finds what a function printed; see `Way.log_filter`."""
        return f'resource.type="cloud_run_revision" AND resource.labels.service_name="{name}"'

    def _get(self, name: str) -> gcf.Function | None:
        whole, client = f"{self._cloud.parent}/functions/{name}", self._cloud.functions
        found: gcf.Function | None = self._cloud.found(
            f"look at the function {name}", lambda: client.get_function(name=whole, timeout=CALL)
        )
        return found

    def _function(self, wanted: Wanted) -> gcf.Function:
        secrets = [
            gcf.SecretEnvVar(
                key=key,
                project_id=self._cloud.project,
                secret=secret.partition(":")[0],
                version=secret.partition(":")[2] or "latest",
            )
            for key, secret in sorted(wanted.secrets.items())
        ]
        return gcf.Function(
            name=f"{self._cloud.parent}/functions/{wanted.rule.name}",
            description=wanted.description,
            environment=gcf.Environment.GEN_2,
            build_config=gcf.BuildConfig(runtime=f"python{RUNTIME.replace('.', '')}", entry_point=ENTRY),
            service_config=gcf.ServiceConfig(
                available_memory=MEMORY,
                timeout_seconds=wanted.timeout,
                max_instance_count=wanted.at_once,
                ingress_settings=_Ingress.ALLOW_INTERNAL_ONLY,
                service_account_email=wanted.account,
                secret_environment_variables=secrets,
                vpc_connector=wanted.connector,
            ),
            event_trigger=gcf.EventTrigger(
                event_type=FINALIZED,
                event_filters=[gcf.EventFilter(attribute="bucket", value=wanted.bucket)],
                trigger_region=wanted.location,
                retry_policy=_Retry.RETRY_POLICY_RETRY,
                service_account_email=wanted.account,
            ),
        )

    # Sources

    def _upload(self, files: Mapping[str, bytes]) -> gcf.StorageSource:
        import httpx  # noqa: PLC0415  (only when something is applied)

        request = gcf.GenerateUploadUrlRequest(parent=self._cloud.parent, environment=gcf.Environment.GEN_2)
        with self._cloud.said("put the source of the function there"):
            answer = self._cloud.functions.generate_upload_url(request=request, timeout=CALL)
        try:
            done = httpx.put(
                answer.upload_url, content=packed(files), headers={"Content-Type": "application/zip"}, timeout=CALL
            )
            done.raise_for_status()
        except httpx.HTTPError as error:
            raise DeliveryError(f"The source of the function cannot be uploaded: {error}", "Try again.") from error
        source: gcf.StorageSource = answer.storage_source
        return source

    def _source(self, found: gcf.Function) -> dict[str, bytes]:
        """The source that is deployed; nothing when it cannot be read, so that it counts as another one."""
        import httpx  # noqa: PLC0415  (only when there is something)

        request = gcf.GenerateDownloadUrlRequest(name=found.name)
        with self._cloud.said("read the source of the function"):
            url = self._cloud.functions.generate_download_url(request=request, timeout=CALL).download_url
        try:
            content = httpx.get(url, timeout=CALL).raise_for_status().content
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                return {one.filename: archive.read(one) for one in archive.infolist() if not one.is_dir()}
        except (httpx.HTTPError, zipfile.BadZipFile):
            return {}


def _settings(function: gcf.Function, wanted: Wanted) -> dict[str, Json]:
    """What counts of a function: what we say of it, and not what Google adds."""
    service, trigger = function.service_config, function.event_trigger
    secrets = service.secret_environment_variables
    found: dict[str, Json] = {
        "description": function.description,
        "runtime": function.build_config.runtime,
        "entry point": function.build_config.entry_point,
        "memory": service.available_memory,
        "timeout": service.timeout_seconds,
        "instances at most": service.max_instance_count,
        "reached from": service.ingress_settings.name,
        "variables": {key: value for key, value in service.environment_variables.items() if key not in _THEIRS},
        "secrets": {one.key: f"{one.secret}:{one.version}" for one in secrets},
        "VPC connector": service.vpc_connector,
        "trigger": {
            "event": trigger.event_type,
            "where": trigger.trigger_region,
            "filters": {one.attribute: one.value for one in trigger.event_filters if one.attribute != "type"},
            "delivered again": trigger.retry_policy.name,
        },
    }
    if wanted.account:  # else it is Google's choice
        found["service account"] = service.service_account_email
        found["trigger"]["service account"] = trigger.service_account_email
    return found
