"""Items of loops reach the steps that speak of them, however deep."""

from pathlib import Path

import yaml

from kfp_magics import ir as irs
from kfp_magics.cells.options import CellOptions
from kfp_magics.compiler_channels import hand_down
from kfp_magics.model import State
from kfp_magics.session import Session
from kfp_magics.settings import Settings

NOTE = """def note(path: str, text: str) -> str:
    with open(path, "a") as file:
        file.write(text + "\\n")
    return text
"""
DEEP = """def deep(path: str, go: bool = True):
    with dsl.If(go == True):
        with dsl.ParallelFor(["yes", "no"], parallelism=1) as word:
            said = note(path=path, text=word)
            with dsl.If(said.output == "no"):
                note(path=path, text=f"<{word}>")
            with dsl.Else():
                with dsl.ParallelFor([{"n": 1}, {"n": 2}], parallelism=1) as one:
                    note(path=path, text=f"({word} {one.n})")
                    with dsl.If(one.n == 2):
                        note(path=path, text=f"[{one.n}]")
"""
FLAT = """def flat(path: str):
    with dsl.ParallelFor(["a", "b"]) as word:
        note(path=path, text=word)
"""


def test_an_item_that_only_an_f_string_speaks_of(settings: Settings, tmp_path: Path) -> None:
    session = Session(settings=settings, namespace={})
    session.component(NOTE, CellOptions())
    session.pipeline(DEEP)
    run = session.run("deep", {"path": str(tmp_path / "said")})
    run = session.watcher.wait(run.id)
    assert run.state is State.SUCCEEDED, run.error
    said = (tmp_path / "said").read_text().splitlines()
    assert sorted(said) == sorted(["yes", "(yes 1)", "(yes 2)", "[2]", "no", "<no>"])
    session.store.close()


def test_every_item_that_is_asked_for_is_declared_and_given(settings: Settings) -> None:
    session = Session(settings=settings, namespace={})
    session.component(NOTE, CellOptions())
    text = session.pipeline(DEEP).pipeline.ir
    ir = irs.parse(text)
    for component in ir.spec["components"].values():
        declared = component.get("inputDefinitions", {}).get("parameters", {})
        for task in component.get("dag", {}).get("tasks", {}).values():
            for source in task.get("inputs", {}).get("parameters", {}).values():
                assert source.get("componentInputParameter", "none") in {*declared, "none"}
    assert hand_down(text) == text
    assert text.startswith("# PIPELINE DEFINITION\n# Name: deep\n")


def test_what_nothing_is_missing_from_stays_as_kfp_wrote_it(settings: Settings) -> None:
    session = Session(settings=settings, namespace={})
    session.component(NOTE, CellOptions())
    text = session.pipeline(FLAT).pipeline.ir
    assert hand_down(text) is text
    assert len(list(yaml.safe_load_all(text))) == 1
