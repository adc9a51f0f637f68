"""What a shell script does on Google Cloud, told from the tools that it calls."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from kfp_magics.delivery.auth.services import BIGQUERY, SERVICES, STORAGE, USER, VIEWER
from kfp_magics.delivery.auth.uses import BUCKET, Found, Use

if TYPE_CHECKING:
    from collections.abc import Iterator

_COPY = frozenset({"cp", "mv", "rsync"})
_LOOK = frozenset({"ls", "cat", "du", "stat", "hash"})
_CHANGE = frozenset({"rm", "mv", "compose", "rewrite", "setmeta"})
_GROUPS = {
    "ai": "google.cloud.aiplatform",
    "pubsub": "google.cloud.pubsub",
    "secrets": "google.cloud.secretmanager",
    "run": "google.cloud.run",
    "builds": "google.cloud.devtools.cloudbuild",
    "container": "google.cloud.container",
    "dataproc": "google.cloud.dataproc",
}
_END = re.compile(r"[;|&]+|\)|`")


def uses_in_script(text: str) -> Found:
    """Finds what a shell script needs.

    Args:
        text: The script; line N of it is line N of its cell or file.
    """
    uses: list[Use] = []
    for number, line in enumerate(text.splitlines(), start=1):
        for words in _commands(line):
            uses += [Use(role=role, on=on, line=number, text=line.strip(), api=api) for role, on, api in _needs(words)]
    return Found(uses=tuple(dict.fromkeys(uses)))


def _commands(line: str) -> Iterator[list[str]]:
    """The commands of a line that call one of Google's tools, their words from the tool on."""
    if line.lstrip().startswith("#"):
        return
    for piece in _END.split(line):
        try:
            words = shlex.split(piece, comments=True)
        except ValueError:  # a quote that closes on another line
            words = [word.strip("\"'") for word in piece.split()]
        for place, word in enumerate(words):
            tool = word.lstrip("$(").rpartition("/")[2]
            if tool in {"gsutil", "gcloud", "bq"}:
                yield [tool, *(one for one in words[place + 1 :] if not one.startswith("-"))]
                break


def _needs(words: list[str]) -> Iterator[tuple[str, str, str]]:
    match words:
        case ["gsutil", verb, *rest] | ["gcloud", "storage", verb, *rest]:
            yield from _storage(verb, rest)
        case ["bq", verb, *_]:
            roles = BIGQUERY.reads if verb in {"show", "ls", "head", "extract"} else BIGQUERY.otherwise
            yield from ((role, "", BIGQUERY.api) for role in roles)
        case ["gcloud", group, *_] if group in _GROUPS:
            service = SERVICES[_GROUPS[group]]
            yield from ((role, "", service.api) for role in service.always or service.otherwise)


def _storage(verb: str, places: list[str]) -> Iterator[tuple[str, str, str]]:
    for number, place in enumerate(places):
        if not place.startswith("gs://") and not (place.startswith("$") and verb in _LOOK | _CHANGE):
            continue
        is_target = verb in _COPY and len(places) > 1 and number == len(places) - 1
        reads = verb in _LOOK or (verb in _COPY and not is_target and verb != "mv")
        match = BUCKET.match(place)
        yield VIEWER if reads else USER, f"gs://{match['name']}" if match else "", STORAGE.api
    unknown = verb in _COPY and any(place.startswith("$") for place in places)
    if unknown and not any(place.startswith("gs://") for place in places):
        yield USER, "", STORAGE.api
