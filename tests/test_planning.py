"""What runs and why, told before it runs; parts of a pipeline with the results of an earlier run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from kfp_magics import ir as irs
from kfp_magics import reusing
from kfp_magics.backends.abilities import FEATURES, IGNORED, Ignored, features, ignored
from kfp_magics.errors import ArgumentError, DefinitionError, KfpMagicsError, NotFoundError
from kfp_magics.estimating import estimate
from kfp_magics.magics.shell import current_session
from kfp_magics.model import Artifact, Run, State, Task
from kfp_magics.options import RunOptions
from kfp_magics.planning import Plan
from kfp_magics.session import Session
from kfp_magics.widgets.plan import PlanCard
from tests.ipython import execute, ipython

FILE = """
from kfp import dsl
from beside import START

@dsl.component(base_image="python:3.11-slim")
def make(start: int, table: dsl.Output[dsl.Dataset]) -> int:
    with open(table.path, "w") as file:
        file.write("rows")
    return start * 2

@dsl.component(base_image="python:3.11-slim")
def double(value: int) -> int:
    return value * 2

@dsl.component(base_image="python:3.11-slim")
def show(value: int, table: dsl.Input[dsl.Dataset]) -> str:
    return f"{open(table.path).read()} {value}"

@dsl.pipeline(name="chain")
def chain(start: int = START) -> str:
    made = make(start=start)
    twice = double(value=made.outputs["Output"])
    return show(value=twice.output, table=made.outputs["table"]).output
"""


@pytest.fixture
def session(settings, tmp_path, monkeypatch) -> Session:
    monkeypatch.chdir(tmp_path)
    Path("chain.py").write_text(FILE, encoding="utf-8")
    Path("beside.py").write_text("START = 3\n", encoding="utf-8")
    return Session(settings)


def verdicts(session, **options) -> dict[str, tuple]:
    values = options.pop("values", [])
    plan = session.prepare("chain.py", values, RunOptions(**options)).plan()
    return {step.task.id: (step.forecast.cached, step.forecast.why) for step in plan.steps}


def test_a_plan_knows_what_the_cache_knows(session) -> None:
    fresh = verdicts(session)
    assert fresh["make"] == (False, "it has not run with these inputs")
    assert fresh["double"] == (None, "waits for make")
    run = session.wait(session.run("chain.py"))
    assert run.outputs == {"Output": "rows 12"}
    same = f"the same result as in run {run.id}"
    assert verdicts(session) == {"make": (True, same), "double": (True, same), "show": (True, same)}
    assert verdicts(session, values=["start=4"])["make"] == (False, "changed since it last ran: start")
    assert verdicts(session, cache=False)["make"] == (False, "its results are not reused")
    assert verdicts(session, backend="kfp")["make"] == (None, "an earlier result may be reused")
    again = session.wait(session.run("chain.py"))
    assert all(task.cached for task in again.tasks)
    plan = session.prepare("chain.py", [], RunOptions(cache=False)).plan()
    assert plan.seconds == pytest.approx(sum(step.seconds for step in plan.steps))  # one after the other
    assert {step.task.id: step.seconds > 0 for step in plan.steps} == {"make": True, "double": True, "show": True}


def test_a_part_runs_with_the_results_of_an_earlier_run(session) -> None:
    with pytest.raises(NotFoundError, match="No run of 'chain' has succeeded yet"):
        session.run("chain.py", [], RunOptions(start_from="show"))
    with pytest.raises(NotFoundError, match="has not run yet"):
        session.run("chain.py", [], RunOptions(start_from="show", reuse="last"))
    first = session.wait(session.run("chain.py", ["start=5"], RunOptions(cache=False)))
    ready = session.prepare("chain.py", [], RunOptions(start_from="show", reuse=first.id, cache=False))
    assert set(ready.plan().reused) == {"make", "double"}
    part = session.wait(session.start(ready))
    assert {task.id for task in part.tasks} == {"reused-make-table", "show"}
    assert part.outputs == {"Output": "rows 20"}
    with pytest.raises(ArgumentError, match="no step 'shows'"):
        session.run("chain.py", [], RunOptions(start_from="shows"))
    with pytest.raises(ArgumentError, match="Which part is to run again"):
        session.run("chain.py", [], RunOptions(reuse="last"))


def test_only_what_changed_runs_and_what_comes_after_it(session) -> None:
    session.wait(session.run("chain.py", [], RunOptions(cache=False)))
    with pytest.raises(ArgumentError, match="Nothing changed since run"):
        session.run("chain.py", [], RunOptions(only_changed=True))
    Path("chain.py").write_text(FILE.replace("return value * 2", "return value * 3"), encoding="utf-8")
    ready = session.prepare("chain.py", [], RunOptions(only_changed=True, cache=False))
    assert ready.plan().reused == ("make",)
    run = session.wait(session.start(ready))
    assert run.outputs == {"Output": "rows 18"}
    given = session.prepare("chain.py", ["start=4"], RunOptions(only_changed=True, reuse=run.id, cache=False))
    assert given.plan().reused == ()
    assert f"  from run {run.id}: nothing" in repr(PlanCard(given.plan())).splitlines()


def test_what_an_earlier_run_does_not_tell_runs_again(session) -> None:
    ir = irs.parse(session.resolve("chain.py").ir)
    Path("table").touch()
    table = Artifact(name="table", io="output", type="system.Dataset", uri=str(Path("table").absolute()))
    tasks = [
        Task(id="make", name="make", state=State.SUCCEEDED, outputs={"Output": 6}, artifacts=(table,)),
        Task(id="double", name="double", state=State.SUCCEEDED),
    ]
    run = Run(id="r", name="r", tasks=tuple(tasks))
    found = reusing.with_results(ir, run, {"make", "double"}, is_here=True)
    assert found.tasks == ("make",)
    assert found.again == {"double": "the earlier run does not tell its output 'Output'"}
    elsewhere = reusing.with_results(ir, run, {"make"}, is_here=False)
    assert elsewhere.again == {"make": "its artifact 'table' is on this machine"}
    Path("table").unlink()
    gone = reusing.with_results(ir, run, {"make"}, is_here=True)
    assert gone.again == {"make": f"its artifact 'table' is gone: there is no {table.uri}"}
    hostile = Run(
        id="r", name="r", tasks=(Task(id="double", name="double", state=State.SUCCEEDED, outputs={"Output": "{{$}}"}),)
    )
    assert "placeholder" in reusing.with_results(ir, hostile, {"double"}, is_here=True).again["double"]
    failed = Run(id="r", name="r", tasks=(Task(id="make", name="make", state=State.FAILED),))
    assert reusing.with_results(ir, failed, {"make"}, is_here=True).again == {"make": "it failed in the earlier run"}


def test_the_rewritten_pipeline_is_one_that_kfp_takes(session) -> None:
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2

    ir = irs.parse(session.resolve("chain.py").ir)
    table = Artifact(name="table", io="output", type="system.Dataset", uri="s3://b/t", metadata={"rows": 1})
    made = Task(id="make", name="make", state=State.SUCCEEDED, outputs={"Output": 6}, artifacts=(table,))
    found = reusing.with_results(ir, Run(id="r", name="r", tasks=(made,)), {"make"}, is_here=False)
    spec = yaml.safe_load(found.ir)
    json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
    tasks = spec["root"]["dag"]["tasks"]
    assert tasks["double"]["inputs"]["parameters"]["value"] == {"runtimeValue": {"constant": 6}}
    assert "dependentTasks" not in tasks["double"]
    assert tasks["show"]["dependentTasks"] == ["double", "reused-make-table"]
    assert "comp-make" not in spec["components"]
    importer = spec["deploymentSpec"]["executors"]["exec-reused-make-table"]["importer"]
    assert importer["artifactUri"] == {"constant": "s3://b/t"}


def test_files_that_never_saw_a_magic(session) -> None:
    assert session.resolve("chain.py:chain").name == "chain"
    assert session.resolve("chain.py:double").name == "double"
    with pytest.raises(NotFoundError, match="no pipeline 'chian'"):
        session.resolve("chain.py:chian")
    with pytest.raises(NotFoundError, match=r"no file 'other\.py'"):
        session.resolve("other.py")
    Path("two.py").write_text(FILE + FILE.split("@dsl.pipeline")[1].join(["@dsl.pipeline", ""]).replace("chain", "c2"))
    with pytest.raises(DefinitionError, match=r"several pipelines.\nName one: two.py:chain or two.py:c2"):
        session.resolve("two.py")
    Path("none.py").write_text("x = 1\n")
    with pytest.raises(DefinitionError, match=r"no function with @dsl\.pipeline"):
        session.resolve("none.py")
    Path("broken.py").write_text("1 / 0\n")
    with pytest.raises(ZeroDivisionError):
        session.resolve("broken.py")


def test_what_a_backend_ignores_is_named_with_its_step() -> None:
    spec = {
        "root": {"dag": {"tasks": {"a": {"componentRef": {"name": "comp-a"}, "retryPolicy": {"maxRetryCount": 2}}}}},
        "components": {"comp-a": {"executorLabel": "exec-a"}},
        "deploymentSpec": {"executors": {"exec-a": {"container": {"resources": {"resourceCpuLimit": "2"}}}}},
    }
    pod = {"nodeSelector": {"labels": {"x": "y"}}, "podMetadata": {"labels": {"a": "b"}}, "activeDeadlineSeconds": "3"}
    executors = {"deploymentSpec": {"executors": {"exec-a": pod}}}
    ir = irs.IR(text="", spec=spec, platform={"platforms": {"kubernetes": executors}})
    assert {feature for _, feature in features(ir)} == {
        "cpu",
        "retry",
        "nodeSelector",
        "labels",
        "activeDeadlineSeconds",
    }
    assert [str(one) for one in ignored(ir, "local", "container")] == [
        "a: a node selector is ignored: this machine is the only one",
        "a: a pod label is ignored: this machine has no pods",
    ]
    assert {one.feature for one in ignored(ir, "local", "process")} >= {"a number of cores"}
    assert ignored(ir, "kfp") == []
    assert all(set(table) <= set(FEATURES) for table in IGNORED.values())


COSTS = """
from kfp import dsl

@dsl.component(base_image="python:3.11-slim")
def some() -> list:
    return [21, 22, 23]  # no two steps take the same, or one would reuse the other's result

@dsl.component(base_image="python:3.11-slim")
def step(n: int) -> int:
    return n

@dsl.pipeline(name="costs")
def costs(n: int = 1):
    items = some()
    with dsl.ParallelFor(items.output, parallelism=2) as item:
        step(n=item)  # step
    one = step(n=n)  # step-2
    with dsl.If(one.output == 1):
        step(n=2)  # step-3
        step(n=3).after(step(n=4))  # step-5 after step-4
    with dsl.If(n == 7):
        step(n=5)  # step-6
"""


def test_the_time_is_that_of_the_longest_way_through_loops_and_groups(session) -> None:
    Path("costs.py").write_text(COSTS, encoding="utf-8")
    ir = irs.parse(session.resolve("costs.py").ir)
    loop = next(task.id for task in irs.static_tasks(ir) if task.kind == "loop")
    first = next(task.parent for task in irs.static_tasks(ir) if task.id.endswith("/step-3"))
    seconds = {"some": 1.0, f"{loop}/*/step": 5.0, "step-2": 2.0, f"{first}/step-3": 1.5}
    seconds |= {f"{first}/{key}": 2.0 for key in ("step-4", "step-5")}
    assert estimate(ir, seconds, {loop: 3}) == 1 + 2 * 5  # two at once: three items take two turns
    assert estimate(ir, seconds, {loop: 1}) == 2 + 2 + 2  # of what is parallel the longest
    assert estimate(ir, seconds, {loop: 3}, at_once=1) == 1 + 3 * 5 + 2 + 1.5 + 2 + 2
    assert estimate(ir, {}, {}) == 0


def test_times_come_from_what_ran_and_not_from_what_was_reused(session) -> None:
    Path("costs.py").write_text(COSTS, encoding="utf-8")
    assert session.prepare("costs.py", [], RunOptions()).plan().seconds is None
    for _ in range(6):  # all but the first reuse its results
        session.wait(session.run("costs.py"))
    plan = session.prepare("costs.py", [], RunOptions(cache=False)).plan()
    took = {step.task.id: step.seconds for step in plan.steps}
    assert [task for task, seconds in took.items() if seconds is None] == ["condition-3/step-6"]
    assert plan.unknown == ()  # its condition is false
    assert [step.task.id for step in plan.steps if step.forecast.skipped] == ["condition-3/step-6"]
    assert "–  condition-3/step-6" in repr(PlanCard(plan))
    other = session.prepare("costs.py", ["n=7"], RunOptions(cache=False)).plan()
    assert other.unknown == ("condition-3/step-6",)
    assert "about 5.0 s if it takes as long as before, and what condition-3/step-6 takes" in repr(
        PlanCard(replace(other, seconds=5.0))
    )
    assert session.prepare("costs.py", [], RunOptions(backend="kfp")).plan().seconds is None  # another machine


def test_a_loop_is_told_item_by_item_and_not_as_if_it_ran_once(session) -> None:
    Path("costs.py").write_text(COSTS, encoding="utf-8")
    session.wait(session.run("costs.py"))
    found = {step.task.id: step.forecast for step in session.prepare("costs.py", [], RunOptions()).plan().steps}
    assert found["for-loop-1/*/step"].why == "its items are looked at one by one"
    assert found["step-2"].cached


def test_what_is_alike_is_ignored_in_one_line() -> None:
    found = tuple(
        Ignored(step=step, feature=feature, why="of this")
        for step in ("a", "b")
        for feature in ("a node selector", "a toleration", "a pod label")
    )
    once = repr(PlanCard(Plan(pipeline="p", where="local", steps=(), again={}, ignored=found)))
    assert once.splitlines()[1:] == ["  a, b: a node selector, a toleration and a pod label are ignored: of this"]


def test_the_last_run_is_that_of_the_pipeline(session) -> None:
    session.wait(session.run("chain.py", [], RunOptions(cache=False)))
    session.wait(session.run("chain.py:double", ["value=1"]))
    ready = session.prepare("chain.py", [], RunOptions(start_from="show", reuse="last"))
    assert ready.plan().reused == ("make", "double")


CELLS = """%%kfp_component --pvc wares=/mnt/wares
def keep(n: int) -> int:
    return n
%%%%
%%kfp_component --gpu NVIDIA_TESLA_T4:1
def learn(n: int) -> int:
    return n
%%%%
%%kfp_component
def count(n: int) -> int:
    return n
%%%%
%%kfp_pipeline
def house(n: int = 1):
    keep(n=n)
%%%%
%%kfp_pipeline
def school(n: int = 1):
    learn(n=count(n=n).output)
%%%%
%%kfp_pipeline
def tally(n: int = 1):
    count(n=n)"""


def test_what_is_refused_is_refused_before_anything_is_built(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with ipython() as shell:
        made = current_session(shell)
        made.settings.registry = "localhost:9/nobody"
        for text in CELLS.split("\n%%%%\n"):
            execute(shell, text)
    contained = {"executor": "container"}
    wrong = {
        "The step 'keep' wants a persistent volume claim, which Vertex AI": ("house", [], {"backend": "vertex"}),
        "The step 'keep' wants the persistent volume claim 'wares' at /mnt/wares": ("house", [], {"build": True}),
        "The step 'learn' wants 'NVIDIA_TESLA_T4', and Kubernetes": ("school", [], {"backend": "kfp"}),
        "has no step 'lern'": ("school", [], {"backend": "kfp", "start_from": "lern"}),
        "takes no argument 'm'": ("school", {"m": 3}, {"backend": "kfp"}),
        "--executor container means nothing for Vertex AI": ("tally", [], {"backend": "vertex"} | contained),
        "--executor process means nothing for a server": ("tally", [], {"backend": "kfp", "executor": "process"}),
    }
    for words, (pipeline, values, options) in wrong.items():
        with pytest.raises(KfpMagicsError, match=words) as caught:
            made.run(pipeline, values, RunOptions(**options), on_build=lambda _: pytest.fail("something was built"))
        assert caught.value.hint
    with pytest.raises(KfpMagicsError, match="which Vertex AI does not have"):  # nor for a schedule
        made.ready("house", lambda _: pytest.fail("something was built"), RunOptions(backend="vertex"))
    with pytest.raises(ArgumentError, match="--executor container means nothing"):  # nor for a watch
        made.ready("tally", lambda _: pytest.fail("something was built"), RunOptions(backend="kfp", **contained))
    plan = made.prepare("school", [], RunOptions(build=True)).plan()
    assert [(step.task.id, step.unbuilt) for step in plan.steps] == [("count", True), ("learn", True)]
    assert "python:3.11-slim, built first" in repr(PlanCard(plan))
    assert plan.steps[0].forecast.why == "its image is built first"
    assert made.store.list() == []  # no run, and no build


def test_every_word_of_the_platform_part_has_a_name() -> None:
    from kfp.kubernetes import kubernetes_executor_config_pb2 as pb

    words = {field.json_name for field in pb.KubernetesExecutorConfig.DESCRIPTOR.fields}
    assert words - {"podMetadata"} <= set(FEATURES)
