"""Cloud Run services with Eventarc triggers: our own builders make the image, an event of the bucket calls it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.cloud import eventarc_v1 as ea
from google.cloud import run_v2 as run

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
from kfp_magics.delivery.cloud.service import CALL
from kfp_magics.delivery.newdata.rules import FINALIZED
from kfp_magics.errors import DeliveryError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kfp_magics.delivery.cloud.image import FunctionImage
    from kfp_magics.delivery.cloud.service import Cloud
    from kfp_magics.model import Json

_THEIRS = {"LOG_EXECUTION_ID"}
_NO_FILES: dict[str, bytes] = {}  # what is deployed is an image, and its digest stands for them


class Services:
    """The services of a project and region, and the triggers that call them.

    Args:
        cloud: Google Cloud.
        image: The image of the function that is wanted; None to list and delete.
        tell: Told of the image's build.
    """

    def __init__(
        self, cloud: Cloud, image: FunctionImage | None = None, tell: Callable[[str], None] = lambda _: None
    ) -> None:
        self._cloud = cloud
        self._image = image
        self._tell = tell

    def plan(self, wanted: Wanted) -> Plan:
        """Compares what there is with what is wanted; see `Way.plan`."""
        assert self._image is not None
        name = wanted.rule.name
        if not wanted.account:
            raise DeliveryError(
                "Eventarc calls a service as somebody, and it is not said as whom.",
                "Name an account with roles/run.invoker and roles/eventarc.eventReceiver: --service-account EMAIL",
            )
        reference = self._image.reference()
        after = _settings(self._service(wanted, reference), self._trigger(wanted), wanted)
        service, trigger = self._get(name, wanted.location)
        if service is None:
            return compared(name, None, after, _NO_FILES, _NO_FILES)
        if service.labels.get(LABEL) != OURS:
            raise DeliveryError(f"There is a service {name!r} that kfp-magics did not make.", "Take another --name.")
        before = _settings(service, trigger, wanted)
        return compared(name, (before, service.labels.get(APPLIED, "")), after, _NO_FILES, _NO_FILES)

    def apply(self, wanted: Wanted, plan: Plan) -> None:
        """Makes them as they should be: first the image, then the service, then what calls it; see `Way.apply`."""
        assert self._image is not None
        name = wanted.rule.name
        if plan.what == "same":
            return
        reference = self._image.build(self._tell)
        service, trigger = self._service(wanted, reference), self._trigger(wanted)
        digest = labels_of(_settings(service, trigger, wanted), _NO_FILES)
        service.labels = trigger.labels = digest
        there, called = self._get(name, wanted.location)
        if there is None:
            new = run.CreateServiceRequest(parent=self._cloud.parent, service=service, service_id=name)
            self._cloud.done(f"create the service {name}", lambda: self._cloud.services.create_service(request=new))
        else:
            service.name = f"{self._cloud.parent}/services/{name}"
            self._cloud.done(
                f"change the service {name}",
                lambda: self._cloud.services.update_service(request=run.UpdateServiceRequest(service=service)),
            )
        self._call(name, trigger, wanted.location, is_there=called is not None)

    def _call(self, name: str, trigger: ea.Trigger, location: str, *, is_there: bool) -> None:
        parent = f"projects/{self._cloud.project}/locations/{location}"
        if not is_there:
            new = ea.CreateTriggerRequest(parent=parent, trigger=trigger, trigger_id=name)
            self._cloud.done(f"create the trigger {name}", lambda: self._cloud.triggers.create_trigger(request=new))
            return
        trigger.name = f"{parent}/triggers/{name}"
        paths = ["event_filters", "service_account", "destination", "labels"]
        change = ea.UpdateTriggerRequest(trigger=trigger, update_mask={"paths": paths})
        self._cloud.done(f"change the trigger {name}", lambda: self._cloud.triggers.update_trigger(request=change))

    def list(self) -> Sequence[Deployed]:
        """What there is that kfp-magics made, found by what calls it; see `Way.list`."""
        parent = f"projects/{self._cloud.project}/locations/-"
        with self._cloud.said("list the triggers"):
            found = list(self._cloud.triggers.list_triggers(parent=parent, timeout=CALL))
        return [
            Deployed(
                name=one.name.rpartition("/")[2],
                kind="service",
                region=one.destination.cloud_run.region,
                state="active",
                about=f"Is called for new objects of gs://{_filters(one).get('bucket', '?')}",
            )
            for one in found
            if one.labels.get(LABEL) == OURS and one.destination.cloud_run.service
        ]

    def delete(self, name: str, region: str) -> None:
        """Removes what calls a service, and then the service; see `Way.delete`."""
        with self._cloud.said("list the triggers"):
            every = self._cloud.triggers.list_triggers(parent=f"projects/{self._cloud.project}/locations/-")
            names = [one.name for one in every if one.name.endswith(f"/triggers/{name}") and one.labels.get(LABEL)]
        for whole in names:
            self._cloud.done(f"delete the trigger {name}", lambda: self._cloud.triggers.delete_trigger(name=whole))  # noqa: B023  (called at once)
        place = f"projects/{self._cloud.project}/locations/{region}/services/{name}"
        if self._cloud.found(f"look at {name}", lambda: self._cloud.services.get_service(name=place)) is not None:
            self._cloud.done(f"delete the service {name}", lambda: self._cloud.services.delete_service(name=place))

    def log_filter(self, name: str) -> str:
        """How Cloud Logging finds what a service printed; see `Way.log_filter`."""
        return f'resource.type="cloud_run_revision" AND resource.labels.service_name="{name}"'

    def _get(self, name: str, location: str) -> tuple[run.Service | None, ea.Trigger | None]:
        place = f"{self._cloud.parent}/services/{name}"
        caller = f"projects/{self._cloud.project}/locations/{location}/triggers/{name}"
        return (
            self._cloud.found(
                f"look at the service {name}", lambda: self._cloud.services.get_service(name=place, timeout=CALL)
            ),
            self._cloud.found(
                f"look at the trigger {name}", lambda: self._cloud.triggers.get_trigger(name=caller, timeout=CALL)
            ),
        )

    def _service(self, wanted: Wanted, image: str) -> run.Service:
        secrets = [
            run.EnvVar(
                name=key,
                value_source=run.EnvVarSource(
                    secret_key_ref=run.SecretKeySelector(
                        secret=secret.partition(":")[0], version=secret.partition(":")[2] or "latest"
                    )
                ),
            )
            for key, secret in sorted(wanted.secrets.items())
        ]
        container = run.Container(
            image=image, env=secrets, resources=run.ResourceRequirements(limits={"memory": MEMORY})
        )
        template = run.RevisionTemplate(
            containers=[container],
            service_account=wanted.account,
            timeout={"seconds": wanted.timeout},
            scaling=run.RevisionScaling(max_instance_count=wanted.at_once),
            max_instance_request_concurrency=1,
        )
        if wanted.connector:
            template.vpc_access = run.VpcAccess(connector=wanted.connector)
        return run.Service(
            description=wanted.description,
            ingress=run.IngressTraffic.INGRESS_TRAFFIC_INTERNAL_ONLY,
            template=template,
        )

    def _trigger(self, wanted: Wanted) -> ea.Trigger:
        filters = {"type": FINALIZED, "bucket": wanted.bucket}
        destination = ea.CloudRun(service=wanted.rule.name, region=self._cloud.region)
        return ea.Trigger(
            event_filters=[ea.EventFilter(attribute=key, value=value) for key, value in filters.items()],
            service_account=wanted.account,
            destination=ea.Destination(cloud_run=destination),
        )


def _filters(trigger: ea.Trigger) -> dict[str, str]:
    return {one.attribute: one.value for one in trigger.event_filters}


def _settings(service: run.Service, trigger: ea.Trigger | None, wanted: Wanted) -> dict[str, Json]:
    """What counts of a service and of what calls it: what we say of them, and not what Google adds."""
    template = service.template
    [container] = template.containers or [run.Container()]
    variables = {one.name: one for one in container.env if one.name not in _THEIRS}
    found: dict[str, Json] = {
        "description": service.description,
        "image": container.image,
        "memory": container.resources.limits.get("memory", ""),
        "timeout": int(template.timeout.total_seconds()),
        "instances at most": template.scaling.max_instance_count,
        "reached from": service.ingress.name,
        "variables": {name: one.value for name, one in variables.items() if one.value},
        "secrets": {name: _secret(one) for name, one in variables.items() if not one.value},
        "VPC connector": template.vpc_access.connector,
        "service account": template.service_account,
    }
    if trigger is not None:
        found["trigger"] = {
            "filters": _filters(trigger),
            "calls": f"{trigger.destination.cloud_run.service} in {trigger.destination.cloud_run.region}",
            "where": wanted.location,
            "service account": trigger.service_account,
        }
    return found


def _secret(variable: run.EnvVar) -> str:
    reference = variable.value_source.secret_key_ref
    return f"{reference.secret}:{reference.version}"
