from __future__ import annotations

from google.cloud import aiplatform_v1 as vertex

from kfp_magics.backends.vertex.states import PIPELINE_STATES, TASK_STATES, pipeline_state, task_state
from kfp_magics.model import State


def test_every_word_of_googles_has_a_row() -> None:
    assert set(PIPELINE_STATES) == set(vertex.PipelineState)
    assert set(TASK_STATES) == set(vertex.PipelineTaskDetail.State)


def test_words_that_nobody_has_heard_of_are_unknown() -> None:
    job = vertex.PipelineJob.deserialize(bytes([8 << 3, 99]))  # field 8 is the state
    assert pipeline_state(job) is State.UNKNOWN
    detail = vertex.PipelineTaskDetail.deserialize(bytes([7 << 3, 99]))  # field 7 is the state
    assert task_state(detail) is State.UNKNOWN
