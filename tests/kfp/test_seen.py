"""What a person sees of runs on a server that is away, refuses, lies, or has another clock."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell

from kfp_magics.model import State
from kfp_magics.runs.store import Store
from kfp_magics.runs.text import when
from tests.ipython import execute, ipython
from tests.kfp.pipelines import ir_of
from tests.kfp.server import LOGIN_PAGE, Fault, KfpServer
from tests.kfp.test_connecting import commanded

ALL = {"match": "", "times": 10**6}


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KFP_MAGICS_SERVER_TIMEOUT", "0.9")
    (tmp_path / "plain.yaml").write_text(ir_of("plain"), encoding="utf-8")
    (tmp_path / "token").write_text("first", encoding="utf-8")
    with ipython() as made:
        yield made


@pytest.fixture
def start(shell: InteractiveShell, server: KfpServer) -> Callable[..., str]:
    """Connects, starts a run that goes on until it is told to end, and gives its id."""

    def begin(options: str = "--name mine") -> str:
        server.lasts = 1e9
        seen(shell, f"%kfp_connect {server.url} {options}")
        run_id: str = execute(shell, "%kfp_run plain.yaml")[0].run.id
        until(
            lambda: "· plain" in seen(shell, f"%kfp_runs {run_id}") or "▶ plain" in seen(shell, f"%kfp_runs {run_id}")
        )
        return run_id

    return begin


def seen(shell: InteractiveShell, text: str) -> str:
    """What a person sees of what a line gives, without what was printed besides."""
    return repr(execute(shell, text)[0])


def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def row(shell: InteractiveShell, run_id: str) -> str:
    return next(line for line in seen(shell, "%kfp_runs").splitlines() if line.startswith(run_id))


def tree(shell: InteractiveShell, run_id: str) -> list[str]:
    return seen(shell, f"%kfp_runs {run_id}").splitlines()


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (None, r"http://localhost:\d+ cannot be reached\."),
        (Fault(**ALL, status=500, body=b'{"message": "Internal error"}'), r"\S+ fails \(500\): Internal error"),
        (Fault(**ALL, cut=True), r"\S+ cut the connection\."),
        (Fault(**ALL, lag=1.2), r"\S+ did not answer in time\."),
        (
            Fault(**ALL, status=200, body=LOGIN_PAGE, kind="text/html"),
            r"\S+ answered with a login page; it was asked.*",
        ),
        (
            Fault(**ALL, status=200, body=b'{"runs": [7]}'),
            r"What its server says cannot be read here: AttributeError\.",
        ),
    ],
    ids=["down", "500", "cut", "slow", "login page", "nonsense"],
)
def test_a_run_that_nobody_can_be_asked_about_is_seen_as_stale_and_goes_on_when_the_server_is_back(
    server, shell, start, monkeypatch, trouble, reason
) -> None:
    monkeypatch.setattr("sys.excepthook", lambda *_: None)  # nonsense is shown with its stack as well
    run_id = start()
    server.stop() if trouble is None else server.faults.append(trouble)
    until(lambda: "(stale)" in row(shell, run_id))
    took = re.search(r"\(stale\)\s+(\S+ \w+)", row(shell, run_id))
    head, line, *rest = tree(shell, run_id)
    assert re.fullmatch(rf"    stale since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d: {reason}", line)
    assert "succeeded" not in head
    assert [one.split()[-1] for one in rest[-2:]] == ["prepare", "train"]
    server.faults.clear()
    server.lasts = 0
    if trouble is None:
        server.restart()
    until(lambda: "✓ succeeded" in row(shell, run_id))
    assert "stale" not in "".join(tree(shell, run_id))
    assert took is None or took[1]


def test_a_shell_that_is_opened_while_the_server_is_away_does_not_call_a_run_alive(server, shell, start) -> None:
    run_id = start()
    last = execute(shell, f"%kfp_runs {run_id}")[0]
    time.sleep(0.5)  # more than a moment ago
    server.stop()
    head, line, *_ = commanded("runs", run_id)
    assert f"({run_id})" in head
    known = max(one for one in (last.run.created, last.run.started) if one)
    assert line == f"    stale since {when(known)}: {server.url} cannot be reached."
    assert "(stale)" in next(one for one in commanded("runs") if one.startswith(run_id))
    server.restart()
    assert "stale" not in "".join(commanded("runs", run_id))


def test_a_token_that_ends_in_the_middle_is_told_with_its_file_and_mended_there(server, shell, start) -> None:
    server.tokens = {"first"}
    run_id = start("--name mine --token-file token")
    server.tokens = {"second"}
    until(lambda: "(stale)" in row(shell, run_id))
    said = tree(shell, run_id)[1].partition(": ")[2]
    assert said.startswith(f"{server.url} does not know who asks (401)")
    assert said.endswith(f"it was asked with token of {Path.cwd() / 'token'}.")
    server.lasts = 0
    Path("token").write_text("second\n", encoding="utf-8")
    until(lambda: "✓ succeeded" in row(shell, run_id))
    assert "(stale)" not in row(shell, run_id)


def test_a_namespace_that_is_closed_in_the_middle_makes_its_runs_stale_and_no_others(server, shell, start) -> None:
    server.multi_user, server.namespaces = True, {"open", "closed"}
    theirs = start("--name theirs --namespace closed")
    mine = start("--name mine --namespace open")
    server.namespaces = {"open"}
    server.lasts = 0
    until(lambda: "(stale)" in row(shell, theirs))
    assert "does not let this login do that in namespace 'closed' (403): User is not" in tree(shell, theirs)[1]
    until(lambda: "✓ succeeded" in row(shell, mine))
    assert "(stale)" in row(shell, theirs)


def test_one_answer_that_cannot_be_read_is_shown_once_and_hides_no_other_run(server, shell, start, monkeypatch) -> None:
    odd = start("--name mine")
    other = start("--name mine")
    stacks: list[str] = []
    monkeypatch.setattr("sys.excepthook", lambda *what: stacks.append(what[0].__name__))  # of a thread that looks
    server.odd[odd] = {"runtime_config": "of another age"}

    def is_stale() -> bool:
        result, printed = execute(shell, "%kfp_runs")  # IPython shows the stack below the cell
        plain = re.sub(r"\x1b\[[0-9;]*m", "", printed)
        stacks.extend(re.findall(r"^(\w+) +Traceback", plain, re.MULTILINE))
        return "(stale)" in next(line for line in repr(result).splitlines() if line.startswith(odd))

    until(is_stale)
    for _ in range(5):
        assert is_stale()
    # By whoever looked first: the cell, the thread of the view, or both at once; and by nobody again.
    assert stacks in (["AttributeError"], ["AttributeError"] * 2)
    assert tree(shell, odd)[1].endswith("What its server says cannot be read here: AttributeError.")
    server.lasts = 0
    until(lambda: "✓ succeeded" in row(shell, other))
    server.odd.clear()
    until(lambda: "✓ succeeded" in row(shell, odd))


@pytest.mark.parametrize("skew", [7200.0, -7200.0], ids=["ahead", "behind"])
def test_a_server_with_a_wrong_clock_changes_neither_the_order_of_runs_nor_how_long_they_took(
    server, shell, start, store: Store, skew: float
) -> None:
    before = start("--name mine")
    server.skew = skew
    run_id = start("--name mine")
    server.skew = 0.0
    after = start("--name mine")
    listed = [line.split()[0] for line in seen(shell, "%kfp_runs").splitlines()[1:]]
    assert listed == [after, run_id, before]
    now = store.get(run_id)
    assert abs(now.created - time.time()) < 60
    assert now.started is None or abs(now.started - time.time()) < 60
    server.skew = skew
    server.lasts = 0
    until(lambda: "✓ succeeded" in row(shell, run_id))
    ended = store.get(run_id)
    assert ended.state is State.SUCCEEDED
    assert ended.finished - ended.started < 60
    for moment in (ended.finished, *(one.started for one in ended.tasks), *(one.finished for one in ended.tasks)):
        assert abs(moment - time.time()) < 60


def test_fields_that_are_null_are_as_if_they_were_not_there(server, shell, start) -> None:
    run_id = start()
    server.lasts = 0
    seen(shell, "%kfp_runs")
    nothing = b'{"runs": null, "next_page_token": null, "total_size": null}'
    server.faults.append(Fault(r"GET /apis/v2beta1/runs\?", times=1, status=200, body=nothing))
    until(lambda: "(stale)" not in row(shell, run_id) and not server.faults[0].times)
    server.odd[run_id] = dict.fromkeys(("error", "runtime_config", "run_details", "pipeline_spec", "description"))
    server.runs[run_id].ended = "SUCCEEDED"
    until(lambda: "✓ succeeded" in row(shell, run_id))
    assert seen(shell, "%kfp_runs --server").count(run_id) == 1
