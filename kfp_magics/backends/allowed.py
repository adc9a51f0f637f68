"""Which options mean something where, and how Google's words among those of a connection are written."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kfp_magics.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kfp_magics.model import Json

_PROJECT = re.compile(r"[a-z0-9]([-a-z0-9.:]*[a-z0-9])?")
_REGION = re.compile(r"[a-z]+(-[a-z]+)+\d+")
_LABEL = re.compile(r"[a-z][a-z0-9_-]{0,62}=[a-z0-9_-]{0,63}")
_OUR_LABELS = ("started-with", "started-by", "experiment", "schedule")
_ON_VERTEX = ("network", "label", "endpoint")
_EVERYWHERE = ("name", "pipeline_root", "service_account")
_TAKES = {
    "local": ("this machine", "It takes no options."),
    "vertex": ("Vertex AI", "It takes --pipeline-root, --service-account, --network, --label and --name."),
    "kfp": (
        "a server of Kubeflow Pipelines",
        "It takes --namespace, --pipeline-root, --service-account, --gcp-secret, a login and --name.",
    ),
}


def means_something(name: str, kind: str) -> bool:
    """Whether an option of a connection means something for a backend."""
    if kind == "local":
        return False
    return name in _EVERYWHERE or (name in _ON_VERTEX) == (kind == "vertex")


def check_executor(executor: str, kind: str) -> None:
    """Looks whether what carries out tasks can be chosen; see `RunOptions.executor`.

    Raises:
        ArgumentError: It is chosen, and tasks do not run on this machine.
    """
    if executor and kind != "local":
        raise ArgumentError(
            f"--executor {executor} means nothing for {_TAKES[kind][0]}, which carries out tasks in its own way.",
            "Leave it out: it chooses what carries out tasks on this machine.",
        )


def read(given: Mapping[str, Json], kind: str) -> dict[str, Json]:
    """Reads the options of a connection.

    Args:
        given: Attributes of `Connection` by name, without those that are left out; ``label`` has words ``key=value``.
        kind: The backend.

    Raises:
        ArgumentError: One does not read, or means nothing there.
    """
    where, takes = _TAKES[kind]
    for name in given:
        if not means_something(name, kind):
            raise ArgumentError(f"--{name.replace('_', '-')} means nothing for {where}.", takes)
    endpoint = given.get("endpoint", "")
    if endpoint and not re.match(r"https?://[^/\s]", endpoint):
        raise ArgumentError(f"{endpoint!r} is no address.", "Write --endpoint https://HOST")
    found = dict(given)
    if words := found.pop("label", None):
        found["labels"] = _labels(words)
    return found


def vertex(word: str) -> tuple[str, str]:
    """Project and region of ``vertex:project/region``.

    Raises:
        ArgumentError: It does not read.
    """
    project, slash, region = word.removeprefix("vertex:").partition("/")
    if not (word.startswith("vertex:") and project and slash and region) or "/" in region:
        raise ArgumentError(f"There is no Vertex AI at {word!r}.", "Write vertex:project/region.")
    if not _PROJECT.fullmatch(project):
        raise ArgumentError(
            f"{project!r} is no id of a project.", "gcloud projects list shows ids and numbers: both can be given."
        )
    if not _REGION.fullmatch(region):
        close = re.sub(r"[^a-z0-9]+", "-", region.lower())
        meant = (
            f"Did you mean {close!r}?" if _REGION.fullmatch(close) else "Write it as in vertex:project/europe-west4."
        )
        raise ArgumentError(f"{region!r} is no region of Google Cloud.", meant)
    return project, region


def _labels(words: Sequence[str]) -> dict[str, str]:
    """Labels from words ``key=value``."""
    for word in words:
        if not _LABEL.fullmatch(word):
            raise ArgumentError(
                f"{word!r} is no label for Google: small letters, digits, '-' and '_', at most 63 on each side.",
                "Write --label team=research.",
            )
        if (key := word.partition("=")[0]) in _OUR_LABELS:
            raise ArgumentError(f"The label {key!r} is written by kfp-magics itself.", "Give yours another name.")
    return dict(word.split("=", 1) for word in words)
