"""Which executor carries out a run, and what one leaves behind that was killed."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from kfp_magics.backends.local.processes import ProcessExecutor
from kfp_magics.errors import BackendError, EngineError, did_you_mean

if TYPE_CHECKING:
    from pathlib import Path

    from kfp_magics.backends.local.executor import Executor
    from kfp_magics.settings import Settings

_CONTAINER = "container"


def executor_for(name: str, settings: Settings, folder: Path) -> Executor:
    """Makes the executor of a run.

    Args:
        name: ``process`` or ``container``.
        settings: How it works.
        folder: The run's folder.

    Raises:
        BackendError: There is no such executor.
    """
    if name == _CONTAINER:
        from kfp_magics.backends.local.containers import ContainerExecutor  # noqa: PLC0415  (only for containers)

        return ContainerExecutor(settings, folder)
    if name not in {"", "process"}:
        raise BackendError(f"There is no executor {name!r}.", did_you_mean(name, ["process", _CONTAINER]))
    return ProcessExecutor(settings, folder)


def clean_up(name: str, settings: Settings, run_id: str) -> None:
    """Ends what a killed supervisor left running; processes die with it, containers may not.

    Args:
        name: The run's executor.
        settings: Which engine.
        run_id: The run.
    """
    if name != _CONTAINER:
        return
    from kfp_magics import engines  # noqa: PLC0415  (only for containers)
    from kfp_magics.backends.local import client, containers  # noqa: PLC0415  (only for containers)

    with suppress(EngineError):  # without an engine nothing runs
        client.remove_all(engines.first(containers.candidates(settings)), run_id)
