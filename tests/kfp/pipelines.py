"""Pipelines that never saw a magic, as their authors compile them."""

import functools
import tempfile
import warnings
from pathlib import Path

from kfp import compiler, dsl

warnings.filterwarnings("ignore", category=FutureWarning)


@dsl.component(base_image="python:3.11-slim")
def prepare(rows: int, clean: dsl.Output[dsl.Dataset]) -> int:
    return rows


@dsl.component(base_image="python:3.11-slim")
def train(rate: float, rows: int = 5) -> float:
    return rate


@dsl.component(base_image="python:3.11-slim")
def report(text: str = "done"):
    print(text)


@dsl.pipeline(name="plain")
def plain(rows: int = 3):
    first = prepare(rows=rows)
    train(rate=0.5, rows=first.outputs["Output"])


@dsl.pipeline(name="nested")
def nested(rows: int = 3, rates: list = [0.1, 0.2]):  # noqa: B006  (as pipelines are written)
    last = report(text="the end")
    with dsl.ExitHandler(last):
        first = prepare(rows=rows)
        with dsl.ParallelFor(rates) as rate:
            one = train(rate=rate, rows=first.outputs["Output"])
            with dsl.If(one.output > 0.15):
                report(text="good")
        with dsl.If(first.outputs["Output"] > 100):
            train(rate=1.0)


@dsl.component(base_image="python:3.11-slim")
def choose() -> list:
    return [0.1, 0.2]


@dsl.pipeline(name="chosen")
def chosen():
    with dsl.ParallelFor(choose().output) as rate:
        train(rate=rate)


@functools.cache
def ir_of(name: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.yaml"
        compiler.Compiler().compile(globals()[name], str(path))
        return path.read_text(encoding="utf-8")
