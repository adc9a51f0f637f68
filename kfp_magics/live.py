"""Live objects of the kernel to artifact files and back, for trying and replaying single steps."""

from __future__ import annotations

import ast
import json
import os
import pickle
import shutil
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kfp_magics.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kfp_magics.model import Json

_READ_CALLS = {
    "read_csv": "csv",
    "read_table": "csv",
    "read_parquet": "parquet",
    "read_json": "json",
    "read_feather": "feather",
    "read_pickle": "pickle",
}
_WRITE_CALLS = {
    "to_csv": "csv",
    "to_parquet": "parquet",
    "to_json": "json",
    "to_feather": "feather",
    "to_pickle": "pickle",
    "dump": "pickle",
}
_LOAD_MODULES = {"joblib": "joblib", "pickle": "pickle", "json": "json", "np": "npy", "numpy": "npy"}


@dataclass(frozen=True, kw_only=True, slots=True)
class ArtifactFile:
    """What a step reads or wrote: ``.path`` where it is, ``.metadata`` beside it, ``.load()`` what is in it.

    Attributes:
        name: The port's name.
        path: File or folder on this machine.
        type: Schema title, e.g. ``system.Dataset``.
        metadata: What the step wrote beside it.
        format: How its content is encoded as far as the step's code tells; empty when it does not.
    """

    name: str
    path: str
    type: str = "system.Artifact"
    metadata: Mapping[str, Json] = field(default_factory=dict)
    format: str = ""

    @property
    def uri(self) -> str:
        """The same as ``path``, as steps may ask for it."""
        return self.path

    def __fspath__(self) -> str:
        return self.path

    def _repr_html_(self) -> str | None:
        """Shows a report in a frame of its own, where its scripts cannot reach the notebook."""
        if self.type != "system.HTML":
            return None
        page = escape(Path(self.path).read_text(encoding="utf-8"), quote=True)
        return f"<iframe sandbox srcdoc='{page}' style='width:100%;height:32em;border:0;background:#fff'></iframe>"

    def _repr_markdown_(self) -> str | None:
        """Shows a report in Markdown as the notebook shows its own."""
        return Path(self.path).read_text(encoding="utf-8") if self.type == "system.Markdown" else None

    def load(self) -> object:
        """Reads the content: a table, a model, JSON, an array, or text.

        Raises:
            ArgumentError: Nobody can tell how the file is to be read.
        """
        how = self.format or _format_of_file(Path(self.path))
        if not how:
            raise ArgumentError(
                f"How {self.name!r} is encoded is not known.", f"Read it yourself: open({self.name}.path, 'rb')"
            )
        return _LOADERS[how](Path(self.path))


def write(value: object, path: Path, how: str) -> None:
    """Writes a live object where a step will read it.

    Args:
        value: A path (linked or copied), a table, text, bytes, JSON-like data, an array, or any object that pickles.
        path: Where to; its folder exists.
        how: Encoding that the step's code expects, from `formats`; empty leaves it to the value.

    Raises:
        ArgumentError: The value cannot be written that way.
    """
    if isinstance(value, os.PathLike):
        _place(Path(os.fspath(value)), path)
        return
    how = how or _natural_format(value)
    try:
        _DUMPERS[how](value, path)
    except (AttributeError, TypeError, ValueError, pickle.PicklingError, ImportError) as error:
        raise ArgumentError(
            f"A {type(value).__name__} cannot be given as {how}: {error}.",
            "Write it to a file in the form that the step reads, and give the path.",
        ) from error


def formats(source: str) -> dict[str, str]:
    """Finds how a step's code reads and writes its artifacts.

    Args:
        source: Python text in which ``pd.read_csv(raw.path)`` or ``joblib.dump(model, out.path)`` may stand.

    Returns:
        Artifact name → one of csv, parquet, json, feather, pickle, joblib, npy, text; names that the code does not
        give away are left out.
    """
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return {}
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        how = _format_of_call(node)
        for argument in (*node.args, *(keyword.value for keyword in node.keywords)):
            name = _artifact_of(argument)
            if how and name:
                found.setdefault(name, how)
    return found


def _format_of_call(call: ast.Call) -> str:
    if isinstance(call.func, ast.Name):
        return "text" if call.func.id == "open" and not _is_binary(call) else ""
    if not isinstance(call.func, ast.Attribute):
        return ""
    method, owner = call.func.attr, call.func.value
    if isinstance(owner, ast.Name) and owner.id in _LOAD_MODULES and method in {"load", "dump", "save"}:
        return _LOAD_MODULES[owner.id]
    return _READ_CALLS.get(method, "") or _WRITE_CALLS.get(method, "")


def _is_binary(call: ast.Call) -> bool:
    words = [one.value for one in (*call.args[1:], *(k.value for k in call.keywords)) if isinstance(one, ast.Constant)]
    return any(isinstance(word, str) and "b" in word for word in words)


def _artifact_of(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute) and node.attr in {"path", "uri"} and isinstance(node.value, ast.Name):
        return node.value.id
    return ""


def _natural_format(value: object) -> str:
    module = type(value).__module__.partition(".")[0]
    if module == "pandas" and hasattr(value, "to_csv"):
        return "csv"
    if module == "numpy":
        return "npy"
    if isinstance(value, str | bytes | bytearray):
        return "text"
    if isinstance(value, dict | list | tuple | int | float | bool | None):
        return "json"
    return "pickle"


def _format_of_file(path: Path) -> str:
    if path.is_dir() or not path.exists():
        return ""
    head = path.read_bytes()[:64]
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(b"\x93NUMPY"):
        return "npy"
    if head.startswith(b"\x80"):
        return "pickle"
    try:
        head.decode()
    except UnicodeDecodeError:
        return ""
    return "json" if head.lstrip()[:1] in (b"{", b"[") else "text"


def _place(source: Path, target: Path) -> None:
    source = source.expanduser().resolve()
    if not source.exists():
        raise ArgumentError(f"There is no file {str(source)!r}.", "Give a path that exists, or a variable.")
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy2(source, target)


def _table(method: str, **options: Any) -> Callable[[Any, Path], None]:  # noqa: ANN401  (pandas' own options)
    def dump(value: Any, path: Path) -> None:  # noqa: ANN401  (a table of any library with pandas' methods)
        getattr(value, method)(path, **options)

    return dump


def _load_table(method: str) -> Callable[[Path], object]:
    def load(path: Path) -> object:
        import pandas as pd  # noqa: PLC0415  (only when a table is asked for)

        found: object = getattr(pd, method)(path)
        return found

    return load


def _dump_json(value: Any, path: Path) -> None:  # noqa: ANN401  (tables included)
    if hasattr(value, "to_json"):
        value.to_json(path)
    else:
        path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def _dump_text(value: object, path: Path) -> None:
    if isinstance(value, bytes | bytearray):
        path.write_bytes(value)
    else:
        path.write_text(str(value), encoding="utf-8")


def _dump_pickle(value: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(value))


def _dump_array(value: object, path: Path) -> None:
    import numpy as np  # noqa: PLC0415  (only when an array is given)

    with path.open("wb") as file:  # numpy adds '.npy' to a bare name
        np.save(file, value)  # type: ignore[arg-type]


def _load_array(path: Path) -> object:
    import numpy as np  # noqa: PLC0415  (only when an array is asked for)

    found: object = np.load(path)
    return found


def _dump_joblib(value: object, path: Path) -> None:
    import joblib  # type: ignore[import-untyped]  # noqa: PLC0415  (only when a step uses it)

    joblib.dump(value, path)


def _load_joblib(path: Path) -> object:
    import joblib  # noqa: PLC0415  (only when a step uses it)

    found: object = joblib.load(path)
    return found


_DUMPERS: dict[str, Callable[[Any, Path], None]] = {
    "csv": _table("to_csv", index=False),
    "parquet": _table("to_parquet"),
    "feather": _table("to_feather"),
    "json": _dump_json,
    "text": _dump_text,
    "npy": _dump_array,
    "joblib": _dump_joblib,
    "pickle": _dump_pickle,
}
_LOADERS: dict[str, Callable[[Path], object]] = {
    "csv": _load_table("read_csv"),
    "parquet": _load_table("read_parquet"),
    "feather": _load_table("read_feather"),
    "json": lambda path: json.loads(path.read_text(encoding="utf-8")),
    "text": lambda path: path.read_text(encoding="utf-8"),
    "npy": _load_array,
    "joblib": _load_joblib,
    "pickle": lambda path: pickle.loads(path.read_bytes()),  # noqa: S301  (the user's own step wrote it)
}
