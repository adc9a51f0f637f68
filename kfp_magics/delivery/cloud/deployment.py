"""What is deployed for new data, and how it differs from what is wanted: the same for functions and for services."""

from __future__ import annotations

import difflib
import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from kfp_magics.errors import DeliveryError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kfp_magics.delivery.newdata.rules import Rule
    from kfp_magics.model import Json

LABEL = "managed-by"
OURS = "kfp-magics"
APPLIED = "kfp-magics-applied"
"""Label that holds the digest of what was applied: what looks different was changed by somebody else."""
MEMORY = "512Mi"
_ANSWER = 120  # seconds that a function may take, besides the time for which files are gathered
_LONGEST = 540  # seconds that whoever delivers events waits for an answer
_TEXT = (".py", ".json", ".yaml", ".txt", ".pem")


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What is to be deployed.

    Attributes:
        rule: Which objects start runs.
        files: The function's folder: path → content.
        location: Where the bucket is.
        account: Service account whose rights the function has; the project's usual one when empty.
        secrets: Variable → ``SECRET`` or ``SECRET:VERSION`` of Secret Manager.
        connector: VPC connector by which it reaches servers that the internet does not; none when empty.
        at_once: Instances that there may be at most.
    """

    rule: Rule
    files: Mapping[str, bytes]
    location: str
    account: str = ""
    secrets: Mapping[str, str] = field(default_factory=dict)
    connector: str = ""
    at_once: int = 20

    @property
    def bucket(self) -> str:
        """The bucket whose new objects count."""
        return self.rule.on.removeprefix("gs://").partition("/")[0]

    @property
    def timeout(self) -> int:
        """Seconds that it may take.

        Raises:
            DeliveryError: Files are gathered for longer than anybody waits.
        """
        seconds = int(self.rule.gather) + _ANSWER
        if seconds > _LONGEST:
            raise DeliveryError(
                f"A function in the cloud cannot gather files for {self.rule.gather:g} seconds.",
                f"Take at most --gather {_LONGEST - _ANSWER}; whoever delivers events waits no longer.",
            )
        return seconds

    @property
    def description(self) -> str:
        """What it does, for a person who finds it in the console."""
        return f"Starts {self.rule.pipeline} for new objects {self.rule.on} (kfp-magics)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What becomes of a function.

    Attributes:
        name: The function.
        what: ``create``, ``update`` or ``same``.
        by_hand: Whether somebody else changed it since it was applied.
        diff: What is different, from Google Cloud to here.
        source: Whether its source is another one.
    """

    name: str
    what: str
    by_hand: bool
    diff: str
    source: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Deployed:
    """Something that is there.

    Attributes:
        name: Its name.
        kind: ``function`` or ``service``.
        region: Where.
        state: As Google says it.
        about: What it does.
    """

    name: str
    kind: str
    region: str
    state: str
    about: str


class Way(Protocol):
    """How something is deployed that new objects call: as a function, or as a service with a trigger."""

    def plan(self, wanted: Wanted) -> Plan:
        """Compares what there is with what is wanted."""

    def apply(self, wanted: Wanted, plan: Plan) -> None:
        """Makes it as it should be."""

    def list(self) -> Sequence[Deployed]:
        """What there is that kfp-magics made."""

    def delete(self, name: str, region: str) -> None:
        """Removes one, and what calls it."""

    def log_filter(self, name: str) -> str:
        """How Cloud Logging finds what one printed."""


def compared(
    name: str,
    found: tuple[Mapping[str, Json], str] | None,
    wanted: Mapping[str, Json],
    before: Mapping[str, bytes],
    files: Mapping[str, bytes],
) -> Plan:
    """Makes a plan.

    Args:
        name: The function.
        found: What there is, as far as we say it, and the digest of what was applied; None when there is nothing.
        wanted: The same as it should be.
        before: The source that is there.
        files: The source as it should be.
    """
    settings = _diff("settings", None if found is None else _text(found[0]), _text(wanted))
    source = "".join(_file_diff(path, before.get(path), files.get(path)) for path in sorted({*before, *files}))
    if found is None:
        return Plan(name=name, what="create", by_hand=False, diff=settings + _listed(files), source=True)
    by_hand = found[1] != digest_of(found[0], before)
    what = "update" if settings or source or by_hand else "same"
    return Plan(name=name, what=what, by_hand=by_hand, diff=settings + source, source=dict(before) != dict(files))


def digest_of(settings: Mapping[str, Json], files: Mapping[str, bytes]) -> str:
    """What tells something that is deployed from all others, as the value of a label."""
    hashes = {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}
    return hashlib.sha256(json.dumps([_ours(settings), hashes], sort_keys=True).encode()).hexdigest()[:32]


def _ours(settings: Mapping[str, Json]) -> dict[str, Json]:
    """Settings without accounts: one that is not named is Google's choice, and no change by hand."""
    kept = {key: value for key, value in settings.items() if key != "service account"}
    return {key: _ours(value) if isinstance(value, dict) else value for key, value in kept.items()}


def labels_of(settings: Mapping[str, Json], files: Mapping[str, bytes]) -> dict[str, str]:
    """The labels of what is deployed."""
    return {LABEL: OURS, APPLIED: digest_of(settings, files)}


def _text(settings: Mapping[str, Json]) -> str:
    return json.dumps(settings, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _listed(files: Mapping[str, bytes]) -> str:
    return "".join(f"+ {path} ({len(files[path])} bytes)\n" for path in sorted(files))


def _file_diff(path: str, old: bytes | None, new: bytes | None) -> str:
    if old == new:
        return ""
    if not path.endswith(_TEXT):
        return f"{path} differs\n"
    return _diff(path, None if old is None else old.decode(errors="replace"), (new or b"").decode(errors="replace"))


def _diff(name: str, old: str | None, new: str) -> str:
    if old == new:
        return ""
    before = [] if old is None else old.splitlines(keepends=True)
    lines = difflib.unified_diff(before, new.splitlines(keepends=True), f"cloud/{name}", f"here/{name}")
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)
