"""The order of things: everything that is ready runs, as the IR says, until nothing is left.

One coroutine a task. It waits for the tasks it needs, finds its inputs, and then is one of: skipped, a group (a DAG of
its own), a loop (the same DAG for each item), an importer, or a step that `StepRunner` carries out.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

from kfp_magics.backends.local import conditions
from kfp_magics.backends.local.inputs import MissingInputError, dag_outputs, task_inputs
from kfp_magics.backends.local.nodes import Node, Result, Scope
from kfp_magics.backends.local.values import Values, collect, with_defaults
from kfp_magics.errors import KfpMagicsError
from kfp_magics.ir import is_loop, members, needs, static_task
from kfp_magics.model import Failure, State, Task

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kfp_magics.backends.local.journal import Journal
    from kfp_magics.backends.local.steps import StepRunner
    from kfp_magics.ir import IR
    from kfp_magics.model import Json

_ALWAYS = "ALL_UPSTREAM_TASKS_COMPLETED"


class Scheduler:
    """Carries out one run.

    Args:
        ir: The compiled pipeline.
        journal: Where states go.
        steps: What carries out a single step.
    """

    def __init__(self, ir: IR, journal: Journal, steps: StepRunner) -> None:
        self._ir = ir
        self._journal = journal
        self._steps = steps
        self._cancelled = False
        self._running: dict[asyncio.Task[Result], Node] = {}  # what nobody has asked to end

    async def run(self, inputs: Values) -> Result:
        """Carries out the pipeline.

        Args:
            inputs: The pipeline's own inputs, complete.
        """
        root = self._ir.spec["root"]
        return await self._dag(root, "", with_defaults(inputs, root.get("inputDefinitions", {})), exempt=False)

    def cancel(self) -> None:
        """Ends what runs and starts nothing more, but for exit handlers; asked again, ends those that run."""
        for running, node in tuple(self._running.items()):
            if self._cancelled or not node.exempt:
                del self._running[running]  # asked once: it may be ending already, also by its own timeout
                running.cancel()
        self._cancelled = True

    async def _dag(self, component: Mapping[str, Json], prefix: str, inputs: Values, *, exempt: bool) -> Result:
        tasks = component["dag"].get("tasks", {})
        loop = asyncio.get_running_loop()
        scope = Scope(
            prefix=prefix,
            inputs=inputs,
            declared=component.get("inputDefinitions", {}),
            done={key: loop.create_future() for key in tasks},
            outputs={key: self._ir.component(spec).get("outputDefinitions", {}) for key, spec in tasks.items()},
        )
        async with asyncio.TaskGroup() as group:
            for key, spec in tasks.items():
                node = Node(id=prefix + key, key=key, spec=spec, scope=scope, exempt=exempt or _is_exit_task(spec))
                group.create_task(self._node(node))
        results = {key: future.result() for key, future in scope.done.items()}
        return self._sum_up(component, results, prefix)

    def _sum_up(self, component: Mapping[str, Json], results: Mapping[str, Result], prefix: str) -> Result:
        for key, result in results.items():
            if result.state is State.FAILED:
                return Result(state=State.FAILED, error=result.error, culprit=result.culprit or prefix + key)
        if any(result.state is State.CANCELLED for result in results.values()):
            return Result(state=State.CANCELLED)
        outputs = dag_outputs(component["dag"], {key: result.outputs for key, result in results.items()})
        return Result(state=State.SUCCEEDED, outputs=outputs)

    async def _node(self, node: Node) -> None:
        self._journal.add(static_task(self._ir, node.key, node.spec, node.scope.prefix))
        upstream = {key: await node.scope.done[key] for key in needs(node.spec)}
        try:
            result = await self._decide(node, upstream)
        except KfpMagicsError as error:
            result = Result(state=State.FAILED, error=Failure(message=error.message, hint=error.hint))
        reason = {} if result.state is not State.CANCELLED else {"reason": "the run was cancelled"}
        task = self._journal.tasks[node.id]
        if task.state is not State.SUCCEEDED:  # it is one that an earlier attempt left, and stays as it was
            finished = {"finished": time.time()} if task.started else {}
            self._journal.change(node.id, state=result.state, error=result.error, **finished, **reason)
        component = self._ir.component(node.spec)
        if result.state in {State.SKIPPED, State.CANCELLED} and _is_plain_group(node.spec, component):
            for inner in members(self._ir, component, node.id):  # what is left out is shown as well
                self._journal.add(inner)
        self._end_members(node.id, result.state)
        node.scope.done[node.key].set_result(result)

    async def _decide(self, node: Node, upstream: Mapping[str, Result]) -> Result:
        policy = node.spec.get("triggerPolicy", {})
        if policy.get("strategy") != _ALWAYS:
            for key, result in upstream.items():
                if result.state is not State.SUCCEEDED and not (self._cancelled and not node.exempt):
                    return self._skip(node, f"needs {key!r}, which {_was(result.state)}")
        if self._cancelled and not node.exempt:
            return Result(state=State.CANCELLED)
        component = self._ir.component(node.spec)
        constants = self._steps.constants(node.id)
        try:
            given = task_inputs(node.spec, node.scope, upstream, constants, component)
        except MissingInputError as missing:
            return self._skip(node, str(missing))
        condition = policy.get("condition")
        if condition and not conditions.holds(condition, given.parameters):
            return self._skip(node, f"its condition is false: {conditions.readable(condition)}")
        if is_loop(node.spec):
            return await self._loop(node, component, given)
        return await self._carry_out(node, component, given)

    async def _carry_out(self, node: Node, component: Mapping[str, Json], given: Values) -> Result:
        inputs = with_defaults(given, component.get("inputDefinitions", {}))
        if "dag" in component:
            self._start_group(node, inputs)
            return await self._dag(component, f"{node.id}/", inputs, exempt=node.exempt)
        running = asyncio.create_task(self._steps.run(node, component, inputs))
        self._running[running] = node
        try:
            return await running
        except asyncio.CancelledError:
            if not self._cancelled:
                raise
            return Result(state=State.CANCELLED)
        finally:
            self._running.pop(running, None)

    async def _loop(self, node: Node, component: Mapping[str, Json], given: Values) -> Result:
        iterations = list(_iterations(node.spec, given))
        self._start_group(node, given)
        limit = asyncio.Semaphore(int(node.spec.get("iteratorPolicy", {}).get("parallelismLimit", 0)) or 2**31)

        async def iterate(number: int, inputs: Values) -> Result:
            task_id = f"{node.id}/{number}"
            task = Task(id=task_id, name=str(number), kind="iteration", parent=node.id)
            self._journal.add(task)
            earlier = self._journal.tasks[task_id].state is State.SUCCEEDED
            async with limit:
                if self._cancelled and not node.exempt:
                    result = Result(state=State.CANCELLED)
                else:
                    if not earlier:
                        self._journal.change(
                            task_id, state=State.RUNNING, started=time.time(), inputs=_loop_item(node.spec, inputs)
                        )
                    complete = with_defaults(inputs, component.get("inputDefinitions", {}))
                    result = await self._dag(component, f"{task_id}/", complete, exempt=node.exempt)
            if not earlier:
                self._journal.change(task_id, state=result.state, error=result.error, finished=time.time())
            return result

        async with asyncio.TaskGroup() as group:
            running = [group.create_task(iterate(number, inputs)) for number, inputs in enumerate(iterations)]
        results = [one.result() for one in running]
        for result in results:
            if result.state is not State.SUCCEEDED:
                return result
        outputs = collect(result.outputs for result in results)
        for name in component.get("outputDefinitions", {}).get("parameters", {}):
            outputs.parameters.setdefault(name, [])
        for name in component.get("outputDefinitions", {}).get("artifacts", {}):
            outputs.artifacts.setdefault(name, [])
        return Result(state=State.SUCCEEDED, outputs=outputs)

    def _start_group(self, node: Node, inputs: Values) -> None:
        if self._journal.tasks[node.id].state is State.SUCCEEDED:  # in an earlier attempt
            return
        self._journal.change(
            node.id,
            state=State.RUNNING,
            started=time.time(),
            inputs={
                name: value for name, value in inputs.parameters.items() if not name.startswith("pipelinechannel-")
            },
            artifacts=(),
        )

    def _skip(self, node: Node, reason: str) -> Result:
        self._journal.change(node.id, reason=reason)
        return Result(state=State.SKIPPED)

    def _end_members(self, group: str, state: State) -> None:
        """Ends what never began: a group that was skipped, items that a loop had when it ran before."""
        ends = State.CANCELLED if state is State.CANCELLED else State.SKIPPED
        for task in self._journal.members(group):
            if not task.state.final:
                self._journal.change(task.id, state=ends, reason=f"in {group!r}, which {_was(state)}")


def _is_plain_group(spec: Mapping[str, Json], component: Mapping[str, Json]) -> bool:
    return "dag" in component and not is_loop(spec)


def _is_exit_task(spec: Mapping[str, Json]) -> bool:
    always = spec.get("triggerPolicy", {}).get("strategy") == _ALWAYS
    return always and any(one.startswith("exit-handler-") for one in spec.get("dependentTasks", ()))


def _was(state: State) -> str:
    return str(state) if state in {State.FAILED, State.SUCCEEDED} else f"was {state}"


def _iterations(spec: Mapping[str, Json], given: Values) -> Iterator[Values]:
    if "artifactIterator" in spec:
        iterator = spec["artifactIterator"]
        for one in given.artifacts.get(iterator["items"]["inputArtifact"], []):
            yield Values(parameters=dict(given.parameters), artifacts={**given.artifacts, iterator["itemInput"]: [one]})
        return
    iterator = spec["parameterIterator"]
    items = iterator["items"]
    values = json.loads(items["raw"]) if "raw" in items else given.parameters.get(items["inputParameter"])
    if isinstance(values, str):
        values = json.loads(values)
    if not isinstance(values, list):
        raise KfpMagicsError(
            f"A loop wants a list, and was given {json.dumps(values)[:80]}.", "Return a list from the step before it."
        )
    for value in values:
        yield Values(parameters={**given.parameters, iterator["itemInput"]: value}, artifacts=dict(given.artifacts))


def _loop_item(spec: Mapping[str, Json], inputs: Values) -> dict[str, Json]:
    if "parameterIterator" in spec:
        return {"item": inputs.parameters[spec["parameterIterator"]["itemInput"]]}
    return {"item": inputs.artifacts[spec["artifactIterator"]["itemInput"]][0].get("uri", "")}
