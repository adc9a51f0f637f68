"""What engines print and what Dockerfiles say, read without an engine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from kfp_magics import engines
from kfp_magics.backends.base import StepSource
from kfp_magics.backends.local.executor import Launch
from kfp_magics.backends.local.tracebacks import read_traceback
from kfp_magics.errors import BuildError
from kfp_magics.images.base import ImageSpec
from kfp_magics.images.context import INSTALL, SITE
from kfp_magics.images.dockerfile import base_images, instructions, line_of
from kfp_magics.images.preinstalled import preinstall
from tests.images.append.wheelhouse import Wheelhouse
from tests.images.containers import PLATFORM
from tests.images.recording import RecordingLog

DOCKERFILE = """\
# comment
FROM --platform=linux/amd64 127.0.0.1:5000/base/python:3 AS first
ENV A=1 \\
    # in between

    B=2

RUN <<EOF
FROM nothing
EOF
COPY --from=first /a /b
COPY --from=docker.io/library/busybox:1 /bin/true /t
from first as second
FROM scratch
RUN  echo   one
RUN echo one && \\
  exit 3
"""


def test_instructions_have_lines() -> None:
    found = [(one.line, one.text) for one in instructions(DOCKERFILE)]
    assert found == [
        (2, "FROM --platform=linux/amd64 127.0.0.1:5000/base/python:3 AS first"),
        (3, "ENV A=1 B=2"),
        (8, "RUN <<EOF"),
        (11, "COPY --from=first /a /b"),
        (12, "COPY --from=docker.io/library/busybox:1 /bin/true /t"),
        (13, "from first as second"),
        (14, "FROM scratch"),
        (15, "RUN echo one"),
        (16, "RUN echo one && exit 3"),
    ]
    assert [one.text for one in instructions("# escape=`\nRUN a `\n  b\\\n")] == ["RUN a b\\"]
    assert instructions("") == []


def test_base_images_are_those_of_others() -> None:
    assert base_images(DOCKERFILE) == ["127.0.0.1:5000/base/python:3", "docker.io/library/busybox:1"]


@pytest.mark.parametrize(
    ("step", "line"),
    [
        ("RUN echo one &&   exit 3", 16),
        ("RUN echo one", 15),
        ("ENV A=1     B=2", 3),
        ("COPY --from=first /a /b in /other", 11),
        ("RUN something else", None),
    ],
)
def test_the_line_of_what_an_engine_names(step: str, line: int | None) -> None:
    found = line_of(DOCKERFILE, step)
    assert (found.line if found else None) == line


@pytest.mark.parametrize(
    ("reference", "is_loopback"),
    [
        ("127.0.0.1:5000/team/x@sha256:1", True),
        ("127.8.9.1/x", True),
        ("localhost:5000/x", True),
        ("localhost/x:1", False),  # podman's name for an image that is only here
        ("[::1]:5000/x", True),
        ("registry.example.com:5000/x", False),
        ("127.0.0.1.example.com/x", False),
        ("python:3.11", False),
        ("10.0.0.1:5000/x", False),
    ],
)
def test_only_loopback_may_do_without_tls(reference: str, is_loopback: bool) -> None:
    assert engines.is_loopback(reference) is is_loopback
    podman, docker = (engines.Engine(name=name, program=name) for name in ("podman", "docker"))
    assert engines.plain_http(podman, reference) == (("--tls-verify=false",) if is_loopback else ())
    assert engines.plain_http(docker, reference) == ()
    asked = "registry.example.com:5000, other"
    is_asked = is_loopback or reference.startswith("registry.example.com:5000/")
    assert engines.plain_http(podman, reference, asked) == (("--tls-verify=false",) if is_asked else ())


SOURCE = StepSource(cell_id="c1", label="cell 'train'", source="%%kfp_component\nx = 1\nraise x\n", line_offset=-6)
NESTED = """\
training
Traceback (most recent call last):
  File "/opt/kfpm/src/step_train.py", line 8, in first
KeyError: 'a'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "<frozen runpy>", line 198, in _run_module_as_main
  File "/opt/kfpm/site/kfp/dsl/executor.py", line 9, in execute
    result = self.func(**func_kwargs)
             ^^^^^^^^^^^^^^^^^^^^^^^^
  File "/opt/kfpm/src/step_train.py", line 9, in train
    raise x
  File "/usr/lib/python3.11/json/decoder.py", line 1, in decode
json.decoder.JSONDecodeError: Expecting value
more about it
"""
SYNTAX = """\
  File "/tmp/tmp.Xy/ephemeral_component.py", line 9
    raise x
          ^
SyntaxError: invalid syntax
"""


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        (NESTED, ("json.decoder.JSONDecodeError: Expecting value", 3, "raise x")),
        (SYNTAX, ("SyntaxError: invalid syntax", 3, "raise x")),
        (
            NESTED.replace("line 9, in train", "line 99, in train"),
            ("json.decoder.JSONDecodeError: Expecting value", None, ""),
        ),
        (
            'Traceback (most recent call last):\n  File "/app/main.py", line 1, in <module>\nOSError: no\n',
            ("OSError: no", None, ""),
        ),
        ("Traceback (most recent call last):\n", None),
        ("nothing went wrong\n", None),
        ("", None),
    ],
)
def test_tracebacks_lead_to_the_cell(tmp_path: Path, log: str, expected: Any) -> None:
    (tmp_path / "log.txt").write_text(log)
    launch = Launch(
        task_id="train",
        attempt=1,
        image="x",
        command=(),
        args=(),
        executor_input={},
        env={},
        folder=tmp_path,
        log=tmp_path / "log.txt",
        source=SOURCE,
    )
    found = read_traceback(launch)
    assert (found and (found.message, found.line, found.text)) == expected
    if found is not None and found.line:
        assert "File \"<cell 'train'>\", line 3" in found.traceback
        assert "executor.py" not in found.traceback


@pytest.fixture
def wheelhouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Wheelhouse:
    made = Wheelhouse(tmp_path / "wheels")
    monkeypatch.setenv("UV_FIND_LINKS", str(made.folder))
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    return made


def preinstalled(folder: Path, *requirements: str) -> tuple[str, str]:
    (folder / "Dockerfile").write_text(f"FROM base\n{INSTALL}COPY src /opt/kfpm/src\n")
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    spec = ImageSpec(name="x", requirements=requirements, python=python, platform=PLATFORM)
    log = RecordingLog()
    preinstall(spec, folder, "Dockerfile", log)
    return (folder / "Dockerfile").read_text(), log.text


def test_wheels_are_installed_here(wheelhouse: Wheelhouse, tmp_path: Path) -> None:
    first = wheelhouse.locked(
        "first", {"first.py": "x = 1\n", "first.pth": "import first\n"}, scripts="first = first:x"
    )
    text, said = preinstalled(tmp_path, first)
    assert text == f"FROM base\nCOPY site {SITE}\nCOPY src /opt/kfpm/src\n"
    assert said == "uv installed first==1.0\n"
    assert (tmp_path / "site/first.py").read_text() == "x = 1\n"
    assert (tmp_path / "site/sitecustomize.py").exists()
    assert (tmp_path / "site/bin/first").read_text().startswith("#!/usr/bin/env python3\n")
    assert (tmp_path / "site/bin/first").stat().st_mode & 0o777 == 0o755


def test_what_needs_a_compiler_is_left_to_the_image(wheelhouse: Wheelhouse, tmp_path: Path) -> None:
    text, said = preinstalled(tmp_path, wheelhouse.source("second", compiles=True))
    assert INSTALL in text
    assert "pip installs the requirements in the image" in said
    assert not (tmp_path / "site").exists()


def test_what_was_tampered_with_is_refused(wheelhouse: Wheelhouse, tmp_path: Path) -> None:
    line = wheelhouse.locked("third", {"third.py": "x = 1\n"})
    wheelhouse.wheel("third", {"third.py": "x = 2\n"})
    with pytest.raises(BuildError, match="not what its lock says"):
        preinstalled(tmp_path, line)
