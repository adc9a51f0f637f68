"""Which new file starts a run, and what the run is given."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfp_magics import ir as irs
from kfp_magics.delivery.newdata import rules
from kfp_magics.delivery.newdata.making import Wanted, rule_of
from kfp_magics.delivery.newdata.rules import FINALIZED, NewObject, Rule, RuleError, literal
from kfp_magics.model import Pipeline


def made(name: str, bucket: str = "data", generation: str = "1", **more: Any) -> NewObject:
    return NewObject(bucket=bucket, name=name, generation=generation, **more)


def rule(on: str = "gs://data/in/*", **more: Any) -> Rule:
    return Rule(**{"name": "retrain", "on": on, "pipeline": "train"} | more)


EVENT = {
    "bucket": "data",
    "name": "in/train-1.csv",
    "generation": "1700000000000001",
    "size": "12",
    "timeCreated": "2026-01-02T03:04:05.678Z",
    "contentType": "text/csv",
}


@pytest.mark.parametrize(
    ("pattern", "taken", "left"),
    [
        ("gs://data/preproc/train*", "preproc/train-00001.csv", "preproc/train/deep.csv"),
        ("gs://data/preproc/train*", "preproc/train", "preproc/eval-1.csv"),
        ("gs://data/preproc/", "preproc/a/b/c.csv", "preproc2/a.csv"),
        ("gs://data/**/x.csv", "a/b/x.csv", "a/b/xx.csv"),
        ("gs://data/**/x.csv", "x.csv", "x.csv.gz"),
        ("gs://data/in/part-[0-9]?.csv", "in/part-07.csv", "in/part-a7.csv"),
        ("gs://data/in/[!_]*", "in/a", "in/_SUCCESS"),
        ("gs://data/in/a.b", "in/a.b", "in/aXb"),
        ("gs://data/" + literal("in/[*]?"), "in/[*]?", "in/a"),
    ],
)
def test_patterns_are_those_of_a_shell(pattern: str, taken: str, left: str) -> None:
    assert rule(pattern).matches(made(taken))
    assert not rule(pattern).matches(made(left))
    assert not rule(pattern).matches(made(taken, bucket="other"))


def test_a_folder_is_matched_by_its_files_at_any_depth() -> None:
    one = rule(literal("/home/a[b]/in") + "/")
    assert one.matches(made("x/y.csv", bucket="/home/a[b]/in"))
    assert made("x/y.csv", bucket="/home/a[b]/in").uri == "/home/a[b]/in/x/y.csv"
    assert not one.matches(made("y.csv", bucket="/home/ab/in"))


@pytest.mark.parametrize("name", ["in/.hidden", "in/x.csv.part", "in/x.tmp", ".git/in", "in/", "in/x~"])
def test_unfinished_and_hidden_files_and_folders_start_nothing(name: str) -> None:
    assert not rule("gs://data/").matches(made(name))


@pytest.mark.parametrize("pattern", ["*.model", "in/*.model", "gs://data/in/*.model", "gs://data/in/x.model", "in/"])
def test_what_a_pipeline_writes_itself_can_be_ignored_by_name_path_or_uri(pattern: str) -> None:
    one = rule("gs://data/", ignore=(pattern,))
    assert not one.matches(made("in/x.model"))
    assert one.matches(made("out/x.csv"))


def test_templates_are_filled_with_the_newest_object_and_all_of_them() -> None:
    templates = {
        "data": "$uri",
        "label": "${bucket}:$name@$generation $$5",
        "bytes": "$size",
        "files": "$uris",
        "when": "$time",
        "rate": 0.5,
    }
    one = rule(templates=templates, as_json=("bytes", "files"))
    first, last = made('in/"a".csv'), made("in/b.csv", generation="2", size=7, time="2026-01-01T00:00:00Z")
    assert one.parameters([first, last]) == {
        "data": "gs://data/in/b.csv",
        "label": "data:in/b.csv@2 $5",
        "bytes": 7,
        "files": ['gs://data/in/"a".csv', "gs://data/in/b.csv"],
        "when": "2026-01-01T00:00:00Z",
        "rate": 0.5,
    }


@given(st.text(min_size=1, max_size=80))
def test_whatever_a_file_is_called_it_reaches_the_run_verbatim_or_is_refused(name: str) -> None:
    try:
        found = made(name)
    except RuleError:
        return
    one = rule("gs://data/", templates={"data": "$uri", "all": "$uris"}, as_json=("all",), ignore=())
    assert one.parameters([found]) == {"data": f"gs://data/{name}", "all": [f"gs://data/{name}"]}
    assert one.matches(found) is not name.endswith("/")
    assert rule(literal(found.uri), ignore=()).matches(found) is not name.endswith("/")


def test_a_function_adds_parameters_or_declines() -> None:
    source = """
import os

def last(name):
    return os.path.basename(name)

def choose(event):
    if event.size < 10:
        return None
    return {"data": event.uri, "title": last(event.name), "n": len(event.uris)}
"""
    one = rule(templates={"data": "never", "epochs": 3}, function=source)
    assert one.parameters([made("in/a", size=9)]) is None
    given_ = {"data": "gs://data/in/b", "title": "b", "n": 2, "epochs": 3}
    assert one.parameters([made("in/a"), made("in/b", size=10)]) == given_


@pytest.mark.parametrize("returned", ["5", "{1: 2}", "'x'", "False"])
def test_a_function_that_gives_no_parameters_is_told_so(returned: str) -> None:
    one = rule(function=f"def f(event): return {returned}")
    with pytest.raises(RuleError, match="Return a dict of parameters, or None to decline"):
        one.parameters([made("in/a")])


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"name": "Re train"}, "A rule cannot be called 'Re train'"),
        ({"on": "gs://data"}, "names no bucket"),
        ({"on": "gs://da*ta/x"}, "names no bucket"),
        ({"on": "data/x"}, "neither in a bucket nor an absolute path"),
        ({"on": "gs://data/[z-a]"}, "does not read"),
        ({"ignore": ("",)}, "A pattern is empty"),
        ({"gather": -1}, "cannot be gathered"),
        ({"gather": float("nan")}, "cannot be gathered"),
        ({"templates": {"data": "$url"}}, "a new file has no \\$url"),
        ({"templates": {"data": "$URI"}}, "a new file has no \\$URI"),
        ({"templates": {"price": "$5"}}, "Write \\$\\$ for a dollar"),
        ({"templates": {"a b": "x"}}, "No parameter can be called 'a b'"),
        ({"function": "def f(:"}, "does not parse"),
        ({"function": "x = 1"}, "no function that takes an event"),
        ({"function": "async def f(event): ..."}, "no function that takes an event"),
        ({"function": "def f(): ..."}, "does not take one event"),
        ({"function": "def f(a, b): ..."}, "does not take one event"),
        ({"function": "def f(a, *, b): ..."}, "does not take one event"),
    ],
)
def test_what_could_not_work_is_refused_when_the_rule_is_made(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(RuleError, match=says):
        rule(**wrong)


def test_a_value_that_does_not_become_json_is_told() -> None:
    with pytest.raises(RuleError, match="'n' became 'gs://data/in/a', which is no JSON"):
        rule(templates={"n": "$uri"}, as_json=("n",)).parameters([made("in/a")])


def test_a_rule_and_an_object_survive_json() -> None:
    one = rule(templates={"a": "$uri", "b": [1]}, as_json=("b",), function="def f(e): ...", ignore=("*.x",), gather=2.5)
    assert Rule.from_json(json.loads(json.dumps(one.to_json())) | {"of a later version": 1}) == one
    found = made("in/ü", size=3)
    assert NewObject.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_an_event_of_cloud_storage_names_one_version_of_one_object() -> None:
    found = NewObject.from_event({"type": FINALIZED, "bucket": "data"}, EVENT)
    assert (found.uri, found.size, found.content_type) == ("gs://data/in/train-1.csv", 12, "text/csv")
    assert found.key == "gs://data/in/train-1.csv#1700000000000001"
    again = NewObject.from_event({"type": FINALIZED, "id": "told again"}, EVENT | {"generation": 1700000000000001})
    assert again.key == found.key
    assert rule().delivery_id([found]) == rule().delivery_id([again])
    replaced = NewObject.from_event({"type": FINALIZED}, EVENT | {"generation": "1700000000000002"})
    assert rule().delivery_id([found]) != rule().delivery_id([replaced])
    assert rule().delivery_id([found]) != rule(name="other").delivery_id([found])
    assert rule().delivery_id([found, replaced]) == rule().delivery_id([replaced, found])


@pytest.mark.parametrize(
    "changed",
    [
        {"bucket": None},
        {"bucket": ["data"]},
        {"bucket": "a/b"},
        {"bucket": "b" * 300},
        {"name": None},
        {"name": ""},
        {"name": {"a": 1}},
        {"name": "in/../../etc/passwd"},
        {"name": "a\x00b"},
        {"name": "a\nb"},
        {"name": "a\u2028b"},
        {"name": "\ud800"},
        {"name": "n" * 5000},
        {"generation": None},
        {"generation": ""},
        {"generation": "1; rm"},
        {"generation": 1.5},
        {"size": "much"},
        {"size": -1},
    ],
)
def test_partial_and_hostile_events_are_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(RuleError):
        NewObject.from_event({"type": FINALIZED}, EVENT | changed)


@pytest.mark.parametrize(
    ("attributes", "data"),
    [
        ({}, EVENT),
        ({"type": "google.cloud.storage.object.v1.deleted"}, EVENT),
        ({"type": FINALIZED}, None),
        ({"type": FINALIZED}, b"bytes"),
        ({"type": FINALIZED, "bucket": "other"}, EVENT),
    ],
)
def test_other_events_are_refused(attributes: dict[str, Any], data: object) -> None:
    with pytest.raises(RuleError):
        NewObject.from_event(attributes, data)


def test_the_file_works_alone_with_nothing_but_the_standard_library(tmp_path: Path) -> None:
    (tmp_path / "rules.py").write_bytes(Path(rules.__file__).read_bytes())
    program = """
import json, sys
sys.path.insert(0, sys.argv[1])
from rules import NewObject, Rule
rule = Rule.from_json(json.loads(sys.argv[2]))
found = NewObject(bucket="data", name="in/a", generation="1")
print(rule.matches(found), json.dumps(rule.parameters([found])))
"""
    asked = json.dumps(rule(templates={"data": "$uri"}).to_json())
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, str(tmp_path), asked], capture_output=True, text=True, check=True
    )
    assert done.stdout == 'True {"data": "gs://data/in/a"}\n'


def test_none_is_no_value_of_a_parameter_that_is_none_by_itself() -> None:
    declared = {"data": {"parameterType": "STRING"}, "seed": {"parameterType": "NUMBER_INTEGER", "isOptional": True}}
    ir = json.dumps({"root": {"dag": {}, "inputDefinitions": {"parameters": declared}}, "pipelineInfo": {"name": "p"}})
    pipeline = Pipeline(name="p", ir=ir, parameters=irs.parameters(irs.parse(ir)))

    def templates(*values: str) -> dict[str, Any]:
        return dict(rule_of(pipeline, Wanted(on="gs://data/in/*", values=values)).templates)

    assert templates("data=$uri", "seed=None") == {"data": "$uri"}
    assert templates("data=None", "seed=3") == {"data": "None", "seed": 3}
