"""What the imports of a step require."""

from __future__ import annotations

import importlib
import importlib.metadata
from pathlib import Path

import pytest

from kfp_magics.errors import DefinitionError

from .conftest import make, make_with_remarks

END = "\ndef step() -> int:\n    return 1\n"


def required(imports: str, **options: object) -> tuple[str, ...]:
    return make(imports + END, **options).requirements


def pinned(name: str) -> str:
    return f"{name}=={importlib.metadata.version(name).partition('+')[0]}"


def test_imports_are_pinned_to_what_the_kernel_has() -> None:
    assert required("import packaging.version\nfrom yaml import safe_load") == (pinned("packaging"), pinned("PyYAML"))


def test_imports_within_functions_count() -> None:
    body = "def helper():\n    import packaging\ndef step() -> int:\n    from yaml import load\n    return 1\n"
    assert make(body).requirements == (pinned("packaging"), pinned("PyYAML"))


@pytest.mark.parametrize(
    "imports",
    ["import os.path, json", "from typing import Any", "from kfp import dsl", "import kfp.dsl", ""],
)
def test_what_needs_nothing(imports: str) -> None:
    assert required(imports) == ()


def test_famous_names_of_what_is_not_installed() -> None:
    component, remarks = make_with_remarks("import cv2\nfrom skimage import io\nimport nowhere_to_be_found.x" + END)
    assert component.requirements == ("nowhere_to_be_found", "opencv-python-headless", "scikit-image")
    assert "'cv2' is not installed here; the step requires 'opencv-python-headless' without a pin." in remarks
    assert len(remarks) == 3


@pytest.mark.parametrize(
    "imports",
    [
        "try:\n    import nowhere_to_be_found\nexcept ImportError:\n    nowhere_to_be_found = None",
        "try:\n    import nowhere_to_be_found\nexcept (ValueError, ModuleNotFoundError):\n    pass",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import nowhere_to_be_found",
        "import typing\nif typing.TYPE_CHECKING:\n    import nowhere_to_be_found",
    ],
)
def test_imports_that_the_step_can_do_without(imports: str) -> None:
    component, remarks = make_with_remarks(imports + END)
    assert (component.requirements, remarks) == ((), ())


def test_optional_imports_that_are_installed_count() -> None:
    assert required("try:\n    import packaging\nexcept ImportError:\n    packaging = None") == (pinned("packaging"),)


def test_what_the_user_names_wins() -> None:
    imports = "import yaml\nimport cv2\nimport packaging"
    named = ("pyyaml>=6", "opencv_python_headless==4.10.0.84", "rich[jupyter]~=13.0")
    component, remarks = make_with_remarks(imports + END, packages=named)
    assert component.requirements == tuple(sorted([*named, pinned("packaging")], key=str.lower))
    assert remarks == ()


def test_no_inference() -> None:
    assert required("import yaml", infer=False) == ()
    assert required("import yaml", infer=False, packages=("six",)) == ("six",)


@pytest.mark.parametrize(
    "line",
    [
        "git+https://example.org/x.git@main",
        "https://example.org/x-1.0-py3-none-any.whl",
        "./wheels/x.whl",
        "x @ https://example.org/x.zip",
    ],
)
def test_requirements_from_elsewhere(line: str) -> None:
    assert required("", packages=(line,)) == (line,)


@pytest.mark.parametrize("line", ["pandas=2", "not a name", "", ">=1", "pandas=="])
def test_bad_requirements(line: str) -> None:
    with pytest.raises(DefinitionError, match=f"--packages '{line}' is no requirement") as caught:
        required("", packages=(line,))
    assert "pandas==2.2.3" in caught.value.hint


def test_files_beside_the_notebook_do_not_travel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_own_helpers.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    component, remarks = make_with_remarks("import my_own_helpers" + END)
    assert component.requirements == ()
    assert remarks[0].startswith("'my_own_helpers' is a file beside the notebook and does not travel")


def install(folder: Path, name: str, version: str, origin: str = "") -> None:
    """What pip leaves of a package, in a folder of its own."""
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text("")
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "RECORD").write_text(f"{name}/__init__.py,,\n")
    (info / "top_level.txt").write_text(f"{name}\n")
    if origin:
        (info / "direct_url.json").write_text(origin)


@pytest.mark.parametrize(
    ("name", "version", "origin", "line", "remark"),
    [
        (
            "kfpm_editable",
            "1.0",
            '{"url": "file:///x", "dir_info": {"editable": true}}',
            "kfpm_editable",
            "editable mode",
        ),
        ("kfpm_from_git", "1.0", '{"url": "https://x/y.git", "vcs_info": {}}', "kfpm_from_git", "from https://x/y.git"),
        ("kfpm_local", "2.1+cu118", "", "kfpm_local==2.1", "is 2.1+cu118 here; the step takes 2.1"),
        ("kfpm_plain", "3.0", "", "kfpm_plain==3.0", ""),
    ],
)
def test_what_cannot_be_pinned_is_reported(
    name: str, version: str, origin: str, line: str, remark: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    assert make_with_remarks(f"import {name}" + END)[1] == (
        f"{name!r} is not installed here; the step requires {name!r} without a pin.",
    )
    install(tmp_path, name, version, origin)
    importlib.invalidate_caches()
    component, remarks = make_with_remarks(f"import {name}" + END)
    assert component.requirements == (line,)
    assert len(remarks) == bool(remark)
    assert remark in "".join(remarks)


def test_packages_that_several_distributions_share() -> None:
    assert required("from google.cloud import storage") == (pinned("google-cloud-storage"),)
    assert required("import google.auth.transport") == (pinned("google-auth"),)
