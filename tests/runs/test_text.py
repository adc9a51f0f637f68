"""Runs as plain text."""

import re
import time
from dataclasses import replace

import pytest

from kfp_magics.model import Artifact, Failure, Run, State, Task
from kfp_magics.runs import text


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.0, "0.0 s"),
        (0.44, "0.4 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 m 00 s"),
        (72.0, "1 m 12 s"),
        (3599.6, "1 h 00 m"),
        (7500.0, "2 h 05 m"),
        (90_000.0, "25 h 00 m"),
    ],
)
def test_durations(seconds: float, expected: str) -> None:
    assert text.duration(seconds) == expected


def test_how_long_something_lasted() -> None:
    run = Run(id="r", name="r")
    assert text.lasted(run) == ""
    assert text.lasted(replace(run, started=time.time() - 65)).startswith("1 m 0")
    assert text.lasted(replace(run, started=5.0, finished=7.5)) == "2.5 s"
    assert text.lasted(replace(run, started=5.0, finished=4.0)) == "0.0 s"  # clocks go back


def test_values() -> None:
    assert text.value_text("ä\n  b") == "ä b"
    assert text.value_text({"ä": [1, None]}) == '{"ä": [1, null]}'
    assert text.value_text("x" * 61) == "x" * 59 + "…"
    assert text.value_text("x" * 60) == "x" * 60


def test_columns_hold_in_every_script() -> None:
    lines = text.table([("漢字", "1"), ("ab", "2"), ("e\u0301", "3")], ("NAME", "N")).splitlines()
    assert lines == ["NAME  N", "漢字  1", "ab    2", "e\u0301     3"]


def test_the_list_of_runs() -> None:
    assert "%kfp_run" in text.runs_table([])
    run = Run(id="id1", name="größe 1", pipeline="größe", state=State.FAILED, created=0.0, started=1.0, finished=3.0)
    head, row = text.runs_table([run]).splitlines()
    assert head.split() == ["ID", "STATE", "TOOK", "PIPELINE", "NAME", "CREATED"]
    assert re.fullmatch(r"id1  ✗ failed  2\.0 s  größe     größe 1  (19|20)\d\d-\d\d-\d\d \d\d:\d\d:\d\d", row)


def test_a_run_with_its_tasks() -> None:
    failure = Failure(message="ValueError: ü", line=5, text="raise ValueError('ü')")
    tasks = (
        Task(id="a", name="a", state=State.SUCCEEDED, cached=True, reason="the same as in run x"),
        Task(id="l", name="loop", kind="loop", state=State.FAILED, error=failure),
        Task(id="l/0", name="0", kind="iteration", parent="l", state=State.FAILED, error=failure),
        Task(id="l/0/t", name="t", parent="l/0", state=State.FAILED, started=1.0, finished=2.0, error=failure),
        Task(id="b", name="b", state=State.SKIPPED, reason="needs 'loop', which failed"),
    )
    run = Run(id="r", name="n", state=State.FAILED, tasks=tasks, error=Failure(message="t: no", hint="do this"))
    assert text.run_tree(run).splitlines() == [
        "✗ n  failed  (r)",
        "    t: no",
        "    do this",
        "  ✓ a  cached",
        "  ✗ loop",
        "    ✗ [0]",
        "      ✗ t  1.0 s  ValueError: ü",
        "          line 5: raise ValueError('ü')",
        "  – b    needs 'loop', which failed",
    ]


def test_artifacts() -> None:
    metadata = {"display_name": "m", "rmse": 0.5, "ü": "x" * 30}
    artifact = Artifact(name="m", io="output", type="system.Metrics", uri="/there", metadata=metadata)
    given = replace(artifact, io="input")
    assert text.artifacts_table([Task(id="t", name="t", artifacts=(given,))]) == "No artifacts."
    _, row = text.artifacts_table([Task(id="t", name="t", artifacts=(given, artifact))]).splitlines()
    assert row == f"t     m     Metrics  rmse=0.5, ü={'x' * 19}…  /there"


def test_a_run_that_nobody_can_ask_about_says_since_when() -> None:
    then = 1_780_000_000.0
    step = Task(id="t", name="train", state=State.RUNNING, started=then - 3)
    run = Run(id="r", name="away", state=State.RUNNING, started=then - 5, tasks=(step,))
    run = replace(run, stale=then, stale_reason="the server fails (500)")
    assert "running (stale)" in text.runs_table([run])
    assert text.run_tree(run).splitlines() == [
        "▶ away  running  5.0 s  (r)",
        f"    stale since {text.when(then)}: the server fails (500)",
        "  ▶ train  3.0 s",  # nobody knows whether it goes on
    ]
