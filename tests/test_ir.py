"""Compiled pipelines that are none: each is refused with what is wrong with what."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from kfp_magics import ir as irs
from kfp_magics.errors import DefinitionError

SPEC: dict[str, Any] = {
    "pipelineInfo": {"name": "chain"},
    "root": {
        "dag": {
            "tasks": {
                "first": {"componentRef": {"name": "comp-work"}},
                "second": {"componentRef": {"name": "comp-work"}, "dependentTasks": ["first"]},
            }
        }
    },
    "components": {"comp-work": {"executorLabel": "exec-work"}},
    "deploymentSpec": {"executors": {"exec-work": {"container": {"image": "python", "command": ["true"]}}}},
}
Change = Callable[[dict[str, Any]], object]


def tasks(spec: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = spec["root"]["dag"]["tasks"]
    return found


def container(spec: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = spec["deploymentSpec"]["executors"]["exec-work"]["container"]
    return found


CHANGES: list[tuple[str, Change, str]] = [
    ("no root", lambda spec: spec.pop("root"), "no 'root'"),
    ("circle", lambda spec: tasks(spec)["first"].update(dependentTasks=["second"]), "wait for each other"),
    ("dangling need", lambda spec: tasks(spec)["first"].update(dependentTasks=["third"]), "needs 'third'"),
    ("dangling component", lambda spec: spec.update(components={}), "'comp-work' that is not there"),
    ("no executor", lambda spec: spec.pop("deploymentSpec"), "neither a DAG nor an executor"),
    (
        "nests itself",
        lambda spec: spec["components"].update({"comp-work": {"dag": copy.deepcopy(spec["root"]["dag"])}}),
        "nests itself",
    ),
    ("command of another shape", lambda spec: container(spec).update(command={"module": ["x"]}), "command .* no list"),
    ("numbers for words", lambda spec: container(spec).update(args=[1, 2]), "args .* no list"),
    ("workflow", lambda spec: spec.update(apiVersion="argoproj.io/v1", kind="Workflow"), "Kubernetes Workflow"),
    ("component of version 1", lambda spec: spec.update(implementation={}), "version 1"),
]


def test_the_pipeline_that_the_others_are_made_from_is_one() -> None:
    parsed = irs.parse(json.dumps(SPEC))
    assert [task.id for task in irs.static_tasks(parsed)] == ["first", "second"]


@pytest.mark.parametrize(("change", "says"), [row[1:] for row in CHANGES], ids=[row[0] for row in CHANGES])
def test_what_is_no_pipeline_is_refused(change: Change, says: str) -> None:
    spec = copy.deepcopy(SPEC)
    change(spec)
    with pytest.raises(DefinitionError, match=says):
        irs.parse(json.dumps(spec))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("just text", "no YAML mapping"),
        ("a: [", "no YAML"),
        ("a: 1\n" * 2, "'root'"),
        ("\n".join(["a0: &a0 [x]", *(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10))]), "64 MB"),
        ("a: &a [*a]", "nested too deeply"),
        ("a: " + "[" * 500 + "]" * 500, "nested too deeply"),
        ("a: " + "[" * 50_000, "no YAML"),
        ("\n".join(["a0: &a0 {x: 1}", *(f"a{n}: &a{n} {{<<: [*a{n - 1}]}}" for n in range(1, 3))]), "'<<' is not"),
        ("a: !!set {x, y}", "holds a set"),
        ("on: x", "a key that is no text: True"),
        (json.dumps(SPEC) + "\n---\ntext", "more than its platform part"),
        (json.dumps(SPEC) + "\n---\n{}\n---\n{}", "more than its platform part"),
        (json.dumps(SPEC | {"schemaVersion": "3.0.0", "sdkVersion": "kfp-4.0.0"}), "by kfp-4.0.0 in version 3.0.0"),
    ],
)
def test_text_that_is_none_is_refused(text: str, says: str) -> None:
    with pytest.raises(DefinitionError, match=says):
        irs.parse(text)


def test_text_nested_without_end_breaks_no_thread_with_a_small_stack() -> None:
    program = """
import threading
from kfp_magics import ir
from kfp_magics.errors import DefinitionError

def read():
    for opens, closes, depth in (
        ('{"a":', "}", 199), ('{"a":', "}", 100_000), ("- ", "", 100_000), ("? ", "", 100_000), ("[", "]", 100_000)
    ):
        try:
            ir.parse(opens * depth + "1" + closes * depth)
        except DefinitionError as error:
            print(error.message)

threading.stack_size(256 * 1024)
thread = threading.Thread(target=read)
thread.start()
thread.join()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    deep, *refused, brackets = done.stdout.splitlines()
    assert "'root'" in deep  # it was read, and is no pipeline
    assert refused == ["The compiled pipeline is nested too deeply."] * 3
    assert "nesting depth" in brackets or "too deeply" in brackets  # libyaml has a limit of its own for brackets


def test_what_looks_like_a_date_stays_a_text_and_aliases_are_followed() -> None:
    parsed = irs.parse(json.dumps(SPEC) + "\n---\nday: 2026-11-25\nfirst: &it {a: [1]}\nsecond: *it\n")
    assert parsed.platform == {"day": "2026-11-25", "first": {"a": [1]}, "second": {"a": [1]}}
