"""A folder that is watched, as a person does it: in a notebook, in a shell, with a watcher that dies."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import nbformat
import pytest

from kfp_magics.delivery.newdata.ledger import Ledger
from kfp_magics.errors import ArgumentError, DefinitionError, DeliveryError, NamesError, NotFoundError
from tests.delivery.watched import Place
from tests.ipython import ipython, seen
from tests.test_cli import kfp_magics

STEP = "%%kfp_component note --lang bash --in data:str --in epochs:int\necho $data"
PIPELINE = "%%kfp_pipeline\ndef train(data: str, epochs: int = 1):\n    note(data=data, epochs=epochs)"


@pytest.fixture
def cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    monkeypatch.chdir(tmp_path)
    with ipython() as shell:
        for text in (STEP, PIPELINE):
            seen(shell, text)
        yield partial(seen, shell)


def test_a_new_file_starts_a_run_and_a_killed_watcher_goes_on_where_it_stopped(
    cell: Callable[[str], str], place: Place
) -> None:
    place.drop("old.csv")
    said = cell("%kfp_cd watch incoming --run train data=$uri epochs=3")
    assert "lie there already: 1; they start none, unless you say --existing" in said
    first = place.drop("monday.csv")
    [run] = place.runs(1)
    assert run.parameters == {"data": str(first), "epochs": 3}
    assert (run.name, run.started_by) == ("train monday.csv", f"trigger: {first}")
    assert "train monday.csv" in cell("%kfp_runs")
    assert f"started by {first}" in cell("%kfp_runs last")
    assert "watching" in cell("%kfp_cd list")
    place.kill()
    assert "stopped" in cell("%kfp_cd list")
    place.drop("tuesday.csv")
    place.drop("deep/down/wednesday.csv")
    cell("%kfp_cd watch incoming")
    place.drop("thursday.csv")
    names = [run.name for run in place.runs(4)]
    assert names == ["train monday.csv", "train tuesday.csv", "train wednesday.csv", "train thursday.csv"]
    place.until(lambda: "4 started" in cell("%kfp_cd list"))
    assert "thursday.csv is new" in cell("%kfp_cd logs incoming-train")
    assert "not watched any more" in cell("%kfp_cd delete incoming-train")
    assert "Nothing is watched" in cell("%kfp_cd list")
    place.drop("friday.csv")
    time.sleep(0.5)
    place.runs(4)


def test_what_a_new_file_has_reaches_the_run_whatever_the_notebook_calls_so(
    cell: Callable[[str], str], place: Place
) -> None:
    cell("uri, epochs, where = 'wrong', 7, 'incoming'")
    cell("%kfp_cd watch $where --run train data=$uri$$x epochs=$epochs")
    path = place.drop("a b$uri.csv")
    [run] = place.runs(1)
    assert run.parameters == {"data": f"{path}$x", "epochs": 7}


def test_a_cell_decides_what_a_run_is_given(cell: Callable[[str], str], place: Place) -> None:
    cell(
        "%%kfp_cd watch incoming --run train epochs=2\nimport os\n\ndef choose(event):\n"
        "    if event.name.startswith('no'):\n        return None\n"
        "    return {'data': os.path.basename(event.uri), 'epochs': 1 // (event.size - 1)}\n"
    )
    place.drop("no.csv")
    place.drop("bad.csv", "1")
    place.drop("yes.csv", "12")
    [run] = place.runs(1)
    assert run.parameters == {"data": "yes.csv", "epochs": 1}
    place.until(lambda: "1 started, 1 declined, 1 failed" in cell("%kfp_cd list"))
    assert "bad.csv starts no run: the function failed (line 6): ZeroDivisionError" in place.log()
    cell("%kfp_cd watch incoming")
    place.until(lambda: place.log().count("bad.csv starts no run") == 2)
    # What failed is tried again when the rule has been mended.
    cell("%%kfp_cd watch incoming --run train\ndef choose(event):\n    return {'data': event.uri}")
    assert [run.name for run in place.runs(2)] == ["train yes.csv", "train bad.csv"]


@pytest.mark.parametrize(
    ("line", "error", "says"),
    [
        ("watch", NotFoundError, "Nothing is watched yet"),
        ("watch incoming", NotFoundError, "'incoming' is not watched yet"),
        ("watch incoming data=$uri", DeliveryError, "not said what a new file starts"),
        ("watch --run train", DeliveryError, "not said which folder to watch"),
        ("watch nowhere --run train data=$uri", DeliveryError, "There is no folder"),
        ("watch incoming --run trian data=$uri", NotFoundError, "Did you mean 'train'"),
        ("watch incoming --run train", ArgumentError, "also needs data"),
        ("watch incoming --run train data=$url", DeliveryError, "a new file has no \\$url"),
        ("watch incoming --run train date=$uri", ArgumentError, "Did you mean 'data'"),
        ("watch incoming --run train data=$uri epochs=many", ArgumentError, "wants int"),
        ("watch incoming --run train data=$uri epochs=$name", DeliveryError, "which is no JSON"),
        ("watch incoming --run train data=$uri --name 'Not Good'", DeliveryError, "cannot be called"),
        ("watch incoming --run train data=$uri --gather -3", DeliveryError, "cannot be gathered"),
        ("wach incoming", DefinitionError, "invalid choice"),
        ("logs", DeliveryError, "not said which watch"),
        ("logs nothing", NotFoundError, "Nothing is watched under the name"),
        ("delete nothing", NotFoundError, "Nothing is watched under the name"),
    ],
)
def test_mistakes_are_told_and_nothing_is_watched(
    cell: Callable[[str], str], place: Place, line: str, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        cell(f"%kfp_cd {line}")
    assert Ledger(place.store).watches() == []


def test_files_that_lie_there_start_runs_when_it_is_said(cell: Callable[[str], str], place: Place) -> None:
    place.drop("one.csv")
    assert "they start none" in cell("%kfp_cd watch incoming --run train data=$uri")
    place.drop("two.csv")
    place.runs(1)
    cell("%kfp_cd watch incoming --run train data=$uri --existing")
    assert [run.name for run in place.runs(2)] == ["train two.csv", "train one.csv"]
    cell("%kfp_cd watch incoming --run train data=$uri --existing")
    place.drop("three.csv")
    place.runs(3)


def test_what_the_pipeline_writes_itself_starts_nothing(cell: Callable[[str], str], place: Place) -> None:
    """A pipeline that is told to write below the folder that is watched."""
    cell(
        "%%kfp_component write --lang bash --in data:str --in out:str\ncp $data $out/copy.csv\ncp $data ${data%csv}bin"
    )
    cell("%%kfp_pipeline\ndef copying(data: str, out: str):\n    write(data=data, out=out)")
    (place.folder / "out").mkdir()
    cell(f"%kfp_cd watch incoming --run copying data=$uri out={place.folder}/out --ignore *.bin")
    place.drop("one.csv")
    [run] = place.runs(1)
    place.until(lambda: place.store.get(run.id).state.final)
    assert (place.folder / "out/copy.csv").exists()
    assert (place.folder / "one.bin").exists()
    place.drop("two.csv")
    place.until(lambda: Ledger(place.store).counts("incoming-copying") == {"started": 2})
    assert [run.name for run in place.runs(2)] == ["copying one.csv", "copying two.csv"]


def test_two_pipelines_watch_one_folder_and_two_folders_share_no_name(
    cell: Callable[[str], str], place: Place, tmp_path: Path
) -> None:
    cell("%kfp_cd watch incoming --run train data=$uri")
    cell("%kfp_cd watch 'incoming/*.csv' --run note data=$name epochs=4")
    place.drop("a.csv")
    place.drop("b.txt")
    assert sorted(run.name for run in place.runs(3)) == ["note a.csv", "train a.csv", "train b.txt"]
    (tmp_path / "else/incoming").mkdir(parents=True)
    with pytest.raises(DeliveryError, match=r"watches .* already"):
        cell("%kfp_cd watch else/incoming --run train data=$uri")
    assert len(Ledger(place.store).watches()) == 2


def test_a_burst_is_gathered_into_one_run(cell: Callable[[str], str], place: Place) -> None:
    cell("%%kfp_component many --lang bash --in files:list\necho $files")
    cell("%kfp_cd watch incoming --run many files=$uris --gather 3")
    paths = [str(place.drop(f"{number}.csv")) for number in range(3)]
    [run] = place.runs(1)
    assert run.parameters == {"files": paths}
    assert (run.name, run.started_by) == ("many 2.csv and 2 more", f"trigger: {paths[-1]} and 2 more")


def test_a_function_that_needs_the_notebook_is_refused(cell: Callable[[str], str], place: Place) -> None:
    cell("import os")
    with pytest.raises(NamesError, match="'os' \\(line 2\\)"):
        cell("%%kfp_cd watch incoming --run train\ndef f(event):\n    return {'data': os.path.basename(event.uri)}")
    assert Ledger(place.store).watches() == []


def test_the_shell_has_the_same_verbs(place: Place, tmp_path: Path) -> None:
    notebook = tmp_path / "n.ipynb"
    cells = [nbformat.v4.new_code_cell(one) for one in (STEP, PIPELINE)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), notebook)
    function = tmp_path / "choose.py"
    function.write_text("def choose(event):\n    return {'epochs': event.size}\n")
    watch = ("cd", "watch", place.folder, "--run", notebook, "data=$uri", "--function", function, "--name", "mine")
    assert "kfp-magics cd logs mine" in kfp_magics(*watch)
    path = place.drop("a.csv", "12345")
    [run] = place.runs(1)
    assert run.parameters == {"data": str(path), "epochs": 5}
    place.kill("mine")
    assert "kfp-magics cd watch goes on" in kfp_magics("cd", "list")
    place.drop("b.csv")
    kfp_magics("cd", "watch")
    place.runs(2)
    assert "b.csv is new" in kfp_magics("cd", "logs", "mine")
    assert "Give a Python file" in kfp_magics(*watch[:-3], tmp_path / "none.py", code=2)
    assert "kfp-magics cd watch" in kfp_magics("cd", "watch", place.folder / "else", code=2)
    kfp_magics("cd", "delete", "mine")
    assert "Nothing is watched" in kfp_magics("cd", "list")
