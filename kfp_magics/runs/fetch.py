"""What a step wrote on a server, brought to this machine: its files beside the run, once."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from kfp_magics.backends.base import GivesContent
from kfp_magics.backends.local import request as requests

if TYPE_CHECKING:
    from kfp_magics.backends.base import Backend
    from kfp_magics.model import Artifact, Run, Task
    from kfp_magics.settings import Settings


def fetch(settings: Settings, backend: Backend, run: Run, task: Task, artifact: Artifact) -> str:
    """Gives the path at which an artifact is on this machine.

    Args:
        settings: Where runs are kept.
        backend: Where the run is.
        run: The run.
        task: A task of it.
        artifact: An artifact of that task.

    Returns:
        A file or a folder; the artifact's own place when the run is on this machine, or when it has values only.
    """
    if not isinstance(backend, GivesContent) or artifact.type.endswith("Metrics"):
        return artifact.uri
    folder = requests.folder_of(settings, run.id) / "fetched" / task.id / str(task.attempt)
    path = folder / Path(artifact.name).name
    if path.exists():
        return str(path)
    content = backend.content(run, task, artifact)
    coming = path.with_name(f".{path.name}.part")
    shutil.rmtree(coming, ignore_errors=True)
    coming.unlink(missing_ok=True)
    for inside in content.files if content.files is not None else [""]:
        target = coming / inside if inside else coming
        if not target.resolve().is_relative_to(folder.resolve()):
            continue  # an object whose name climbs
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with backend.open(run, task, artifact, inside) as source, target.open("wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
    coming.rename(path)
    return str(path)
