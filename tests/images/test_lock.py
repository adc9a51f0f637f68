"""Locking with the real uv."""

from __future__ import annotations

from pathlib import Path

import pytest

from kfp_magics.errors import BuildError, RequirementsError
from kfp_magics.images.lock import Locks, name_of

AMD = {"python": "3.11", "platform": "linux/amd64"}


def test_every_package_has_its_version_and_hashes(tmp_path: Path) -> None:
    locks = Locks(tmp_path / "locks")
    found = locks.lock(["packaging>=24", "six"], **AMD, kfp="2.17.0")
    assert {name_of(line) for line in found} == {"kfp", "packaging", "six", "typing-extensions"}
    assert all("==" in line and "--hash=sha256:" in line for line in found)
    assert found == tuple(sorted(found))
    assert locks.lock([], **AMD) == ()
    # What was locked once needs neither network nor uv again.
    assert Locks(tmp_path / "locks", offline=True).lock(["six", "packaging>=24"], **AMD, kfp="2.17.0") == found
    arm = locks.lock(["packaging>=24", "six"], python="3.12", platform="linux/arm64")
    assert {name_of(line) for line in arm} == {"packaging", "six"}


def test_who_wants_the_whole_kfp_gets_it_once(tmp_path: Path) -> None:
    names = [name_of(line) for line in Locks(tmp_path).lock(["kfp==2.17.0"], **AMD, kfp="2.16.0")]
    assert names.count("kfp") == 1
    assert "kubernetes" in names


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (["pandas==2.2.3", "numpy<1.20"], "pandas==2.2.3 depends on numpy"),
        (["no-such-package-of-kfp-magics"], "no-such-package-of-kfp-magics was not found"),
        (["six==99"], "no version of six==99"),
        (["six=1"], "six=1"),
    ],
)
def test_a_conflict_is_told_in_uvs_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: list[str], said: str
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as kernels do
    with pytest.raises(RequirementsError, match=said) as caught:
        Locks(tmp_path).lock(wanted, **AMD)
    assert len(str(caught.value).splitlines()) == 2
    assert "\x1b" not in str(caught.value)
    assert not list(tmp_path.glob("*.txt"))


def test_offline_takes_only_what_is_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "empty"))
    with pytest.raises(RequirementsError, match="six") as caught:
        Locks(tmp_path / "locks", offline=True).lock(["six"], **AMD)
    assert "offline" in caught.value.hint


def test_unknown_platform_and_unlockable_source(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="linux/armd64"):
        Locks(tmp_path).lock(["six"], python="3.11", platform="linux/armd64")
    package = tmp_path / "package"
    package.mkdir()
    (package / "pyproject.toml").write_text('[project]\nname = "thing"\nversion = "1"\n')
    with pytest.raises(RequirementsError, match="cannot be locked: nothing tells"):
        Locks(tmp_path / "locks").lock([f"thing @ file://{package}"], **AMD)
