"""The pipelines that both engines run; each exists with KFP's default and without its pip check."""

from collections.abc import Callable
from typing import Any

from kfp import dsl

IMAGE = "python:3.11"
SMALL, LARGE = "tabulate==0.9.0", "pandas>=2.2"


def _nothing():
    pass


def _one_second():
    import time

    time.sleep(1)


def _item_second(item: int):
    import time

    time.sleep(1)


def _small():
    import tabulate

    print(tabulate.__version__)


def _large():
    import pandas

    print(pandas.__version__)


def _step(function: Callable[..., Any], *, check: bool, packages: tuple[str, ...] = ()) -> Any:
    make = dsl.component(base_image=IMAGE, install_kfp_package=check, packages_to_install=list(packages))
    return make(function)


def chain(length: int, *, check: bool = True) -> Any:
    """Empty tasks, one after the other."""
    step = _step(_nothing, check=check)

    @dsl.pipeline(name=f"chain-{length}")
    def pipeline():
        before = None
        for _ in range(length):
            task = step()
            if before is not None:
                task.after(before)
            before = task

    return pipeline


def wide(length: int, *, check: bool = True, cache: bool = False) -> Any:
    """Empty tasks, independent of each other."""
    step = _step(_nothing, check=check)

    @dsl.pipeline(name=f"wide-{length}")
    def pipeline():
        for _ in range(length):
            step().set_caching_options(cache)

    return pipeline


def sleeps(*, check: bool = True) -> Any:
    """Eight independent tasks of one second."""
    step = _step(_one_second, check=check)

    @dsl.pipeline(name="sleeps")
    def pipeline():
        for _ in range(8):
            step()

    return pipeline


def loop(*, check: bool = True) -> Any:
    """Eight tasks of one second in a ParallelFor."""
    step = _step(_item_second, check=check)

    @dsl.pipeline(name="loop")
    def pipeline():
        with dsl.ParallelFor(list(range(8))) as item:
            step(item=item)

    return pipeline


def requires(package: str, *, check: bool = True) -> Any:
    """One task that needs a package."""
    step = _step(_small if package == SMALL else _large, check=check, packages=(package,))

    @dsl.pipeline(name="requires")
    def pipeline():
        step()

    return pipeline
