"""What a conformance case is: a small pipeline, what it is given, and what KFP says must come out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SCRATCH = "<scratch>"
"""In an argument: a folder of the case's own, not the same for the engine and for its peer."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One pipeline with the arguments it is run with.

    Attributes:
        name: Unique.
        pipeline: What `dsl.pipeline` made.
        arguments: Pipeline parameter → value.
        outputs: The pipeline's own outputs, all of them; a plain artifact is an `artifact`, a list of them a list.
        states: Task id → state, for the tasks that matter.
        files: File in the case's folder → the text that steps wrote to it.
        peer: Whether kfp.local can run it, and does so rightly.
        fails: Whether the run must fail.
    """

    name: str
    pipeline: Any
    arguments: Mapping[str, Any] = field(default_factory=dict)
    outputs: Mapping[str, Any] = field(default_factory=dict)
    states: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    peer: bool = False
    fails: bool = False

    def given(self, scratch: Path) -> dict[str, Any]:
        """The arguments, with a folder where they want one."""
        return {
            name: value.replace(SCRATCH, str(scratch)) if isinstance(value, str) else value
            for name, value in self.arguments.items()
        }


def artifact(content: Any = None, *, kind: str = "Dataset", **metadata: Any) -> dict[str, Any]:
    """An artifact as the comparison sees it: its type, its metadata and what lies at its URI."""
    return {"type": f"system.{kind}", "metadata": metadata, "content": content}


def content(uri: str) -> Any:
    """What lies at a URI: text, a folder's files by name, or None."""
    path = Path(uri)
    if path.is_dir():
        return {str(one.relative_to(path)): one.read_text("utf-8") for one in sorted(path.rglob("*")) if one.is_file()}
    return path.read_text("utf-8") if path.is_file() else None
