"""What is remembered of objects that arrived, where all instances of the function see it.

This file is copied beside the generated function: it needs Google's client and nothing of ours.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, unquote

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NOT_THERE = 0
"""The version of an entry that does not exist."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What is remembered under one key.

    Attributes:
        facts: What was written.
        version: Which writing this is; another writing has another one.
        changed: When it was written, in seconds since the epoch, by the clock of whoever keeps it.
    """

    facts: Mapping[str, str]
    version: int
    changed: float


class Claims(Protocol):
    """Entries by key, each written by one instance at a time though many try."""

    def read(self, key: str) -> Entry | None:
        """Gives an entry; None when there is none."""

    def write(self, key: str, facts: Mapping[str, str], version: int) -> int | None:
        """Writes an entry if it still is what it was.

        Args:
            key: Which.
            facts: What to write; nobody else writes the very same.
            version: What it was: `Entry.version`, or `NOT_THERE`.

        Returns:
            Its version now; None when somebody else wrote, made or removed it meanwhile.
        """

    def remove(self, key: str, version: int) -> bool:
        """Removes an entry if it still is what it was; says whether it did."""

    def keys(self, start: str) -> list[str]:
        """The keys that begin with a text, in their order."""


class BucketClaims:
    """Entries as objects, versions are their generations.

    Args:
        bucket: The bucket, as Google's client knows it.
        folder: What names of the objects begin with, with a slash behind it.
    """

    def __init__(self, bucket: Any, folder: str) -> None:  # noqa: ANN401  (Google's bucket)
        self._bucket = bucket
        self._folder = folder

    def read(self, key: str) -> Entry | None:
        """Gives an entry; see `Claims.read`."""
        from google.api_core.exceptions import NotFound, PreconditionFailed  # noqa: PLC0415  (not for a folder)

        while True:
            blob = self._bucket.get_blob(self._folder + key)
            if blob is None:
                return None
            version, changed = int(blob.generation), blob.updated.timestamp()
            try:
                facts = json.loads(blob.download_as_bytes(if_generation_match=version))
            except (NotFound, PreconditionFailed):  # written or removed meanwhile
                continue
            return Entry(facts=facts, version=version, changed=changed)

    def write(self, key: str, facts: Mapping[str, str], version: int) -> int | None:
        """Writes an entry if it still is what it was; see `Claims.write`."""
        from google.api_core.exceptions import PreconditionFailed  # noqa: PLC0415  (as above)

        blob = self._bucket.blob(self._folder + key)
        try:
            # Google's client sends it again when an answer gets lost. If the first one took effect, the second one is
            # refused, and what is there are our own facts.
            blob.upload_from_string(json.dumps(facts), content_type="application/json", if_generation_match=version)
        except PreconditionFailed:
            now = self.read(key)
            return now.version if now is not None and now.version != version and now.facts == facts else None
        return int(blob.generation)

    def remove(self, key: str, version: int) -> bool:
        """Removes an entry if it still is what it was; see `Claims.remove`."""
        from google.api_core.exceptions import NotFound, PreconditionFailed  # noqa: PLC0415  (as above)

        try:
            self._bucket.blob(self._folder + key).delete(if_generation_match=version)
        except (NotFound, PreconditionFailed):
            return False
        return True

    def keys(self, start: str) -> list[str]:
        """The keys that begin with a text; see `Claims.keys`."""
        found = self._bucket.list_blobs(prefix=self._folder + start)
        return [blob.name.removeprefix(self._folder) for blob in found]


class FolderClaims:
    """Entries as files of a folder of this machine, under one lock.

    Args:
        folder: The folder; made when it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def read(self, key: str) -> Entry | None:
        """Gives an entry; see `Claims.read`."""
        try:
            found = json.loads(self._path(key).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return Entry(facts=found["facts"], version=found["version"], changed=found["changed"])

    def write(self, key: str, facts: Mapping[str, str], version: int) -> int | None:
        """Writes an entry if it still is what it was; see `Claims.write`."""
        with self._locked():
            if not self._is(key, version):
                return None
            now = max(time.time_ns(), version + 1)
            draft = self._folder / f".{os.getpid()}"
            draft.write_text(
                json.dumps({"facts": dict(facts), "version": now, "changed": time.time()}), encoding="utf-8"
            )
            draft.replace(self._path(key))
            return now

    def remove(self, key: str, version: int) -> bool:
        """Removes an entry if it still is what it was; see `Claims.remove`."""
        with self._locked():
            if version == NOT_THERE or not self._is(key, version):
                return False
            self._path(key).unlink()
            return True

    def keys(self, start: str) -> list[str]:
        """The keys that begin with a text; see `Claims.keys`."""
        known = (unquote(one.name.removesuffix(".json")) for one in self._folder.glob("*.json"))
        return sorted(key for key in known if key.startswith(start))

    def _is(self, key: str, version: int) -> bool:
        now = self.read(key)
        return (NOT_THERE if now is None else now.version) == version

    def _path(self, key: str) -> Path:
        return self._folder / f"{quote(key, safe='')}.json"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        import fcntl  # noqa: PLC0415  (not needed for a bucket)

        with (self._folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def open_claims(place: str) -> Claims:
    """Opens what an address names.

    Args:
        place: ``gs://BUCKET/FOLDER``, or a folder of this machine.
    """
    if not place.startswith("gs://"):
        return FolderClaims(Path(place))
    from google.cloud import storage  # noqa: PLC0415  (not for a folder)

    bucket, _, folder = place.removeprefix("gs://").partition("/")
    return BucketClaims(_client(storage).bucket(bucket), f"{folder.rstrip('/')}/")


def _client(storage: Any) -> Any:  # noqa: ANN401  (Google's module and client)
    if "STORAGE_EMULATOR_HOST" not in os.environ:
        return storage.Client()
    from google.auth.credentials import AnonymousCredentials  # noqa: PLC0415  (an emulator has no logins)

    return storage.Client(project="emulated", credentials=AnonymousCredentials())
