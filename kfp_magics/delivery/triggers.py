"""Cloud Build triggers: one for each step's folder, which rebuilds the image when a push changes the folder."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from google.cloud.devtools import cloudbuild_v1 as cb
from google.protobuf.json_format import MessageToDict

from kfp_magics.delivery.config import named_place, without_tag
from kfp_magics.delivery.steps import COMPONENT, STEPS
from kfp_magics.errors import DeliveryError, did_you_mean
from kfp_magics.images.cloudbuild.service import Google, said

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from kfp_magics.settings import Settings

_OURS = "kfp-magics"
_APPLIED = "applied-"
_CALL = 30.0  # seconds that one call may take
_SECOND = re.compile(r"projects/[^/]+/locations/[^/]+/connections/[^/]+/repositories/(?P<name>[^/]+)")
_GITHUB = re.compile(r"(?P<owner>[\w.-]+)/(?P<name>[\w.-]+)")


def repository_name(name: str) -> str:
    """A repository's name as triggers and tags may be called."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """What triggers listen to.

    Attributes:
        repository: ``OWNER/NAME`` on GitHub, through Cloud Build's app; or a 2nd-generation repository's full name,
            ``projects/P/locations/L/connections/C/repositories/R``.
        prefix: The exported folder in the repository, with a slash behind it; empty for its top.
        branch: Regular expression of branches.
        registry: Where images go.
        service_account: Whose rights builds have; the project's usual one when empty.
    """

    repository: str
    prefix: str = ""
    branch: str = "^main$"
    registry: str
    service_account: str = ""

    @property
    def name(self) -> str:
        """The repository's own name, as triggers and tags may be called.

        Raises:
            DeliveryError: It is no name of a repository.
        """
        found = _SECOND.fullmatch(self.repository) or _GITHUB.fullmatch(self.repository)
        if found is None:
            raise DeliveryError(
                f"{self.repository!r} is no repository that Cloud Build listens to.",
                "Write OWNER/NAME for GitHub, or projects/P/locations/L/connections/C/repositories/R.",
            )
        return repository_name(found["name"])

    @classmethod
    def of(cls, trigger: cb.BuildTrigger, prefix: str) -> Source:
        """What a trigger that was made by kfp-magics listens to.

        Args:
            trigger: It.
            prefix: As above; triggers do not tell it apart from the step.
        """
        second = trigger.repository_event_config
        account = trigger.service_account.rpartition("/serviceAccounts/")[2]
        return cls(
            repository=second.repository or f"{trigger.github.owner}/{trigger.github.name}",
            prefix=prefix,
            branch=second.push.branch or trigger.github.push.branch,
            registry=dict(trigger.substitutions).get("_REGISTRY", ""),
            service_account=account,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class TriggerChange:
    """What becomes of one trigger.

    Attributes:
        name: The trigger.
        what: ``create``, ``update``, ``delete`` or ``same``.
        by_hand: Whether somebody else changed it since it was applied.
        diff: What is different, from Cloud Build to here.
        wanted: As it should be; None when it is not needed any more.
        found: As it is; None when it is not there.
    """

    name: str
    what: str
    by_hand: bool
    diff: str
    wanted: cb.BuildTrigger | None
    found: cb.BuildTrigger | None


class Triggers:
    """The triggers of one project and region.

    Args:
        google: Cloud Build.
    """

    def __init__(self, google: Google) -> None:
        self._google = google

    @classmethod
    def from_settings(cls, settings: Settings) -> Triggers:
        """Makes what the settings describe.

        Raises:
            BuildError: There are no credentials, or no project is known.
        """
        return cls(Google.from_settings(settings))

    def list(self) -> Sequence[cb.BuildTrigger]:
        """The triggers that were made by kfp-magics, by name."""
        request = cb.ListBuildTriggersRequest(parent=self._google.parent, project_id=self._google.project)
        with said("list the triggers"):
            found = list(self._google.builds.list_build_triggers(request=request, timeout=_CALL))
        return sorted((one for one in found if _OURS in one.tags), key=lambda one: one.name)

    def changes(self, folder: Path, source: Source) -> Sequence[TriggerChange]:
        """Compares what there is with what an exported folder needs.

        Args:
            folder: The exported folder.
            source: What triggers listen to.

        Raises:
            DeliveryError: There is no step in it.
        """
        steps = sorted(one.parent.name for one in (folder / STEPS).glob("*/cloudbuild.y*ml"))
        if not steps:
            raise DeliveryError(f"There is no step in {str(folder)!r}.", "Name an exported folder: --dir DIR")
        mine = {one.name: one for one in self.list() if f"repository-{source.name}" in one.tags}
        wanted = {one.name: one for one in (self._wanted(step, source, folder) for step in steps)}
        return [_change(name, wanted.get(name), mine.get(name)) for name in sorted({*mine, *wanted})]

    def apply(self, changes: Sequence[TriggerChange]) -> None:
        """Makes triggers as they should be."""
        for one in changes:
            if one.what == "delete" and one.found is not None:
                self._delete(one.found)
            elif one.what == "update" and one.found is not None and one.wanted is not None:
                trigger = cb.BuildTrigger(one.wanted)
                trigger.id, trigger.resource_name = one.found.id, one.found.resource_name
                with said(f"change the trigger {one.name}"):
                    self._google.builds.update_build_trigger(
                        project_id=self._google.project, trigger_id=trigger.id, trigger=trigger, timeout=_CALL
                    )
            elif one.what == "create":
                request = cb.CreateBuildTriggerRequest(
                    parent=self._google.parent, project_id=self._google.project, trigger=one.wanted
                )
                with said(f"create the trigger {one.name}"):
                    self._google.builds.create_build_trigger(request=request, timeout=_CALL)

    def delete(self, name: str) -> None:
        """Deletes a trigger that was made by kfp-magics."""
        self._delete(self._find(name))

    def fire(self, name: str, branch: str) -> str:
        """Runs a trigger now.

        Args:
            name: The trigger, or the step's folder where only one repository has it.
            branch: Of which branch.

        Returns:
            The address of the build's log.
        """
        trigger = self._find(name)
        request = cb.RunBuildTriggerRequest(
            name=f"{self._google.parent}/triggers/{trigger.id}",
            project_id=self._google.project,
            trigger_id=trigger.id,
            source=cb.RepoSource(branch_name=branch),
        )
        with said(f"run the trigger {trigger.name}"):
            started = self._google.builds.run_build_trigger(request=request, timeout=_CALL)
        address: str = started.metadata.build.log_url
        return address

    def _find(self, name: str) -> cb.BuildTrigger:
        known = self.list()
        found = [one for one in known if one.name == name] or [one for one in known if f"step-{name}" in one.tags]
        if len(found) != 1:
            hint = did_you_mean(name, [one.name for one in known], "kfp-magics ci create makes them.")
            raise DeliveryError(f"There is no one trigger {name!r} of kfp-magics.", hint)
        return found[0]

    def _delete(self, trigger: cb.BuildTrigger) -> None:
        request = cb.DeleteBuildTriggerRequest(
            name=f"{self._google.parent}/triggers/{trigger.id}", project_id=self._google.project, trigger_id=trigger.id
        )
        with said(f"delete the trigger {trigger.name}"):
            self._google.builds.delete_build_trigger(request=request, timeout=_CALL)

    def _wanted(self, step: str, source: Source, folder: Path) -> cb.BuildTrigger:
        place = f"{source.prefix}{STEPS}/{step}"
        config = next(one.name for one in sorted((folder / STEPS / step).glob("cloudbuild.y*ml")))
        push = cb.PushFilter(branch=source.branch)
        trigger = cb.BuildTrigger(
            name=f"{source.name}-{step}"[:64].rstrip("-"),
            description=f"Rebuilds the image of the step {step}",
            tags=[_OURS, f"repository-{source.name}", f"step-{step}"],
            filename=f"{place}/{config}",
            included_files=[f"{place}/**"],
            substitutions=_substitutions(folder / STEPS / step / config, place, source.registry),
        )
        if source.service_account:
            account = source.service_account
            whole = f"projects/{self._google.project}/serviceAccounts/{account}"
            trigger.service_account = account if "/" in account else whole
        if _SECOND.fullmatch(source.repository):
            trigger.repository_event_config = cb.RepositoryEventConfig(repository=source.repository, push=push)
        else:
            owner, _, name = source.repository.partition("/")
            trigger.github = cb.GitHubEventsConfig(owner=owner, name=name, push=push)
        trigger.tags.append(f"{_APPLIED}{_digest(trigger)}")
        return trigger


def _substitutions(config: Path, place: str, registry: str) -> dict[str, str]:
    """What ours is told of the commit; somebody's own configuration, which has no content's tag, goes by the commit."""
    ours = without_tag(config.read_bytes(), config.parent.name, "linux/amd64") is not None
    return {"_DIR": place, "_REGISTRY": registry, "_COMMIT" if ours else "_TAG": "$SHORT_SHA"}


def refuse_elsewhere(folder: Path, registry: str) -> None:
    """Complains where pipelines would look for images in another place than where triggers push them.

    Args:
        folder: The exported folder.
        registry: Where triggers push to.

    Raises:
        DeliveryError: A component.yaml names another place.
    """
    for path in sorted((folder / STEPS).glob(f"*/{COMPONENT}")):
        place = named_place(path.read_bytes())
        if place not in {"", path.parent.name, f"{registry}/{path.parent.name}"}:
            raise DeliveryError(
                f"Triggers would push to {registry!r}, and {STEPS}/{path.parent.name}/{COMPONENT} names {place!r}.",
                f"Export again with --registry {registry}, or name the registry of the export.",
            )


def _change(name: str, wanted: cb.BuildTrigger | None, found: cb.BuildTrigger | None) -> TriggerChange:
    before, after = ("" if one is None else _text(one) for one in (found, wanted))
    by_hand = found is not None and f"{_APPLIED}{_digest(found)}" not in found.tags
    if found is None or wanted is None:
        what = "create" if found is None else "delete"
    else:
        what = "same" if before == after and not by_hand else "update"
    lines = difflib.unified_diff(before.splitlines(True), after.splitlines(True), "Cloud Build", "here")  # noqa: FBT003  (that is how it is called)
    return TriggerChange(name=name, what=what, by_hand=by_hand, diff="".join(lines), wanted=wanted, found=found)


def _text(trigger: cb.BuildTrigger) -> str:
    """What counts of a trigger: not what Cloud Build adds, nor our own mark."""
    value = MessageToDict(cb.BuildTrigger.pb(trigger), preserving_proto_field_name=True)
    kept = {key: one for key, one in value.items() if key not in {"id", "resource_name", "create_time"}}
    kept["tags"] = [tag for tag in kept.get("tags", []) if not tag.startswith(_APPLIED)]
    for event in ("github", "repository_event_config"):
        for added in ("installation_id", "repository_type"):
            kept.get(event, {}).pop(added, None)
    return json.dumps(kept, indent=1, sort_keys=True) + "\n"


def _digest(trigger: cb.BuildTrigger) -> str:
    return hashlib.sha256(_text(trigger).encode()).hexdigest()[:16]
