"""What is said of functions in the cloud as they are made, tried, listed and deleted."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from kfp_magics.delivery import writing
from kfp_magics.delivery.cloud.folder import function_files, read_folder, rule_in
from kfp_magics.delivery.cloud.options import FOLDER
from kfp_magics.delivery.cloud.target import target_of
from kfp_magics.delivery.newdata.making import Wanted, rule_of
from kfp_magics.errors import DeliveryError, did_you_mean
from kfp_magics.runs.text import table, value_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from kfp_magics.building.images import Images
    from kfp_magics.delivery.cloud.deployment import Deployed, Way
    from kfp_magics.delivery.cloud.deployment import Wanted as Deployment
    from kfp_magics.delivery.cloud.options import CloudOptions
    from kfp_magics.delivery.cloud.service import Cloud
    from kfp_magics.delivery.cloud.target import Target
    from kfp_magics.delivery.cloud.trial import Told
    from kfp_magics.model import Json, Pipeline
    from kfp_magics.options import RunOptions
    from kfp_magics.settings import Settings

Lines = list[str]  # a method below is called list, too
_LINES, _DAYS = 100, 7  # of a log: how many, and since when


class CloudData:
    """What can be done about new data in Google's cloud.

    Args:
        settings: Which project, and where things are kept.
        images: Builds the images of services.
    """

    def __init__(self, settings: Settings, images: Callable[[], Images]) -> None:
        self._settings = settings
        self._images = images

    def create(self, pipeline: Pipeline, wanted: Wanted, options: RunOptions, how: CloudOptions) -> Iterator[str]:
        """Writes the folder of a function, shows how what is deployed must change, and changes it if asked to.

        Args:
            pipeline: What runs, in its images if it is to run in some.
            wanted: Which objects start it, and with what parameters.
            options: Where and how it runs.
            how: How it is deployed.

        Yields:
            Lines for a person.

        Raises:
            KfpMagicsError: It could not work, or Google refuses it.
        """
        rule = rule_of(pipeline, wanted)
        target = target_of(self._settings, pipeline, options)
        place = how.folder / rule.name
        done = writing.write(place, function_files(rule, pipeline.ir, target, how.claims), once={}, force=how.replace)
        yield f"{'Wrote' if done.written or done.removed else 'Unchanged'}: {place}"
        for path in done.kept:
            yield f"You changed {place / path}, and it stays; --replace writes it anew."
        if not target.is_reachable:
            where = target.facts.get("host") or "this machine"
            problem = f"Runs go to {where}, where a function in the cloud cannot start them."
            hint = "%kfp_connect takes them to a server; %kfp_cd test FILE tries the function here."
            if how.apply:
                raise DeliveryError(problem, hint)
            yield problem
            yield hint
            return
        yield from self._deploy(place, target, how)

    def _deploy(self, place: Path, target: Target, how: CloudOptions) -> Iterator[str]:
        if target.token_env and target.token_env not in how.secrets:
            raise DeliveryError(
                f"The function reads a token from ${target.token_env}, and it is not said which secret holds it.",
                f"Put it into Secret Manager and name it: --secret {target.token_env}=SECRET",
            )
        from kfp_magics.delivery.cloud.deployment import Wanted as Deployment  # noqa: PLC0415  (as it was named)

        files = read_folder(place)
        cloud = self._cloud(how.region)
        rule = rule_in(files)
        wanted = Deployment(
            rule=rule,
            files=files,
            location=cloud.settle(rule.on.removeprefix("gs://").partition("/")[0]),
            account=how.account,
            secrets=how.secrets,
            connector=how.connector,
        )
        told: Lines = []
        way = self._service_of(cloud, wanted, how, told.append) if how.service else self._ways(cloud)["function"]
        self._is_the_only_kind(cloud, wanted.rule.name, "service" if how.service else "function")
        plan = way.plan(wanted)
        hands = "  (changed by hand meanwhile)" if plan.by_hand else ""
        yield f"{plan.what:7} {plan.name} in {cloud.region}{hands}"
        yield from plan.diff.splitlines()
        if how.apply:
            way.apply(wanted, plan)
            yield from told
            yield f"{plan.name} waits for new objects {rule.on}."
        elif plan.what != "same":
            yield "Nothing was done yet; --apply does it."

    def list(self) -> Iterator[str]:
        """Tells which functions there are in the cloud."""
        found = self._all(self._cloud())
        if not found:
            yield "There is no function: %kfp_cd create --on gs://BUCKET/PREFIX* --run PIPELINE key=$uri"
            return
        rows = [(one.name, one.kind, one.region, one.state, one.about) for one in found]
        yield table(rows, ("NAME", "KIND", "REGION", "STATE", "WHAT IT DOES"))

    def logs(self, name: str) -> Iterator[str]:
        """Tells what a function printed in the last days, the oldest first.

        Raises:
            DeliveryError: There is none of that name, or its log may not be read.
        """
        from google.cloud.logging_v2.types import ListLogEntriesRequest  # noqa: PLC0415  (an extra)

        cloud = self._cloud()
        way = self._ways(cloud)[self._find(cloud, name).kind]
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - _DAYS * 86_400))
        request = ListLogEntriesRequest(
            resource_names=[f"projects/{cloud.project}"],
            filter=f'{way.log_filter(name)} AND timestamp>="{since}"',
            order_by="timestamp desc",
            page_size=_LINES,
        )
        found = []
        with cloud.said(f"read the log of {name}"):
            for entry in cloud.logging.list_log_entries(request=request, timeout=30.0):
                found.append(entry)
                if len(found) == _LINES:
                    break
        for entry in reversed(found):
            text = entry.text_payload or str((entry.json_payload or {}).get("message", ""))
            yield f"{entry.timestamp:%Y-%m-%d %H:%M:%S} {text}" if text else ""

    def delete(self, name: str) -> str:
        """Removes a function and what calls it; what it remembers of objects stays, and so do runs.

        Raises:
            DeliveryError: There is none of that name.
        """
        cloud = self._cloud()
        one = self._find(cloud, name)
        self._ways(cloud)[one.kind].delete(one.name, one.region)
        return f"{name} is gone; which objects started runs is remembered, and runs stay."

    def test(self, file: str, *, name: str = "", folder: Path = Path(FOLDER), connected: bool = False) -> Iterator[str]:
        """Serves a function on this machine, and sends it the event of a file.

        Args:
            file: ``gs://bucket/name``, or a file of this machine.
            name: The function; the only one of the folder when empty.
            folder: Where functions are written.
            connected: Whether the run is started where runs go; else on this machine.

        Yields:
            Lines for a person.

        Raises:
            DeliveryError: There is no such file or function, or it cannot be served.
        """
        from kfp_magics.delivery.cloud.trial import Trial, local_facts  # noqa: PLC0415  (only for trials)

        trial = Trial(self._settings, read_folder(_only(folder, name)))
        facts: Mapping[str, Json] = {}
        if file.startswith("gs://"):
            bucket, _, key = file.removeprefix("gs://").partition("/")
            facts = self._cloud().facts(bucket, key)
        else:
            facts = local_facts(Path(file).expanduser())
            file = str(Path(file).expanduser())
        yield from _said(trial.send(file, facts, here=not connected), here=not connected)
        if not connected and not file.startswith("gs://"):
            yield f"Here the run reads {file} in the object's place."

    def _cloud(self, region: str = "") -> Cloud:
        try:
            from kfp_magics.delivery.cloud.service import Cloud  # noqa: PLC0415  (an extra)
        except ImportError as error:
            raise DeliveryError(
                "Functions in the cloud need Google's clients, which are not installed.",
                "pip install 'kfp-magics[gcp]'",
            ) from error
        return Cloud(self._settings, region)

    def _ways(self, cloud: Cloud) -> dict[str, Way]:
        from kfp_magics.delivery.cloud.functions import Functions  # noqa: PLC0415  (an extra)
        from kfp_magics.delivery.cloud.services import Services  # noqa: PLC0415

        return {"function": Functions(cloud), "service": Services(cloud)}

    def _service_of(self, cloud: Cloud, wanted: Deployment, how: CloudOptions, tell: Callable[[str], None]) -> Way:
        from kfp_magics.delivery.cloud.image import function_image  # noqa: PLC0415  (only for services)
        from kfp_magics.delivery.cloud.services import Services  # noqa: PLC0415
        from kfp_magics.options import BuildOptions  # noqa: PLC0415

        options = BuildOptions(registry=how.registry)
        image = function_image(wanted.rule.name, wanted.files, self._images(), options, how.base_image)
        return Services(cloud, image, tell)

    def _is_the_only_kind(self, cloud: Cloud, name: str, kind: str) -> None:
        """Sees that an object does not call two: a function, and a service of the same name."""
        for other in self._all(cloud):
            if other.name == name and other.kind != kind:
                raise DeliveryError(
                    f"{name!r} is a {other.kind} already, and both would be called for each object.",
                    f"Delete it first: %kfp_cd delete {name} --cloud; what it remembers of objects stays.",
                )

    def _all(self, cloud: Cloud) -> Sequence[Deployed]:
        found = [one for way in self._ways(cloud).values() for one in way.list()]
        return sorted(found, key=lambda one: (one.name, one.region))

    def _find(self, cloud: Cloud, name: str) -> Deployed:
        known = self._all(cloud)
        found = [one for one in known if one.name == name]
        if len(found) != 1:
            names = [one.name for one in known]
            hint = did_you_mean(name, names, "%kfp_cd list --cloud shows what there is.")
            raise DeliveryError(f"There is no one function {name!r} of kfp-magics.", hint)
        return found[0]


def _only(folder: Path, name: str) -> Path:
    """The folder of a function, by its name or as the only one."""
    if name:
        return folder / name
    found = sorted(one.parent for one in folder.glob("*/rule.json"))
    if len(found) > 1:
        raise DeliveryError(
            f"There are several functions in {str(folder)!r}: {', '.join(one.name for one in found)}.",
            f"Say which: --name {found[0].name}",
        )
    return found[0] if found else folder / "NAME"


def _said(told: Told, *, here: bool) -> Iterator[str]:
    last = told.last
    yield f"The function answered {told.status}."
    for line in told.lines:
        yield str(line["message"])
    parameters = last.get("parameters")
    if parameters:
        yield "Parameters: " + " ".join(f"{key}={value_text(value, 200)}" for key, value in parameters.items())
    if run := last.get("run"):
        yield f"%kfp_runs {str(run).removeprefix('local-')}" if here else str(last.get("url", ""))
    if told.status != 200 and told.output:
        yield told.output.strip()[-2000:]
