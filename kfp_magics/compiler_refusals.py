"""What KFP says about a pipeline that it does not compose, in two lines: its reason, and what to type instead."""

from __future__ import annotations

import re
import sys
import traceback
from typing import TYPE_CHECKING

from google.protobuf.json_format import SerializeToJsonError
from kfp import dsl
from kfp.dsl import pipeline_channel

from kfp_magics.errors import DefinitionError, KfpMagicsError, did_you_mean

if TYPE_CHECKING:
    from types import TracebackType

HINT = "See https://www.kubeflow.org/docs/components/pipelines for what a pipeline may say."
_LATER = "is known only when the pipeline runs"
_OUTPUT = "Write task.output, or task.outputs['NAME'] where there are several."
_HINTS: tuple[tuple[str, str, str], ...] = (
    (r"Task is missing from pipeline", "it has no step.", "Call a step in it: my_step(x=1)."),
    (r"keyword arguments.*component \"(.+)\"\)", "", r"Write \1(NAME=…)."),
    (r"^(\w+)\(\) missing \d+ required arguments?: (\w+)", "", r"Write \1(\2=…)."),
    (r"^(\w+)\(\) got an unexpected keyword", "", r"A cell with \1 alone shows what it takes."),
    (r"multiple outputs", "", "Write task.outputs['NAME']."),
    (r"unknown pipeline output.*PipelineTask", "a task is returned where its output is meant.", _OUTPUT),
    (r"Got:? .*PipelineTask object", "a task stands where its output is meant.", _OUTPUT),
    (r"type '[A-Z_]+' is incompatible with the input type 'system\.(\w+)@", "",
     r"dsl.importer(artifact_uri=…, artifact_class=dsl.\1).output makes an artifact of a file."),
    (r"Argument type .* is incompatible with the input type", "", "Give a value of that type, or change the step's."),
    (r"Incompatible return type", "", "Change the type behind the arrow: def p(…) -> …"),
    (r"Missing type annotation for argument: (\w+)", "", r"Write its type: \1: int"),
    (r"must have both a schema_title", "", "Parameters are str, int, float, bool, list, dict and Input[…]."),
    (r"Only letters, numbers", "", "Begin with a letter from a to z; digits and _ may follow."),
    (r"no attribute 'left_operand'", "a condition compares two values.", "Write for example dsl.If(value == 'yes')."),
    (r"Illegal task dependency across", "",
     "Put the step into that block too; dsl.Collected brings results out of a loop, dsl.OneOf out of branches."),
    (r"Channel' object is not iterable", f"what is looped over {_LATER}.", "Write with dsl.ParallelFor(…) as item: …"),
    (r"(unsupported operand|not subscriptable).*Channel'|Channel' object is not", f"a value {_LATER}.",
     "Compute with it in a step."),
    (r"serialize (NaN|Infinity|-Infinity)", "", "A default cannot be that; use None, or a large number."),
)  # fmt: skip
"""What KFP says → what is said instead, if anything; what to type."""


class translated:  # noqa: N801  (a context manager that reads as a phrase)
    """Turns what kfp raises into two lines; what the user's own code raises keeps its stack.

    Args:
        name: Of the pipeline.
        file: How the names begin of what the user wrote.
    """

    def __init__(self, name: str, file: str = "<pipeline") -> None:
        self._name = name
        self._file = file

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, frames: TracebackType | None) -> None:
        if error is None or isinstance(error, KfpMagicsError | NameError):
            return
        stack = traceback.extract_tb(frames)
        said_by_kfp = _said_by_kfp(error, stack)
        found = _of_a_task(error, stack, frames, said_by_kfp=said_by_kfp)
        if found is None and not said_by_kfp:
            return
        reason, hint = found or _in_our_words(" ".join(str(error).split()))
        line = next((one.lineno for one in reversed(stack) if one.filename.startswith(self._file)), None)
        where = f" (line {line})" if line else ""
        raise DefinitionError(f"The pipeline {self._name!r} does not compose{where}: {reason}", hint) from error


def _said_by_kfp(error: BaseException, stack: traceback.StackSummary) -> bool:
    about_a_channel = isinstance(error, TypeError) and re.search(r"argument|Pipeline\w+Channel'", str(error))
    return "/kfp/" in stack[-1].filename or bool(about_a_channel) or isinstance(error, SerializeToJsonError)


def _of_a_task(
    error: BaseException, stack: traceback.StackSummary, frames: TracebackType | None, *, said_by_kfp: bool
) -> tuple[str, str] | None:
    if isinstance(error, KeyError) and "outputs" in (stack[-1].line or ""):
        return f"there is no output {error.args[0]!r}.", did_you_mean(str(error.args[0]), _outputs(frames))
    if not said_by_kfp and isinstance(error, AttributeError) and isinstance(error.obj, dsl.PipelineTask):
        known = [name for name in dir(error.obj) if not name.startswith("_")]
        return f"a task has no {error.name!r}.", did_you_mean(str(error.name), known)
    return None


def _outputs(frames: TracebackType | None) -> set[str]:
    """The outputs of the tasks that the innermost frame knows by name."""
    while frames is not None and frames.tb_next is not None:
        frames = frames.tb_next
    values = frames.tb_frame.f_locals.values() if frames is not None else ()
    return {str(name) for value in values if isinstance(value, dsl.PipelineTask) for name in value.outputs}


def _in_our_words(reason: str) -> tuple[str, str]:
    for pattern, instead, hint in _HINTS:
        if match := re.search(pattern, reason):
            return instead or reason, match.expand(hint)
    return reason, HINT


def _truth(value: object) -> bool:
    """Refuses ``if year > 2000:`` in a notebook's pipeline: it is asked while composing, and would always be true."""
    asks = sys._getframe(1)  # noqa: SLF001  (KFP asks, too, and is not meant)
    if not asks.f_code.co_filename.startswith(("<pipeline", "<cell")):
        return True
    what = "A condition" if isinstance(value, pipeline_channel.ConditionOperation) else "A value"
    raise DefinitionError(
        f"{what} {_LATER}; Python's if, and, or, not and in ask for it now (line {asks.f_lineno}).",
        "Write with dsl.If(…): and with dsl.Else():, one in the other for several conditions.",
    )


def refuse_truth() -> None:
    """Has KFP's values and conditions refuse to be asked for their truth in the cell of a pipeline."""
    pipeline_channel.PipelineChannel.__bool__ = _truth
    pipeline_channel.ConditionOperation.__bool__ = _truth
