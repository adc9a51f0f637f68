"""The pipeline that takes a new file in."""

from kfp import dsl


@dsl.component(base_image="python:3.11-slim")
def note(data: str) -> None:
    """Prints where the data is."""
    print(data)


@dsl.pipeline(name="train")
def train(data: str) -> None:
    """Takes a file in."""
    note(data=data)
