"""A real IPython, as a notebook's kernel has one, with our extension loaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output


@contextmanager
def ipython() -> Iterator[InteractiveShell]:
    """An IPython without what another test defined."""
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance()
    shell.run_line_magic("load_ext", "kfp_magics")
    try:
        yield shell
    finally:
        InteractiveShell.clear_instance()


def execute(shell: InteractiveShell, text: str, cell_id: str | None = None) -> tuple[Any, str]:
    """Executes a cell; gives its result and what it printed, and raises what it raises."""
    with capture_output() as captured:
        done = shell.run_cell(text, cell_id=cell_id)
    if error := done.error_before_exec or done.error_in_exec:
        raise error
    return done.result, captured.stdout


def seen(shell: InteractiveShell, text: str) -> str:
    """Executes a cell; gives what a person reads below it in a terminal."""
    result, printed = execute(shell, text)
    return printed + (repr(result) if result is not None else "")
