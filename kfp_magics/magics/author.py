"""Cells to steps and pipelines: ``%%kfp_component``, ``%%kfp_pipeline``, ``%kfp_compile``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from IPython.core.magic import line_cell_magic, line_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments

from kfp_magics.errors import DefinitionError
from kfp_magics.magics.arguments import pod_arguments
from kfp_magics.magics.shell import KfpMagics, parse

if TYPE_CHECKING:
    from argparse import Namespace

    from kfp_magics.cells.options import CellOptions
    from kfp_magics.options import PartOptions
    from kfp_magics.widgets.cards import CompiledCard, StepCard, TakenCard
    from kfp_magics.widgets.pipeline import PipelineView


@magics_class
class AuthorMagics(KfpMagics):
    """Cells to steps and pipelines."""

    @magic_arguments()
    @argument("name", nargs="?", default="", help="Name of the step; the function's when left out.")
    @argument("--lang", default="python", choices=("python", "bash"), help="What the cell is written in.")
    @argument("--entry", default="", help="The function that is the step; the last one of the cell when left out.")
    @argument("--in", dest="inputs", action="append", default=[], help="Input: NAME:TYPE[=DEFAULT].")
    @argument("--out", dest="outputs", action="append", default=[], help="Output: NAME:TYPE[=FILE].")
    @argument("--base-image", default="", help="Image that the step runs in.")
    @argument("--packages", nargs="+", action="extend", default=[], help="Requirements besides the inferred ones.")
    @argument("--no-infer", action="store_true", help="Infer no requirements from imports.")
    @argument("--include", action="append", default=[], help="Names of the notebook to copy in: helper,CONST.")
    @argument("--context", default="", help="Folder with a Dockerfile that is the step.")
    @argument("--image", default="", help="Image that was built from --context.")
    @argument("--notebook", default="", help="Notebook that is the step.")
    @pod_arguments
    @line_cell_magic
    def kfp_component(self, line: str, cell: str | None = None) -> StepCard | TakenCard:
        """Turns this cell into a pipeline step.

        The cell is a module: its imports, constants and helpers travel with the step; the last function is the step.
        Inputs and outputs come from its annotations. After the cell ran, compose the step in %%kfp_pipeline, run it
        alone with %kfp_try, or call the plain function with NAME.fn(...).
        """
        from kfp_magics.widgets.cards import StepCard, TakenCard  # noqa: PLC0415  (drawn only now)

        made = self.session.component(cell or "", _cell_options(parse(self.kfp_component, line)), self.session.cell_id)
        return TakenCard(made) if isinstance(made, list) else StepCard(made)

    @magic_arguments()
    @argument("part", nargs="?", default="", help="Without a cell: the part of a pipeline that is to be made.")
    @argument("--name", default="", help="Name of the pipeline for KFP; the function's when left out.")
    @argument("--entry", default="", help="The function that is the pipeline; the last one of the cell when left out.")
    @argument("--part-of", default="", metavar="PIPELINE", help="The pipeline that it is a part of.")
    @argument("--from", dest="start", action="append", default=[], metavar="STEP", help="What the part starts with.")
    @argument("--reuse", default="", metavar="RUN", help="Run that gives what the steps before would have given.")
    @argument("--give", action="append", default=[], metavar="NAME", help="What is given all the same: births,rows.")
    @line_cell_magic
    def kfp_pipeline(self, line: str, cell: str | None = None) -> PipelineView:
        """Composes steps into a pipeline with ordinary KFP DSL, and draws its graph.

        Conditions, loops, exit handlers and nested pipelines are kfp's own: dsl.If, dsl.ParallelFor, dsl.ExitHandler.

        Without a cell it makes a pipeline of the last steps of another: %kfp_pipeline retrain --part-of babyweight
        --from train. What the steps before would have given becomes parameters: values as they are, artifacts by their
        URI. With --reuse RUN values have those of the run as defaults, and artifacts come from it but for --give NAME.
        """
        from kfp_magics import ir  # noqa: PLC0415  (beside its only use)
        from kfp_magics.widgets.pipeline import PipelineView  # noqa: PLC0415  (drawn only now)

        words = parse(self.kfp_pipeline, line)
        if cell is None:
            composed = self.session.part(words.part, _part_options(words), self.session.cell_id)
        elif words.part or words.part_of or words.start or words.reuse or words.give:
            raise DefinitionError("A part of a pipeline has no cell.", "Write it as one line, with one % in front.")
        else:
            composed = self.session.pipeline(cell, name=words.name, entry=words.entry, cell_id=self.session.cell_id)
        made = composed.pipeline
        tasks = ir.static_tasks(ir.parse(made.ir), templates=True)
        return PipelineView(made.name, tasks, made.description if made.stand_ins else "", made.stand_ins)

    @magic_arguments()
    @argument("pipeline", help="Name of a pipeline or a step.")
    @argument("path", nargs="?", default="", help="File to write, or folder for PIPELINE.yaml; here when left out.")
    @argument("--build", action="store_true", help="With the steps' images by digest; what is missing is built first.")
    @line_magic
    def kfp_compile(self, line: str) -> CompiledCard:
        """Writes the compiled pipeline (KFP v2 IR, YAML) to a file."""
        from kfp_magics.widgets.cards import CompiledCard  # noqa: PLC0415  (drawn only now)

        words = parse(self.kfp_compile, line)
        path = self.session.compile(words.pipeline, words.path, build=words.build, on_build=self.show_build)
        return CompiledCard(path)


def _part_options(words: Namespace) -> PartOptions:
    from kfp_magics.options import PartOptions  # noqa: PLC0415  (beside its only use)

    if not (words.part and words.part_of and words.start):
        raise DefinitionError(
            "A pipeline without a cell is a part of another.",
            "%kfp_pipeline NAME --part-of PIPELINE --from STEP, or write a cell below %%kfp_pipeline.",
        )
    if words.entry:
        raise DefinitionError("--entry names a function of a cell, and a part has none.", "Leave it out.")
    give = tuple(name for names in words.give for name in names.split(",") if name)
    return PartOptions(of=words.part_of, start=tuple(words.start), reuse=words.reuse, give=give, name=words.name)


def _cell_options(words: Namespace) -> CellOptions:
    from kfp_magics.cells.options import CellOptions  # noqa: PLC0415  (what reads cells costs as much as the rest)

    values: dict[str, Any] = vars(words).copy()
    if values["context"] and values["notebook"]:
        raise DefinitionError("A step is a --context or a --notebook, not both.", "Leave one of them out.")
    values["infer"] = not values.pop("no_infer")
    values["notebook_step"] = values.pop("notebook")
    values["include"] = [name for words in values["include"] for name in words.split(",") if name]
    frozen: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    return CellOptions(**frozen)
