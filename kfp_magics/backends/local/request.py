"""The folder of a run: what was asked, kept so that a supervisor, a retry and a clone read the same."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kfp_magics.backends.base import StepSource, SubmitOptions
from kfp_magics.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kfp_magics.model import Json
    from kfp_magics.settings import Settings

_END = "cancel"
_SETTINGS = (
    "home",
    "parallelism",
    "task_start",
    "grace",
    "disk_quota",
    "offline",
    "container_engine",
    "registry_plain_http",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What a run was asked to do.

    Attributes:
        run_id: The run.
        ir: The compiled pipeline.
        arguments: Pipeline parameter → value.
        options: Everything else.
        settings: The settings that the supervisor works with.
    """

    run_id: str
    ir: str
    arguments: Mapping[str, Json]
    options: SubmitOptions
    settings: Mapping[str, Json]


def folder_of(settings: Settings, run_id: str) -> Path:
    """The folder of a run."""
    return settings.home_path / "runs" / run_id


def ask_to_end(folder: Path) -> None:
    """Asks whoever builds images in a folder to end; a build shares its process with others, so no signal is sent."""
    (folder / _END).touch()


def asked_to_end(folder: Path) -> bool:
    """Whether somebody asked for the end of a build."""
    return (folder / _END).exists()


def engine_settings(settings: Settings) -> dict[str, Json]:
    """The settings that a supervisor needs, to be written down with the run."""
    return {name: getattr(settings, name) for name in _SETTINGS} | {"home": str(settings.home_path)}


def write(folder: Path, request: Request) -> None:
    """Writes the folder of a new run, whole or not at all."""
    draft = folder.with_name(f".{folder.name}")
    if request.options.key:  # an earlier submission may have ended too early, and left it there
        for leftover in (draft, folder):
            if leftover.exists():
                shutil.rmtree(leftover)
    draft.mkdir(parents=True, mode=0o700)
    options = asdict(request.options)
    options["input_artifacts"] = {name: str(path) for name, path in request.options.input_artifacts.items()}
    body = {"arguments": dict(request.arguments), "options": options, "settings": dict(request.settings)}
    (draft / "pipeline.yaml").write_text(request.ir, encoding="utf-8")
    (draft / "request.json").write_text(json.dumps(body), encoding="utf-8")
    draft.rename(folder)


def read(folder: Path) -> Request:
    """Reads the folder of a run.

    Raises:
        NotFoundError: It is gone.
    """
    try:
        ir = (folder / "pipeline.yaml").read_text(encoding="utf-8")
        body = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise NotFoundError(
            f"The folder of run {folder.name!r} is gone: {error.strerror}.", "Run the pipeline anew with %kfp_run."
        ) from error
    options = body["options"]
    options["sources"] = {name: StepSource(**source) for name, source in options["sources"].items()}
    options["input_artifacts"] = {name: Path(path) for name, path in options["input_artifacts"].items()}
    return Request(
        run_id=folder.name,
        ir=ir,
        arguments=body["arguments"],
        options=SubmitOptions(**options),
        settings=body["settings"],
    )
