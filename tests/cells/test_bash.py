"""Scripts as steps, carried out by a real bash with what KFP would put in the place of its placeholders."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from kfp_magics.cells.bash import bash_command
from kfp_magics.errors import DefinitionError
from kfp_magics.model import Component

from .conftest import make

NASTY = [
    '"; rm -rf / #',
    "$(touch hacked)",
    "`touch hacked`",
    "$HOME ${PATH}",
    "two\nlines\n",
    "'single' and \"double\"",
    "-n",
    "--",
    "*",
    "\\n \\",
    "ü 漢字 🙂",
    "",
    "  blanks  ",
    ";&|<>(){}[]!#~",
]


@dataclass
class Done:
    code: int
    out: str
    err: str
    written: dict[str, str] = field(default_factory=dict)


def run(component: Component, folder: Path, **given: Any) -> Done:
    """Carries out the container's command with KFP's placeholders replaced, as a backend does it."""
    (folder / "out").mkdir(exist_ok=True)
    (folder / "work").mkdir(exist_ok=True)
    outputs = {port.name: folder / "out" / port.name / "data" for port in component.outputs}

    def plain(word: str) -> str:
        match = re.fullmatch(r"\{\{\$\.(inputs|outputs)\.\w+\['(\w+)'\](?:\.\w+)?\}\}", word)
        if not match:
            return word
        return str(given[match[2]]) if match[1] == "inputs" else str(outputs[match[2]])

    command, arguments = bash_command(component)
    words: list[str] = []
    for one in arguments:
        if one.startswith('{"IfPresent"'):
            condition = json.loads(one)["IfPresent"]
            words += condition["Then" if given.get(condition["InputName"]) is not None else "Else"]
        else:
            words.append(one)
    done = subprocess.run(
        [*command, *map(plain, words)],
        cwd=folder / "work",
        env={"PATH": os.environ["PATH"], "HOME": "/home/me", "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    written = {name: path.read_text() for name, path in outputs.items() if path.is_file()}
    return Done(done.returncode, done.stdout, done.stderr, written)


def script(body: str, *inputs: str, out: tuple[str, ...] = ()) -> Component:
    return make(body, name="tidy", lang="bash", inputs=inputs, outputs=out)


def test_inputs_are_arguments_and_variables(tmp_path: Path) -> None:
    step = script('echo "$1/$2/$#" "$year/$raw"\nbash -c \'echo "$year"\'\n', "raw:Dataset", "year:int")
    done = run(step, tmp_path, raw="/data/raw", year=2000)
    assert (done.code, done.out) == (0, "/data/raw/2000/2 2000//data/raw\n2000\n")


@pytest.mark.parametrize("value", NASTY)
def test_values_stay_values(value: str, tmp_path: Path) -> None:
    step = script('printf "%s" "$1"\nprintf "%s" "$text" > "$kept"\n', "text:str", "more:str", out=("kept:str",))
    done = run(step, tmp_path, text=value, more=value)
    assert (done.code, done.err) == (0, "")
    assert done.out == value
    assert done.written == {"kept": value}
    assert list((tmp_path / "work").iterdir()) == []


def test_more_than_nine_inputs(tmp_path: Path) -> None:
    names = [f"n{number}" for number in range(12)]
    step = script('echo "${10} ${12} $n10 $#"\n', *names)
    assert run(step, tmp_path, **{name: name for name in names}).out == "n9 n11 n10 12\n"


def test_optional_inputs(tmp_path: Path) -> None:
    body = 'echo "[$1] [$2] [${year-unset}] [$last] $#"\n'
    step = script(body, "year:int=None", "last:str")
    assert run(step, tmp_path, year=2000, last="x").out == "[2000] [x] [2000] [x] 2\n"
    assert run(step, tmp_path, last="x").out == "[] [x] [unset] [x] 2\n"


def test_outputs_are_paths_in_variables(tmp_path: Path) -> None:
    step = script('echo 3 > "$rows"\nmkdir "$model"\necho w > "$model/weights"\n', out=("rows:int", "model:Model"))
    done = run(step, tmp_path)
    assert done.code == 0, done.err
    assert done.written == {"rows": "3\n"}
    assert (tmp_path / "out/model/data/weights").read_text() == "w\n"


def test_outputs_are_read_from_files(tmp_path: Path) -> None:
    step = script(
        "printf 1.0 > version.txt\nmkdir -p 'o'\"'\"'clock'\necho w > 'o'\"'\"'clock/w'\n",
        out=("version:str=version.txt", "folder:Artifact=o'clock"),
    )
    done = run(step, tmp_path)
    assert (done.code, done.err) == (0, "")
    assert done.written == {"version": "1.0"}
    assert (tmp_path / "out/folder/data/w").read_text() == "w\n"


@pytest.mark.parametrize("ending", ["exit 0", "cd /", "trap 'echo bye' EXIT"])
def test_however_a_script_ends_its_files_are_collected(ending: str, tmp_path: Path) -> None:
    step = script(f"printf 1.0 > {tmp_path}/version.txt\n{ending}\n", out=(f"version:str={tmp_path}/version.txt",))
    done = run(step, tmp_path)
    assert (done.code, done.err, done.written) == (0, "", {"version": "1.0"})


def test_a_file_that_was_not_written(tmp_path: Path) -> None:
    done = run(script("true\n", out=("version:str=version.txt",)), tmp_path)
    assert done.code == 3
    assert done.err == "The script wrote no file version.txt for its output version.\n"


def test_a_file_that_stood_there_before(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    old = tmp_path / "work" / "version.txt"
    old.write_text("old")
    os.utime(old, (1e9, 1e9))
    assert run(script("true\n", out=("version:str=version.txt",)), tmp_path).code == 3


@pytest.mark.parametrize(("body", "code"), [("exit 7\n", 7), ("false\necho on\n", 1), ("(exit 5)\necho on\n", 5)])
@pytest.mark.parametrize("out", [(), ("version:str=version.txt",)])
def test_a_scripts_failure_is_its_exit_code(body: str, code: int, out: tuple[str, ...], tmp_path: Path) -> None:
    done = run(script(body, out=out), tmp_path)
    assert (done.code, done.out, done.written) == (code, "", {})
    assert "wrote no file" not in done.err


def test_errors_name_the_cells_line(tmp_path: Path) -> None:
    done = run(script("echo one\n\nno_such_program\n", "year:int", out=("a:str=a.txt",)), tmp_path, year=1)
    assert done.code == 127
    assert "tidy: line 4: no_such_program" in done.err


def test_syntax_errors_name_the_cells_line(tmp_path: Path) -> None:
    done = run(script("echo one\nfi\n"), tmp_path)
    assert done.code == 2
    assert "line 3: syntax error" in done.err


def test_a_script_of_comments(tmp_path: Path) -> None:
    assert run(script("# nothing yet\n"), tmp_path).code == 0


def test_a_script_without_a_last_newline_and_with_a_here_document(tmp_path: Path) -> None:
    done = run(script("cat <<END\n$year\nEND\necho two # end", "year:int"), tmp_path, year=1)
    assert (done.code, done.out) == (0, "1\ntwo\n")


def test_nothing_is_left_in_the_folder_for_temporary_files(tmp_path: Path) -> None:
    run(script("echo 1 > a.txt\n", out=("a:str=a.txt",)), tmp_path)
    run(script("true\n", out=("a:str=b.txt",)), tmp_path)
    run(script("exit 4\n", out=("a:str=b.txt",)), tmp_path)
    run(script("true\n"), tmp_path)
    assert {one.name for one in tmp_path.iterdir()} == {"out", "work"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"inputs": ("raw:List[Dataset]",)}, "cannot take the list 'raw'"),
        ({"inputs": ("PATH:str",)}, "'PATH' means something to bash itself"),
        ({"inputs": ("UID:str",)}, "'UID' means something to bash itself"),
        ({"packages": ("pandas",)}, "takes no --packages"),
        ({"include": ("helper",)}, "no --include"),
        ({"name": ""}, "The step has no name"),
    ],
)
def test_what_a_script_cannot_have(words: dict[str, Any], message: str) -> None:
    with pytest.raises(DefinitionError, match=message) as caught:
        make("true\n", **{"name": "tidy", "lang": "bash", **words})
    assert caught.value.hint
