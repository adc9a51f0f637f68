"""A pipeline made of the last steps of another."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml
from google.protobuf import json_format
from IPython.core.interactiveshell import InteractiveShell
from kfp.pipeline_spec import pipeline_spec_pb2

from kfp_magics import ir as irs
from kfp_magics import parts
from kfp_magics.errors import ArgumentError, DefinitionError, KfpMagicsError, NotFoundError, RunFailedError
from kfp_magics.magics.shell import current_session
from kfp_magics.model import State
from kfp_magics.options import BuildOptions, RunOptions
from kfp_magics.session import Session
from tests.ipython import execute, ipython
from tests.kfp.server import KfpServer

PRE = """%%kfp_component
def pre(bucket: str, births: Output[Dataset], rows: int = 3) -> int:
    with open(births.path, "w") as file:
        file.write("x " * rows)
    births.metadata["rows"] = rows
    return rows"""
TUNE = """%%kfp_component
def tune(births: Input[Dataset]) -> dict:
    return {"factor": 2}"""
TRAIN = """%%kfp_component --label team=weights
def train(births: Input[Dataset], settings: dict, scale: float) -> str:
    with open(births.path) as file:
        count = len(file.read().split())
    return f"{count * settings['factor'] * scale:g} of {births.metadata.get('rows', 'unknown')}\""""
WHOLE = """%%kfp_pipeline
def whole(bucket: str, scale: float = 1.0) -> str:
    made = pre(bucket=bucket)
    settings = tune(births=made.outputs["births"])
    return train(births=made.outputs["births"], settings=settings.output, scale=scale).output"""

Cell = Callable[[str], Any]


@pytest.fixture
def cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cell]:
    monkeypatch.chdir(tmp_path)
    with ipython() as shell:

        def run(text: str) -> Any:
            result, run.said = execute(shell, text)
            return result

        for text in (PRE, TUNE, TRAIN, WHOLE):
            run(text)
        yield run


def session() -> Session:
    return current_session(InteractiveShell.instance())


def text_of(name: str) -> str:
    return session().resolve(name).ir


def test_what_steps_before_would_give_is_given(cell: Cell, tmp_path: Path) -> None:
    shown = cell("%kfp_pipeline late --part-of whole --from train")
    assert repr(shown).splitlines() == [
        "pipeline late",
        "The part of whole from train on.",
        "  births=…: the URI of a Dataset, as pre writes it",
        "  tune=…: dict, as tune gives it",
        "  · given-births",
        "  · train",
    ]
    assert "<div class='q'>2 steps</div>" in shown._repr_html_()
    assert "the URI of a Dataset, as pre writes it" in shown._repr_html_()
    (tmp_path / "more.txt").write_text("a b c d e")
    live = cell("%kfp_run late births=more.txt tune={'factor':3} scale=2 --wait")
    assert live.run.outputs == {"Output": "30 of unknown"}
    said = " ".join(cell.said.split())
    assert f"births given: {tmp_path}"[:40] in said
    assert 'tune given: {"factor": 3} instead of tune' in said
    assert "given-births" not in said.partition("TAKES")[0]  # no step of anybody's


def test_what_steps_before_would_give_comes_from_a_run(cell: Cell, tmp_path: Path) -> None:
    whole = cell("%kfp_run whole bucket=b --wait").run
    cell("%kfp_run pre bucket=b --wait")  # 'last' is the last one of the whole pipeline
    shown = cell("%kfp_pipeline late --part-of whole --from train --reuse last")
    assert f"  births: Dataset of pre in run {whole.id}" in repr(shown).splitlines()
    assert f"  tune=…: dict, as tune gives it; else that of run {whole.id}" in repr(shown).splitlines()
    assert cell("%kfp_run late --wait").run.outputs == {"Output": "6 of 3"}
    assert f"births from run {whole.id} instead of pre" in " ".join(cell.said.split())
    assert cell("%kfp_run late tune={'factor':5} --wait").run.outputs == {"Output": "15 of 3"}
    cell(f"%kfp_pipeline late --part-of whole --from train --reuse {whole.id} --give births")
    (tmp_path / "more.txt").write_text("a b c d e")
    assert cell(f"%kfp_run late births=file://{tmp_path}/more.txt --wait").run.outputs == {"Output": "10 of unknown"}


def test_a_part_is_a_pipeline_like_any_other(cell: Cell, tmp_path: Path) -> None:
    cell("%kfp_pipeline late --part-of whole --from train --name 'Late births'")
    first = text_of("late")
    cell("%kfp_pipeline late --part-of whole --from train --name 'Late births'")
    assert text_of("late") == first == text_of("late-births")
    spec, platform = yaml.safe_load_all(first)
    json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
    assert spec["pipelineInfo"] == {"name": "late-births"}
    assert set(spec["root"]["inputDefinitions"]["parameters"]) == {"births", "tune", "scale"}  # and no bucket
    assert set(spec["deploymentSpec"]["executors"]) == {"exec-given-births", "exec-train"}
    assert set(platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]) == {"exec-train"}
    assert "team: weights" in first
    cell("%kfp_compile late late.yaml")
    assert Path("late.yaml").read_text() == first
    Path("more.txt").write_text("a b")
    given = ["births=more.txt", "tune={'factor': 3}"]
    assert session().prepare("late.yaml", given, RunOptions()).looked.pipeline.name == "late-births"
    cell("""%%kfp_pipeline
def around(uri: str) -> str:
    return late(births=uri, tune={"factor": 7}).output""")
    assert cell(f"%kfp_run around uri={tmp_path / 'more.txt'} --wait").run.outputs == {"Output": "14 of unknown"}


def test_a_part_follows_its_steps_and_its_whole(cell: Cell) -> None:
    cell("%kfp_pipeline late --part-of whole --from tune")
    cell(TRAIN.replace("of {births", "out of {births"))
    assert "out of" in text_of("late")
    cell(WHOLE.replace("scale: float = 1.0", "scale: float = 4.0"))
    assert "defaultValue: 4.0" in text_of("late")
    cell("%kfp_pipeline last --part-of late --from train")  # a part of a part
    assert [one.name for one in session().resolve("last").stand_ins] == ["tune"]
    cell(WHOLE.replace("settings = tune(births", "settings = pre(bucket='x'); settings = tune(births"))
    assert "comp-tune" in text_of("late")
    cell(
        WHOLE.replace("settings.output", "{'factor': 1}").replace(
            '    settings = tune(births=made.outputs["births"])\n', ""
        )
    )
    with pytest.raises(ArgumentError, match="The pipeline has no step 'tune'"):
        text_of("late")


def test_it_is_exported_as_python_that_is_imported(cell: Cell, registry, repository, monkeypatch, tmp_path) -> None:
    from tests.images.bases import push_description

    cell("%kfp_run whole bucket=b --wait")
    cell("%kfp_pipeline late --part-of whole --from train --reuse last --give births")
    made = session()
    base = push_description(registry, f"{repository}-base")
    for step in made.definitions.steps.values():
        step.component = replace(step.component, base_image=base)
    target = tmp_path / "repo"
    exported = made.images.exported(BuildOptions(registry=f"{registry.host}/{repository}"))
    exported.write(target)
    assert (
        "pipeline late(births: str, scale: float = 1.0, tune: dict = {'factor': 2.0}"
        in (target / "README.md").read_text()
    )
    command = [sys.executable, "-m", "pipelines.late", str(tmp_path / "out.yaml")]
    subprocess.run(command, cwd=target, check=True, capture_output=True)
    compiled, notebook = (
        irs.parse(Path(one).read_text()) for one in (tmp_path / "out.yaml", target / "pipelines/late.yaml")
    )
    assert f"image: {registry.host}/{repository}/train:c-" in compiled.text
    for key in ("root", "pipelineInfo"):
        assert compiled.spec[key] == notebook.spec[key]
    assert exported.write(target).written == []


def test_a_server_runs_a_part_with_what_it_can_reach(cell: Cell, tmp_path: Path) -> None:
    server = KfpServer()
    try:
        cell("%kfp_pipeline late --part-of whole --from train")
        cell(f"%kfp_connect {server.url}")
        run = cell("%kfp_run late births=gs://wares/births.csv tune={'factor':3} --wait").run
        assert run.state is State.SUCCEEDED
        assert run.parameters["births"] == "gs://wares/births.csv"
        cell("%kfp_upload late")
        with pytest.raises(
            ArgumentError, match="The Dataset 'births' is on this machine, and the pipeline 'late' runs"
        ):
            cell("%kfp_run late births=/here/births.csv tune={'factor':3}")
        cell("%kfp_connect local")
        cell("%kfp_run whole bucket=b --wait")
        cell("%kfp_pipeline late --part-of whole --from train --reuse last")
        cell(f"%kfp_connect {server.url}")
        watch = f"%kfp_cd watch {tmp_path} --run late"
        cloud = "%kfp_cd create --on gs://wares/in/ --run late"
        for wrong in ("%kfp_run late", "%kfp_upload late", "%kfp_schedule create late --every 1h", watch, cloud):
            with pytest.raises(ArgumentError, match="Copy it to a bucket and say where: births=gs://…"):
                cell(wrong)
        assert len(server.pipelines) == 1
    finally:
        server.close()


CUTS = """%%kfp_component
def note(text: str):
    print(text)
%%%%
%%kfp_component
def joined(many: Input[List[Dataset]], counts: list) -> float:
    return float(sum(counts))
%%%%
%%kfp_component
def bye(status: dsl.PipelineTaskFinalStatus):
    print(status.state)
%%%%
%%kfp_pipeline
def cuts(bucket: str):
    with dsl.ExitHandler(bye()):
        note(text=bucket).set_display_name("inside")
    known = dsl.importer(artifact_uri=bucket, artifact_class=dsl.Dataset)
    with dsl.ParallelFor([1, 2]) as one:
        made = pre(bucket=bucket, rows=one)
    both = joined(many=dsl.Collected(made.outputs["births"]), counts=dsl.Collected(made.outputs["Output"]))
    with dsl.If(both.output > 1):
        note(text="many")
    train(births=known.output, settings={"factor": 1}, scale=both.output).after(both)"""


def test_cuts_through_loops_are_refused_with_the_way_out(cell: Cell) -> None:
    for text in CUTS.split("\n%%%%\n"):
        cell(text)
    wrong = {
        "pre": "The step 'pre' is inside the loop 'for-loop-3', which a part has whole or not at all.\n"
        "Start with all of it: --from for-loop-3",
        "joined": "The step 'joined' takes a list of artifacts of 'for-loop-3', which cannot be given.\n"
        "Start earlier: --from for-loop-3",
        "bye": "The step 'bye' is told how 'exit-handler-1' ended, which the part would leave out.\n"
        "Start with 'exit-handler-1', or with another step.",
    }
    for step, words in wrong.items():
        with pytest.raises(ArgumentError) as caught:
            cell(f"%kfp_pipeline late --part-of cuts --from {step}")
        assert words in str(caught.value)
    assert "late" not in session().definitions.pipelines
    cell("%kfp_pipeline late --part-of cuts --from train --from condition-4")
    late = session().resolve("late")
    assert [(one.name, one.type) for one in late.stand_ins] == [("joined", "float")]
    # What only imports is no work that somebody could have done before.
    assert set(irs.parse(late.ir).spec["root"]["dag"]["tasks"]) == {"importer", "train", "condition-4"}
    assert [port.name for port in late.parameters] == ["bucket", "joined"]


def test_a_part_starts_inside_an_exit_handler_a_condition_and_a_nested_pipeline(cell: Cell) -> None:
    cell(CUTS.split("\n%%%%\n")[2])
    cell("""%%kfp_pipeline
def inner(births: Input[Dataset], scale: float = 2.0) -> str:
    settings = tune(births=births)
    return train(births=births, settings=settings.output, scale=scale).output""")
    cell("""%%kfp_pipeline
def guarded(bucket: str):
    with dsl.ExitHandler(bye()):
        made = pre(bucket=bucket)
        with dsl.If(made.outputs["Output"] == 3):
            inner(births=made.outputs["births"])""")
    whole = cell("%kfp_run guarded bucket=b --wait").run
    shown = cell("%kfp_pipeline late --part-of guarded --from train")
    assert "  births=…: the URI of a Dataset, as pre writes it" in repr(shown).splitlines()
    assert sorted(port.name for port in session().resolve("late").parameters) == ["births", "pre", "tune"]
    Path("more.txt").write_text("a b c d e")
    last = "exit-handler-1/condition-2/inner/train"
    run = cell("%kfp_run late births=more.txt tune={'factor':3} pre=3 --wait").run
    assert run.task(last).outputs == {"Output": "30 of unknown"}
    assert run.task("bye").state is State.SUCCEEDED
    other = cell("%kfp_run late births=more.txt tune={'factor':3} pre=4 --wait").run
    assert other.task("exit-handler-1/condition-2").state is State.SKIPPED  # conditions are looked at anew
    cell(f"%kfp_pipeline late --part-of guarded --from train --reuse {whole.id}")
    again = cell("%kfp_run late --wait").run
    assert again.task(last).outputs == whole.task(last).outputs == {"Output": "12 of 3"}
    assert not {"exit-handler-1/pre", "exit-handler-1/condition-2/inner/tune"} & {task.id for task in again.tasks}


@pytest.mark.parametrize(
    ("line", "kind", "words"),
    [
        ("late --part-of whole --from trian", ArgumentError, "no step 'trian'.\nDid you mean 'train'?"),
        ("late --part-of whole --from pre", ArgumentError, "Nothing comes before 'pre': the part would be the whole"),
        ("late --part-of wohle --from train", NotFoundError, "no pipeline 'wohle' to take a part of.\nDid you mean"),
        ("whole --part-of whole --from train", DefinitionError, "The pipeline 'whole' cannot be a part of itself"),
        ("2nd --part-of whole --from train", DefinitionError, "'2nd' is no name for a pipeline"),
        (
            "late --part-of whole",
            DefinitionError,
            "A pipeline without a cell is a part of another.\n%kfp_pipeline NAME",
        ),
        ("late --part-of whole --from train --give births", DefinitionError, "Leave --give out, or add --reuse RUN"),
        ("late --part-of whole --from train --reuse last", NotFoundError, "'whole' has not run yet.\nRun it first"),
        ("late --part-of whole --from train --entry x", DefinitionError, "a part has none"),
    ],
)
def test_what_cannot_be_a_part_says_why(cell: Cell, line: str, kind: type[KfpMagicsError], words: str) -> None:
    with pytest.raises(kind) as caught:
        cell(f"%kfp_pipeline {line}")
    assert words in str(caught.value)
    assert "late" not in session().definitions.pipelines


def test_a_cell_is_no_part(cell: Cell) -> None:
    with pytest.raises(DefinitionError, match="one line, with one % in front"):
        cell("%%kfp_pipeline late --part-of whole --from train\ndef late():\n    pass")


def test_what_is_missing_or_of_another_type_starts_nothing(cell: Cell, tmp_path: Path) -> None:
    cell("%kfp_pipeline late --part-of whole --from train")
    with pytest.raises(ArgumentError, match="The pipeline 'late' also needs tune"):
        cell(f"%kfp_run late births={__file__}")
    with pytest.raises(ArgumentError, match="'tune' wants dict"):
        cell(f"%kfp_run late births={__file__} tune=3")
    with pytest.raises(ArgumentError, match=r"There is no Dataset '.*/nowhere.csv'.\nSay where 'births' is"):
        cell("%kfp_run late births=nowhere.csv tune={}")
    assert session().runs() == []


def test_a_run_that_cannot_give_it_is_refused(cell: Cell) -> None:
    cell(TUNE.replace("return {", "raise ValueError('no'); return {"))
    with pytest.raises(RunFailedError):
        cell("%kfp_run whole bucket=b --wait")
    with pytest.raises(ArgumentError) as caught:
        cell("%kfp_pipeline late --part-of whole --from train --reuse last")
    assert "has no 'tune' of 'tune': it failed in the earlier run." in str(caught.value)
    assert "Take another run, or give it yourself: --give tune" in str(caught.value)
    cell("%kfp_pipeline late --part-of whole --from train --reuse last --give tune")  # births it has
    with pytest.raises(ArgumentError, match=r"takes no 'birth' from the steps before it.\nDid you mean 'births'"):
        cell("%kfp_pipeline late --part-of whole --from train --reuse last --give birth")


def test_a_run_of_other_types_does_not_fit(cell: Cell) -> None:
    run = cell("%kfp_run whole bucket=b --wait").run
    cell(TUNE.replace('-> dict:\n    return {"factor": 2}', "-> list:\n    return [2]"))
    cell(
        WHOLE.replace("settings=settings.output", "settings={'factor': len('a')}").replace(
            "scale)", "scale).after(settings)"
        )
    )
    cell("%kfp_pipeline late --part-of whole --from train --reuse last")  # nobody takes the list
    ir = irs.parse(text_of("whole"))
    models = [
        replace(task, artifacts=tuple(replace(one, type="system.Model") for one in task.artifacts))
        for task in run.tasks
    ]
    other = replace(run, tasks=tuple(models))
    with pytest.raises(ArgumentError, match=r"its 'births' is a system\.Model, not a system\.Dataset"):
        parts.results(ir, start=["train"], run=other, given=())
    cell(TRAIN.replace("settings: dict", "settings: list"))
    cell(WHOLE)
    with pytest.raises(ArgumentError, match="does not fit: The parameter 'tune' wants list"):
        cell(f"%kfp_pipeline late --part-of whole --from train --reuse {run.id}")


def test_names_that_meet_are_told_apart(cell: Cell) -> None:
    cell("""%%kfp_component
def either(left: str, right: str, births: str) -> str:
    return left + right + births""")
    for name in ("one", "two"):
        cell(f"""%%kfp_component
def {name}(word: str) -> NamedTuple("Words", [("births", str), ("side", str)]):
    return (word, "{name}")""")
    cell("""%%kfp_pipeline
def meet(births: str = "mine"):
    a, b = one(word="x"), two(word="y")
    either(left=a.outputs["side"], right=b.outputs["births"], births=births)""")
    cell("%kfp_pipeline late --part-of meet --from either")
    assert sorted(port.name for port in session().resolve("late").parameters) == ["births", "side", "two_births"]


def test_the_command_line_knows_parts_of_a_notebook(cell: Cell, tmp_path: Path) -> None:
    lines = ("%load_ext kfp_magics", PRE, TUNE, TRAIN, WHOLE, "%kfp_pipeline late --part-of whole --from train")
    cells = [nbformat.v4.new_code_cell(one) for one in lines]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "house.ipynb")
    (tmp_path / "more.txt").write_text("a b c")
    given = ["--pipeline", "late", "births=more.txt", 'tune={"factor": 2}']
    command = [sys.executable, "-m", "kfp_magics.cli", "run", "house.ipynb", *given]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert session().runs()[0].outputs == {"Output": "6 of unknown"}


def test_a_part_whose_run_is_on_another_machine_is_in_nobodys_way(cell: Cell, tmp_path: Path) -> None:
    part = "%kfp_pipeline late --part-of whole --from train --reuse last"
    again = ("del tune", TUNE.replace("2}", "4}"))  # as a notebook that teaches changes a step
    cells = [nbformat.v4.new_code_cell(one) for one in ("%load_ext kfp_magics", PRE, TUNE, TRAIN, WHOLE, *again, part)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "house.ipynb")

    def shell(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "kfp_magics.cli", *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    for words in (("run", "house.ipynb", "--pipeline", "late"), ("export", "house.ipynb", "repo")):
        done = shell(*words)
        assert (done.returncode, "The pipeline 'whole' has not run yet." in done.stderr) == (2, True), done.stderr
    assert not (tmp_path / "repo").exists()
    run = shell("run", "house.ipynb", "--pipeline", "whole", "bucket=b")
    assert run.returncode == 0, run.stderr
    assert session().runs()[0].outputs == {"Output": "12 of 3"}
    assert shell("run", "house.ipynb", "--pipeline", "late", "--dry-run").returncode == 0  # now there is one
