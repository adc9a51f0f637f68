"""``%kfp_cd create`` and ``%kfp_cd test`` as a person types them, on a machine that knows no cloud."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell

from kfp_magics.backends.connections import Connections, parse
from kfp_magics.delivery.cloud.trial import environment
from kfp_magics.errors import ArgumentError, DeliveryError
from kfp_magics.magics.shell import current_session
from kfp_magics.model import State
from kfp_magics.session import Session
from kfp_magics.settings import Settings
from tests.gateway.servers import TOKEN, Gateway
from tests.ipython import execute, ipython
from tests.local.conftest import Engine

STEP = "%%kfp_component\ndef count(data: str) -> int:\n    return len(open(data).read())"
PIPELINE = "%%kfp_pipeline --name weigh\ndef weigh(data: str):\n    count(data=data)"
CELL = """%%kfp_cd create --on gs://wares/in/* --run weigh --name cell
def parameters(event):
    return {'data': event.uri} if event.size > 3 else None
"""


@pytest.fixture
def cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    monkeypatch.chdir(tmp_path)
    with ipython() as shell:
        for text in (STEP, PIPELINE):
            execute(shell, text)
        with Engine(Settings(grace=0.5)):
            yield lambda text: execute(shell, text)[1]


def session() -> Session:
    return current_session(InteractiveShell.instance())


def test_a_function_is_tried_on_this_machine(cell: Callable[[str], str], tmp_path: Path) -> None:
    (tmp_path / "train-1.csv").write_text("hello")
    (tmp_path / "x").write_text("1")
    shown = cell("%kfp_cd create --on gs://wares/in/train* --run weigh data=$uri")
    assert shown.startswith("Wrote: functions/in-weigh\n")
    assert "Runs go to this machine, where a function in the cloud cannot start them." in shown
    assert cell("%kfp_cd create --on gs://wares/in/train* --run weigh data=$uri").startswith("Unchanged: ")
    shown = cell("%kfp_cd test train-1.csv")
    assert "The function answered 200." in shown
    assert "Parameters: data=gs://wares/in/train-1.csv" in shown
    assert "Here the run reads train-1.csv in the object's place." in shown
    run = session().wait(session().find("last"))
    assert run.state is State.SUCCEEDED
    assert run.started_by == "trigger: gs://wares/in/train-1.csv"
    assert f"%kfp_runs {run.id}" in shown
    assert "Declined: gs://wares/in/x is not what the rule waits for." in cell("%kfp_cd test x")
    cell(CELL)
    assert "the function gives no parameters for gs://wares/in/x" in cell("%kfp_cd test x --name cell")
    assert len(session().runs()) == 1


def test_a_function_is_tried_with_the_server_that_runs_go_to(
    cell: Callable[[str], str], tmp_path: Path, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_TOKEN", TOKEN)
    Connections(Settings().home_path).remember(parse(gateway.url, {"token_env": "MY_TOKEN"}))
    (tmp_path / "a").write_text("hello")
    shown = cell("%kfp_cd create --on gs://wares/in/* --run weigh data=$uri --backend kfp")
    assert "127.0.0.1" in shown  # which a function in the cloud cannot reach
    shown = cell("%kfp_cd test a --connected")
    assert f"{gateway.url}/#/runs/details/local-" in shown
    theirs = Session(Settings(home=str(gateway.home)))
    assert [run.started_by for run in theirs.store.list()] == ["trigger: gs://wares/in/a"]
    theirs.store.close()


def test_what_cannot_be_tried_is_said(cell: Callable[[str], str], tmp_path: Path) -> None:
    with pytest.raises(DeliveryError, match="There is no function in 'functions/NAME'"):
        cell("%kfp_cd test x")
    cell("%kfp_cd create --on gs://wares/in/* --run weigh data=$uri")
    cell(CELL)
    with pytest.raises(DeliveryError, match=r"several functions in 'functions': cell, in-weigh\."):
        cell("%kfp_cd test x")
    with pytest.raises(DeliveryError, match="There is no file 'x'"):
        cell("%kfp_cd test x --name cell")
    (tmp_path / "x").write_text("12345")
    (tmp_path / "functions/cell/newdata/function.py").write_text("import nothing_of_the_kind\n")
    with pytest.raises(DeliveryError, match="does not answer on this machine") as error:
        cell("%kfp_cd test x --name cell")
    assert "nothing_of_the_kind" in error.value.hint
    with pytest.raises(ArgumentError, match="also needs data"):
        cell("%kfp_cd create --on gs://wares/in/* --run weigh")
    with pytest.raises(DeliveryError, match="not said which new objects start what"):
        cell("%kfp_cd create --run weigh")


def test_requirements_that_do_not_exist(tmp_path: Path) -> None:
    with pytest.raises(DeliveryError, match="cannot be installed"):
        environment(Settings(offline=True), "no-such-package-of-anybody==1.0")
