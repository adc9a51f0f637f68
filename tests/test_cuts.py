"""Parts of pipelines give what the whole gave, wherever they are cut: exit handlers, conditions, nested pipelines."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from kfp_magics import cutting, parts
from kfp_magics import ir as irs
from kfp_magics.errors import ArgumentError
from kfp_magics.model import Run, State
from kfp_magics.options import RunOptions
from kfp_magics.session import Session
from kfp_magics.widgets.plan import PlanCard
from tests.cuts import source


def given(run: Run) -> dict[str, tuple[object, ...]]:
    """What each task of a run gave: its state, its values, what its artifacts hold."""
    return {
        task.id: (
            task.state,
            dict(task.outputs),
            [
                (one.name, Path(one.uri).read_text(encoding="utf-8"), dict(one.metadata))
                for one in task.artifacts
                if one.io == "output"
            ],
        )
        for task in run.tasks
        if task.kind == "step"
    }


def steps(ir: irs.IR) -> list[str]:
    """The paths where a pipeline can be cut."""
    return [task.id for task in irs.static_tasks(ir, templates=True) if "*" not in task.id and task.kind != "iteration"]


@pytest.mark.parametrize("seed", [1, 3])
def test_a_part_gives_what_the_whole_gave(settings, tmp_path, monkeypatch, seed: int) -> None:
    monkeypatch.chdir(tmp_path)
    Path("chance.py").write_text(source(seed), encoding="utf-8")
    session = Session(settings)
    whole = session.wait(session.run("chance.py:chance", [], RunOptions(cache=False)))
    everything = given(whole)
    deep = [path for path in steps(irs.parse(session.resolve("chance.py:chance").ir)) if path.count("/") > 1]
    for step in random.Random(seed).sample(deep, 2):
        ready = session.prepare("chance.py:chance", [], RunOptions(start_from=step, reuse=whole.id, cache=False))
        left_out = ready.plan().reused
        part = session.wait(session.start(ready))
        here = given(part)
        assert {path: everything[path] for path in here} == here
        assert {path for path in everything if not any(f"{path}/".startswith(f"{one}/") for one in left_out)} == {*here}
        assert part.outputs.items() <= whole.outputs.items()


@pytest.mark.parametrize("seed", [40, 42, 46])
def test_every_cut_is_a_pipeline_that_kfp_takes(settings, tmp_path, monkeypatch, seed: int) -> None:
    monkeypatch.chdir(tmp_path)
    Path("chance.py").write_text(source(seed), encoding="utf-8")
    whole = irs.parse(Session(settings).resolve("chance.py:chance").ir)
    possible = [step for step in steps(whole) if step != "bye" and cutting.before(whole, [step])]
    for step in random.Random(seed).sample(possible, 6):
        text, stand_ins = parts.cut(whole, name="part", start=[step], taken={})
        part = irs.parse(text)
        json_format.ParseDict(dict(part.spec), pipeline_spec_pb2.PipelineSpec())
        assert part.task(step) is not None
        assert {one.name for one in stand_ins} <= {port.name for port in irs.parameters(part)}
        for name, component in part.spec["components"].items():  # whatever is read is handed down
            for key, task in component.get("dag", {}).get("tasks", {}).items():
                inputs = task.get("inputs", {})
                for kind, outer in (("parameters", "componentInputParameter"), ("artifacts", "componentInputArtifact")):
                    read = {one[outer] for one in inputs.get(kind, {}).values() if outer in one}
                    assert read <= {*component.get("inputDefinitions", {}).get(kind, {})}, (name, key)


GUARDED = """
from kfp import dsl

@dsl.component(base_image="python:3.11-slim")
def add(a: int, b: int) -> int:
    if b == 13:
        raise ValueError("unlucky")
    return a + b

@dsl.component(base_image="python:3.11-slim")
def bye(status: dsl.PipelineTaskFinalStatus):
    print(status.state)

@dsl.pipeline
def inner(a: int) -> int:
    one = add(a=a, b=1).set_display_name("one")
    return add(a=one.output, b=2).set_display_name("two").output

@dsl.pipeline
def guarded(n: int = 1, last: int = 5) -> int:
    with dsl.ExitHandler(bye()):
        begun = add(a=n, b=0).set_display_name("begin")
        done = inner(a=begun.output)
        with dsl.If(begun.output == 99):
            add(a=n, b=9).set_display_name("never")
        add(a=done.output, b=last).set_display_name("end")
        with dsl.ParallelFor([1, 2]) as item:
            add(a=item, b=begun.output).set_display_name("each")
    return add(a=n, b=4).set_display_name("beside").output
"""


@pytest.fixture
def session(settings, tmp_path, monkeypatch) -> Session:
    monkeypatch.chdir(tmp_path)
    Path("guarded.py").write_text(GUARDED, encoding="utf-8")
    return Session(settings)


def ready(session: Session, words: tuple[str, ...] = (), **options):
    return session.prepare("guarded.py:guarded", words, RunOptions(cache=False, **options))


def test_a_step_that_failed_in_an_exit_handler_runs_again_with_what_was_done_before_it(session: Session) -> None:
    failed = session.start(ready(session, ("last=13",)))
    with pytest.raises(Exception, match="unlucky"):
        session.wait(failed)
    part = ready(session, ("last=6",), start_from="end", reuse=failed.id)
    assert set(part.plan().reused) >= {"exit-handler-1/add", "exit-handler-1/inner"}
    run = session.wait(session.start(part))
    assert [run.task(one).outputs for one in ("exit-handler-1/add-3",)] == [{"Output": 10}]
    assert run.task("bye").state is State.SUCCEEDED


def test_what_has_to_run_again_says_why(session: Session) -> None:
    whole = session.wait(session.start(ready(session)))
    again = ready(session, start_from="bye", reuse=whole.id).plan().again
    assert again == {"exit-handler-1": "'bye' is told how it ends"}
    each = ready(session, start_from="each", reuse=whole.id).plan()
    assert each.again == {"exit-handler-1/for-loop-4": "'each' is in it, and a loop runs whole"}
    assert "exit-handler-1/condition-2" in each.reused  # it was skipped, and nobody waits for it
    with pytest.raises(ArgumentError) as caught:
        ready(session, start_from="add", reuse=whole.id)
    assert "There are several steps 'add-2'" not in str(caught.value)
    assert "There are several steps 'add'" in str(caught.value)
    assert "--from exit-handler-1/add" in str(caught.value)


def test_only_what_changed_inside_an_exit_handler_runs(session: Session) -> None:
    whole = session.wait(session.start(ready(session)))
    plan = ready(session, ("last=6",), only_changed=True).plan()
    assert [step.task.id for step in plan.steps] == ["exit-handler-1/add-3", "bye"]
    assert plan.again == {}
    run = session.wait(session.start(ready(session, ("last=6",), only_changed=True)))
    assert run.task("exit-handler-1/add-3").outputs == {"Output": 10}
    after = ready(session, ("last=7",), only_changed=True).plan()  # after a part, too, it is the whole that counts
    assert (after.earlier, len(after.steps)) == (whole.id, 2)
    assert "  exit-handler-1/add-3 (end)" in repr(PlanCard(after))
    with pytest.raises(ArgumentError, match="Nothing changed since run"):
        ready(session, only_changed=True, reuse=whole.id)


def test_a_run_of_another_pipeline_gives_nothing(session: Session) -> None:
    other = session.wait(session.run("guarded.py:inner", ["a=1"]))
    with pytest.raises(ArgumentError) as caught:
        ready(session, start_from="end", reuse=other.id)
    assert "has none of the steps that would be left out" in str(caught.value)
    assert "It is of 'inner'; %kfp_runs shows those of 'guarded'." in str(caught.value)
