"""One notebook, unchanged but for its ``%kfp_connect`` line, in four places: the same results, the same view."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nbformat
import pytest
from google.protobuf.json_format import MessageToDict
from nbclient import NotebookClient

from kfp_magics import ir as irs
from kfp_magics.backends.local import request_of
from kfp_magics.model import Run, State, Task
from kfp_magics.runs.store import Store
from kfp_magics.settings import Settings
from tests.gateway.servers import Gateway
from tests.kfp.server import KfpServer
from tests.server.conftest import Ask
from tests.vertex.server import VertexServer

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "03_clusters.ipynb"
LINE = "%kfp_connect local"
DAY = re.compile(r" (\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d$")
OF_A_RUN = {"id", "created", "started", "finished", "backend", "target", "url", "revision", "now", "change", "seen"}
"""What is another one for each run, or each place."""
OF_A_TASK = {"started", "finished", "reason"}
"""Times, and what only the engine here says: why a step ran although it might have been reused."""


@dataclass
class Places:
    """Where the notebook goes, as its line says it."""

    door: Gateway
    cluster: KfpServer
    vertex: VertexServer
    bucket: Any

    @property
    def lines(self) -> dict[str, str]:
        root = "--pipeline-root gs://wares/runs"
        return {
            "local": LINE,
            "door": f"%kfp_connect {self.door.url} --token-env DOOR_TOKEN --name door",
            "cluster": f"%kfp_connect {self.cluster.url} --name cluster",
            "vertex": f"%kfp_connect vertex:shop/europe-west4 --name vertex --endpoint {self.vertex.endpoint} {root}",
        }

    def teach(self, run: Run) -> None:
        """Has the stand-ins give what the steps really give: they run no code."""
        for number, (scheme, put) in enumerate((("minio://wares", self._put_file), ("gs://wares", self._put_blob))):
            tasks = [_moved(task, scheme, put) for task in run.tasks]
            if number == 0:
                self.cluster.results["cooling"] = tasks
            else:
                self.vertex.plan.results = {task.id: task for task in tasks}

    def _put_file(self, key: str, data: bytes) -> None:
        self.cluster.files[f"minio/wares/{key}"] = data

    def _put_blob(self, key: str, data: bytes) -> None:
        self.bucket.blob(key).upload_from_string(data)


def _moved(task: Task, scheme: str, put: Any) -> Task:
    artifacts = []
    for one in task.artifacts:
        key = one.uri.partition("/tasks/")[2]
        if Path(one.uri).is_file():
            put(key, Path(one.uri).read_bytes())
        artifacts.append(replace(one, uri=f"{scheme}/{key}"))
    return replace(task, artifacts=tuple(artifacts))


@pytest.fixture
def places(shared_gateway: Gateway, google_storage: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Places]:
    monkeypatch.setenv("DOOR_TOKEN", shared_gateway.token)
    monkeypatch.setenv("KFP_MAGICS_POLL_INTERVAL", "0.2")
    cluster, vertex = KfpServer(), VertexServer()
    yield Places(shared_gateway, cluster, vertex, google_storage.bucket("wares"))
    cluster.close()
    vertex.close()


async def carry_out(line: str) -> nbformat.NotebookNode:
    """Executes the notebook from its beginning to the report of its first run, with another line."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    last = next(number for number, cell in enumerate(notebook.cells) if cell.source.startswith("run.artifact("))
    notebook.cells = notebook.cells[: last + 1]
    assert [cell.source for cell in notebook.cells].count(LINE) == 1
    for cell in notebook.cells:
        cell.source = cell.source.replace(LINE, line)
    client = NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(NOTEBOOK.parent)}})
    client.extra_arguments = ["--log-level=40"]
    return await client.async_execute()


def spec_of(settings: Settings, run: Run) -> Any:
    return irs.parse(request_of(settings, run).ir).spec


@pytest.mark.timeout(300)  # four kernels, one after the other
async def test_one_notebook_gives_the_same_everywhere(
    ask: Ask, store: Store, settings: Settings, places: Places, jp_serverapp: Any
) -> None:
    runs: dict[str, Run] = {}
    reports = {}
    for name, line in places.lines.items():
        executed = await carry_out(line)
        (runs[name],) = [
            store.get(one.id) for one in store.list() if store.get(one.id).target == ("" if name == "local" else name)
        ]
        reports[name] = executed.cells[-1].outputs[-1]["data"]["text/html"]
        if name == "local":
            places.teach(runs[name])
    here = runs["local"]
    assert here.outputs == {"Output": 0.04}
    assert {one.state for one in runs.values()} == {State.SUCCEEDED}
    assert len(set(reports.values())) == 1, "the report is shown alike in the notebook"

    # The same compiled pipeline went everywhere.
    spec = spec_of(settings, here)
    assert spec == spec_of(settings, runs["door"])
    (sent,) = [one.body["pipeline_spec"] for one in places.cluster.runs.values()]
    assert sent == spec
    (job,) = places.vertex.jobs.values()
    assert MessageToDict(type(job).pb(job).pipeline_spec) == spec

    views = {name: await view(ask, run) for name, run in runs.items()}
    unlike = [f"{name}{one}" for name, found in views.items() for one in differences(views["local"], found)]
    assert not unlike, "\n".join(unlike)


def differences(expected: Any, found: Any, where: str = "") -> Iterator[str]:
    """Says where two views are not alike."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in [*expected, *(key for key in found if key not in expected)]:
            yield from differences(expected.get(key), found.get(key), f"{where}/{key}")
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for number, pair in enumerate(zip(expected, found, strict=True)):
            yield from differences(*pair, f"{where}/{number}")
    elif expected != found:
        yield f"{where}: {expected!r} became {found!r}"


async def view(ask: Ask, run: Run) -> dict[str, Any]:
    """What the panel is told of a run, without what is another one for each run."""
    rows = (await ask("GET", "/runs")).json["runs"]
    (row,) = [one for one in rows if one["id"] == run.id]
    whole = (await ask("GET", f"/runs/{run.id}")).json
    found = {"row": _without(row, OF_A_RUN), "run": _without(whole, OF_A_RUN), "artifacts": {}, "task": {}}
    for task in whole["tasks"]:
        found["task"][task["id"]] = _without(
            (await ask("GET", f"/runs/{run.id}/task", task=task["id"])).json, OF_A_TASK
        )
        count: dict[tuple[str, str], int] = {}
        for one in task["artifacts"]:
            key = one["io"], one["name"]
            asked = {"task": task["id"], "name": one["name"], "io": one["io"], "index": count.get(key, 0)}
            count[key] = asked["index"] + 1
            info = (await ask("GET", f"/runs/{run.id}/artifact/info", **asked)).json
            content = await ask("GET", f"/runs/{run.id}/artifact", **asked) if info["kind"] == "file" else None
            told = (content.body, content.headers["Content-Type"]) if content is not None else None
            found["artifacts"][task["id"], *asked.values()] = _without(info, {"uri"}), told
    assert any(told for _, told in found["artifacts"].values())
    return found


def _without(value: Any, names: set[str]) -> Any:
    """Leaves names out at the top, and everywhere below what belongs to a moment or a place."""
    if isinstance(value, list):
        whole = [_without(one, names) for one in value]
        return (
            sorted(whole, key=lambda one: one["id"])
            if value and isinstance(value[0], dict) and "parent" in value[0]
            else whole
        )
    if not isinstance(value, dict):
        return value
    kept = {key: _without(one, OF_A_TASK | {"uri"}) for key, one in value.items() if key not in names}
    return kept | ({"name": DAY.sub("", kept["name"])} if isinstance(kept.get("name"), str) else {})
