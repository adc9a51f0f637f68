"""Vertex AI's words for states, all of them."""

from __future__ import annotations

from google.cloud import aiplatform_v1 as vertex

from kfp_magics.model import State

_Pipeline, _Task = vertex.PipelineState, vertex.PipelineTaskDetail.State

PIPELINE_STATES = {
    _Pipeline.PIPELINE_STATE_UNSPECIFIED: State.UNKNOWN,
    _Pipeline.PIPELINE_STATE_QUEUED: State.PENDING,
    _Pipeline.PIPELINE_STATE_PENDING: State.PENDING,
    _Pipeline.PIPELINE_STATE_RUNNING: State.RUNNING,
    _Pipeline.PIPELINE_STATE_SUCCEEDED: State.SUCCEEDED,
    _Pipeline.PIPELINE_STATE_FAILED: State.FAILED,
    _Pipeline.PIPELINE_STATE_CANCELLING: State.RUNNING,  # it still runs
    _Pipeline.PIPELINE_STATE_CANCELLED: State.CANCELLED,
    _Pipeline.PIPELINE_STATE_PAUSED: State.PENDING,
}
TASK_STATES = {
    _Task.STATE_UNSPECIFIED: State.UNKNOWN,
    _Task.PENDING: State.PENDING,
    _Task.RUNNING: State.RUNNING,
    _Task.SUCCEEDED: State.SUCCEEDED,
    _Task.CANCEL_PENDING: State.RUNNING,
    _Task.CANCELLING: State.RUNNING,
    _Task.CANCELLED: State.CANCELLED,
    _Task.FAILED: State.FAILED,
    _Task.SKIPPED: State.SUCCEEDED,  # its word for a result that was reused
    _Task.NOT_TRIGGERED: State.SKIPPED,
}


def pipeline_state(job: vertex.PipelineJob) -> State:
    """Where a run stands; ``unknown`` for words that nobody has heard of."""
    word: int = vertex.PipelineJob.pb(job).state  # Google's wrapper around the message warns of words it does not know
    return PIPELINE_STATES.get(word, State.UNKNOWN)


def task_state(detail: vertex.PipelineTaskDetail) -> State:
    """Where a task stands; ``unknown`` for words that nobody has heard of."""
    word: int = vertex.PipelineTaskDetail.pb(detail).state
    return TASK_STATES.get(word, State.UNKNOWN)


def is_reused(detail: vertex.PipelineTaskDetail) -> bool:
    """Whether an earlier result was taken for a task."""
    raw = vertex.PipelineTaskDetail.pb(detail)
    return bool(raw.state == _Task.SKIPPED or raw.execution.state == vertex.Execution.State.CACHED)
