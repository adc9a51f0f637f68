"""Steps that go wrong: nothing hangs, nothing is left behind, every message says what it was."""

import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import psutil
import pytest
import yaml
from kfp import dsl, kubernetes

from kfp_magics.backends.base import SubmitOptions
from kfp_magics.errors import ArgumentError, BackendError, DefinitionError
from kfp_magics.model import State
from kfp_magics.settings import Settings

from . import steps
from .conftest import Engine, ir_of


def single(step: Any, **arguments: Any) -> Any:
    @dsl.pipeline(name="single")
    def pipeline():
        step(**arguments).set_caching_options(False)

    return pipeline


@pytest.fixture(params=["fork", "spawn"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    if request.param == "fork" and sys.platform != "linux":
        pytest.skip("forking a Python that has run is safe on Linux only")
    home = tmp_path / "Zuhause 家 ☃"  # a person's own folder may have any name
    with Engine(Settings(home=str(home), grace=0.5, task_start=request.param)) as made:
        yield made


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_prints_a_hundred_megabytes(engine: Engine) -> None:
    run = engine.run(single(steps.loud, megabytes=100))
    assert run.state is State.SUCCEEDED
    task = engine.task(run, "loud")
    log = engine.folder(run) / "tasks" / "loud" / f"attempt-{task.attempt}" / "log.txt"
    assert log.stat().st_size > 100_000_000


def test_children_end_with_their_step(either: Engine, tmp_path: Path) -> None:
    run = either.run(single(steps.leave_children, path=str(tmp_path / "pid")))
    assert run.state is State.SUCCEEDED, run.error
    pids = [int(word) for word in either.task(run, "leave-children").outputs["Output"].split()]
    assert len(pids) == 3
    either.until(run, lambda _: all(gone(pid) for pid in pids))


def test_cancelling_a_step_that_ignores_the_polite_end(either: Engine, tmp_path: Path) -> None:
    path = tmp_path / "pid"
    run = either.start(single(steps.stubborn, path=str(path)))
    either.until(run, lambda _: path.exists() and path.read_text() != "")
    either.backend.cancel(run)
    run = either.end(run)
    assert run.state is State.CANCELLED
    assert either.task(run, "stubborn").state is State.CANCELLED
    either.until(run, lambda _: gone(int(path.read_text())))


UNMOVED = """
echo $$ >> {0}/began
trap 'touch {0}/asked' TERM
while [ ! -e {0}/leave ]; do sleep 0.05; done"""


def test_cancelled_while_its_timeout_ends_it_a_step_is_not_tried_again(tmp_path: Path) -> None:
    @dsl.pipeline(name="slow")
    def slow():
        task = steps.shell(script=UNMOVED.format(tmp_path)).set_retry(2, backoff_duration="60s")
        kubernetes.set_timeout(task, 1)

    with Engine(Settings(home=str(tmp_path / "home"), grace=60.0)) as engine:
        run = engine.start(slow)
        engine.until(run, lambda _: (tmp_path / "asked").exists())
        engine.backend.cancel(run)
        (tmp_path / "leave").touch()
        run = engine.end(run)
    assert run.state is State.CANCELLED
    assert engine.task(run, "shell").state is State.CANCELLED
    assert len((tmp_path / "began").read_text().split()) == 1


def test_a_timeout_that_comes_while_a_step_is_cancelled_does_not_leave_it_alone(tmp_path: Path) -> None:
    @dsl.pipeline(name="slow")
    def slow():
        with dsl.ExitHandler(steps.echo(text="bye")):
            task = steps.shell(script=UNMOVED.format(tmp_path))
            kubernetes.set_timeout(task, 1)

    with Engine(Settings(home=str(tmp_path / "home"), grace=60.0)) as engine:
        run = engine.start(slow)
        engine.until(run, lambda _: (tmp_path / "began").exists())
        engine.backend.cancel(run)
        time.sleep(1.2)  # the timeout is over
        assert not engine.task(engine.backend.poll(run), "shell").state.final
        (tmp_path / "leave").touch()
        run = engine.end(run)
        assert gone(int((tmp_path / "began").read_text()))
    assert engine.task(run, "shell").state is State.CANCELLED


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_ended_by_a_signal(either: Engine, number: signal.Signals) -> None:
    run = either.run(single(steps.end_by_signal, number=int(number)))
    assert run.state is State.FAILED
    assert run.error is not None
    assert number.name in run.error.message


@pytest.mark.parametrize("hard", [False, True])
def test_leaves_with_an_exit_code(either: Engine, hard: bool) -> None:
    run = either.run(single(steps.leave, code=3, hard=hard))
    assert run.state is State.FAILED
    assert run.error is not None
    assert "3" in run.error.message


@pytest.mark.parametrize(("files", "megabytes"), [(1, 40), (40, 1)])
def test_fills_its_quota(tmp_path: Path, files: int, megabytes: int) -> None:
    with Engine(Settings(home=str(tmp_path / "home"), grace=0.5, disk_quota=20_000_000)) as engine:
        run = engine.run(single(steps.fill, files=files, megabytes=megabytes))
    assert run.state is State.FAILED
    assert run.error is not None
    assert "quota" in f"{run.error.message} {run.error.hint}"


def test_wrong_type_and_no_output(engine: Engine) -> None:
    wrong = engine.run(single(steps.wrong_type))
    assert wrong.error is not None
    assert "int" in wrong.error.message
    nothing = engine.run(single(steps.no_output))
    assert nothing.error is not None
    assert "wrote no output 'Output'" in nothing.error.message


def test_requirement_that_does_not_exist(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as kernels do
    run = engine.run(single(steps.unsolvable))
    assert run.state is State.FAILED
    assert run.error is not None
    assert "kfp-magics-has-no-such-package" in run.error.message
    assert "\x1b" not in run.error.message
    assert "--packages" in run.error.hint or "network" in run.error.hint
    left = [
        path for path in (engine.settings.home_path / "envs").iterdir() if path.is_dir() and path.name[:4] != "kfp-"
    ]
    assert left == []


def test_module_that_the_environment_lacks(engine: Engine) -> None:
    run = engine.run(single(steps.lacks_module))
    assert run.error is not None
    assert "not_there_at_all" in run.error.message
    assert "--packages" in run.error.hint
    assert run.error.text == "import not_there_at_all"


def test_nothing_of_the_notebooks_packages_is_seen(engine: Engine) -> None:
    """Pandas is installed where the tests run, and a step that does not require it must not find it."""
    run = engine.run(single(steps.shell, script='python3 -c "import sys; print(sys.path)"; exit 4'))
    assert run.error is not None
    assert "exit code 4" in run.error.message


@pytest.mark.parametrize("locale", ["", "C"])
def test_non_ascii_everywhere(either: Engine, monkeypatch: pytest.MonkeyPatch, locale: str) -> None:
    if locale:
        monkeypatch.setenv("LC_ALL", locale)
    run = either.run(single(steps.größe, wert="Füße 漢字 \U0001f476"))
    assert run.state is State.SUCCEEDED, run.error
    [task] = run.tasks
    assert task.outputs["Output"] == "Füße 漢字 \U0001f476ß"
    assert "Maß: Füße 漢字" in either.log(run, task.id)
    [artifact] = task.artifacts
    assert artifact.metadata == {"Länge": "über"}
    assert Path(artifact.uri).read_text(encoding="utf-8") == "Füße 漢字 \U0001f476"


def test_timeout(engine: Engine, tmp_path: Path) -> None:
    @dsl.pipeline(name="slow")
    def slow():
        task = steps.sleep(seconds=60.0, path=str(tmp_path / "slept"))
        kubernetes.set_timeout(task, 1)

    run = engine.run(slow)
    assert run.error is not None
    assert "timeout of 1 s" in run.error.message
    assert not (tmp_path / "slept").exists()


def test_refused_before_anything_starts(engine: Engine) -> None:
    with pytest.raises(BackendError, match="no-such-program-anywhere"):
        engine.start(single(steps.missing_program))
    assert engine.store.list() == []


def test_arguments_are_checked_before_anything_starts(engine: Engine) -> None:
    @dsl.pipeline(name="needs")
    def needs(year: int, word: str = "x"):
        steps.add(a=year, b=1)

    with pytest.raises(ArgumentError, match="also needs year"):
        engine.start(needs)
    with pytest.raises(ArgumentError, match="no argument 'yaer'") as caught:
        engine.start(needs, year=1, yaer=2)
    assert "year" in caught.value.hint
    with pytest.raises(ArgumentError, match="wants int"):
        engine.start(needs, year="soon")
    assert engine.store.list() == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no YAML"),
        ("", "empty"),
        ("apiVersion: argoproj.io/v1alpha1\nkind: Workflow\n", "Workflow"),
        ("root: {dag: {tasks: {a: {componentRef: {name: comp-a}}}}}", "not there"),
        (
            "root: {dag: {tasks: {a: {componentRef: {name: c}, dependentTasks: [b]},"
            " b: {componentRef: {name: c}, dependentTasks: [a]}}}}\n"
            "components: {c: {executorLabel: e}}\ndeploymentSpec: {executors: {e: {container: {image: x}}}}",
            "wait for each other",
        ),
        (
            "root: {dag: {tasks: {a: {componentRef: {name: c}}}}}\n"
            "components: {c: {dag: {tasks: {a: {componentRef: {name: c}}}}}}",
            "nests itself",
        ),
    ],
)
def test_what_is_no_pipeline(engine: Engine, text: str, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        engine.start(text)


@pytest.mark.parametrize("declared", [False, True])
def test_an_input_that_the_compiled_pipeline_does_not_hand_down(engine: Engine, tmp_path: Path, declared: bool) -> None:
    """KFP 2.17 compiles an f-string over the item of an outer loop to an input which its groups do not pass on."""

    @dsl.pipeline(name="forgets")
    def forgets():
        with dsl.ParallelFor(["a"]) as outer:
            steps.echo(text=f"<{outer}>")

    text = ir_of(forgets, tmp_path)
    spec = next(yaml.safe_load_all(text))
    [loop] = [one for name, one in spec["components"].items() if "dag" in one]
    [item] = loop["inputDefinitions"]["parameters"]
    text = text.replace(f"componentInputParameter: {item}", f"componentInputParameter: {item}-of-another")
    if declared:
        text = text.replace(
            f"        {item}:\n          parameterType",
            f"        {item}-of-another: {{parameterType: STRING}}\n        {item}:\n          parameterType",
        )
    run = engine.run(text)
    assert run.state is State.FAILED
    assert run.error is not None
    assert "does not hand" in run.error.message
    assert "f-string" in run.error.hint


def test_an_argument_left_out_that_a_step_needs(engine: Engine) -> None:
    @dsl.pipeline(name="lacks")
    def lacks(text: Optional[str] = None):  # noqa: UP045  (kfp does not know str | None)
        steps.echo(text=text)

    run = engine.run(lacks)
    assert run.error is not None
    assert "'text'" in run.error.message
    assert "text=" in run.error.hint


def test_what_is_no_placeholder_is_left_alone(engine: Engine) -> None:
    template = "{{$.State}} {{$x}}"
    run = engine.run(single(steps.shell, script=f'cat <<"END"\n{template}\nEND'))
    assert engine.log(run, "shell").strip() == template


def test_a_program_that_only_the_run_knows_is_not_looked_for_before_it(engine: Engine) -> None:
    @dsl.pipeline(name="maybes")
    def pipeline():
        steps.maybe(text="one")
        steps.maybe()

    run = engine.run(pipeline)
    assert run.state is State.SUCCEEDED, run.error
    assert [engine.log(run, name).strip() for name in ("maybe", "maybe-2")] == ["one", "nothing came"]


def test_an_exit_task_cannot_run_alone(engine: Engine) -> None:
    with pytest.raises(ArgumentError, match="takes the status of another one in 'status' and cannot run alone"):
        engine.start(steps.tell, path="x")
    assert engine.store.list() == []


def test_the_resource_of_a_run_is_named_by_its_pipeline_as_on_a_cluster(engine: Engine) -> None:
    @dsl.pipeline(name="named-so")
    def pipeline():
        steps.whereabouts(job=dsl.PIPELINE_JOB_NAME_PLACEHOLDER, resource=dsl.PIPELINE_JOB_RESOURCE_NAME_PLACEHOLDER)

    run = engine.run(pipeline, SubmitOptions(name="my own"))
    assert engine.task(run, "whereabouts").outputs["Output"] == f"my own|named-so-{run.id}"
