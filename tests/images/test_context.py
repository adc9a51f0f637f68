"""What enters an image: steps as folders, and folders that people bring."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest

from kfp_magics.cells import component_from_cell
from kfp_magics.cells.options import CellOptions
from kfp_magics.errors import BuildError, DefinitionError
from kfp_magics.images.base import ImageSpec
from kfp_magics.images.context import Base, content_of, image_name, image_spec, write_folder
from kfp_magics.images.folders import digest_of, pack, read_folder
from kfp_magics.model import Component

BASE = Base(reference="docker.io/library/python@sha256:" + "a" * 64, python="3.11", user="worker")
LOCKED = ("kfp==2.17.0 --hash=sha256:1", "numpy==2.1.0 --hash=sha256:2 --hash=sha256:3")


def step(body: str, **options: object) -> Component:
    given = {"infer": False} | options
    return component_from_cell(body, CellOptions(**given), {}, taken={}, default_image="python:3.11-slim")[0]  # type: ignore[arg-type]


def spec_of(component: Component, *, base: Base = BASE, locked: tuple[str, ...] = ()) -> ImageSpec:
    return image_spec(component, content_of(component), base=base, locked=locked, platform="linux/amd64")


def fill(folder: Path, files: dict[str, str]) -> Path:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    return folder


def paths(folder: Path) -> set[str]:
    return {entry.path for entry in read_folder(folder).entries}


def packed(folder: Path, beside: dict[str, bytes] | None = None) -> tarfile.TarFile:
    stream = io.BytesIO()
    found = read_folder(folder)
    pack(found, beside or {}, stream, digest=digest_of(found))
    stream.seek(0)
    return tarfile.open(fileobj=stream)


def test_the_folder_of_a_python_step(tmp_path: Path) -> None:
    component = step("import numpy\n\ndef train_it(n: int) -> int:\n    return n\n", packages=("numpy",))
    spec = spec_of(component, locked=LOCKED)
    written = write_folder(spec, tmp_path / "train-it", {"component.yaml": b"name: train-it\n"})
    assert [str(one.relative_to(tmp_path / "train-it")) for one in written] == [
        ".dockerignore",
        "Dockerfile",
        "cloudbuild.yaml",
        "component.yaml",
        "requirements.txt",
        "src/step_train_it.py",
    ]
    folder = {path.name: path.read_text(encoding="utf-8") for path in written}
    assert folder["Dockerfile"] == (
        f"FROM {BASE.reference}\n"
        "ENV PYTHONPATH=/opt/kfpm/src:/opt/kfpm/site${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1 _KFP_RUNTIME=true\n"
        "USER root\n"
        "COPY requirements.txt /tmp/requirements.txt\n"
        "RUN python3 -m pip install --quiet --no-cache-dir --disable-pip-version-check --root-user-action=ignore \\\n"
        "    --no-deps --require-hashes --target /opt/kfpm/site --requirement /tmp/requirements.txt\n"
        "COPY src /opt/kfpm/src\n"
        "USER worker\n"
    )
    assert folder["cloudbuild.yaml"].splitlines()[1:] == [
        "steps:",
        "  - id: build",
        "    name: gcr.io/cloud-builders/docker",
        "    dir: ${_DIR}",
        '    args: [build, --tag, "${_REGISTRY}/train-it:${_TAG}", .]',
        'images: ["${_REGISTRY}/train-it:${_TAG}"]',
        "substitutions:",
        '  _DIR: "."',
        "  _REGISTRY: gcr.io/$PROJECT_ID",
        "  _TAG: latest",
        "options:",
        "  dynamicSubstitutions: true",
    ]
    assert folder["requirements.txt"].splitlines()[0] == "kfp==2.17.0 \\"
    source = folder["step_train_it.py"]
    assert source.startswith("\nimport kfp\nfrom kfp import dsl\nfrom kfp.dsl import *\nfrom typing import *\n\n")
    assert "def train_it(n: int) -> int:" in source
    assert b"\r" not in b"".join(spec.files.values())


def test_the_tag_says_what_is_in_the_image_and_nothing_else() -> None:
    body = "def train(n: int) -> int:\n    return n\n"
    spec = spec_of(step(body), locked=LOCKED)
    again = spec_of(replace(step(body), cell_id="other", notebook="elsewhere.ipynb"), locked=LOCKED[::-1])
    assert spec.tag == again.tag
    others = [
        spec_of(step(body.replace("return n", "return 1")), locked=LOCKED),
        spec_of(step(body), locked=LOCKED[:1]),
        spec_of(step(body), locked=LOCKED, base=replace(BASE, reference=BASE.reference.replace("a" * 64, "b" * 64))),
        replace(spec, platform="linux/arm64"),
    ]
    assert len({spec.tag, *(one.tag for one in others)}) == 5


def test_a_script_needs_no_python() -> None:
    spec = spec_of(step("echo $n > $out\n", name="say", lang="bash", inputs=("n:int",), outputs=("out:str",)))
    assert (spec.requirements, spec.env, spec.python) == ((), {}, "")
    assert b"echo $n > $out" in spec.files["src/step_say.sh"]
    assert b"pip" not in spec.files["Dockerfile"]


_AT_ONCE = """
import os, sys, threading
from kfp_magics.images.context import content_of
from kfp_magics.model import Component

sys.setswitchinterval(1e-6)
steps = [
    Component(name="say", language="bash", source="echo hi"),
    Component(name="folder", language="context", source="", entry="main.py", context=sys.argv[1]),
] * 3

def gather():
    barrier, done = threading.Barrier(len(steps)), []

    def work(step):
        barrier.wait()
        content_of(step)
        done.append(step)

    threads = [threading.Thread(target=work, args=(step,)) for step in steps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(done) == len(steps)

for _ in range(20):
    if not (pid := os.fork()):
        os._exit(0 if gather() else 1)
    assert os.waitpid(pid, 0)[1] == 0
"""


def test_threads_of_a_process_that_has_read_no_cell_gather_steps_at_once(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("print(1)")
    done = subprocess.run([sys.executable, "-c", _AT_ONCE, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_names_fit_registries() -> None:
    names = {
        name: image_name(Component(name=name, language="python", source="")) for name in ("Train_It", "größe", "訓練")
    }
    assert names["Train_It"] == "train-it"
    assert names["größe"].startswith("gr-e-")
    assert names["訓練"].startswith("step-")


def test_a_folder_with_a_dockerfile_is_taken_as_it_is(tmp_path: Path) -> None:
    fill(
        tmp_path,
        {"Dockerfile": 'FROM debian\nENTRYPOINT ["./deploy.sh"]\n', "deploy.sh": "#!/bin/sh\n", "a/b.txt": "b"},
    )
    (tmp_path / "deploy.sh").chmod(0o755)
    component = step("", context=str(tmp_path), name="deploy", inputs=("model:str",))
    spec = spec_of(component)
    assert (spec.base, spec.folder, list(spec.files)) == ("", str(tmp_path), ["cloudbuild.yaml"])
    (tmp_path / "cloudbuild.yaml").write_text("steps: []\n")
    own = spec_of(component)
    assert own.files == {}
    assert own.tag != spec.tag
    with packed(tmp_path, {"cloudbuild.yaml": b"other"}) as tar:
        assert {one.name: oct(one.mode) for one in tar} == {
            "Dockerfile": "0o644",
            "a/b.txt": "0o644",
            "cloudbuild.yaml": "0o644",
            "deploy.sh": "0o755",
        }
        assert tar.extractfile("cloudbuild.yaml").read() == b"other"
        assert all((one.uid, one.gid, one.mtime, one.uname) == (0, 0, 0, "") for one in tar.getmembers())


def test_a_folder_without_a_dockerfile_runs_its_program(tmp_path: Path) -> None:
    folder = fill(
        tmp_path / "deploy",
        {
            "deploy.sh": "#!/bin/bash\necho 1 > /version.txt\n",
            "helper.py": "x = 1\n",
            "requirements.txt": "numpy>=2  # arrays\n# nothing else\n",
            "cloudbuild.yaml": "steps: []\n",
            ".gcloudignore": "*.tmp\n",
            "big.tmp": "no",
        },
    )
    component = step("", context=str(folder), outputs=("version:str=/version.txt",), entry="deploy.sh")
    assert (component.name, component.entry, component.base_image) == ("deploy", "deploy.sh", "python:3.11-slim")
    content = content_of(component)
    assert sorted(content.files) == ["src/deploy.sh", "src/helper.py"]
    assert content.requirements == ("numpy>=2",)
    assert content.remarks == ("cloudbuild.yaml is used by the builder cloudbuild only.",)
    spec = image_spec(component, content, base=BASE, locked=LOCKED, platform="linux/amd64")
    assert spec.entrypoint == ("sh", "-c", 'cd /opt/kfpm/src && exec "$0" "$@"', "bash", "deploy.sh")
    assert b'ENTRYPOINT ["sh", "-c", "cd /opt/kfpm/src && exec' in spec.files["Dockerfile"]
    assert "_KFP_RUNTIME" not in spec.env
    assert image_spec(
        component, content_of(component, as_it_is=True), base=BASE, locked=(), platform="linux/amd64"
    ).folder == str(folder)
    (folder / "requirements.txt").write_text("-r other.txt\n")
    with pytest.raises(BuildError, match="'-r other"):
        content_of(component)


@pytest.mark.parametrize(
    ("files", "entry", "wrong"),
    [
        ({"notes.txt": ""}, "", "no Dockerfile and no program"),
        ({"a.py": "", "b.sh": ""}, "", "several programs: a.py, b.sh"),
        ({"main.py": ""}, "mian.py", "no program 'mian.py'"),
        ({"main.py": "", "Dockerfile": ""}, "main.py", "has a Dockerfile"),
    ],
)
def test_which_program_a_folder_runs_must_be_clear(
    tmp_path: Path, files: dict[str, str], entry: str, wrong: str
) -> None:
    with pytest.raises(DefinitionError, match=wrong):
        step("", context=str(fill(tmp_path, files)), entry=entry, name="thing")


def test_outputs_in_files_need_a_known_program(tmp_path: Path) -> None:
    fill(tmp_path, {"Dockerfile": "FROM alpine\n"})
    with pytest.raises(DefinitionError, match="no ENTRYPOINT"):
        step("", context=str(tmp_path), name="thing", outputs=("version:str=/version.txt",))


@pytest.mark.parametrize(
    ("rules", "left"),
    [
        ({".dockerignore": "*\n!src\nsrc/*.log\n"}, {"src/a.py", "src/keep.txt", "src/deep/x.log"}),
        ({".dockerignore": "# none\n/*.txt\n**/*.log\n"}, {"src/a.py", "src/keep.txt", "data/x.bin"}),
        (
            {".gcloudignore": "#!include:.gitignore\ndata/\n", ".gitignore": "*.log\n!keep.log\n"},
            {"src/a.py", "src/keep.txt", "top.txt"},
        ),
        ({".gitignore": "/data\n*.log\n"}, {"src/a.py", "src/keep.txt", "top.txt"}),
        (
            {".dockerignore": "src\n", ".gcloudignore": "*.txt\ndata\n*.log\n", "cloudbuild.yaml": "steps: []\n"},
            {"src/a.py", "cloudbuild.yaml"},
        ),
    ],
)
def test_the_ignore_file_of_a_folder_is_obeyed(tmp_path: Path, rules: dict[str, str], left: set[str]) -> None:
    files = {"src/a.py": "", "src/deep/x.log": "", "src/keep.txt": "", "top.txt": "", "data/x.bin": "", "src/y.log": ""}
    fill(tmp_path, files | rules | {".git/config": "", "src/__pycache__/a.pyc": ""})
    assert {path for path in paths(tmp_path) if not path.startswith(".")} == left
    fill(tmp_path, {"Dockerfile": "", ".dockerignore": "*\n"})
    (tmp_path / "cloudbuild.yaml").unlink(missing_ok=True)
    assert paths(tmp_path) - {".gcloudignore"} == {"Dockerfile", ".dockerignore"}


def test_secrets_stay_out_and_are_named(tmp_path: Path) -> None:
    key = "-----BEGIN RSA PRIVATE KEY-----\nabc\n"
    secrets = {
        ".env": "TOKEN=1",
        "conf/.env.production": "TOKEN=1",
        "id_ed25519": "x",
        "sa.json": '{"type": "service_account", "private_key": "-----BEGIN PRIVATE KEY-----\\nabc"}',
        "adc.json": '{"refresh_token": "1"}',
        "tls/server.key": key,
        "bundle.p12": "x",
        ".docker/config.json": "{}",
    }
    plain = {".env.example": "TOKEN=", "ca.pem": "-----BEGIN CERTIFICATE-----", "data.json": "[1]", "parse.py": key}
    found = read_folder(fill(tmp_path, {**secrets, **plain, "Dockerfile": "FROM x\n"}))
    assert set(found.secrets) == set(secrets)
    assert {entry.path for entry in found.entries} == {*plain, "Dockerfile"}
    assert set(spec_of(step("", context=str(tmp_path), name="deploy")).secret_names) == set(secrets)


def test_links_stay_inside(tmp_path: Path) -> None:
    fill(tmp_path / "a", {"Dockerfile": "", "data/x.txt": "x"})
    (tmp_path / "a" / "latest").symlink_to("data/x.txt")
    found = read_folder(tmp_path / "a")
    assert [entry.link for entry in found.entries if entry.path == "latest"] == ["data/x.txt"]
    with packed(tmp_path / "a") as tar:
        assert tar.getmember("latest").linkname == "data/x.txt"
    for target in ("../../secret", "/etc/passwd", "data/../../b"):
        link = tmp_path / "a" / "data" / "out"
        link.symlink_to(target if target.startswith("/") else f"../{target}")
        with pytest.raises(BuildError, match="leads out of it"):
            read_folder(tmp_path / "a")
        link.unlink()
    os.mkfifo(tmp_path / "a" / "pipe")
    with pytest.raises(BuildError, match="neither a file nor a folder"):
        read_folder(tmp_path / "a")


def test_nothing_is_written_outside_the_folder(tmp_path: Path) -> None:
    for path in ("../x", "/x", "a/../../x", ""):
        with pytest.raises(BuildError, match="leads out"):
            write_folder(ImageSpec(name="x", files={path: b""}), tmp_path / "out")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir(exist_ok=True)
    (tmp_path / "out" / "src").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BuildError, match="is a link"):
        write_folder(ImageSpec(name="x", files={"src/x": b""}), tmp_path / "out")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_the_same_content_gives_the_same_digest_anywhere(tmp_path: Path) -> None:
    files = {"Dockerfile": "FROM x\n", "ä.txt": "1", "b/c.txt": "2"}
    one = read_folder(fill(tmp_path / "one", files))
    fill(tmp_path / "two", dict(reversed(files.items())))
    os.utime(tmp_path / "two" / "ä.txt", (1, 1))
    two = read_folder(tmp_path / "two")
    assert digest_of(one) == digest_of(two)
    (tmp_path / "two" / "ä.txt").chmod(0o755)
    assert digest_of(read_folder(tmp_path / "two")) != digest_of(one)


def test_a_folder_that_changes_under_the_hand_is_refused(tmp_path: Path) -> None:
    found = read_folder(fill(tmp_path, {"a.txt": "12345"}))
    digest = digest_of(found)
    for text in ("54321", "1234567", "1"):
        (tmp_path / "a.txt").write_text(text)
        with pytest.raises(BuildError, match=r"changed while it was read|cannot be read"):
            pack(found, {}, io.BytesIO(), digest=digest)


def test_a_link_in_the_place_of_a_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("12345")
    found = read_folder(fill(tmp_path / "folder", {"a.txt": "12345"}))
    digest = digest_of(found)
    (tmp_path / "folder" / "a.txt").unlink()
    (tmp_path / "folder" / "a.txt").symlink_to(tmp_path / "secret")
    with pytest.raises(BuildError, match="cannot be read"):
        pack(found, {}, io.BytesIO(), digest=digest)
    with pytest.raises(BuildError, match="cannot be read"):
        digest_of(found)


class Sink(io.RawIOBase):
    """Counts what is written."""

    def __init__(self) -> None:
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, piece: bytes) -> int:  # type: ignore[override]
        self.size += len(piece)
        return len(piece)


def test_two_gigabytes_are_never_in_memory(tmp_path: Path) -> None:
    fill(tmp_path, {"Dockerfile": "FROM x\n"})
    with (tmp_path / "model.bin").open("wb") as file:
        file.truncate(2 << 30)
    tracemalloc.start()
    sink = Sink()
    pack(read_folder(tmp_path), {}, sink)  # type: ignore[arg-type]
    os.truncate(tmp_path / "model.bin", 100 << 20)
    digest_of(read_folder(tmp_path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sink.size > 2 << 30
    assert peak < 32 << 20
