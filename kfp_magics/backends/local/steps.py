"""One step from its inputs to its outputs: reused, imported, or carried out in as many attempts as it may have."""

from __future__ import annotations

import asyncio
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kfp_magics.backends.local import pods
from kfp_magics.backends.local.cache import Cache, key, parts
from kfp_magics.backends.local.executor import Launch
from kfp_magics.backends.local.nodes import Result
from kfp_magics.backends.local.placeholders import Constants, resolve_command, resolve_json, resolve_text
from kfp_magics.backends.local.recipe import recognise
from kfp_magics.backends.local.values import Values, as_artifacts, executor_input, outputs_of, read_outputs, whole
from kfp_magics.errors import KfpMagicsError
from kfp_magics.ir import component_key, look_up
from kfp_magics.model import Failure, State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kfp_magics.backends.local.executor import Executor
    from kfp_magics.backends.local.journal import Journal
    from kfp_magics.backends.local.nodes import Node
    from kfp_magics.backends.local.request import Request
    from kfp_magics.ir import IR
    from kfp_magics.model import Json, Task


@dataclass(frozen=True, kw_only=True, slots=True)
class _Work:
    """A step with everything that its attempts share."""

    node: Node
    component: Mapping[str, Json]
    container: Mapping[str, Json]
    pod: Mapping[str, Json]
    inputs: Values
    env: Mapping[str, str]


class StepRunner:
    """Carries out single steps.

    Args:
        ir: The compiled pipeline.
        request: What the run was asked to do.
        folder: The run's folder.
        journal: Where states go.
        executor: What starts processes.
        earlier: Tasks of the run's earlier attempts; those that succeeded are kept.
    """

    def __init__(
        self,
        *,
        ir: IR,
        request: Request,
        folder: Path,
        journal: Journal,
        executor: Executor,
        earlier: Mapping[str, Task],
    ) -> None:
        self._ir = ir
        self._request = request
        self._folder = folder
        self._journal = journal
        self._executor = executor
        self._earlier = {name: task for name, task in earlier.items() if task.state is State.SUCCEEDED}
        home = Path(request.settings["home"])
        self._cache = Cache(home / "cache")
        self._secrets = home / "secrets"
        (folder / "workspace").mkdir(exist_ok=True, mode=0o700)
        self._free = asyncio.Semaphore(int(request.settings["parallelism"]))

    def constants(self, task_id: str) -> Constants:
        """The placeholders that mean the same throughout a task."""
        run = self._journal.run
        created = datetime.fromtimestamp(run.created, UTC).isoformat(timespec="seconds")
        return Constants(
            names={
                ".pipeline_job_name": run.name,
                ".pipeline_job_resource_name": f"{component_key(run.pipeline)}-{run.id}",
                ".pipeline_job_uuid": run.id,
                ".pipeline_task_name": task_id.rsplit("/", 1)[-1],
                ".pipeline_task_uuid": f"{run.id}/{task_id}",
                ".pipeline_root": str(self._folder / "tasks"),
                ".workspace_path": str(self._folder / "workspace"),
                ".pipeline_job_create_time_utc": created,
                ".pipeline_job_schedule_time_utc": created,
            }
        )

    async def run(self, node: Node, component: Mapping[str, Json], inputs: Values) -> Result:
        """Carries out one step.

        Args:
            node: The task.
            component: Its ComponentSpec.
            inputs: What it is given, complete.

        Raises:
            KfpMagicsError: It cannot even be started.
        """
        if kept := self._earlier.get(node.id):
            return Result(state=State.SUCCEEDED, outputs=outputs_of(kept, component))
        label = component["executorLabel"]
        executor = self._ir.executor(component)
        self._describe(node, inputs)
        if "importer" in executor:
            return self._import(node, executor["importer"], component, inputs)
        known = self._journal.run.pipeline, node.spec, executor["container"], component, inputs
        what = parts(*known) if self._may_reuse(node) else {}
        place = f"{self._journal.run.pipeline} {node.id}"
        hit = self._cache.find(key(what)) if what else None
        if hit is not None:
            now = time.time()
            reason = f"the same result as in run {hit.run_id}"
            self._journal.change(node.id, started=now, cached=True, reason=reason)
            return self._succeed(node, inputs, hit.outputs)
        if what:
            self._journal.change(node.id, reason=self._cache.why(place, what))
        pod = self._ir.pod(label)
        message = executor_input(inputs, component, self._folder)
        named = {
            one["name"]: resolve_text(one.get("value", ""), message, self.constants(node.id))
            for one in executor["container"].get("env", ())
        }
        work = _Work(
            node=node,
            component=component,
            container=executor["container"],
            pod=pod,
            inputs=inputs,
            env=named | pods.environment(pod, self._secrets, node.key),
        )
        async with self._free:
            result = await self._attempts(work)
        if result.state is State.SUCCEEDED and what:
            self._cache.keep(place, what, self._request.run_id, result.outputs)
        return result

    def _describe(self, node: Node, inputs: Values) -> None:
        task = self._journal.tasks[node.id]
        source = look_up(self._request.options.sources, task.component)
        self._journal.change(
            node.id,
            inputs=dict(inputs.parameters),
            artifacts=as_artifacts(inputs, "input"),
            cell_id=source.cell_id if source else "",
            reason="",
        )

    def _succeed(self, node: Node, inputs: Values, outputs: Values) -> Result:
        self._journal.change(
            node.id,
            outputs=dict(outputs.parameters),
            artifacts=(*as_artifacts(inputs, "input"), *as_artifacts(outputs, "output")),
        )
        return Result(state=State.SUCCEEDED, outputs=outputs)

    def _may_reuse(self, node: Node) -> bool:
        wanted = node.spec.get("cachingOptions", {}).get("enableCache", False)
        return bool(wanted) and not node.exempt and self._request.options.cache

    def _import(
        self, node: Node, importer: Mapping[str, Json], component: Mapping[str, Json], inputs: Values
    ) -> Result:
        self._journal.change(node.id, state=State.RUNNING, started=time.time(), attempt=1)
        message = executor_input(inputs, component, self._folder)
        constants = self.constants(node.id)
        uri = importer["artifactUri"]
        place = uri["constant"] if "constant" in uri else inputs.parameters[uri["runtimeParameter"]]
        (name, definition), *_ = component["outputDefinitions"]["artifacts"].items()
        artifact = {
            "name": name,
            "type": importer.get("typeSchema", definition.get("artifactType", {})),
            "uri": str(place).removeprefix("file://"),
            "metadata": whole(resolve_json(importer.get("metadata", {}), message, constants)),
        }
        return self._succeed(node, inputs, Values(artifacts={name: [artifact]}))

    async def _attempts(self, work: _Work) -> Result:
        policy = work.node.spec.get("retryPolicy", {})
        left = int(policy.get("maxRetryCount", 0))
        pause = _seconds(policy.get("backoffDuration", "0s"))
        longest = _seconds(policy.get("backoffMaxDuration", "3600s"))
        while True:
            failure = await self._attempt(work)
            if isinstance(failure, Values):
                return self._succeed(work.node, work.inputs, failure)
            if left <= 0:
                return Result(state=State.FAILED, error=failure, culprit=work.node.id)
            left -= 1
            self._journal.change(work.node.id, reason=f"attempt failed: {failure.message}")
            await asyncio.sleep(min(pause, longest))
            pause *= float(policy.get("backoffFactor", 2.0)) or 1.0

    async def _attempt(self, work: _Work) -> Values | Failure:
        node = work.node
        cell_id = self._journal.tasks[node.id].cell_id
        clock = asyncio.timeout(None)
        limit = pods.timeout(work.pod)
        try:
            number, folder = self._new_folder(node.id)
            self._journal.change(node.id, state=State.RUNNING, started=time.time(), attempt=number)
            message = executor_input(work.inputs, work.component, folder)
            launch = self._launch(work, number, folder, message)
            await self._executor.prepare(launch)
            async with clock:
                if limit is not None:
                    clock.reschedule(asyncio.get_running_loop().time() + limit)
                outcome = await self._executor.run(launch)
            return outcome.failure or read_outputs(message, work.component)
        except OSError as error:  # TimeoutError is one
            if clock.expired():
                return Failure(
                    message=f"It took longer than its timeout of {limit:g} s.",
                    hint="Give it more with --timeout.",
                    cell_id=cell_id,
                )
            traceback.print_exc()
            return Failure(
                message=f"This machine could not carry it out: {error}",
                hint=f"Look at the disk that holds {self._folder}.",
                cell_id=cell_id,
            )
        except KfpMagicsError as error:
            return Failure(message=error.message, hint=error.hint, cell_id=cell_id)

    def _new_folder(self, task_id: str) -> tuple[int, Path]:
        """Makes the folder of the next attempt; an engine that was killed may have begun one that it never told of."""
        number = self._journal.tasks[task_id].attempt
        while True:
            number += 1
            folder = self._folder / "tasks" / task_id / f"attempt-{number}"
            with suppress(FileExistsError):
                folder.mkdir(parents=True, mode=0o700)
                return number, folder

    def _launch(self, work: _Work, number: int, folder: Path, message: dict[str, Any]) -> Launch:
        task = self._journal.tasks[work.node.id]
        constants = self.constants(work.node.id)
        command, args = work.container.get("command", ()), work.container.get("args", ())
        # The text of a Python step is no template: what looks like a placeholder in it stands in a string of its own.
        module = command[-1:] if recognise(command, args) is not None else ()
        template = command[: len(command) - len(module)]
        return Launch(
            task_id=work.node.id,
            attempt=number,
            image=work.container.get("image", ""),
            command=(*resolve_command(template, message, constants), *module),
            args=resolve_command(args, message, constants),
            executor_input=message,
            env=work.env,
            folder=folder,
            log=folder / "log.txt",
            source=look_up(self._request.options.sources, task.component),
            resources=resolve_json(work.container.get("resources", {}), message, constants),
            mounts=pods.mounts(work.pod),
            tell=lambda text: self._tell(work.node.id, text),
        )

    def _tell(self, task_id: str, text: str) -> None:
        self._journal.change(task_id, reason=text)


def _seconds(text: str) -> float:
    return float(text.removesuffix("s") or 0)
