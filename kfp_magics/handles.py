"""What names in a notebook are bound to after a cell defined a step or a pipeline."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from kfp_magics.model import MISSING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kfp_magics.model import Component, Json, Pipeline, Port


@dataclass(frozen=True, kw_only=True, slots=True)
class Cut:
    """How a part was cut from a pipeline.

    Attributes:
        of: The function of the whole pipeline.
        start: The steps that the part starts with.
        taken: What comes from an earlier run, by parameter.
    """

    of: str
    start: tuple[str, ...]
    taken: Mapping[str, Mapping[str, Json]]


class Step:
    """A step to compose pipelines with: call it inside ``%%kfp_pipeline``, or ``.fn(...)`` as the plain function.

    Args:
        component: What the cell says.
        remarks: What the user should know about it, a line each.
    """

    def __init__(self, component: Component, remarks: tuple[str, ...] = ()) -> None:
        self.component = component
        self.remarks = remarks
        self.__name__ = component.name
        self.__doc__ = component.description or None

    def __call__(self, *positional: Any, **arguments: Any) -> Any:  # noqa: ANN401  (kfp's own task)
        """Adds the step to the pipeline that is being composed."""
        return self.kfp(*positional, **arguments)

    @cached_property
    def kfp(self) -> Any:  # noqa: ANN401  (kfp's own component)
        """The KFP component, made when first asked for."""
        from kfp_magics import compiler  # noqa: PLC0415  (importing kfp takes a second)

        return compiler.step(self.component)

    @cached_property
    def fn(self) -> Callable[..., object]:
        """The plain function, to call and to unit-test.

        Raises:
            DefinitionError: The step is not made of Python.
        """
        from kfp_magics.authoring import load_function  # noqa: PLC0415  (only when the plain function is asked for)

        return load_function(self.component)

    def __repr__(self) -> str:
        return f"{self.component.name}{signature(self.component)}"


class ComposedPipeline:
    """A pipeline: run it with ``%kfp_run``, or call it inside another ``%%kfp_pipeline`` to nest it.

    Args:
        pipeline: What was compiled.
        kfp: The KFP component that it was compiled from.
        cut: How it was cut from another pipeline, if it is a part of one.
    """

    def __init__(self, pipeline: Pipeline, kfp: Any, cut: Cut | None = None) -> None:  # noqa: ANN401  (kfp's own component)
        self.pipeline = pipeline
        self.kfp = kfp
        self.cut = cut
        self.__name__ = pipeline.name
        self.__doc__ = pipeline.description or None

    def __call__(self, *positional: Any, **arguments: Any) -> Any:  # noqa: ANN401  (kfp's own task)
        """Adds the pipeline as one group of tasks to the pipeline that is being composed."""
        from kfp_magics.compiler import refuse_outside  # noqa: PLC0415  (kfp is imported since it was composed)

        refuse_outside(
            f"pipeline {self.__name__!r}", f"Nest it in another %%kfp_pipeline, or run it: %kfp_run {self.__name__}"
        )
        return self.kfp(*positional, **arguments)

    def __repr__(self) -> str:
        return f"pipeline {self.pipeline.name}({', '.join(_port_text(port) for port in self.pipeline.parameters)})"


def signature(component: Component) -> str:
    """Writes the ports as a Python signature: ``(raw: Dataset, year: int = 2000) -> clean: Dataset``."""
    results = ", ".join(f"{port.name}: {_type_text(port)}" for port in component.outputs)
    return f"({', '.join(_port_text(port) for port in component.inputs)})" + (f" -> {results}" if results else "")


def kfp_components(namespace: Mapping[str, object]) -> dict[str, object]:
    """Finds kfp's own components among the names of a notebook, without importing kfp for it."""
    return {
        name: value
        for name, value in namespace.items()
        if any(base.__module__.startswith("kfp.dsl.base_component") for base in type(value).__mro__)
    }


def _type_text(port: Port) -> str:
    return f"List[{port.type}]" if port.is_list else port.type


def _port_text(port: Port) -> str:
    text = f"{port.name}: {_type_text(port)}"
    if port.default is not MISSING:
        return f"{text} = {port.default!r}"
    return f"{text} = None" if port.optional else text
