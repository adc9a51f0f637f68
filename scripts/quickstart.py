"""Executes the quickstart notebook from beginning to end and says what came out."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "notebooks" / "01_quickstart.ipynb"
EXECUTED = ROOT / "build" / "quickstart.ipynb"


def main() -> int:
    """Executes the notebook, cell by cell."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(NOTEBOOK.parent)}})
    client.extra_arguments = ["--log-level=40"]  # the kernel warns of TCP, which stays on this machine
    started = time.monotonic()
    with client.setup_kernel():
        for number, cell in enumerate(notebook.cells):
            if cell.cell_type != "code":
                continue
            print(f"  {first_line(cell.source)}", flush=True)
            try:
                client.execute_cell(cell, number)
            except CellExecutionError as error:
                print(f"\n{error}\nThe cell above failed.", file=sys.stderr)
                return 1
    EXECUTED.parent.mkdir(exist_ok=True)
    nbformat.write(notebook, EXECUTED)
    print(f"\nDone in {time.monotonic() - started:.0f} s. {answer(notebook)}")
    print(f"The executed notebook is {EXECUTED.relative_to(ROOT)}. To go on in JupyterLab: make lab")
    return 0


def first_line(source: str) -> str:
    """The line that tells a cell from the others."""
    lines = [line for line in source.splitlines() if line.strip()]
    names = [line for line in lines if line.startswith("def ")]
    return f"{lines[0]}  {names[-1].split('(')[0] if names else ''}".rstrip()


def answer(notebook: nbformat.NotebookNode) -> str:
    """What the notebook printed as its result."""
    printed = [
        output.text.strip()
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if output.output_type == "stream" and output.text.startswith("The best model")
    ]
    return printed[-1]


if __name__ == "__main__":
    sys.exit(main())
