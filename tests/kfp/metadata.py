"""ML Metadata as a cluster has it: what a run's tasks took and gave, in the way that KFP's driver writes it."""

from __future__ import annotations

from kfp_magics import mlmd
from kfp_magics.model import Task

KINDS = {"step": "system.ContainerExecution", "importer": "system.ImporterExecution"}
_EACH = 10_000  # numbers of a run: its context is the first of them


def answer(method: str, body: bytes, runs: dict[str, list[Task]], *, most: int = 3) -> bytes:
    """Answers a question.

    Args:
        method: Its name.
        body: What is asked.
        runs: Run → its tasks, as they are to be told.
        most: Executions on a page.
    """
    data, _ = mlmd.unframe(body)
    asked = mlmd.parse(f"{method}Request", data)
    known = [_Kept(number * _EACH, run_id, tasks, most) for number, (run_id, tasks) in enumerate(runs.items(), 1)]
    if method == "GetContextByTypeAndName":
        assert asked.type_name == "system.PipelineRun"
        found = next((one.context for one in known if one.run_id == asked.context_name), None)
        told = mlmd.message(f"{method}Response", context=found)
    else:
        numbers = getattr(asked, "artifact_ids", None) or getattr(asked, "execution_ids", None) or [asked.context_id]
        told = getattr(known[numbers[0] // _EACH - 1], method)(asked)
    return mlmd.frame(told.SerializeToString()) + mlmd.trailer()


class _Kept:
    def __init__(self, first: int, run_id: str, tasks: list[Task], most: int) -> None:
        self.first, self.run_id, self.tasks, self.most = first, run_id, tasks, most
        self.ids = {task.id: first + number for number, task in enumerate(tasks, 1)}
        uris = dict.fromkeys(one.uri for task in tasks for one in task.artifacts)
        self.artifacts = {uri: first + number for number, uri in enumerate(uris, 1)}
        self.context = mlmd.message("Context", id=first, name=run_id, type="system.PipelineRun")

    def GetExecutionsByContext(self, asked):  # noqa: N802
        rows = list(self.executions())
        first = int(asked.options.next_page_token or 0)
        last = first + min(asked.options.max_result_size or 20, self.most)
        token = {"next_page_token": str(last)} if last < len(rows) else {}
        return mlmd.message("GetExecutionsByContextResponse", executions=rows[first:last], **token)

    def executions(self):
        yield mlmd.message("Execution", id=self.first, type="system.DAGExecution")
        for task in self.tasks:
            words = {
                "task_name": mlmd.value_of(task.name if task.kind != "iteration" else task.parent.split("/")[-1]),
                "display_name": mlmd.value_of(task.name),
                "parent_dag_id": mlmd.value_of(self.ids.get(task.parent, self.first)),
                "inputs": mlmd.fields_of(self.given(task)),
            }
            if task.kind in KINDS:  # groups are told no outputs
                words["outputs"] = mlmd.fields_of(task.outputs)
            if task.kind == "loop":
                words["iteration_count"] = mlmd.value_of(sum(one.parent == task.id for one in self.tasks))
            if task.kind == "iteration":
                words["iteration_index"] = mlmd.value_of(int(task.name))
            kind = KINDS.get(task.kind, "system.DAGExecution")
            yield mlmd.message("Execution", id=self.ids[task.id], type=kind, custom_properties=words)

    @staticmethod
    def given(task: Task) -> dict:
        if task.kind == "iteration":
            return {"pipelinechannel--loop-item-param-1": task.inputs["item"]}
        return dict(task.inputs)

    def GetEventsByExecutionIDs(self, asked):  # noqa: N802
        events = [
            mlmd.message(
                "Event",
                artifact_id=self.artifacts[one.uri],
                execution_id=self.ids[task.id],
                path=mlmd.message("Path", steps=[mlmd.message("Step", key=one.name)]),
                type=4 if one.io == "output" else 3,
            )
            for task in self.tasks
            for one in task.artifacts
            if self.ids[task.id] in asked.execution_ids
        ]
        return mlmd.message("GetEventsByExecutionIDsResponse", events=events)

    def GetArtifactsByID(self, asked):  # noqa: N802
        known = {self.artifacts[one.uri]: one for task in self.tasks for one in task.artifacts}
        types = {name: number for number, name in enumerate(sorted({one.type for one in known.values()}), 1)}
        rows = [
            mlmd.message(
                "Artifact",
                id=number,
                uri=known[number].uri,
                type_id=types[known[number].type],  # the name stands with the types, as older servers do it
                custom_properties={
                    "display_name": mlmd.value_of(known[number].name),
                    **{key: _value(value) for key, value in known[number].metadata.items()},
                },
            )
            for number in asked.artifact_ids
            if number in known
        ]
        named = [mlmd.message("ArtifactType", id=number, name=name) for name, number in types.items()]
        return mlmd.message("GetArtifactsByIDResponse", artifacts=rows, artifact_types=named)


def _value(value):
    """KFP's launcher knows only one kind of number, and writes truth as one."""
    return mlmd.message("Value", double_value=value) if isinstance(value, int | float) else mlmd.value_of(value)
