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


def key(container: Mapping[str, Json], component: Mapping[str, Json], inputs: Values) -> str:
    """Hashes what a result depends on: container, ports, parameters, and which artifacts went in."""
    what = {
        "container": container,
        "inputs": component.get("inputDefinitions", {}),
        "outputs": component.get("outputDefinitions", {}),
        "parameters": inputs.parameters,
        "artifacts": {name: [_identity(one) for one in items] for name, items in inputs.artifacts.items()},
    }
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

    def keep(self, name: str, run_id: str, outputs: Values) -> None:
        """Keeps a result, whole or not at all."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        uris = [one.get("uri", "") for items in outputs.artifacts.values() for one in items]
        entry = {
            "run": run_id,
            "files": [uri for uri in uris if uri.startswith("/") and Path(uri).exists()],  # metrics leave no file
            "created": time.time(),
            "parameters": outputs.parameters,
            "artifacts": outputs.artifacts,
        }
        draft = self._folder / f".{name}.{os.getpid()}"
        draft.write_text(json.dumps(entry), encoding="utf-8")
        draft.replace(self._folder / f"{name}.json")
