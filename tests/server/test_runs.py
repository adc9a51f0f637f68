"""A real run from beginning to end, seen and steered over HTTP only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kfp_magics.model import Artifact, Run, State, Task
from kfp_magics.runs.store import Store
from kfp_magics.server.service import Service
from tests.local.conftest import Engine
from tests.server.conftest import Ask, options, until


async def ended(ask: Ask, run_id: str) -> dict[str, Any]:
    async def final() -> Any:
        run = (await ask("GET", f"/runs/{run_id}")).json
        return run if State(run["state"]).final else None

    found: dict[str, Any] = await until(final)
    return found


async def test_submit_look_clone_compare_archive_delete(ask: Ask, ir: str, engine: Engine, jp_root_dir: Path) -> None:
    notebook = str(jp_root_dir / "deep" / "nb.ipynb")
    started = await ask("POST", "/runs", {"ir": ir, "arguments": {"lines": 5}, "name": "Erster", "notebook": notebook})
    assert started.status == 201
    row = started.json
    assert (row["name"], row["started_by"], row["notebook_path"]) == ("Erster", "panel", "deep/nb.ipynb")
    assert started.headers["Location"].endswith(f"/kfp-magics/api/runs/{row['id']}")
    assert row["progress"]["total"] == 2
    first = await ended(ask, row["id"])
    assert (first["state"], first["parameters"]["lines"]) == ("succeeded", 5)

    again = await ask("POST", f"/runs/{row['id']}/clone", {"arguments": {"lines": 7}, "cache": False})
    assert again.status == 201
    second = await ended(ask, again.json["id"])
    assert second["parameters"] == {"lines": 7, "seconds": 0.0, "fail": False}
    assert second["notebook"] == notebook

    page = (await ask("GET", "/runs")).json
    assert [one["id"] for one in page["runs"]] == [second["id"], first["id"]]
    assert [one["progress"]["succeeded"] for one in page["runs"]] == [2, 2]
    facets = (await ask("GET", "/facets", state=["succeeded", "failed"])).json
    assert facets["notebook"] == [{"value": notebook, "count": 2}]
    assert (await ask("GET", "/status")).json["states"] == {"succeeded": 2}

    compared = (await ask("GET", "/compare", run=[first["id"], second["id"]])).json
    differing = [row for row in compared["parameters"] if not row["same"]]
    assert differing == [{"what": "lines", "values": [5, 7], "same": False}]
    assert {row["what"] for row in compared["durations"]} == {"make", "wait"}

    put_away = await ask("POST", f"/runs/{first['id']}/archive")
    assert (put_away.status, put_away.json["archived"]) == (200, True)
    assert [one["id"] for one in (await ask("GET", "/runs")).json["runs"]] == [second["id"]]
    assert [one["id"] for one in (await ask("GET", "/runs", archived="only")).json["runs"]] == [first["id"]]
    assert not (await ask("POST", f"/runs/{first['id']}/archive", {"archived": False})).json["archived"]

    assert engine.settings.home_path.joinpath("runs", first["id"]).is_dir()
    assert (await ask("DELETE", f"/runs/{first['id']}")).status == 204
    assert not list(engine.settings.home_path.joinpath("runs").glob(f"*{first['id']}*"))
    assert (await ask("GET", f"/runs/{first['id']}")).status == 404
    assert (await ask("DELETE", f"/runs/{first['id']}")).status == 404


async def test_cancel_retry_and_what_cannot_be_done_meanwhile(ask: Ask, ir: str, engine: Engine) -> None:
    run = engine.start(ir, options(), seconds=60.0)
    engine.until_running(run, "wait")
    refused = await ask("DELETE", f"/runs/{run.id}")
    assert (refused.status, refused.json["hint"]) == (
        409,
        f"Cancel it first: %kfp_cancel {run.id}; delete it when it has ended.",
    )
    assert (await ask("POST", f"/runs/{run.id}/retry")).status == 409
    assert (await ask("POST", f"/runs/{run.id}/cancel")).status == 202
    assert (await ended(ask, run.id))["state"] == "cancelled"
    assert (await ask("POST", f"/runs/{run.id}/cancel")).json["state"] == "cancelled"  # a second click does no harm
    resumed = await ask("POST", f"/runs/{run.id}/retry")
    assert (resumed.status, resumed.json["attempt"]) == (202, 2)
    engine.until_running(engine.store.get(run.id), "wait")
    await ask("POST", f"/runs/{run.id}/cancel")
    assert (await ended(ask, run.id))["attempt"] == 2


async def test_the_form_to_run_again_knows_the_types(ask: Ask, ir: str, engine: Engine) -> None:
    run = engine.run(ir, options(), lines=2)
    pipeline = (await ask("GET", f"/runs/{run.id}/pipeline")).json
    assert pipeline["parameters"] == [
        {"name": "fail", "type": "bool", "required": False, "artifact": False, "default": False},
        {"name": "lines", "type": "int", "required": False, "artifact": False, "default": 3.0},
        {"name": "seconds", "type": "float", "required": False, "artifact": False, "default": 0.0},
    ]
    assert pipeline["arguments"]["lines"] == 2
    assert [task["id"] for task in pipeline["tasks"]] == ["make", "wait"]
    assert pipeline["sources"]["make"]["cell_id"] == "c-make"
    described = (await ask("POST", "/pipelines/describe", {"ir": ir})).json
    assert described == {**pipeline, "arguments": {}, "sources": {}}


async def test_a_second_look_costs_nothing_and_a_partial_one_brings_what_is_new(ask: Ask, store: Store) -> None:
    store.save(Run(id="r", name="x", tasks=(Task(id="a", name="a"), Task(id="b", name="b"))))
    for path in ("/runs", "/status", "/facets", "/runs/r"):
        first = await ask("GET", path)
        assert (await ask("GET", path, headers={"If-None-Match": first.headers["ETag"]})).status == 304
    whole = (await ask("GET", "/runs/r")).json
    assert [task["id"] for task in whole["tasks"]] == ["a", "b"]
    store.save_tasks("r", [Task(id="b", name="b", state=State.RUNNING), Task(id="c", name="c")])
    news = await ask("GET", "/runs/r", since=whole["revision"], headers={"If-None-Match": first.headers["ETag"]})
    assert news.status == 200
    assert [task["id"] for task in news.json["tasks"]] == ["b", "c"]
    assert news.json["revision"] > whole["revision"]


async def test_long_values_are_cut_on_request_and_what_is_no_json_is_spelled(ask: Ask, store: Store) -> None:
    long = "x" * 10_000_000
    artifact = Artifact(name="m", io="output", type="system.Metrics", uri="", metadata={"loss": float("nan")})
    task = Task(id="a/b", name="b", inputs={"text": long, "list": [1] * 1000}, artifacts=(artifact,))
    store.save(Run(id="r", name="\ud800<b>", parameters={"x": float("-inf")}, tasks=(task,)))
    cut = await ask("GET", "/runs/r", value_limit=100)
    assert len(cut.body) < 5000
    assert cut.json["shortened"]
    assert cut.json["parameters"] == {"x": "-Infinity"}
    shown = cut.json["tasks"][0]
    assert shown["inputs"]["text"] == "x" * 100 + "… (10,000,000 characters)"
    assert shown["artifacts"][0]["metadata"] == {"loss": "NaN"}
    assert (await ask("GET", "/runs/r/task", task="a/b")).json["inputs"]["text"] == long
    assert len((await ask("GET", "/runs")).body) < 2000


async def test_ten_thousand_runs_are_paged(ask: Ask, store: Store) -> None:
    with store._transactions.writing() as (connection, revision):
        from kfp_magics.runs import database

        for number in range(10_000):
            state = State.FAILED if number % 100 == 0 else State.SUCCEEDED
            run = Run(id=f"r{number:05}", name=f"Lauf {number}", pipeline=f"p{number % 7}", state=state)
            connection.execute(database.SAVE_RUN, database.run_row(run, revision))
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await ask("GET", "/runs", limit=1000, **cursor)).json
        seen += [row["id"] for row in page["runs"]]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert seen == [f"r{number:05}" for number in reversed(range(10_000))]
    assert page["total"] == 10_000
    middle = (await ask("GET", "/runs", limit=2, offset=5000)).json
    assert [row["id"] for row in middle["runs"]] == ["r04999", "r04998"]
    failed = (await ask("GET", "/runs", state="failed", search="LAUF 99", limit=10)).json
    assert [row["id"] for row in failed["runs"]] == ["r09900"]
    counts = (await ask("GET", "/facets", state="failed")).json
    assert {one["value"]: one["count"] for one in counts["state"]} == {"succeeded": 9900, "failed": 100}
    assert sum(one["count"] for one in counts["pipeline"]) == counts["total"] == 100


async def test_badges_tell_the_last_run_of_each_cell(ask: Ask, ir: str, engine: Engine, jp_root_dir: Path) -> None:
    notebook = str(jp_root_dir / "nb.ipynb")
    engine.run(ir, options(notebook=notebook))
    last = engine.run(ir, options(notebook=notebook), fail=True)
    engine.run(ir, options(notebook=str(jp_root_dir / "copy.ipynb")))  # a copied notebook has the same cell ids
    image = Task(id="make", name="make", kind="image", cell_id="c-make", state=State.SUCCEEDED, image="r/make@sha256:1")
    engine.store.save(
        Run(id="b", name="b", kind="build", notebook=notebook, tasks=(image,), state=State.SUCCEEDED, finished=5.0)
    )
    answer = await ask("GET", "/badges", notebook="nb.ipynb")
    badges = {one["cell_id"]: one for one in answer.json["cells"]}
    assert set(badges) == {"c-make", "c-wait"}
    assert badges["c-wait"]["run"]["run_id"] == last.id
    assert (badges["c-wait"]["run"]["state"], badges["c-make"]["run"]["state"]) == ("failed", "succeeded")
    assert badges["c-wait"]["run"]["error"]["message"] == "ValueError: as you wish"
    assert badges["c-make"]["run"]["source"] == "\ndef make(): ...\n"
    assert badges["c-make"]["image"]["reference"] == "r/make@sha256:1"
    assert badges["c-wait"]["image"] is None
    again = await ask("GET", "/badges", notebook="nb.ipynb", headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status == 304
    assert (await ask("GET", "/badges", notebook="other.ipynb")).json["cells"] == []


async def test_what_is_asked_wrongly_is_refused_in_two_lines(ask: Ask, ir: str, service: Service) -> None:
    service.store.save(Run(id="remote", name="x", backend="elsewhere", state=State.FAILED))
    for status, method, path, body, params in [
        (404, "GET", "/runs/nothing", None, {}),
        (404, "GET", "/runs/..%2F..%2Fetc", None, {}),
        (404, "GET", "/runs/remote/task", None, {"task": "t"}),
        (404, "GET", "/runs/remote/pipeline", None, {}),
        (404, "POST", "/runs/remote/clone", None, {}),
        (404, "GET", "/compare", None, {"run": ["remote", "nothing"]}),
        (409, "POST", "/runs/remote/retry", None, {}),
        (409, "POST", "/runs", {"ir": ir, "backend": "nowhere"}, {}),
        (400, "GET", "/compare", None, {"run": "remote"}),
        (400, "GET", "/runs/remote/task", None, {}),
        (400, "GET", "/runs", None, {"limit": 0}),
        (400, "GET", "/runs", None, {"limit": "many"}),
        (400, "GET", "/runs", None, {"limit": "9" * 30}),
        (400, "GET", "/runs", None, {"cursor": "1; DROP TABLE runs"}),
        (400, "GET", "/runs", None, {"state": "asleep"}),
        (400, "GET", "/runs", None, {"archived": "maybe"}),
        (400, "GET", "/runs/remote/log", None, {"task": "t", "follow": "nan"}),
        (400, "POST", "/runs", {"ir": "no: pipeline"}, {}),
        (400, "POST", "/runs", {"arguments": {}}, {}),
        (400, "POST", "/runs", {"ir": ir, "surprise": 1}, {}),
        (400, "POST", "/runs", {"ir": ir, "arguments": {"lines": "many"}}, {}),
        (400, "POST", "/runs", {"ir": ir, "arguments": {"unknown": 1}}, {}),
        (400, "POST", "/pipelines/describe", {"ir": "{"}, {}),
        (400, "POST", "/runs/remote/archive", {"archived": "yes"}, {}),
    ]:
        answer = await ask(method, path, body, **params)
        assert answer.status == status, (path, params, answer.body)
        assert answer.json["message"], path
    assert (await ask("GET", "/runs/remote")).json["logs"] is False
    assert (await ask("DELETE", "/runs/remote")).status == 204  # its row at least can go
    assert service.store.list() == []  # nothing was started
