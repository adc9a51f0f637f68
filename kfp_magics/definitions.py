"""What a notebook defined: its steps and pipelines, by name."""

from __future__ import annotations

import keyword
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from kfp_magics import sources
from kfp_magics.authoring import execute, last_function, unknown_name
from kfp_magics.errors import DefinitionError, NotFoundError, did_you_mean
from kfp_magics.handles import ComposedPipeline, Cut, Step, kfp_components
from kfp_magics.model import Component, Pipeline

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

    from kfp_magics.cells.options import CellOptions
    from kfp_magics.errors import KfpMagicsError
    from kfp_magics.model import Json, Run
    from kfp_magics.options import PartOptions


class Definitions:
    """The steps and pipelines of one notebook.

    Args:
        namespace: The names of the notebook; steps read it and are put into it.
        notebook: Path of the notebook, as far as known.
        base_image: Image of steps that name none.
    """

    def __init__(self, namespace: MutableMapping[str, Any], notebook: str, base_image: str) -> None:
        self.namespace = namespace
        self.steps: dict[str, Step] = {}
        self.pipelines: dict[str, ComposedPipeline] = {}
        self._notebook = notebook
        self._base_image = base_image
        self.undefined: dict[str, KfpMagicsError] = {}  # pipelines that cannot be here, and why
        self._taken: dict[str, Component] = {}  # what kfp's own decorators made
        self._recipes: dict[str, Callable[[], ComposedPipeline]] = {}
        self._wholes: dict[str, tuple[str, ComposedPipeline]] = {}  # part → the pipeline that it was cut from

    def component(self, body: str, options: CellOptions, cell_id: str = "") -> Step | list[str]:
        """Makes a step of a cell; see `Session.component`."""
        from kfp_magics.cells import component_from_cell, decorated_functions  # noqa: PLC0415  (not needed to load)

        if body and options.lang == "python":
            found = [function.name for function in decorated_functions(body)]
            if found:
                return self._take(body, found, cell_id)
        component, remarks = component_from_cell(
            body,
            options,
            self.namespace,
            taken={name: step for name, step in self.steps.items() if self.namespace.get(name) is step},
            cell_id=cell_id,
            notebook=self._notebook,
            default_image=self._base_image,
        )
        step = Step(component, remarks)
        self.steps[component.name] = step
        self.namespace[component.name] = step
        return step

    def _take(self, body: str, found: list[str], cell_id: str) -> list[str]:
        execute(body, f"cell '{found[-1]}'", self.namespace)
        for name in found:
            self._taken[name] = Component(
                name=name, language="kfp", source="\n" + body, entry=name, cell_id=cell_id, notebook=self._notebook
            )
        return found

    def pipeline(self, body: str, *, name: str = "", entry: str = "", cell_id: str = "") -> ComposedPipeline:
        """Composes a pipeline from a cell of ordinary KFP DSL; see `Session.pipeline`."""
        function = last_function(body, entry, f"pipeline '{name or entry}'" if name or entry else "pipeline cell")

        def compose() -> ComposedPipeline:
            return self._compose(body, function, name=name, cell_id=cell_id)

        composed = compose()
        self._recipes[function] = compose
        self._wholes.pop(function, None)
        self._keep(function, composed)
        return composed

    def part(
        self, function: str, options: PartOptions, find: Callable[[str, str], Run], cell_id: str = ""
    ) -> ComposedPipeline:
        """Makes a pipeline of the last steps of another; what the other steps would give is given, or taken from a run.

        Args:
            function: Name of the part in Python.
            options: Of what, and which part.
            find: Finds a run by the name of its pipeline and by what a user types.
            cell_id: The notebook cell.

        Raises:
            DefinitionError: It cannot have that name, or be a part of itself.
            NotFoundError: There is no such pipeline or run.
            ArgumentError: The pipeline cannot be cut there, or the run does not give what is left out.
        """
        from kfp_magics import ir as irs  # noqa: PLC0415  (reads YAML, which authoring does not)
        from kfp_magics import parts  # noqa: PLC0415  (as above)
        from kfp_magics.compiler_parts import compile_part  # noqa: PLC0415  (imports kfp)

        of = self._whole(function, options)
        taken: dict[str, dict[str, Json]] = {}
        whole = self._fresh(of).pipeline
        if options.reuse:
            ir, run = irs.parse(whole.ir), find(whole.name, options.reuse)
            taken = parts.results(ir, start=options.start, run=run, given=options.give)

        def compose() -> ComposedPipeline:
            whole = self._fresh(of)
            name = irs.component_key(options.name or function)
            pipeline, component = compile_part(
                whole.pipeline, name=name, start=options.start, taken=taken, cell_id=cell_id
            )
            self._wholes[function] = (of, whole)
            return ComposedPipeline(pipeline, component, Cut(of=of, start=options.start, taken=taken))

        composed = compose()
        self._recipes[function] = compose
        self._keep(function, composed)
        return composed

    def _whole(self, function: str, options: PartOptions) -> str:
        if not function.isidentifier() or keyword.iskeyword(function):
            raise DefinitionError(
                f"{function!r} is no name for a pipeline.", "Write one as in Python: train_and_deploy"
            )
        if options.give and not options.reuse:
            raise DefinitionError("Everything is given unless a run is named.", "Leave --give out, or add --reuse RUN.")
        known = {one.pipeline.name: name for name, one in self.pipelines.items()}
        known |= {name: name for name in self.pipelines}
        if options.of not in known:
            raise NotFoundError(
                f"There is no pipeline {options.of!r} to take a part of.",
                did_you_mean(options.of, known) or "Define it with %%kfp_pipeline.",
            )
        found = above = known[options.of]
        while above != function and above in self._wholes:
            above = self._wholes[above][0]
        if above == function:
            raise DefinitionError(
                f"The pipeline {function!r} cannot be a part of itself.", "Give the part another name."
            )
        return found

    def _keep(self, function: str, composed: ComposedPipeline) -> None:
        self.undefined.pop(function, None)
        self.pipelines[function] = composed
        self.namespace[function] = composed

    def _compose(self, body: str, function: str, *, name: str, cell_id: str) -> ComposedPipeline:
        from kfp_magics import compiler  # noqa: PLC0415  (imports kfp, which takes a second)

        label = f"pipeline '{function}'"
        names: dict[str, object] = {**compiler.pipeline_names(), **self.namespace, **self.steps}
        execute(body, label, names)
        try:
            component = compiler.graph_component(names[function], name=name or function)
            pipeline = compiler.compile_pipeline(
                component,
                name=name or function,
                components={one.name: one for one in self._components()},
                source="\n" + body,
                cell_id=cell_id,
                notebook=self._notebook,
            )
        except NameError as error:
            raise unknown_name(error, label, names) from error
        return ComposedPipeline(pipeline, component)

    @property
    def taken(self) -> dict[str, Component]:
        """The steps that kfp's own decorators made, by name."""
        return self._taken

    def _components(self) -> list[Component]:
        return [*self._taken.values(), *(step.component for step in self.steps.values())]

    def step(self, name: str) -> Step:
        """Finds a step by its name.

        Raises:
            NotFoundError: There is none.
        """
        if name not in self.steps and name in kfp_components(self.namespace):
            raise NotFoundError(f"{name!r} is a component of kfp's own.", f"Run it alone: %kfp_run {name} …")
        if name not in self.steps:
            hint = did_you_mean(name, self.steps) or "Define one with %%kfp_component."
            raise NotFoundError(f"There is no step {name!r}.", hint)
        return self.steps[name]

    def resolve(self, what: object) -> Pipeline:
        """Finds a pipeline by what the user names; see `Session.resolve`."""
        from kfp_magics import compiler  # noqa: PLC0415  (imports kfp)

        match what:
            case Pipeline():
                return what
            case ComposedPipeline():
                return what.pipeline
            case Step():
                return compiler.single_step(what.component)
            case str():
                return self._named(what)
            case Path():
                return sources.pipeline_of(str(what))
            case _:
                return compiler.load_pipeline(what)

    def _named(self, name: str) -> Pipeline:
        from kfp_magics import compiler  # noqa: PLC0415  (imports kfp)

        functions = {one.pipeline.name: function for function, one in self.pipelines.items()}
        functions |= {function: function for function in self.pipelines}
        foreign = kfp_components(self.namespace)
        module, _, _ = name.rpartition(".")
        if isinstance(found := self.namespace.get(module), ModuleType):
            foreign |= {f"{module}.{key}": one for key, one in kfp_components(vars(found)).items()}
        if name in functions:
            return self._fresh(functions[name]).pipeline
        if name in self.steps:
            return compiler.single_step(self.steps[name].component)
        if name in foreign:
            known = {one.name: one for one in self._components()}
            return compiler.compile_pipeline(foreign[name], name=name, components=known)
        if sources.is_file(name):
            return sources.pipeline_of(name)
        if name in self.undefined:
            raise self.undefined[name]
        raise NotFoundError(
            f"There is no pipeline or step {name!r}.",
            did_you_mean(name, {*functions, *self.steps, *foreign})
            or "Define one with %%kfp_pipeline, or give a file: pipeline.py, pipeline.yaml.",
        )

    def _fresh(self, function: str) -> ComposedPipeline:
        composed = self.pipelines[function]
        now = {component.name: component for component in self._components()}
        of, whole = self._wholes.get(function, ("", None))
        if (of and self._fresh(of) is not whole) or any(
            now.get(name, used) != used for name, used in composed.pipeline.components.items()
        ):
            composed = self._recipes[function]()
            self._keep(function, composed)
        return composed
