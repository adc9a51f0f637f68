"""Steps that go wrong in every way, and some that do not."""

from typing import Optional

from kfp import dsl
from kfp.dsl import Dataset, Output


def _step(function):
    return dsl.component(function, base_image="python:3.11", install_kfp_package=False)


@_step
def add(a: int, b: int) -> int:
    print("adding", a, b)
    return a + b


@_step
def echo(text: str) -> str:
    return text


@_step
def count(path: str, word: str = "x") -> int:
    with open(path, "a") as file:
        file.write(word)
    with open(path) as file:
        return len(file.read())


@_step
def fail_until(path: str, times: int) -> str:
    with open(path, "a") as file:
        file.write("x")
    with open(path) as file:
        done = len(file.read())
    if done <= times:
        raise RuntimeError(f"attempt {done} fails")
    return f"attempt {done}"


@_step
def sleep(seconds: float, path: str = "") -> float:
    import time

    time.sleep(seconds)
    if path:
        with open(path, "a") as file:
            file.write("slept")
    return seconds


@_step
def wait_for(gate: str, path: str) -> str:
    import os
    import time

    while not os.path.exists(gate):
        time.sleep(0.02)
    with open(path, "a") as file:
        file.write("waited")
    return gate


@_step
def loud(megabytes: int) -> int:
    line = "0123456789" * 100 + "\n"
    for _ in range(megabytes * 1000):
        print(line, end="")
    return megabytes


@_step
def leave_children(path: str) -> str:
    import os
    import subprocess
    import sys
    import time

    sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
    first = subprocess.Popen(sleeper)
    second = subprocess.Popen(sleeper, start_new_session=True)
    third = os.fork()
    if third == 0:
        os.setsid()
        if os.fork() == 0:
            with open(path, "w") as file:
                file.write(str(os.getpid()))
            time.sleep(600)
        os._exit(0)
    os.waitpid(third, 0)
    while not os.path.exists(path) or not open(path).read():
        time.sleep(0.01)
    return f"{first.pid} {second.pid} {open(path).read()}"


@_step
def stubborn(path: str) -> str:
    import os
    import signal
    import time

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with open(path, "w") as file:
        file.write(str(os.getpid()))
    time.sleep(600)
    return "never"


@_step
def end_by_signal(number: int) -> int:
    import os

    os.kill(os.getpid(), number)
    return 0


@_step
def leave(code: int, hard: bool) -> int:
    import os
    import sys

    print("leaving")
    if hard:
        os._exit(code)
    sys.exit(code)


@_step
def fill(files: int, megabytes: int, out: Output[Dataset]):
    import os
    import time

    os.makedirs(out.path)
    for number in range(files):
        with open(f"{out.path}/{number}", "wb") as file:
            file.writelines(bytes(1_000_000) for _ in range(megabytes))
    time.sleep(600)


@_step
def wrong_type() -> int:
    return "no number"


@_step
def no_output() -> int:
    import os

    os._exit(0)


@_step
def lacks_module() -> str:
    import not_there_at_all

    return not_there_at_all.__name__


@_step
def größe(wert: str, ausgabe: Output[Dataset]) -> str:
    print("Maß:", wert)
    with open(ausgabe.path, "w", encoding="utf-8") as file:
        file.write(wert)
    ausgabe.metadata["Länge"] = "über"
    return wert + "ß"


@dsl.component(
    base_image="python:3.11", install_kfp_package=False, packages_to_install=["kfp-magics-has-no-such-package==9"]
)
def unsolvable() -> int:
    return 1


@_step
def show_environment(name: str) -> str:
    import os

    return "set" if os.environ.get(name) else "not set"


@_step
def tell(status: dsl.PipelineTaskFinalStatus, path: str):
    with open(path, "a") as file:
        file.write(f"{status.state}: {status.error_message or 'no error'}")


@dsl.container_component
def shell(script: str):
    return dsl.ContainerSpec(image="debian:12", command=["sh", "-c"], args=[script])


@dsl.container_component
def missing_program():
    return dsl.ContainerSpec(image="acme/tool:1", command=["no-such-program-anywhere"], args=[])


@_step
def cope(text: str = "nothing came") -> str:
    return text


@_step
def refuse_second(path: str):
    with open(path, "a") as file:
        file.write("x")
    with open(path) as file:
        assert len(file.read()) < 2


@_step
def words(text: str = "one two three") -> list:
    return text.split()


@_step
def count_companions(folder: str) -> int:
    import os
    import tempfile
    import time

    now, begun, counted = (os.path.join(folder, name) for name in ("now", "begun", "counted"))
    with (
        tempfile.NamedTemporaryFile(dir=now),
        tempfile.NamedTemporaryFile(dir=begun, delete=False),
    ):
        while len(os.listdir(begun)) < 2:  # the first two are there together, however slow the machine is
            time.sleep(0.01)
        time.sleep(0.1)
        found = len(os.listdir(now))
        with tempfile.NamedTemporaryFile(dir=counted, delete=False):
            while len(os.listdir(counted)) < 2:
                time.sleep(0.01)
    return found


@_step
def largest(numbers: list) -> int:
    return max(numbers)


@dsl.component(base_image="python:3.11", install_kfp_package=False, packages_to_install=["six"])
def needs_six() -> str:
    import six

    return six.__name__


@dsl.container_component
def maybe(text: Optional[str] = None):  # noqa: UP045  (kfp does not know str | None)
    word = dsl.IfPresentPlaceholder(input_name="text", then=["echo", text], else_=["echo", "nothing came"])
    return dsl.ContainerSpec(image="alpine", command=[word])


@_step
def whereabouts(job: str, resource: str) -> str:
    return f"{job}|{resource}"
