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


@dsl.pipeline(name="looping")
def looping():
    with dsl.ParallelFor([1, 2]) as number:
        double(number=number)
