"""What a person types in a notebook, in a real IPython."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell

from kfp_magics.errors import (
    ArgumentError,
    DefinitionError,
    KfpMagicsError,
    NamesError,
    NotFoundError,
    RunFailedError,
    StoreError,
)
from kfp_magics.model import State
from kfp_magics.session import Session
from tests.interrupting import interrupted
from tests.ipython import execute, ipython

Run = Callable[..., Any]

MAKE = """%%kfp_component
BASE = 10

def helper(x):
    return x + BASE

def make(n: int, data: Output[Dataset]) -> int:
    '''Makes numbers.'''
    with open(data.path, "w") as file:
        file.write("\\n".join(map(str, range(n))))
    print("made", n)
    return helper(n)
"""
TOTAL = """%%kfp_component total --in data:Dataset --in scale:int=2 --out total:int --out text:Markdown
lines = open(data.path).read().split()
total = scale * sum(map(int, lines))
if total > 1000:
    raise ValueError("too much: ü")
with open(text.path, "w") as file:
    file.write(f\"\"\"# Total
    {total}\"\"\")
"""
SHOW = """%%kfp_component show --lang bash --in total:int --in name:str=x --out greeting:str
echo "total is $total, $1, $2"
echo -n "hi $name" > $greeting
"""
CALC = """%%kfp_pipeline
def calc(n: int = 5) -> int:
    made = make(n=n)
    summed = total(data=made.outputs["data"])
    show(total=summed.outputs["total"], name="Jürgen; rm -rf $HOME \\"'`id`")
    return summed.outputs["total"]
"""


def read(path: Any) -> str:
    return Path(path).read_text(encoding="utf-8")


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    with ipython() as shell:
        session: Session = shell._kfp_magics_session
        session.settings.poll_interval = 0.05

        def run(text: str, cell_id: str | None = None) -> Any:
            result, printed = execute(shell, text, cell_id)
            return result if result is not None else printed

        run.session = session  # type: ignore[attr-defined]
        run.names = shell.user_ns  # type: ignore[attr-defined]
        yield run
        for one in session.store.unfinished():
            session.backend("local").cancel(one)
            session.watcher.wait(one.id)
        session.store.close()


@pytest.fixture
def calc(cell: Run) -> Run:
    for text in (MAKE, TOTAL, SHOW, CALC):
        cell(text)
    return cell


def test_from_cells_to_a_finished_run(calc: Run) -> None:
    live = calc("%kfp_run calc n=4 --wait")
    assert live.run.state is State.SUCCEEDED, live.run.error
    assert live.outputs == {"Output": 12}
    tasks = {task.id: task for task in live.run.tasks}
    assert tasks["make"].outputs == {"Output": 14}
    assert tasks["show"].outputs == {"greeting": "hi Jürgen; rm -rf $HOME \"'`id`"}
    assert live.artifact("total", "text")._repr_markdown_() == "# Total\n    12"
    with pytest.raises(NotFoundError, match="no artifact 'txet'"):
        live.artifact("total", "txet")
    assert "✓ show" in repr(live)
    assert "made 4" in calc("%kfp_logs last make")
    assert "total is 12, 12, Jürgen" in calc("%kfp_logs")
    assert re.search(r"make +data +Dataset", repr(calc("%kfp_artifacts")))
    assert live.run.id in repr(calc("%kfp_runs"))
    assert "No runs" in repr(calc("%kfp_runs --state failed"))


def test_a_failed_run_says_where_and_what_next(calc: Run) -> None:
    with pytest.raises(RunFailedError) as caught:
        calc("%kfp_run calc n=100 --wait")
    text = str(caught.value)
    assert "Step 'total'" in text
    assert "line 5 of its cell" in text
    assert "too much: ü" in text
    assert "%kfp_retry" in text
    assert caught.value._render_traceback_() == text.splitlines()
    failed = caught.value.run.tasks[1]
    assert (failed.id, failed.error.line, failed.error.text) == ("total", 5, 'raise ValueError("too much: ü")')
    with pytest.raises(RunFailedError):
        calc("%kfp_retry --wait")


def test_what_differs_between_two_runs(calc: Run) -> None:
    calc("%kfp_run calc n=4 --wait")
    calc(MAKE.replace("BASE = 10", "BASE = 11"))
    calc("%kfp_run calc n=5 --wait")
    text = repr(calc("%kfp_diff"))
    assert re.search(r"n +4 +→ +5 +\+1", text)
    assert "-BASE = 10" in text
    assert "+BASE = 11" in text
    clone = calc("%kfp_clone -2 --wait n=6")
    assert clone.run.parameters == {"n": 6}
    named = calc("%kfp_clone n=7 --wait --experiment e --name again")  # of the newest
    assert (named.run.parameters, named.run.experiment, named.run.name) == ({"n": 7}, "e", "again")
    with pytest.raises(ArgumentError, match="the images of the run that it repeats"):
        calc("%kfp_clone --build")
    assert clone.run.task("make").outputs == {"Output": 16}


def test_none_is_no_value_and_in_quotes_a_word(calc: Run) -> None:
    calc(
        "%%kfp_component\nfrom typing import Optional\ndef told(o: Optional[str] = None) -> str:\n    return repr(o)\n"
    )
    calc("%%kfp_pipeline\nfrom typing import Optional\ndef tell(o: Optional[str] = None):\n    told(o=o)\n")
    none = calc("%kfp_run tell o=None --wait").run
    word = calc("%kfp_run tell \"o='None'\" --wait").run
    again = calc(f"%kfp_clone {word.id} o=None --wait").run
    assert [one.parameters for one in (none, word, again)] == [{}, {"o": "None"}, {}]
    assert [one.task("told").outputs["Output"] for one in (none, word, again)] == ["None", "'None'", "None"]
    assert calc("%kfp_try told o=None").trial.run.task("told").outputs["Output"] == "None"


def test_the_cell_comes_back_at_once_and_the_run_goes_on(calc: Run) -> None:
    calc("%%kfp_component\nimport time\ndef slow() -> int:\n    time.sleep(600)\n    return 1\n")
    live = calc("%kfp_run slow")
    assert not live.run.state.final
    live = calc("%kfp_cancel slow")  # the newest of that pipeline
    ended = calc.session.watcher.wait(live.run.id)
    assert ended.state is State.CANCELLED


def test_one_step_alone_on_live_objects(calc: Run) -> None:
    pytest.importorskip("pandas")
    card = calc("%kfp_try make n=3")
    assert card.trial.run.kind == "try"
    assert calc.names["make_output"] == 13
    assert read(calc.names["data"]) == "0\n1\n2"
    calc("%kfp_try total data=data scale=5")
    assert calc.names["total_total"] == 15
    assert calc.names["total"] is calc.session.definitions.steps["total"]
    calc(
        "%%kfp_component\nimport pandas as pd\n"
        "def columns(table: Input[Dataset]) -> list:\n    return list(pd.read_csv(table.path).columns)\n"
    )
    calc("import pandas as pd\nframe = pd.DataFrame({'ä': [1], 'b': [2]})")
    calc("%kfp_try columns table=frame")
    assert calc.names["columns_output"] == ["ä", "b"]
    with pytest.raises(ArgumentError, match="also needs data") as caught:
        calc("%kfp_try total scale=2")
    assert caught.value.hint == "%kfp_try total scale=2 data=…"
    calc("import numpy as np\nmany = np.int64(4)")
    calc("%kfp_try make n=many")
    assert calc.names["make_output"] == 14
    with pytest.raises(RunFailedError, match="too much: ü"):
        calc("%kfp_try total data=data scale=100000")
    with pytest.raises(ArgumentError, match="neither"):
        calc("%kfp_try total data=nothing_of_that_name")
    with pytest.raises(NotFoundError, match="no step 'totl'"):
        calc("%kfp_try totl")


def test_replaying_a_step_of_a_run(calc: Run) -> None:
    calc("%kfp_run calc n=3 --wait")
    card = calc("%kfp_replay last total")
    assert "data, scale" in repr(card) or "scale, data" in repr(card)
    assert calc.names["scale"] == 2
    assert read(calc.names["data"]) == "0\n1\n2"
    assert "def total(data: Input[Dataset]" in card.replay.source


def test_the_plain_function(calc: Run, tmp_path: Any) -> None:
    class Data:
        path = str(tmp_path / "data")

    assert calc.names["make"].fn(3, Data) == 13


@pytest.mark.parametrize(
    ("text", "kind", "message", "hint"),
    [
        ("%%kfp_component\ndef f(x: int):\n    return y\n", NamesError, r"reads 'y' \(line 3\)", "input of the step"),
        ("%%kfp_component\ndef f(x: int):\n    !ls\n", DefinitionError, "Line 3 .* shell command: !ls", "subprocess"),
        ("%%kfp_component\ndef f(x: int\n", DefinitionError, r"does not parse.*line", ""),
        ("%%kfp_component\ndef f(x: np.ndarray):\n    pass\n", DefinitionError, "np.ndarray, which KFP", "Dataset"),
        ("%%kfp_component\ndef print(x: int):\n    pass\n", DefinitionError, "hide Python's own 'print'", "print_step"),
        ("%%kfp_component --cpuu 3\ndef f(x: int):\n    pass\n", DefinitionError, "--cpuu", "--cpu"),
        (
            "%%kfp_component --service-account me\ndef f():\n    pass\n",
            DefinitionError,
            "--service-account",
            "%kfp_connect",
        ),
        ("%%kfp_pipeline\ndef p():\n    mkae(n=1)\n", NamesError, r"'mkae' \(line 3\)", "make"),
        ("%%kfp_pipeline\ndef p():\n    make(m=1)\n", DefinitionError, r"does not compose \(line 3\)", ""),
        ("%%kfp_pipeline\ndef p(s: str):\n    make(n=s)\n", DefinitionError, "does not compose", ""),
        ("%kfp_run clac", NotFoundError, "no pipeline or step 'clac'", "calc"),
        ("%kfp_run calc m=3", ArgumentError, "no argument 'm'", "n"),
        ("%kfp_run calc n=soon", ArgumentError, "wants int", "n=3"),
        ("%kfp_run total", ArgumentError, "'data' of pipeline 'total' is an artifact", "%kfp_try STEP data=…"),
        ("%kfp_run total data=x", ArgumentError, "'data' of pipeline 'total' is an artifact", "%kfp_try STEP data=…"),
        ("%kfp_run calc --wiat", DefinitionError, "--wiat", "--wait"),
        ("%kfp_run", DefinitionError, "%kfp_run wants pipeline.", "%kfp_run PIPELINE"),
        ("%kfp_replay", DefinitionError, "wants run and step", "%kfp_replay RUN STEP"),
        ("%kfp_runs --state runing", DefinitionError, "invalid choice: 'runing'", "Did you mean 'running'"),
        ("%kfp_schedule crate calc", DefinitionError, "invalid choice: 'crate'", "'create'"),
        ("%kfp_run calc --backend vertx", KfpMagicsError, "no backend 'vertx'", "'vertex'"),
        ("%kfp_logs nosuchrun", NotFoundError, "no run 'nosuchrun'", ""),
        ("%kfp_compile calc no/such/folder.yaml", ArgumentError, "no folder", "mkdir"),
    ],
)
def test_mistakes_cost_two_lines(calc: Run, text: str, kind: type[Exception], message: str, hint: str) -> None:
    with pytest.raises(kind, match=message) as caught:
        calc(text)
    lines = caught.value._render_traceback_()
    assert 1 <= len(lines) <= 2
    assert hint in lines[-1]
    assert calc.session.store.list() == []


def test_a_step_of_another_cell_is_not_replaced(cell: Run) -> None:
    cell(MAKE, "cell-1")
    cell(MAKE, "cell-1")
    with pytest.raises(DefinitionError, match="already, from another cell"):
        cell(MAKE, "cell-2")
    cell("del make")
    cell(MAKE, "cell-2")


def test_a_pipeline_takes_the_steps_as_they_are_now(calc: Run) -> None:
    calc(MAKE.replace("BASE = 10", "BASE = 1000"))
    live = calc("%kfp_run calc --wait")
    assert live.run.task("make").outputs == {"Output": 1005}


def test_kfps_own_decorators_are_taken_as_they_are(cell: Run) -> None:
    made = cell(
        "%%kfp_component\nfrom kfp import dsl\n\n@dsl.component(base_image='python:3.11')\n"
        "def twice(x: int) -> int:\n    if x > 5:\n        raise ValueError(x)\n    return 2 * x\n"
    )
    assert made.names == ["twice"]
    assert "%kfp_run twice" in repr(made)
    with pytest.raises(NotFoundError, match="component of kfp's own"):
        cell("%kfp_try twice x=2")
    assert cell("%kfp_run twice x=2 --wait").run.tasks[0].outputs == {"Output": 4}
    with pytest.raises(RunFailedError, match="line 7") as caught:
        cell("%kfp_run twice x=9 --wait")
    assert "raise ValueError(x)" in str(caught.value)


def test_helpers_are_copied_in(cell: Run) -> None:
    cell("LIMIT = 3\ndef clip(x):\n    return min(x, LIMIT)\n")
    with pytest.raises(NamesError, match="'clip'") as caught:
        cell("%%kfp_component\ndef clipped(x: int) -> int:\n    return clip(x)\n")
    assert "--include clip" in str(caught.value)
    cell("%%kfp_component --include clip\ndef clipped(x: int) -> int:\n    return clip(x)\n")
    assert cell("%kfp_run clipped x=9 --wait").run.tasks[0].outputs == {"Output": 3}


def test_a_notebook_is_a_step(cell: Run, tmp_path: Any) -> None:
    cells = [
        nbformat.v4.new_code_cell("year = 1", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell("result = year + 1\nopen(page.path, 'w').write('<p>done</p>')"),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "report.ipynb")
    cell(f"%kfp_component report --notebook {tmp_path}/report.ipynb --in year:int --out result:int --out page:HTML")
    live = cell("%kfp_run report year=2010 --wait")
    [task] = live.run.tasks
    assert task.outputs == {"result": 2011}
    assert "iframe" in live.artifact("report", "page")._repr_html_()
    executed = nbformat.read(live.artifact("report", "executed_notebook").path, as_version=4)
    assert len(executed.cells) == 3


def test_compiled_to_a_file_and_run_from_it(calc: Run, tmp_path: Any) -> None:
    path = tmp_path / "calc.yaml"
    assert "Wrote" in repr(calc(f"%kfp_compile calc {path}"))
    live = calc(f"%kfp_run {path} n=2 --wait")
    assert live.outputs == {"Output": 2}


def test_help_names_every_option(cell: Run) -> None:
    for magic in ("kfp_component", "kfp_pipeline", "kfp_compile", "kfp_try", "kfp_run", "kfp_runs", "kfp_logs"):
        found = (cell.session and InteractiveShell.instance().find_magic(magic)) or None
        found = found or InteractiveShell.instance().find_cell_magic(magic)
        assert found.__doc__.strip().startswith("::")
        assert len(found.__doc__.splitlines()) > 5


def test_the_graph_is_drawn_at_once(calc: Run) -> None:
    view = calc(CALC)
    html = view._repr_html_()
    assert html.count("<label") == 3
    assert html.count("<path") == 2
    assert repr(view).splitlines()[0] == "pipeline calc"


SLOW = "%%kfp_component\nimport time\ndef slow() -> int:\n    print('begun', flush=True)\n    time.sleep(600)\n"


def waited_for(session: Session) -> bool:
    """Whether somebody blocks until a run that has begun ends."""
    begun = any(task.state is State.RUNNING for run in session.store.list() for task in session.find(run.id).tasks)
    return begun and any("Watcher.wait" in repr(one) for one in session.watcher._followed.values())


def test_an_interrupt_ends_the_waiting_and_says_that_the_run_goes_on(cell: Run) -> None:
    cell(SLOW)
    with (
        interrupted(lambda: waited_for(cell.session)),
        pytest.raises(KeyboardInterrupt, match="goes on") as caught,
    ):
        cell("%kfp_run slow --wait")
    run = cell.session.find("last")
    assert caught.value._render_traceback_()[1:] == [f"%kfp_runs {run.id} shows it; %kfp_cancel {run.id} ends it."]
    assert not run.state.final
    shown: list[str] = []
    follow = cell.session.logs(run, follow=True)
    with interrupted(lambda: "begun\n" in "".join(shown)), pytest.raises(KeyboardInterrupt, match="goes on"):
        shown.extend(follow)
    assert not cell.session.find(run.id).state.final


def test_an_interrupt_ends_a_trial(cell: Run) -> None:
    cell(SLOW)
    with (
        interrupted(lambda: waited_for(cell.session)),
        pytest.raises(KeyboardInterrupt, match="the trial of 'slow' was ended") as caught,
    ):
        cell("%kfp_try slow")
    assert len(caught.value._render_traceback_()) == 2
    assert cell.session.watcher.wait(cell.session.find("last").id).state is State.CANCELLED


def test_what_cannot_be_written_costs_two_lines(calc: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "calc.yaml").mkdir()
    for where in (tmp_path, "/proc/calc.yaml"):
        with pytest.raises(ArgumentError, match="cannot be written"):
            calc(f"%kfp_compile calc {where}")
    assert sorted(one.name for one in tmp_path.iterdir() if one.name != "home") == ["calc.yaml", "file"]
    assert (tmp_path / "calc.yaml").is_dir()
    calc(f"%kfp_compile calc {tmp_path}/calc.yaml")  # a folder, and so the file is made in it
    assert (tmp_path / "calc.yaml" / "calc.yaml").is_file()
    calc.session.store.close()
    calc.session.settings.home = str(tmp_path / "file" / "home")
    with pytest.raises(StoreError, match="cannot be made") as caught:
        calc("%kfp_try make n=1")
    assert "KFP_MAGICS_HOME" in caught.value.hint
    calc.session.settings.home = str(tmp_path / "home")


def test_what_the_readme_shows_first_works_as_it_stands(cell: Run) -> None:
    readme = read(Path(__file__).parent.parent / "README.md")
    load, step, pipeline, run = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)[:4]
    cell(load)
    for signature in ("ingest(raw: Output[Dataset])", "train(rows: Input[Dataset], candidate: str)"):
        cell(f"%%kfp_component --no-infer\ndef {signature}:\n    pass\n")
    assert "clean(raw: Dataset, since: int = 2000) -> rows: Dataset, Output: int" in repr(cell(step))
    assert re.search(r"· clean.*· train", repr(cell(pipeline)), re.DOTALL)
    plan = repr(cell(run.strip().replace("since=2010", "since=2010 --dry-run")))
    assert "babyweight on local process" in plan
    assert "ingest" in plan
