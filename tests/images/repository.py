"""The repository of five container folders in tests/data/containers, as a notebook takes it in."""

from __future__ import annotations

import shutil
from pathlib import Path

from kfp_magics.cells.options import CellOptions
from kfp_magics.session import Session

_SOURCE = Path(__file__).parents[1] / "data" / "containers"
_PUBLIC_BASE = "python:3.11-slim"

STEPS = {
    "preprocess": {"inputs": ("rows:int=5",), "outputs": ("table:Dataset",)},
    "hypertrain": {"inputs": ("table:Dataset", "trials:int=2"), "outputs": ("rate:float=/rate.txt",)},
    "traintuned": {"inputs": ("table:Dataset", "rate:float"), "outputs": ("model:Model",)},
    "deploymodel": {"inputs": ("model:Model",), "outputs": ("version:str=/version.txt",)},
    "deployapp": {"inputs": ("version:str",), "outputs": ("page:HTML",)},
}
PIPELINE = """
def weights(rows: int = 5) -> str:
    table = preprocess(rows=rows).outputs["table"]
    searched = hypertrain(table=table)
    tuned = traintuned(table=table, rate=searched.outputs["rate"])
    deployed = deploymodel(model=tuned.outputs["model"])
    deployapp(version=deployed.outputs["version"])
    return deployed.outputs["version"]
"""
VERSION = "v3941366948"
"""What the pipeline gives for five rows."""


def copy(target: Path, base_image: str) -> Path:
    """Copies the repository, its public base image replaced by one that can be had here."""
    shutil.copytree(_SOURCE, target)
    for path in target.rglob("*"):
        if path.is_file() and _PUBLIC_BASE in (text := path.read_text(encoding="utf-8")):
            path.write_text(text.replace(_PUBLIC_BASE, base_image), encoding="utf-8")
    return target


def take_in(session: Session, folder: Path, base_image: str) -> None:
    """Defines a step for each folder, as ``%kfp_component NAME --context DIR …`` does, and the pipeline."""
    for name, ports in STEPS.items():
        own = {} if (folder / name / "Dockerfile").exists() else {"base_image": base_image}
        session.component("", CellOptions(name=name, context=str(folder / name), **ports, **own))  # type: ignore[arg-type]
    session.pipeline(PIPELINE)
