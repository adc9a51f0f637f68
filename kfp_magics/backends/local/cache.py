"""Results kept for reuse, as KFP means caching: the same component with the same inputs and image."""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kfp_magics.backends.local.values import Values

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kfp_magics.model import Json


@dataclass(frozen=True, kw_only=True, slots=True)
class Hit:
    """A result found again.

    Attributes:
        run_id: The run that made it.
        outputs: What it is.
    """

    run_id: str
    outputs: Values


def parts(
    pipeline: str,
    task: Mapping[str, Json],
    container: Mapping[str, Json],
    component: Mapping[str, Json],
    inputs: Values,
) -> dict[str, str]:
    """Hashes what a result depends on: the container with its ports under ``""``, and each input under its name.

    A task with a cache key of its own depends on nothing else, within its pipeline and its component, as on a cluster.
    """
    if own := task.get("cachingOptions", {}).get("cacheKey"):
        return {"its cache key": _hash([pipeline, task["componentRef"]["name"], own])}
    code = [container, component.get("inputDefinitions", {}), component.get("outputDefinitions", {})]
    given = {name: [_identity(one) for one in items] for name, items in inputs.artifacts.items()}
    return {name: _hash(what) for name, what in {"": code, **inputs.parameters, **given}.items()}


def key(what: Mapping[str, str]) -> str:
    """Names a result by the parts that it depends on."""
    return _hash(dict(what))


def _hash(what: Json) -> str:
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def _identity(artifact: Mapping[str, Json]) -> list[Json]:
    # What tasks wrote never changes at its place; a file of the user's may, so its size and time belong to it.
    uri = artifact.get("uri", "")
    try:
        status = Path(uri).stat() if uri.startswith("/") else None
    except OSError:
        status = None
    about = [status.st_size, status.st_mtime_ns] if status and Path(uri).is_file() else []
    return [uri, artifact.get("metadata", {}), *about]


class Cache:
    """Results by key, a small file each.

    Args:
        folder: Where they are kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, name: str) -> Hit | None:
        """Finds a result whose artifacts are still there."""
        try:
            entry = json.loads((self._folder / f"{name}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        outputs = Values(parameters=entry["parameters"], artifacts=entry["artifacts"])
        if not all(Path(path).exists() for path in entry["files"]):
            return None
        return Hit(run_id=entry["run"], outputs=outputs)

    def why(self, place: str, what: Mapping[str, str]) -> str:
        """Says why a task runs although it ran before; nothing when it did not.

        Args:
            place: The pipeline and the task in it.
            what: The parts that its result depends on.
        """
        try:
            before = json.loads(self._last(place).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return ""
        changed = [name for name in {**before, **what} if before.get(name) != what.get(name)]
        if "" in changed and "" in what:
            return "changed since it last ran: its code or its image"
        if not changed:
            return "its earlier result is gone"
        return f"changed since it last ran: {', '.join(changed)}"

    def _last(self, place: str) -> Path:
        return self._folder / f"last-{_hash(place)[:24]}.json"

    def keep(self, place: str, what: Mapping[str, str], run_id: str, outputs: Values) -> None:
        """Keeps a result, and what it depended on at its place.

        Args:
            place: The pipeline and the task in it.
            what: The parts that the result depends on.
            run_id: The run that made it.
            outputs: What it is.
        """
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        uris = [one.get("uri", "") for items in outputs.artifacts.values() for one in items]
        entry = {
            "run": run_id,
            "files": [uri for uri in uris if uri.startswith("/") and Path(uri).exists()],  # metrics leave no file
            "created": time.time(),
            "parameters": outputs.parameters,
            "artifacts": outputs.artifacts,
        }
        self._write(self._folder / f"{key(what)}.json", entry)
        self._write(self._last(place), dict(what))

    def _write(self, path: Path, entry: Mapping[str, Json]) -> None:
        draft = path.with_name(f".{path.name}.{os.getpid()}")  # whole or not at all
        draft.write_text(json.dumps(entry), encoding="utf-8")
        draft.replace(path)
