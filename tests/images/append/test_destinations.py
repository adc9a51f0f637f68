from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from kfp_magics.errors import BuildError
from tests.conftest import requires
from tests.images.append.conftest import HERE, Lines, Site, layers_of
from tests.images.append.wheelhouse import Wheelhouse
from tests.images.containers import Podman

CODE = "import kfpm_big, kfpm_tiny; print(kfpm_big.one + kfpm_tiny.three)"
RUN = ("python3", "/opt/kfpm/src/step_train.py")


def inspect(place: str) -> dict[str, object]:
    done = subprocess.run([requires("skopeo"), "inspect", place], capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def test_a_folder_holds_the_images_of_several_steps(
    real: Site, requirements: tuple[str, ...], podman: Podman, tmp_path: Path
) -> None:
    folder = tmp_path / "images"
    builder = real.builder(destination=f"oci:{folder}")
    specs = [real.spec(CODE, *requirements, name=name) for name in ("train", "test")]
    refs = [builder.build(spec, Lines()) for spec in specs]
    for spec, ref in zip(specs, refs, strict=True):
        name = f"oci:{folder}:{spec.name}-{spec.tag}"
        assert ref.repository == f"oci:{folder}"
        assert inspect(name)["Digest"] == ref.digest
        image = podman("pull", "--quiet", name).strip()
        assert podman.run(image, *RUN) == "4\n"
    pushed = real.builder().build(specs[0], Lines())
    assert pushed.digest == refs[0].digest, "where it goes does not matter"
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    log = Lines()
    assert real.builder("other", destination=f"oci:{folder}").build(specs[0], log) == refs[0]
    assert log.text.startswith("unchanged")
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before

    (folder / "index.json").write_text("[]")
    with pytest.raises(BuildError, match="no index of an OCI layout"):
        builder.build(specs[0], Lines())


def test_an_archive_can_be_loaded(real: Site, requirements: tuple[str, ...], podman: Podman, tmp_path: Path) -> None:
    builder = real.builder(destination=f"docker-archive:{tmp_path}/archives")
    spec = real.spec(CODE, *requirements)
    ref = builder.build(spec, Lines())
    file = tmp_path / "archives" / "train.tar"
    assert ref.repository == f"docker-archive:{file}"
    assert inspect(f"docker-archive:{file}")["Architecture"] == spec.platform.partition("/")[2]
    podman("load", "--quiet", "--input", str(file))
    assert podman.run(f"localhost/train:{spec.tag}", *RUN) == "4\n"

    log = Lines()
    builder.build(spec, log)
    assert log.text.startswith("unchanged")
    file.unlink()
    assert builder.build(spec, Lines()) == ref
    assert file.exists(), "what was made is looked for, not remembered"

    single = real.builder(destination=f"docker-archive:{tmp_path}/one.tar")
    single.build(spec, Lines())
    content = (tmp_path / "one.tar").read_bytes()
    with pytest.raises(BuildError, match=r"holds another step's image, train:c-.*\nName a folder"):
        single.build(real.spec(CODE, *requirements, name="test"), Lines())
    assert (tmp_path / "one.tar").read_bytes() == content
    edited = single.build(real.spec(f"{CODE}\n", *requirements), Lines())
    assert edited.digest != ref.digest
    (tmp_path / "one.tar").write_bytes(b"no archive")
    with pytest.raises(BuildError, match="is no archive of images"):
        single.build(spec, Lines())


def test_zstd_is_smaller_and_runs(real: Site, requirements: tuple[str, ...], podman: Podman) -> None:
    spec = real.spec(CODE, *requirements, name="packed")
    ref = real.builder("zstd", compression="zstd").build(spec, Lines())
    assert {one["mediaType"].rpartition("+")[2] for one in layers_of(ref)[1:]} == {"zstd"}
    assert podman.run(str(ref), *RUN) == "4\n"


def test_path_files_of_packages_work_and_the_base_keeps_its_own_start(
    real: Site, wheelhouse: Wheelhouse, podman: Podman
) -> None:
    line = wheelhouse.locked(
        "kfpm_paths",
        {
            "kfpm_paths.pth": "kfpm_hidden\nimport kfpm_early; kfpm_early.done = True\n",
            "kfpm_hidden/kfpm_inner.py": "value = 5\n",
            "kfpm_early.py": "done = False\n",
        },
    )
    code = (
        "import kfpm_inner, kfpm_early, sys\n"
        "print(kfpm_inner.value, kfpm_early.done, sys.modules['sitecustomize'].__file__)\n"
        "print('own' in sys.modules)\n"
    )
    ref = real.builder().build(real.spec(code, line), Lines())
    own = f"/usr/lib/python{HERE}/sitecustomize.py"
    start = f"rm -f {own}; echo 'import sys; sys.modules[\"own\"] = sys' > {own}; {' '.join(RUN)}"
    told = podman.run(str(ref), "sh", "-c", start).split()
    assert told == ["5", "True", "/opt/kfpm/site/sitecustomize.py", "True"]
