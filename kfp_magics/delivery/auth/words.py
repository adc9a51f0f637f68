"""What a user says about rights: the same words for the magic and for the command line."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kfp_magics.errors import ArgumentError, did_you_mean

if TYPE_CHECKING:
    from argparse import Namespace

PARTS = ("steps", "ci", "cd")
"""What accounts are for: the steps of pipelines, builds of images, functions that start runs."""

_TEXTS: tuple[tuple[str, str, str], ...] = (
    ("--project", "PROJECT", "Project of Google Cloud; the connection's or the setting's when left out."),
    ("--registry", "PLACE", "Where images go: HOST/PATH; else the setting 'registry'."),
    ("--namespace", "NAME", "Namespace of the runs in Kubernetes; the connection's when left out."),
    ("--account", "ACCOUNT", "Service account of the steps, by name or address (kfp-steps)."),
    ("--build-account", "ACCOUNT", "Service account of builds (kfp-builds)."),
    ("--event-account", "ACCOUNT", "Service account of functions that start runs (kfp-events)."),
    ("--workload-identity", "NAMESPACE/ACCOUNT", "Account of Kubernetes that becomes the steps' account."),
    ("--secret", "NAME", "Secret of Kubernetes for a key of the steps' account: user-gcp-sa."),
)
_BUCKET = "Bucket of the steps, when their code does not tell; may be repeated."
AUTH: tuple[tuple[str, dict[str, Any]], ...] = (
    *((name, {"default": "", "metavar": what, "help": text}) for name, what, text in _TEXTS),
    ("--bucket", {"action": "append", "default": [], "metavar": "NAME", "help": _BUCKET}),
    (
        "--terraform",
        {"nargs": "?", "const": "-", "default": "", "metavar": "FILE", "help": "As Terraform, shown or put into FILE."},
    ),
    ("--apply", {"action": "store_true", "help": "Run the commands; without it they are only shown."}),
)
"""Options, as argparse takes them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What a user says; what is empty comes from the settings and the connection.

    Attributes:
        parts: Which of `PARTS`; all when empty.
        project: Google Cloud project.
        registry: Where images go.
        namespace: Kubernetes namespace of the runs.
        account: Service account of the steps, by name or address.
        build_account: Of builds.
        event_account: Of functions that start runs.
        buckets: Where steps read and write, when their code does not tell.
        workload_identity: ``NAMESPACE/ACCOUNT`` of Kubernetes that becomes the steps' account.
        secret: Secret of Kubernetes that holds a key of the steps' account.
    """

    parts: tuple[str, ...] = ()
    project: str = ""
    registry: str = ""
    namespace: str = ""
    account: str = ""
    build_account: str = ""
    event_account: str = ""
    buckets: tuple[str, ...] = ()
    workload_identity: str = ""
    secret: str = ""


def auth_options(words: Namespace) -> Options:
    """Reads the words.

    Raises:
        ArgumentError: They do not go together.
    """
    wrong = next((one for one in words.parts if one not in PARTS), "")
    if wrong:
        raise ArgumentError(f"Rights are set up for {', '.join(PARTS)}, not for {wrong!r}.", did_you_mean(wrong, PARTS))
    if words.terraform and words.apply:
        raise ArgumentError("Terraform applies its files itself.", "Leave --apply or --terraform out.")
    return Options(
        parts=tuple(words.parts),
        project=words.project,
        registry=words.registry,
        namespace=words.namespace,
        account=words.account,
        build_account=words.build_account,
        event_account=words.event_account,
        buckets=tuple(words.bucket),
        workload_identity=words.workload_identity,
        secret=words.secret,
    )


def typed(verb: str, words: Namespace) -> str:
    """What was typed, but for what is to become of it.

    Args:
        verb: What stands before the words.
        words: As they were read.
    """
    said = [*words.parts]
    for name, _, _ in _TEXTS:
        value = getattr(words, name.removeprefix("--").replace("-", "_"))
        said += [name, value] if value else []
    for name in words.bucket:
        said += ["--bucket", name]
    return f"{verb} {shlex.join(said)}".strip()
