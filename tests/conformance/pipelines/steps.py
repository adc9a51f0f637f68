"""Steps that many cases share, written as users write them."""
# ruff: noqa: UP006, UP035  (kfp knows List[Dataset])

from typing import List

from kfp import dsl
from kfp.dsl import Dataset, Input, Output


def step(function):
    return dsl.component(function, base_image="python:3.11", install_kfp_package=False)


@step
def echo(text: str) -> str:
    return text


@step
def add(a: int, b: int) -> int:
    return a + b


@step
def number(value: int) -> int:
    return value


@step
def real(value: float) -> float:
    return value


@step
def flag(value: bool) -> bool:
    return value


@step
def items(value: list) -> list:
    return value


@step
def struct(value: dict) -> dict:
    return value


@step
def join(texts: list) -> str:
    return " ".join(str(text) for text in texts)


@step
def total(numbers: list) -> int:
    return int(sum(numbers))


@step
def append(path: str, text: str, wait: float = 0.0) -> str:
    import time

    time.sleep(wait)
    with open(path, "a", encoding="utf-8") as file:
        file.write(text)
    return text


@step
def broken(text: str = "no") -> str:
    raise ValueError(text)


@step
def write(text: str, out: Output[Dataset]):
    with open(out.path, "w", encoding="utf-8") as file:
        file.write(text)
    out.metadata["length"] = len(text)


@step
def read(data: Input[Dataset]) -> str:
    with open(data.path, encoding="utf-8") as file:
        return f"{file.read()} {int(data.metadata['length'])}"


@step
def copy(data: Input[Dataset], out: Output[Dataset]):
    with open(data.path, encoding="utf-8") as source, open(out.path, "w", encoding="utf-8") as target:
        target.write(source.read().upper())
    out.metadata["from"] = "copy"


@step
def read_all(data: Input[List[Dataset]]) -> list:
    found = []
    for one in data:
        with open(one.path, encoding="utf-8") as file:
            found.append(file.read())
    return found
