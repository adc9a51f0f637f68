"""Pipelines of people who never heard of magics: in Python files, in modules, compiled, packed."""

from __future__ import annotations

import gzip
import io
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from kfp_magics.cli import main
from kfp_magics.errors import ArgumentError, DefinitionError, KfpMagicsError, NotFoundError
from kfp_magics.options import RunOptions
from kfp_magics.session import Session

PIPELINE = """
from kfp import dsl
{imports}

@dsl.component(base_image="python:3.11")
def one(text: str) -> str:
    return text

@dsl.pipeline(name="own-name")
def flow(text: str):
    one(text=text).set_display_name({word})

if __name__ == "__main__":
    raise SystemExit("only a script does this")
"""


def written(path: Path, word: str = "'same'", imports: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(PIPELINE.format(word=word, imports=imports), encoding="utf-8")
    return path


@pytest.fixture
def session(settings, tmp_path, monkeypatch) -> Session:
    monkeypatch.chdir(tmp_path)
    return Session(settings)


@pytest.fixture
def ir(session) -> bytes:
    written(Path("flow.py"))
    return session.resolve("flow.py").ir.encode()


def zipped(**files: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in files.items():
            archive.writestr(f"{name}.yaml", content)
    return file.getvalue()


def tarred(content: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        member = tarfile.TarInfo("pipeline.yaml")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


@pytest.mark.parametrize("name", ["p.yaml", "p.json", "p.zip", "p.tar.gz", "p.tgz", "p.yaml.gz", "with space/p q.zip"])
def test_a_compiled_pipeline_is_read_however_it_is_packed(session, ir, name):
    pack = {"zip": lambda data: zipped(p=data), "tar.gz": tarred, "tgz": tarred, "yaml.gz": gzip.compress}
    Path("with space").mkdir()
    Path(name).write_bytes(pack.get(name.partition(".")[2], bytes)(ir))
    assert session.resolve(name).name == "own-name"
    assert session.resolve(Path(name)).ir.encode() == ir


def test_a_home_is_written_with_a_tilde(session, ir, monkeypatch, tmp_path):
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home" / "p.yaml").write_bytes(ir)
    assert session.resolve("~/p.yaml").name == "own-name"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (zipped(), "holds 0 YAML files"),
        (zipped(a=b"x", b=b"x"), "holds 2 YAML files"),
        (b"PK\x03\x04 and nothing else", "cannot be unpacked"),
        (b"\x1f\x8b and nothing else", "cannot be unpacked"),
        (zipped(a=b"0" * (33 << 20)), "larger than 32 MB"),
        (gzip.compress(b"0" * (33 << 20)), "larger than 32 MB"),
        (b"\xff\xfe\x00", "neither YAML nor an archive of it"),
        (b"apiVersion: argoproj.io/v1alpha1\nkind: Workflow\n", "a Kubernetes Workflow, as KFP 1 compiled pipelines"),
    ],
    ids=["nothing", "two", "bad zip", "bad gzip", "large zip", "large gzip", "binary", "Argo"],
)
def test_a_package_that_holds_no_pipeline_is_refused(session, content, said):
    Path("p.zip").write_bytes(content)
    with pytest.raises(DefinitionError, match=said) as raised:
        session.resolve("p.zip")
    assert len(str(raised.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("flwo.py", "There is no file 'flwo.py'.", "Did you mean 'flow.py'?"),
        ("sub/pip.yaml", "There is no file 'sub/pip.yaml'.", "Did you mean 'sub/pipe.yaml'?"),
        ("sub", "There is no pipeline or step 'sub'.", "Define one with %%kfp_pipeline, or give a file: pipeline.py"),
        ("./sub", "'./sub' is a folder.", "Known: sub/pipe.yaml."),
        ("nowhere/x.yaml", "There is no file 'nowhere/x.yaml'.", "There is no folder 'nowhere' either."),
        ("flow.py:flwo", "flow.py has no pipeline 'flwo'.", "Did you mean 'flow'?"),
    ],
)
def test_a_file_that_is_not_there_names_the_one_that_was_meant(session, name, message, hint):
    written(Path("flow.py"))
    Path("sub").mkdir()
    Path("sub/pipe.yaml").touch()
    Path("sub/notes.txt").touch()
    with pytest.raises(NotFoundError) as raised:
        session.resolve(name)
    assert raised.value.message == message
    assert raised.value.hint.startswith(hint)


def test_files_of_a_package_import_relatively(session):
    for folder in ("outer", "outer/inner"):
        Path(folder).mkdir()
        Path(folder, "__init__.py").touch()
    Path("outer/words.py").write_text("WORD = 'from above'\n")
    Path("outer/inner/beside.py").write_text("from ..words import WORD\n")
    written(Path("outer/inner/flow.py"), "WORD", "from .beside import WORD")
    assert "from above" in session.resolve("outer/inner/flow.py").ir


def test_what_stands_beside_a_file_is_read_anew_and_not_taken_for_that_of_another(session):
    before = list(sys.path)
    for word in ("first", "second"):
        written(Path("a/flow.py"), "WORD", "from shared_words import WORD")
        Path("a/shared_words.py").write_text(f"WORD = {word!r} + 'ly'\n")
        assert f"{word}ly" in session.resolve("a/flow.py").ir
    written(Path("b/flow.py"), "WORD", "from shared_words import WORD")
    Path("b/shared_words.py").write_text("WORD = 'other folder'\n")
    assert "other folder" in session.resolve("b/flow.py").ir
    assert "shared_words" not in sys.modules
    assert sys.path == before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\ndef f(:\n", ["it.py does not parse: invalid syntax (it.py, line 2).", "Look at: def f(:"]),
        ("import no_such_thing.at_all", ["it.py imports 'no_such_thing', which is not here.",
                                         "Install it: pip install no_such_thing"]),
        ("import sys\nsys.exit(0)\n", ["it.py ends Python when it is imported (sys.exit).",
                                       "Put what only a script does below: if __name__ == '__main__':"]),
        ("from kfp import dsl\n@dsl.pipeline\ndef empty():\n    pass\n",
         ["The pipeline 'it.py' does not compose (line 2): it has no step.", "Call a step in it: my_step(x=1)."]),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_imported_says_why_in_two_lines(session, text, said):
    Path("it.py").write_text(text)
    with pytest.raises(DefinitionError) as raised:
        session.resolve("it.py")
    assert str(raised.value).splitlines() == said


def test_functions_of_an_imported_module_are_named_as_in_python(session, tmp_path, monkeypatch):
    written(Path("flows_of_ours.py"))
    monkeypatch.syspath_prepend(str(tmp_path))
    import flows_of_ours  # type: ignore[import-not-found]

    session.definitions.namespace["ours"] = flows_of_ours
    assert session.resolve("ours.flow").name == "own-name"
    with pytest.raises(NotFoundError, match=r"Did you mean 'ours\.flow'"):
        session.resolve("ours.flwo")


@pytest.mark.parametrize("called", ["flow.py", "flow.py:flow", "with space/p q.yaml", "flow"])
def test_what_is_missing_is_asked_for_by_the_name_that_the_user_knows(session, ir, called):
    Path("with space").mkdir()
    Path("with space/p q.yaml").write_bytes(ir)
    namespace: dict[str, object] = session.definitions.namespace
    exec(compile(Path("flow.py").read_bytes(), str(Path("flow.py").absolute()), "exec", dont_inherit=True), namespace)
    with pytest.raises(ArgumentError) as raised:
        session.prepare(called, [], RunOptions())
    quoted = f"'{called}'" if " " in called else called
    assert raised.value.hint == f"%kfp_run {quoted} text=…"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["flow.py:flow"], "kfp-magics run flow.py:flow text=…"),
        (["flow.py", "--pipeline", "flow"], "kfp-magics run flow.py --pipeline flow text=…"),
        (["with space/p q.zip"], "kfp-magics run 'with space/p q.zip' text=…"),
        (["flwo.py"], "Did you mean 'flow.py'?"),
    ],
)
def test_the_command_line_says_what_to_type_there(session, ir, words, said, capsys):
    Path("with space").mkdir()
    Path("with space/p q.zip").write_bytes(zipped(p=ir))
    assert main(["run", *words, "--dry-run"]) == 2
    assert capsys.readouterr().err.splitlines()[1] == said


def test_every_refusal_of_a_file_is_a_mistake_that_a_user_can_mend(session):
    for name in ("x.py", "x.yaml", "x.zip", "./x", "~/none/x.json"):
        with pytest.raises(KfpMagicsError):
            session.resolve(name)
