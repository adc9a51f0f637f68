"""What happens when steps fail: exit handlers, failures that are ignored, attempts."""
# ruff: noqa: SIM117  (nesting is what is tested)

from typing import NamedTuple

from kfp import dsl

from tests.conformance.case import SCRATCH, Case

from .steps import append, broken, echo, step


@step
def report(path: str, status: dsl.PipelineTaskFinalStatus):
    with open(path, "a", encoding="utf-8") as file:
        file.write(f"{status.state} {status.pipeline_task_name} {bool(status.error_message)}")


@step
def note(path: str, text: str):
    with open(path, "a", encoding="utf-8") as file:
        file.write(text)


@step
def stumble(path: str, failures: int) -> str:
    with open(path, "a", encoding="utf-8") as file:
        file.write("x")
    with open(path, encoding="utf-8") as file:
        attempt = len(file.read())
    if attempt <= failures:
        raise RuntimeError(f"attempt {attempt} fails")
    return f"attempt {attempt}"


@dsl.pipeline(name="exit-after-success")
def exit_after_success(path: str):
    with dsl.ExitHandler(report(path=path)):
        echo(text="fine")


@dsl.pipeline(name="exit-after-failure")
def exit_after_failure(path: str):
    with dsl.ExitHandler(report(path=path)):
        first = broken(text="not fine")
        echo(text=first.output)


@dsl.pipeline(name="exit-without-status")
def exit_without_status(path: str, word: str):
    with dsl.ExitHandler(note(path=path, text=f"bye {word}"), name="careful"):
        append(path=path, text="work, ")


@dsl.pipeline(name="exit-around-everything")
def exit_around_everything(path: str, n: int):
    with dsl.ExitHandler(report(path=path)):
        with dsl.ParallelFor([1, 2]) as one, dsl.If(one == n):
            broken(text="in a loop")


@dsl.pipeline(name="exit-task-fails")
def exit_task_fails():
    with dsl.ExitHandler(broken(text="at the end")):
        echo(text="fine")


@dsl.pipeline(name="exit-and-other-steps")
def exit_and_other_steps(path: str) -> str:
    outside = echo(text="outside")
    with dsl.ExitHandler(report(path=path)):
        echo(text=outside.output)
    return outside.output


class Told(NamedTuple):
    ignored: str


@step
def cope(text: str = "nothing came") -> str:
    return text


@dsl.pipeline(name="ignored-failure")
def ignored_failure(path: str):
    failed = broken(text="ignored")
    append(path=path, text=cope(text=failed.output).ignore_upstream_failure().output)


@dsl.pipeline(name="ignored-success")
def ignored_success() -> str:
    return cope(text=echo(text="came").output).ignore_upstream_failure().output


@dsl.pipeline(name="skips-what-follows")
def skips_what_follows():
    failed = broken(text="x")
    after = echo(text=failed.output)
    echo(text=after.output)
    echo(text="independent")


@dsl.pipeline(name="retry-until-it-works")
def retry_until_it_works(path: str) -> str:
    return stumble(path=path, failures=2).set_retry(num_retries=3, backoff_duration="0s").output


@dsl.pipeline(name="retry-is-not-enough")
def retry_is_not_enough(path: str):
    stumble(path=path, failures=5).set_retry(num_retries=1, backoff_duration="0s")


@dsl.pipeline(name="no-retry")
def no_retry(path: str):
    stumble(path=path, failures=1)


@dsl.pipeline(name="retry-in-loop")
def retry_in_loop(folder: str):
    with dsl.ParallelFor(["a", "b"]) as one:
        stumble(path=f"{folder}/{one}", failures=1).set_retry(num_retries=1, backoff_duration="0s")


@dsl.pipeline(name="failing-inside")
def failing_inside(text: str) -> str:
    broken(text=text)
    return echo(text=text).output


@dsl.pipeline(name="nested-pipeline-fails")
def nested_pipeline_fails(path: str):
    with dsl.ExitHandler(report(path=path)):
        done = failing_inside(text="deep")
        echo(text=done.output)


CASES = (
    Case(
        name="exit-after-success",
        pipeline=exit_after_success,
        arguments={"path": f"{SCRATCH}/status"},
        states={"exit-handler-1": "succeeded", "report": "succeeded"},
        files={"status": "SUCCEEDED exit-handler-1 False"},
        peer=True,
    ),
    Case(
        name="exit-after-failure",
        pipeline=exit_after_failure,
        arguments={"path": f"{SCRATCH}/status"},
        states={
            "exit-handler-1": "failed",
            "exit-handler-1/broken": "failed",
            "exit-handler-1/echo": "skipped",
            "report": "succeeded",
        },
        files={"status": "FAILED exit-handler-1 True"},
        fails=True,
    ),
    Case(
        name="exit-without-status",
        pipeline=exit_without_status,
        arguments={"path": f"{SCRATCH}/notes", "word": "you"},
        files={"notes": "work, bye you"},
        peer=True,
    ),
    Case(
        name="exit-around-everything",
        pipeline=exit_around_everything,
        arguments={"path": f"{SCRATCH}/status", "n": 2},
        states={"report": "succeeded", "exit-handler-1/for-loop-3": "failed"},
        files={"status": "FAILED exit-handler-1 True"},
        fails=True,
    ),
    Case(
        name="exit-task-fails",
        pipeline=exit_task_fails,
        states={"exit-handler-1": "succeeded", "broken": "failed"},
        fails=True,
        peer=True,
    ),
    Case(
        name="exit-and-other-steps",
        pipeline=exit_and_other_steps,
        arguments={"path": f"{SCRATCH}/status"},
        outputs={"Output": "outside"},
        files={"status": "SUCCEEDED exit-handler-1 False"},
        peer=True,
    ),
    Case(
        name="ignored-failure",
        pipeline=ignored_failure,
        arguments={"path": f"{SCRATCH}/told"},
        states={"broken": "failed", "cope": "succeeded", "append": "succeeded"},
        files={"told": "nothing came"},
        fails=True,
    ),
    Case(name="ignored-success", pipeline=ignored_success, outputs={"Output": "came"}, peer=True),
    Case(
        name="skips-what-follows",
        pipeline=skips_what_follows,
        states={"broken": "failed", "echo": "skipped", "echo-2": "skipped", "echo-3": "succeeded"},
        fails=True,
        peer=True,
    ),
    Case(
        name="retry-until-it-works",
        pipeline=retry_until_it_works,
        arguments={"path": f"{SCRATCH}/attempts"},
        outputs={"Output": "attempt 3"},
        files={"attempts": "xxx"},
    ),
    Case(
        name="retry-is-not-enough",
        pipeline=retry_is_not_enough,
        arguments={"path": f"{SCRATCH}/attempts"},
        states={"stumble": "failed"},
        files={"attempts": "xx"},
        fails=True,
    ),
    Case(
        name="no-retry",
        pipeline=no_retry,
        arguments={"path": f"{SCRATCH}/attempts"},
        files={"attempts": "x"},
        fails=True,
        peer=True,
    ),
    Case(
        name="retry-in-loop",
        pipeline=retry_in_loop,
        arguments={"folder": SCRATCH},
        files={"a": "xx", "b": "xx"},
    ),
    Case(
        name="nested-pipeline-fails",
        pipeline=nested_pipeline_fails,
        arguments={"path": f"{SCRATCH}/status"},
        states={"exit-handler-1/failing-inside": "failed", "exit-handler-1/echo": "skipped", "report": "succeeded"},
        files={"status": "FAILED exit-handler-1 True"},
        fails=True,
    ),
)
