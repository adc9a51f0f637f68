"""Small things that magics return, as text and as HTML."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from kfp_magics.handles import signature
from kfp_magics.live import ArtifactFile
from kfp_magics.runs import text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from kfp_magics.building.images import StepFolder
    from kfp_magics.handles import Step
    from kfp_magics.model import Json, Run, Task
    from kfp_magics.pods import PodOptions
    from kfp_magics.runs.compare import Comparison
    from kfp_magics.trying import Replay, Trial


class Text:
    """Something that is shown as text, in a notebook with a fixed pitch.

    JupyterLab breaks such lines wherever they are too long, in the middle of words and columns; here columns stay
    columns, and sentences break between words.
    """

    _in_columns = True

    def _repr_html_(self) -> str:
        breaks = (
            "white-space:pre;overflow-x:auto" if self._in_columns else "white-space:pre-wrap;overflow-wrap:anywhere"
        )
        return f"<pre style='line-height:1.4;word-break:normal;{breaks}'>{escape(repr(self))}</pre>"


@dataclass(frozen=True, repr=False)
class StepCard(Text):
    """What a cell became, and what can be done with it.

    Attributes:
        step: The step.
    """

    step: Step

    _in_columns = False

    def __repr__(self) -> str:
        component = self.step.component
        facts = {
            "image": component.base_image,
            "requires": ", ".join(component.requirements),
            "pod": _pod_text(component.pod),
        }
        lines = [f"step {component.name}{signature(component)}"]
        lines += [f"  {name:9}{value}" for name, value in facts.items() if value]
        lines += [f"  note     {remark}" for remark in self.step.remarks]
        if any(port.type == "TaskFinalStatus" for port in component.inputs):
            lines.append(f"  at exit  with dsl.ExitHandler({component.name}(…)): …")
        else:
            given = " ".join(f"{port.name}=…" for port in component.inputs)
            lines.append(f"  alone    %kfp_try {component.name} {given}")
        return "\n".join(line.rstrip() for line in lines)


def _pod_text(pod: PodOptions) -> str:
    words = {
        "cpu": pod.cpu,
        "memory": pod.memory,
        "gpu": f"{pod.gpu} × {pod.gpu_type}" if pod.gpu else "",
        "env": ", ".join(pod.env),
        "secrets": ", ".join(pod.secrets),
        "config maps": ", ".join(pod.config_maps),
        "volumes": ", ".join(
            f"{name} at {path}"
            for path, name in {
                **pod.secret_volumes,
                **pod.config_map_volumes,
                **pod.pvcs,
                **{path: f"{name} ({size})" for path, (name, size) in pod.ephemeral_volumes.items()},
            }.items()
        ),
        "retries": str(pod.retries or ""),
        "timeout": text.duration(pod.timeout) if pod.timeout else "",
        "cache": "" if pod.cache else "off",
        "nodes": ", ".join(f"{key}={value}" for key, value in pod.node_selector.items()),
        "tolerates": ", ".join(f"{one.key}={one.value}".rstrip("=") for one in pod.tolerations),
        "labels": ", ".join(f"{key}={value}" for key, value in pod.labels.items()),
        "annotations": ", ".join(pod.annotations),
        "pulls with": ", ".join(pod.image_pull_secrets),
    }
    return ", ".join(f"{name} {word}" for name, word in words.items() if word)


@dataclass(frozen=True, repr=False)
class TakenCard(Text):
    """What a cell with kfp's own decorators defined.

    Attributes:
        names: The components and pipelines, as the cell names them.
    """

    names: Sequence[str]

    def __repr__(self) -> str:
        what = "component" if len(self.names) == 1 else "components"
        return f"{what} {', '.join(self.names)}, taken as written\n  alone    %kfp_run {self.names[-1]} …"


@dataclass(frozen=True, repr=False)
class CompiledCard(Text):
    """The file that a pipeline was compiled to.

    Attributes:
        path: The file.
    """

    path: Path

    def __repr__(self) -> str:
        return f"Wrote {self.path} ({self.path.stat().st_size / 1000:.1f} kB)."


@dataclass(frozen=True, repr=False)
class FoldersCard(Text):
    """Folders from which images would be built.

    Attributes:
        folders: One for each step.
    """

    folders: Sequence[StepFolder]

    def __repr__(self) -> str:
        return "\n".join(line for one in self.folders for line in _folder_lines(one))


_NEWS = {
    "unchanged": "built",
    "code": "its code is new",
    "dependencies": "what it stands on is new",
    "everything": "never built here",
}


def _folder_lines(one: StepFolder) -> list[str]:
    spec = one.planned.spec
    facts = [
        ("image", f"{spec.name}:{spec.tag}  ({_NEWS[one.difference]})"),
        ("base", spec.base),
        ("python", spec.python),
        ("requires", ", ".join(line.partition(" ")[0] for line in spec.requirements)),
        ("from", spec.folder),
        *(("note", remark) for remark in one.planned.remarks),
        *(("left out", f"{name} looks like a secret") for name in spec.secret_names),
    ]
    lines = [f"step {one.planned.component.name} → {one.path}"]
    lines += [f"  {name:9}{value}" for name, value in facts if value]
    sizes = [(path.relative_to(one.path).as_posix(), path.stat().st_size) for path in one.files]
    lines += [f"    {name}  {text.size_text(size)}" for name, size in sizes]
    return lines


@dataclass(frozen=True, repr=False)
class TrialCard(Text):
    """How a step tried alone ended.

    Attributes:
        trial: The run and its outputs, which now are variables.
    """

    trial: Trial

    def __repr__(self) -> str:
        lines = [text.run_tree(self.trial.run)]
        for name, value in self.trial.outputs.items():
            lines.append(f"  {name} = {_output_text(value)}")
        return "\n".join(lines)


def _output_text(value: Json | ArtifactFile) -> str:
    if not isinstance(value, ArtifactFile):
        return text.value_text(value, 100)
    numbers = text.metadata_text(value.metadata)
    return f"{value.path}  ({numbers})" if numbers else value.path


@dataclass(frozen=True, repr=False)
class ReplayCard(Text):
    """A step that was loaded back into the notebook.

    Attributes:
        replay: Its inputs, which now are variables, and its code.
    """

    replay: Replay

    def __repr__(self) -> str:
        names = ", ".join(self.replay.names)
        return f"Loaded {self.replay.task.id}: its code is the next cell; {names or 'nothing'} now are variables."


@dataclass(frozen=True, repr=False)
class RunsTable(Text):
    """A list of runs.

    Attributes:
        runs: Newest first.
        all_of_them: Whether there are no others.
    """

    runs: Sequence[Run]
    all_of_them: bool = True

    def __repr__(self) -> str:
        return text.runs_table(self.runs, all_of_them=self.all_of_them)


@dataclass(frozen=True, repr=False)
class ArtifactsTable(Text):
    """What tasks of a run wrote.

    Attributes:
        run: The run.
        tasks: Those that are listed.
    """

    run: Run
    tasks: Sequence[Task]

    def __repr__(self) -> str:
        return text.artifacts_table(self.tasks)


@dataclass(frozen=True, repr=False)
class ComparisonCard(Text):
    """What differs between two runs.

    Attributes:
        comparison: The differences.
    """

    comparison: Comparison

    def __repr__(self) -> str:
        return text.comparison_text(self.comparison)
