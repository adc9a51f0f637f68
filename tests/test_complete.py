"""What the tab key offers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell

from kfp_magics.magics.shell import current_session
from kfp_magics.model import Run, Task

Complete = Callable[[str], list[str]]


@pytest.fixture
def complete() -> Iterator[Complete]:
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance()
    shell.run_line_magic("load_ext", "kfp_magics")
    shell.run_cell_magic("kfp_component", "--no-infer", "def make(n: int, rate: float = 1.0) -> int:\n    return n\n")
    shell.run_cell_magic("kfp_pipeline", "", "def calc(n: int = 3, word: str = 'x'):\n    make(n=n)\n")
    session = current_session(shell)
    tasks = (Task(id="loop", name="loop", kind="loop"), Task(id="loop/0/make", name="make"))
    session.store.save(Run(id="20260101-a", name="calc", tasks=tasks))

    def offered(line: str) -> list[str]:
        with warnings.catch_warnings():  # of its successor, which mixes in what Python's own syntax could be
            warnings.simplefilter("ignore", PendingDeprecationWarning)
            return sorted(shell.Completer.complete(line_buffer=line, cursor_pos=len(line))[1])

    yield offered
    session.store.close()
    InteractiveShell.clear_instance()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("%kfp_run ", ["calc", "make"]),
        ("%kfp_run ma", ["make"]),
        ("%kfp_run calc ", ["n=", "word="]),
        ("%kfp_run calc --wait n=1 w", ["word="]),
        ("%kfp_run calc --wa", ["--wait"]),
        ("%kfp_try ", ["make"]),
        ("%kfp_try make r", ["rate="]),
        ("%kfp_compile c", ["calc"]),
        ("%kfp_logs ", ["20260101-a", "last"]),
        ("%kfp_logs last ", ["loop/0/make"]),
        ("%kfp_diff last 2", ["20260101-a"]),
        ("%%kfp_component --base", ["--base-image"]),
        ("%kfp_doctor author pa", ["panel"]),
        ("%kfp_setup_auth steps ", ["cd", "ci"]),
        ("%kfp_component --secret-", ["--secret-volume"]),
        ("%kfp_ci pl", ["plan"]),
        ("%kfp_cd wa", ["watch"]),
        ("%%kfp_cd watch incoming --run ", ["calc", "make"]),
        ("%kfp_cd watch incoming --run m", ["make"]),
        ("%kfp_cd watch incoming --run calc w", ["word="]),
    ],
)
def test_offers(complete: Complete, line: str, expected: list[str]) -> None:
    assert complete(line) == expected


def test_what_cannot_be_found_is_not_offered_and_not_complained_about(complete: Complete, tmp_path: Path) -> None:
    assert "loop/0/make" not in complete("%kfp_logs nothing ")
    current_session(InteractiveShell.instance()).store.close()
    (tmp_path / "home" / "runs.sqlite").write_bytes(b"no database" * 1000)
    assert "last" not in complete("%kfp_logs ")  # what IPython offers of its own is left
