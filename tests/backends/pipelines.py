"""The pipelines of the contract."""

import functools
import tempfile
import warnings
from pathlib import Path

from kfp import compiler, dsl

warnings.filterwarnings("ignore", category=FutureWarning)


@dsl.component(base_image="python:3.11-slim")
def one(value: int) -> int:
    print("adding", value)
    return value + 1


@dsl.component(base_image="python:3.11-slim")
def wait(seconds: int):
    import time

    time.sleep(seconds)


@dsl.component(base_image="python:3.11-slim")
def broken() -> int:
    raise ValueError("broken on purpose")


@dsl.pipeline(name="add")
def add(first: int):
    made = one(value=first).set_caching_options(False)
    one(value=made.output).set_caching_options(False).set_display_name("two")


@dsl.pipeline(name="hold")
def hold(seconds: int):
    wait(seconds=seconds)


@dsl.pipeline(name="fail")
def fail():
    one(value=broken().output)


@functools.cache
def ir_of(name: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.yaml"
        compiler.Compiler().compile(globals()[name], str(path))
        return path.read_text(encoding="utf-8").replace("one-2", "two")
