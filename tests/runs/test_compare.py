"""What differs between two runs."""

from dataclasses import replace

from kfp_magics.model import Artifact, Run, State, Task
from kfp_magics.runs.compare import Difference, compare
from kfp_magics.runs.text import comparison_text


def task(name: str, seconds: float, rmse: float, **more: object) -> Task:
    metrics = Artifact(name="m", io="output", type="system.Metrics", uri="/m", metadata={"rmse": rmse, "roc": [1, 2]})
    data = Artifact(name="d", io="output", type="system.Dataset", uri="/d", metadata={"rows": rmse})
    start = Task(id=name, name=name, state=State.SUCCEEDED, started=10.0, finished=10.0 + seconds, image="i:1")
    return replace(start, artifacts=(metrics, data), **more)


A = Run(
    id="a",
    name="first",
    parameters={"year": 2000, "on": True, "same": "x", "only a": [1]},
    tasks=(task("train", 3.0, 0.5), task("cached", 1.0, 1.0), Task(id="loop", name="loop", kind="loop")),
)
B = replace(
    A,
    id="b",
    name="second",
    parameters={"year": 2010, "on": False, "same": "x", "only b": {"ü": None}},
    tasks=(
        task("train", 4.5, 0.25, image="i:2"),
        task("cached", 9.0, 1.0, cached=True),
        Task(id="new", name="new", state=State.FAILED),
    ),
)


def test_what_differs() -> None:
    found = compare(A, B, sources_a={"train": "a = 1\n", "gone": "x\n"}, sources_b={"train": "a = 2\n", "new": "y"})
    assert found.parameters == (
        Difference("year", 2000, 2010),
        Difference("on", True, False),
        Difference("only a", [1], None),
        Difference("only b", None, {"ü": None}),
    )
    assert [one.delta for one in found.parameters] == ["+10", "", "", ""]
    assert found.metrics == (Difference("train: rmse", 0.5, 0.25),)
    assert found.metrics[0].delta == "-0.25"
    assert found.states == (Difference("new", None, "failed"),)
    assert found.durations == (Difference("train", 3.0, 4.5),)  # a reused result took no time worth comparing
    assert found.images == (Difference("train", "i:1", "i:2"), Difference("new", None, ""))
    assert [name for name, _ in found.sources] == ["train", "gone", "new"]
    assert "-a = 1\n+a = 2" in found.sources[0][1]
    assert not found.same


def test_the_same_run_twice() -> None:
    found = compare(A, replace(A, name="again"), sources_a={"train": "a"}, sources_b={"train": "a"})
    assert found.same
    assert comparison_text(found).splitlines() == ["first → again", "  Nothing differs but the time."]


def test_as_text() -> None:
    lines = comparison_text(compare(A, B, sources_a={"train": "a = 1"}, sources_b={"train": "a = 2"})).splitlines()
    assert lines[0] == "first → second"
    assert lines[1] == "Parameters:"
    assert lines[2].split() == ["year", "2000", "→", "2010", "+10"]
    assert "  train: rmse  0.5  →  0.25  -0.25" in lines
    assert '  only b  –     →  {"ü": null}' in lines
    assert lines[-2:] == ["-a = 1", "+a = 2"]
