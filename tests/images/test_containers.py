"""Runs in containers on the local engine, by podman, for real."""

import asyncio
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl, kubernetes
from kfp.dsl import Dataset, Input, Output

from kfp_magics import engines
from kfp_magics.backends.base import SubmitOptions
from kfp_magics.backends.local import client, lock
from kfp_magics.backends.local.limits import limits, quantity
from kfp_magics.errors import BackendError, EngineError
from kfp_magics.model import Run, State
from kfp_magics.settings import Settings
from tests.images.containers import Podman
from tests.images.registries import Server
from tests.local.conftest import Engine

IN_CONTAINERS = SubmitOptions(executor="container")


@pytest.fixture
def engine(settings: Settings, podman: Podman) -> Iterator[Engine]:
    with Engine(settings) as made:
        yield made


@pytest.fixture
def script(base_image: str) -> Callable[..., Any]:
    """Makes a step of a script: its input is ``$0``, its output goes to the file ``$1``."""

    def make(text: str, image: str = base_image) -> Any:
        @dsl.container_component
        def step(given: str, said: dsl.OutputPath(str)):
            return dsl.ContainerSpec(image=image, command=["bash", "-ec", text], args=[given, said])

        return step

    return make


def pipeline_of(step: Any, adjust: Callable[[Any], object] = lambda task: None) -> Any:
    @dsl.pipeline(name="alone")
    def alone(given: str = ""):
        adjust(step(given=given))

    return alone


def containers_of(podman: Podman, run: Run) -> str:
    return podman("ps", "--all", "--quiet", "--filter", f"label=kfp-magics.run={run.id}")


def until_none(podman: Podman, run: Run) -> None:
    deadline = time.monotonic() + 60
    while containers_of(podman, run):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_files_go_from_container_to_container(engine: Engine, podman: Podman, base_image: str) -> None:
    @dsl.container_component
    def write(text: str, out: Output[Dataset], length: dsl.OutputPath(int)):
        script = 'printf %s "$0" > "$1"; printf %s "${#0}" > "$2"; echo "wrote $0"; echo done >&2'
        return dsl.ContainerSpec(image=base_image, command=["bash", "-ec", script], args=[text, out.path, length])

    @dsl.container_component
    def read(data: Input[Dataset], text: dsl.OutputPath(str)):
        script = 'cp "$0" "$1"; if echo more >> "$0"; then exit 9; fi'
        return dsl.ContainerSpec(image=base_image, command=["bash", "-ec", script], args=[data.path, text])

    @dsl.pipeline(name="files")
    def files(text: str):
        written = write(text=text)
        read(data=written.outputs["out"])

    run = engine.run(files, IN_CONTAINERS, text="größer than 'life'; $HOME")
    assert run.state is State.SUCCEEDED, run.error
    assert engine.task(run, "read").outputs == {"text": "größer than 'life'; $HOME"}
    assert engine.task(run, "write").outputs == {"length": 25}
    assert engine.log(run, "write") == "wrote größer than 'life'; $HOME\ndone\n"
    assert containers_of(podman, run) == ""
    again = engine.run(files, IN_CONTAINERS, text="größer than 'life'; $HOME")
    assert [task.cached for task in again.tasks] == [True, True]


def test_an_image_with_a_user_of_its_own_writes_its_outputs(
    engine: Engine, podman: Podman, base_image: str, script: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "Dockerfile").write_text(f'FROM {base_image}\nRUN useradd ada\nUSER ada\nENTRYPOINT ["/bin/false"]\n')
    podman("build", "--quiet", "--tls-verify=false", "--tag", "localhost/ada:1", str(tmp_path))
    run = engine.run(pipeline_of(script('id -un > "$1"', image="localhost/ada:1")), IN_CONTAINERS)
    assert run.tasks[0].outputs == {"said": "ada\n"}, run.error


def test_an_image_brings_its_own_entry_point(engine: Engine, podman: Podman, base_image: str, tmp_path: Path) -> None:
    entry = '["bash", "-c", "echo \\"$0 $#\\" > \\"$2\\""]'
    (tmp_path / "Dockerfile").write_text(f"FROM {base_image}\nENTRYPOINT {entry}\nCMD never\n")
    podman("build", "--quiet", "--tls-verify=false", "--tag", "localhost/entry:1", str(tmp_path))

    @dsl.container_component
    def own(said: dsl.OutputPath(str)):
        return dsl.ContainerSpec(image="localhost/entry:1", args=["one", "two", said])

    @dsl.pipeline(name="entry")
    def entry_point():
        own()

    run = engine.run(entry_point, IN_CONTAINERS)
    assert run.tasks[0].outputs == {"said": "one 2\n"}, run.error


@pytest.mark.parametrize("stubborn", [False, True])
def test_cancelling_leaves_no_container(
    engine: Engine, podman: Podman, script: Callable[..., Any], stubborn: bool
) -> None:
    ignore = "trap '' TERM; " if stubborn else ""
    run = engine.start(pipeline_of(script(f"{ignore}echo begun; while :; do sleep 0.1; done")), IN_CONTAINERS)
    engine.until(run, lambda now: "begun" in "".join(engine.backend.logs(now, now.tasks[0])))
    assert containers_of(podman, run) != ""
    engine.backend.cancel(run)
    run = engine.end(run)
    assert run.state is State.CANCELLED
    until_none(podman, run)


def test_a_step_that_takes_too_long(engine: Engine, podman: Podman, script: Callable[..., Any]) -> None:
    slow = pipeline_of(script("sleep 600"), lambda task: kubernetes.set_timeout(task, 1))
    run = engine.run(slow, IN_CONTAINERS)
    assert run.tasks[0].error is not None
    assert run.tasks[0].error.message == "It took longer than its timeout of 1 s."
    until_none(podman, run)


def test_a_killed_supervisor_takes_its_containers_along(
    engine: Engine, podman: Podman, script: Callable[..., Any]
) -> None:
    run = engine.start(pipeline_of(script("trap '' TERM; echo begun; while :; do sleep 0.1; done")), IN_CONTAINERS)
    engine.until(run, lambda now: "begun" in "".join(engine.backend.logs(now, now.tasks[0])))
    held = lock.holder(engine.folder(run))
    assert held is not None
    os.kill(held[0], signal.SIGKILL)
    until_none(podman, run)  # without anybody looking
    assert engine.end(run).state is State.FAILED


def test_what_nobody_ended_is_ended_at_the_next_look(
    engine: Engine, podman: Podman, base_image: str, script: Callable[..., Any]
) -> None:
    run = engine.start(pipeline_of(script("sleep 600")), IN_CONTAINERS)
    engine.until_running(run, "step")
    held = lock.holder(engine.folder(run))
    assert held is not None
    os.kill(held[0], signal.SIGKILL)
    until_none(podman, run)
    label = f"kfp-magics.run={run.id}"  # as after a power cut, which no guard outlives
    podman("create", "--tls-verify=false", "--label", label, base_image, "sleep", "600")
    assert engine.backend.poll(run).state is State.FAILED
    assert containers_of(podman, run) == ""


def test_memory_has_a_limit(engine: Engine, base_image: str) -> None:
    @dsl.container_component
    def greedy(said: dsl.OutputPath(str)):
        program = "import sys; open(sys.argv[1], 'w').write(str(len(bytearray(300_000_000))))"
        return dsl.ContainerSpec(image=base_image, command=["python3", "-c", program], args=[said])

    def pipeline(memory: str) -> Any:
        @dsl.pipeline(name="greedy")
        def wanting():
            greedy().set_memory_limit(memory).set_cpu_limit("500m")

        return wanting

    run = engine.run(pipeline("100M"), IN_CONTAINERS)
    [task] = run.tasks
    if "memory is not limited" in task.reason:
        pytest.skip(task.reason)
    assert task.error is not None
    assert task.error.message == "It was ended by SIGKILL, most likely for using more memory than it may have."
    assert engine.run(pipeline("1Gi"), IN_CONTAINERS).tasks[0].outputs == {"said": "300000000"}


def test_a_step_that_writes_too_much(settings: Settings, podman: Podman, script: Callable[..., Any]) -> None:
    settings.disk_quota = 5_000_000
    with Engine(settings) as engine:
        run = engine.run(pipeline_of(script('head -c 9000000 /dev/zero > "$1"; sleep 600')), IN_CONTAINERS)
        assert run.tasks[0].error is not None
        assert "disk quota of 5 MB" in run.tasks[0].error.message
        until_none(podman, run)


def test_secrets_are_not_on_command_lines(engine: Engine, podman: Podman, script: Callable[..., Any]) -> None:
    folder = engine.settings.home_path / "secrets" / "db"
    folder.mkdir(parents=True)
    (folder / "password").write_text("tell-nobody\n")
    (folder / "key").write_text("-----BEGIN-----\ntell-nobody\n-----END-----\n")

    def with_secret(task: Any) -> None:
        task.set_env_variable("MODE", "a b=c # d")
        kubernetes.use_secret_as_env(task, secret_name="db", secret_key_to_env={"password": "PASSWORD", "key": "KEY"})

    text = 'printf %s "$MODE/${#PASSWORD}/$(wc -l <<< "$KEY")" > "$1"; echo begun; '
    text += 'while [ ! -e "$1.go" ]; do sleep 0.1; done'
    run = engine.start(pipeline_of(script(text), with_secret), IN_CONTAINERS)
    engine.until(run, lambda now: "begun" in "".join(engine.backend.logs(now, now.tasks[0])))
    lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if _readable(path)]
    assert any(run.id.encode() in line for line in lines)
    assert not any(b"tell-nobody" in line for line in lines)
    (engine.folder(run) / "tasks/step/attempt-1/said.go").touch()
    run = engine.end(run)
    assert run.tasks[0].outputs == {"said": "a b=c # d/11/3"}
    kept = [path for path in engine.folder(run).rglob("*") if path.is_file() and b"tell-nobody" in path.read_bytes()]
    assert kept == []


def test_values_that_no_command_line_holds(engine: Engine, script: Callable[..., Any]) -> None:
    error = engine.run(pipeline_of(script("true")), IN_CONTAINERS, given="x" * 200_000).tasks[0].error
    assert error is not None
    assert "Argument list too long" in error.message
    assert "artifacts" in error.hint


def test_a_variable_of_several_lines_may_not_mean_something_else(
    engine: Engine, script: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAKEN", "x")
    step = pipeline_of(script("true"), lambda task: task.set_env_variable("TAKEN", "a\nb"))
    error = engine.run(step, IN_CONTAINERS).tasks[0].error
    assert error is not None
    assert error.message.startswith("The variable TAKEN has several lines")


def _readable(path: Path) -> bool:
    try:
        return bool(path.read_bytes())
    except OSError:
        return False


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("{registry}/base/nothing:1", "cannot be pulled: .*(manifest unknown|name unknown|not known|not found)"),
        ("127.0.0.1:9/base/python:1", "cannot be pulled: .*connection refused"),
    ],
)
def test_an_image_that_cannot_be_had(
    engine: Engine, registry: Server, script: Callable[..., Any], image: str, message: str
) -> None:
    run = engine.run(pipeline_of(script("true", image.format(registry=registry.host))), IN_CONTAINERS)
    error = run.tasks[0].error
    assert error is not None
    assert re.search(message, error.message), error
    assert error.hint


def test_pulling_tells_how_far_it_is(other_podman: Podman, base_image: str) -> None:
    podman, said = engines.find("podman"), list[str]()
    asyncio.run(client.provide(podman, base_image, said.append))
    assert said == [f"pulling {base_image}", f"pulling {base_image} (1 layer)", ""]
    asyncio.run(client.provide(podman, base_image, said.append))
    assert len(said) == 3  # once is enough


def test_a_program_that_the_image_lacks(engine: Engine, base_image: str) -> None:
    @dsl.container_component
    def lacking():
        return dsl.ContainerSpec(image=base_image, command=["no-such-program"], args=["x"])

    @dsl.pipeline(name="lacking")
    def pipeline():
        lacking()

    error = engine.run(pipeline, IN_CONTAINERS).tasks[0].error
    assert error is not None
    assert error.message.endswith("has no program 'no-such-program'.")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("echo almost; exit 7", "It ended with exit code 7: almost"),
        ("exit 127", "It ended with exit code 127."),
        ("kill -SEGV $$", "It was ended by SIGSEGV."),
        ("true", "The step wrote no output 'said'."),
        ('ln -s /etc/hostname "$1"', "The output 'said' is a link to /etc/hostname, which is only in the container."),
    ],
)
def test_steps_that_fail(engine: Engine, script: Callable[..., Any], text: str, message: str) -> None:
    error = engine.run(pipeline_of(script(text)), IN_CONTAINERS).tasks[0].error
    assert error is not None
    assert error.message == message


def test_without_an_engine_nothing_starts(
    settings: Settings, script: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with Engine(settings) as engine, pytest.raises(EngineError, match="podman is not on this machine; docker is not"):
        engine.start(pipeline_of(script("true")), IN_CONTAINERS)
    with Engine(settings) as engine, pytest.raises(BackendError, match="no executor 'contaner'"):
        engine.start(pipeline_of(script("true")), SubmitOptions(executor="contaner"))


def test_a_python_step_without_an_image_of_its_own(engine: Engine, podman: Podman, pip_image: str) -> None:
    @dsl.component(base_image=pip_image, packages_to_install=["six==1.16.0"])
    def halve(number: int, out: Output[Dataset]) -> float:
        import six

        print("halving", six.__version__, flush=True)
        if number < 0:
            raise ValueError("below zero")
        with open(out.path, "w") as file:
            file.write(str(number))
        return number / 2

    @dsl.pipeline(name="halves")
    def halves(number: int):
        halve(number=number)

    run = engine.run(halves, IN_CONTAINERS, number=3)
    assert run.tasks[0].outputs == {"Output": 1.5}, (run.error, engine.log(run, "halve"))
    assert "halving 1.16.0\n" in engine.log(run, "halve")
    failed = engine.run(halves, IN_CONTAINERS, number=-1)
    error = failed.tasks[0].error
    assert error is not None
    assert error.message == "ValueError: below zero"
    assert "in halve" not in error.message
    assert "line" in error.traceback


def test_docker_runs_tasks_as_well(settings: Settings, docker: Podman, script: Callable[..., Any]) -> None:
    settings.container_engine = "docker"
    secret = pipeline_of(script('printf %s "$WORD" > "$1"'), lambda task: task.set_env_variable("WORD", "a=b"))
    with Engine(settings) as engine:
        run = engine.run(secret, IN_CONTAINERS)
        assert run.tasks[0].outputs == {"said": "a=b"}, (run.error, engine.log(run, "step"))
        failed = engine.run(pipeline_of(script("echo oh; exit 4")), IN_CONTAINERS)
        assert failed.tasks[0].error is not None
        assert failed.tasks[0].error.message == "It ended with exit code 4: oh"
        going = engine.start(pipeline_of(script("echo begun; sleep 600")), IN_CONTAINERS)
        engine.until(going, lambda now: "begun" in "".join(engine.backend.logs(now, now.tasks[0])))
        engine.backend.cancel(going)
        assert engine.end(going).state is State.CANCELLED
        until_none(docker, going)


@pytest.mark.parametrize(
    ("resources", "able", "options", "remark"),
    [
        (
            {"resourceCpuLimit": "500m", "resourceMemoryLimit": "1Gi"},
            "cm",
            ["--cpus", "0.5", "--memory", "1073741824b"],
            "",
        ),
        ({"cpuLimit": 2.0, "memoryLimit": 0.5}, "cm", ["--cpus", "2", "--memory", "500000000b"], ""),
        ({"resourceCpuLimit": "2", "resourceMemoryLimit": "1.5G"}, "c", ["--cpus", "2"], "memory is not limited"),
        ({"accelerator": {"resourceCount": "1"}}, "cm", [], "no accelerator is handed in"),
        ({}, "", [], ""),
    ],
)
def test_limits(resources: Any, able: str, options: list[str], remark: str) -> None:
    limited = frozenset({"c": "cpu", "m": "memory"}[letter] for letter in able)
    found, said = limits(resources, engines.Engine(name="podman", program="podman", limits=limited))
    assert list(found) == options
    assert remark in said
    assert bool(remark) == bool(said)


def test_an_amount_that_is_none() -> None:
    with pytest.raises(EngineError, match="'2 GB' is no amount"):
        quantity("2 GB")
