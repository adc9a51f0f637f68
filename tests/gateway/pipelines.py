"""Pipelines as a user of the KFP SDK writes them, who never heard of us."""

from kfp import dsl


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def double(number: int, table: dsl.Output[dsl.Dataset]) -> int:
    print(f"doubling {number}")
    with open(table.path, "w") as file:
        file.write(f"twice,{2 * number}\n")
    return 2 * number


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def rest(seconds: float):
    import time

    print("resting", flush=True)
    time.sleep(seconds)


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def broken():
    raise ValueError("no luck")


@dsl.pipeline(name="doubling")
def doubling(number: int = 21):
    double(number=number)


@dsl.pipeline(name="resting")
def resting(seconds: float = 60.0):
    rest(seconds=seconds)


@dsl.pipeline(name="failing")
def failing():
    broken()


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def count(most: int) -> list:
    return list(range(most))


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def unsteady(mark: str) -> str:
    import pathlib

    seen = pathlib.Path(mark)
    if not seen.exists():
        seen.touch()
        raise OSError("not yet")
    return "steady"


@dsl.pipeline(name="inner")
def inner(number: int) -> int:
    return double(number=number).outputs["Output"]


@dsl.pipeline(name="looping")
def looping(mark: str = ""):
    """Everything that nests: loops over what only the run knows, conditions, exit handlers, pipelines, attempts."""
    last = double(number=0)
    with dsl.ExitHandler(last):
        numbers = count(most=3)
        with dsl.ParallelFor(numbers.output) as number:
            twice = double(number=number)
            with dsl.If(twice.outputs["Output"] > 2):
                inner(number=twice.outputs["Output"])
        with dsl.ParallelFor([7, 8]) as fixed:
            inner(number=fixed)
        with dsl.If(mark == "never"):
            rest(seconds=0.0)
        with dsl.If(mark != ""):
            unsteady(mark=mark).set_retry(2)
