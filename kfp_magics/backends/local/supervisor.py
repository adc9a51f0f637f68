"""One detached process per run, made by ``daemon.py``.

It schedules the run, starts its tasks and writes every change to the store. A kernel that restarts does not touch it.
SIGTERM asks it to cancel the run.
"""

from __future__ import annotations

import asyncio
import fcntl
import signal
import time
import traceback
from dataclasses import replace
from typing import TYPE_CHECKING

from kfp_magics import ir
from kfp_magics.backends.local import request as requests
from kfp_magics.backends.local.executors import executor_for
from kfp_magics.backends.local.journal import Journal, ended
from kfp_magics.backends.local.scheduler import Scheduler
from kfp_magics.backends.local.steps import StepRunner
from kfp_magics.backends.local.values import Values
from kfp_magics.model import Failure, State
from kfp_magics.runs.store import Store
from kfp_magics.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from kfp_magics.backends.local.nodes import Result
    from kfp_magics.backends.local.request import Request
    from kfp_magics.model import Run


def main(folder: Path, lock: int) -> None:
    """Carries out the run of a folder.

    Args:
        folder: The run's folder.
        lock: Descriptor of the lock that was taken for this process.
    """
    fcntl.fcntl(lock, fcntl.F_SETFD, fcntl.FD_CLOEXEC)  # no task may keep the lock when this process is gone
    request = requests.read(folder)
    settings = Settings(**request.settings)
    store = Store(settings.store_path)
    run = store.get(folder.name)
    try:
        asyncio.run(_supervise(request, settings, store, run, folder))
    except Exception as error:  # whatever goes wrong here must reach the person who waits for the run
        traceback.print_exc()
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]  # the one that ended the others
        failure = Failure(
            message=f"The engine failed: {type(error).__name__}: {error}",
            hint=f"Its log is {folder / 'supervisor.log'}; %kfp_retry {run.id} resumes the run.",
        )
        store.save(ended(store.get(run.id), State.FAILED, failure))
        raise
    finally:
        store.close()


async def _supervise(request: Request, settings: Settings, store: Store, run: Run, folder: Path) -> None:
    pipeline = ir.parse(request.ir)
    journal = Journal(store, run, run.tasks)
    executor = executor_for(request.options.executor, settings, folder)
    steps = StepRunner(
        ir=pipeline,
        request=request,
        folder=folder,
        journal=journal,
        executor=executor,
        earlier=journal.tasks.copy() if run.attempt > 1 else {},
    )
    scheduler = Scheduler(pipeline, journal, steps)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, scheduler.cancel)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})  # blocked since the process began
    journal.change_run(state=State.RUNNING, started=run.started or time.time(), finished=None, error=None)
    try:
        result = await scheduler.run(_inputs(request, pipeline))
    finally:
        await executor.close()
    _finish(journal, result)
    await asyncio.to_thread(journal.close)


def _inputs(request: Request, pipeline: ir.IR) -> Values:
    definitions = pipeline.spec["root"].get("inputDefinitions", {}).get("artifacts", {})
    artifacts = {
        name: [
            {
                "name": name,
                "type": definitions.get(name, {}).get("artifactType", {"schemaTitle": "system.Artifact"}),
                "uri": str(path),
                "metadata": {},
            }
        ]
        for name, path in request.options.input_artifacts.items()
    }
    return Values(parameters=dict(request.arguments), artifacts=artifacts)


def _finish(journal: Journal, result: Result) -> None:
    error = result.error
    if error is not None and result.culprit:
        culprit = journal.tasks[result.culprit]
        error = replace(error, message=f"{culprit.name}: {error.message}")
    journal.change_run(state=result.state, error=error, finished=time.time(), outputs=dict(result.outputs.parameters))
