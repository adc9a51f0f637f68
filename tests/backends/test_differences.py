"""What the page about clusters says of the differences is what the backends declare."""

from __future__ import annotations

import dataclasses
import re
from contextlib import nullcontext
from pathlib import Path

import pytest

from kfp_magics.backends.abilities import FEATURES, IGNORED
from kfp_magics.backends.allowed import check_executor, means_something
from kfp_magics.backends.base import KeepsNames, KeepsPipelines, KeepsRuns
from kfp_magics.backends.kfp import KfpBackend
from kfp_magics.backends.local import LocalBackend
from kfp_magics.backends.vertex import VertexBackend
from kfp_magics.backends.vertex.limits import CANNOT
from kfp_magics.cells.options import CellOptions
from kfp_magics.errors import ArgumentError, BackendError
from kfp_magics.magics import act, look, run, servers
from kfp_magics.model import Run
from kfp_magics.options import CONNECT
from kfp_magics.runs.store import Store

_PAGE = Path(__file__).parents[2] / "docs" / "clusters.md"
_ASKED = {
    "cpu": "cpu",
    "memory": "memory",
    "gpu": "accelerator",
    "retries": "retry",
    "timeout": "activeDeadlineSeconds",
    "secret": "secretAsEnv",
    "secret_volume": "secretAsVolume",
    "config_map": "configMapAsEnv",
    "config_map_volume": "configMapAsVolume",
    "pvc": "pvcMount",
    "ephemeral_volume": "genericEphemeralVolume",
    "label": "labels",
    "annotation": "annotations",
    "node_selector": "nodeSelector",
    "toleration": "tolerations",
    "image_pull_secret": "imagePullSecret",
}
_SAME_EVERYWHERE = {"env", "no_cache"}
_BACKENDS = {
    "this machine": LocalBackend,
    "Kubeflow Pipelines": KfpBackend,
    "`kfp-magics serve`": KfpBackend,
    "Vertex AI": VertexBackend,
}


def _table(title: str) -> dict[str, dict[str, str]]:
    """A table of the page: what its first column names in code → column → the first word of the cell."""
    part = _PAGE.read_text(encoding="utf-8").partition(f"### {title}\n")[2].partition("\n#")[0]
    head, _, *rows = [
        [cell.strip() for cell in re.findall(r"[^|]+", line)] for line in re.findall(r"^\|.*\|$", part, re.MULTILINE)
    ]
    columns = [one for one in head if one]
    found = {}
    for first, *cells in rows:
        for name in re.findall(r"`([^`]+)`", first):
            found[name] = dict(zip(columns, (re.split("[,:;]", cell)[0] for cell in cells), strict=True))
    assert found
    return found


def test_what_steps_ask_for_is_done_ignored_or_refused_as_the_page_says() -> None:
    def of(feature: str) -> dict[str, str]:
        local = "ignored" if feature in IGNORED["local/container"] else "in containers"
        vertex = "ignored" if feature in IGNORED["vertex"] else "refused" if feature in CANNOT else "yes"
        return {
            "this machine": local if feature in IGNORED["local"] else "yes",
            "Kubeflow Pipelines": "ignored" if feature in IGNORED["kfp"] else "yes",
            "Vertex AI": vertex,
        }

    assert set(_ASKED.values()) <= set(FEATURES)
    told = _table("What steps ask for")
    assert told == {f"--{option.replace('_', '-')}": of(feature) for option, feature in _ASKED.items()}


def test_no_option_of_a_step_is_missing() -> None:
    names = [one.name for one in dataclasses.fields(CellOptions)]
    assert set(names[names.index("cpu") :]) == set(_ASKED) | _SAME_EVERYWHERE


def test_what_is_typed_is_known_to_the_backends_as_the_page_says() -> None:
    told = _table("What you type")
    needs = {
        "%kfp_runs --server": KeepsRuns,
        "%kfp_schedule": KeepsPipelines,
        "%kfp_upload": KeepsPipelines,
        "%kfp_experiments": KeepsNames,
        "%kfp_pipelines": KeepsNames,
    }
    refusals = {("%kfp_upload", "Vertex AI")}  # the next test
    for verb, protocol in needs.items():
        for column, backend in _BACKENDS.items():
            does = issubclass(backend, protocol) and (verb, column) not in refusals
            assert told[verb][column] == ("yes" if does else "no"), (verb, column)
    typed = {
        one
        for part in (act, look, run, servers)
        for one in re.findall(r"def (kfp_\w+)", Path(part.__file__).read_text())
    }
    assert typed - {"kfp_connect"} == {one.partition(" ")[0].removeprefix("%") for one in told if one.startswith("%")}


def test_what_carries_out_tasks_is_chosen_where_the_page_says() -> None:
    told = _table("What you type")["%kfp_run --executor"]
    for column, backend in _BACKENDS.items():
        with nullcontext() if told[column] == "yes" else pytest.raises(ArgumentError, match="--executor container"):
            check_executor("container", backend.name)
    assert [column for column, word in told.items() if word == "refused"] == list(_BACKENDS)[1:]


@pytest.mark.parametrize("verb", ["%kfp_upload", "%kfp_retry"])
def test_what_vertex_ai_is_said_not_to_do_it_refuses(settings, verb) -> None:
    store = Store(settings.store_path)
    backend = VertexBackend(settings, store)
    assert _table("What you type")[verb]["Vertex AI"] == "no"
    with pytest.raises(BackendError, match="Vertex AI"):
        backend.upload("", "") if verb == "%kfp_upload" else backend.retry(Run(id="x", name="x", backend="vertex"))
    store.close()


def test_options_of_connecting_mean_something_where_the_page_says() -> None:
    told = _table("Options of `%kfp_connect`")
    options = {name for name, _ in CONNECT if name not in {"where", "--forget"}}
    assert {
        option: {
            column: "yes" if means_something(option.removeprefix("--").replace("-", "_"), kind) else "refused"
            for column, kind in (("Kubeflow Pipelines", "kfp"), ("Vertex AI", "vertex"))
        }
        for option in options
    } == told
