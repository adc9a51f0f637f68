"""Wheels and source distributions made on the spot, in a folder that uv finds them in: no index is needed."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

_BACKEND = """
import os, sys, zipfile
NAME, TAG = {name!r}, {tag!r}
def build_wheel(where, config_settings=None, metadata_directory=None):
    if {compiles!r} and os.system(os.environ.get("CC", "cc") + " --version"):
        raise SystemExit("error: no compiler")
    info, file = f"{{NAME}}-1.0.dist-info", f"{{NAME}}-1.0-{{TAG}}.whl"
    files = {{
        f"{{NAME}}.py": "built = True",
        f"{{info}}/METADATA": f"Metadata-Version: 2.1\\nName: {{NAME}}\\nVersion: 1.0\\n",
        f"{{info}}/WHEEL": f"Wheel-Version: 1.0\\nGenerator: tests\\nRoot-Is-Purelib: true\\nTag: {{TAG}}\\n",
    }}
    files[f"{{info}}/RECORD"] = "".join(f"{{path}},,\\n" for path in [*files, f"{{info}}/RECORD"])
    with zipfile.ZipFile(os.path.join(where, file), "w") as wheel:
        for path, content in files.items():
            wheel.writestr(path, content)
    return file
"""


class Wheelhouse:
    """The folder.

    Args:
        folder: Where.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def wheel(self, name: str, files: Mapping[str, str | bytes], tag: str = "py3-none-any", scripts: str = "") -> str:
        """Makes a wheel; gives its hash as locks write it."""
        path, info = self.folder / f"{name}-1.0-{tag}.whl", f"{name}-1.0.dist-info"
        pure = str(tag.endswith("any")).lower()
        whole: dict[str, str | bytes] = {
            **files,
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
            f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: {pure}\nTag: {tag}\n",
            **({f"{info}/entry_points.txt": f"[console_scripts]\n{scripts}\n"} if scripts else {}),
        }
        rows = "".join(f"{one},,\n" for one in [*whole, f"{info}/RECORD"])
        with zipfile.ZipFile(path, "w") as archive:
            for one, content in {**whole, f"{info}/RECORD": rows}.items():
                archive.writestr(one, content)
        return _hash(path)

    def locked(self, name: str, files: Mapping[str, str | bytes], **options: str) -> str:
        """Makes a wheel; gives the line of a lock."""
        return f"{name}==1.0 --hash={self.wheel(name, files, **options)}"

    def source(self, name: str, *, tag: str = "py3-none-any", compiles: bool = False) -> str:
        """Makes a source distribution that brings its own build backend; gives the line of a lock."""
        files = {
            "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
            "backend.py": _BACKEND.format(name=name, tag=tag, compiles=compiles),
            "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        }
        path = self.folder / f"{name}-1.0.tar.gz"
        with tarfile.open(path, "w:gz") as tar:
            for one, content in files.items():
                info = tarfile.TarInfo(f"{name}-1.0/{one}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content.encode()))
        return f"{name}==1.0 --hash={_hash(path)}"


def _hash(path: Path) -> str:
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
