from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from kfp_magics.errors import NotFoundError, StoreError
from kfp_magics.model import Failure, Run, State, Task
from kfp_magics.runs import listing
from kfp_magics.runs.listing import Filter
from kfp_magics.runs.store import Store

FIRST_SCHEMA = """
    CREATE TABLE runs (id TEXT PRIMARY KEY, attempt INTEGER NOT NULL, state TEXT NOT NULL, final INTEGER NOT NULL,
        created REAL NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL, pipeline TEXT NOT NULL,
        experiment TEXT NOT NULL, notebook TEXT NOT NULL, body TEXT NOT NULL) WITHOUT ROWID;
    CREATE INDEX runs_by_time ON runs (created DESC, id DESC);
    CREATE INDEX runs_unfinished ON runs (final) WHERE final = 0;
    CREATE TABLE tasks (run_id TEXT NOT NULL, id TEXT NOT NULL, position INTEGER NOT NULL, attempt INTEGER NOT NULL,
        final INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (run_id, id)) WITHOUT ROWID;
    CREATE TABLE change (number INTEGER NOT NULL);
    INSERT INTO change VALUES (7);
    PRAGMA application_id = 1801875565;
    PRAGMA user_version = 1;
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "runs.sqlite", patience=0.2)
    yield made
    made.close()


def ids(page: listing.Page) -> list[str]:
    return [row["id"] for row in page.rows]


def test_pages_hold_still_while_runs_come(store: Store) -> None:
    for number in range(7):
        store.save(Run(id=f"r{number}", name="x"))
    first = listing.page(store, Filter(), limit=3)
    store.save(Run(id="late", name="x"))
    second = listing.page(store, Filter(), limit=3, before=first.next)
    third = listing.page(store, Filter(), limit=3, before=second.next)
    assert [ids(first), ids(second), ids(third)] == [["r6", "r5", "r4"], ["r3", "r2", "r1"], ["r0"]]
    assert (first.total, second.total, third.next) == (7, 8, None)
    assert ids(listing.page(store, Filter(), limit=2, offset=3)) == ["r4", "r3"]


def test_a_clock_that_jumps_back_neither_hides_the_newest_run_nor_makes_time_negative(store: Store) -> None:
    store.save(Run(id="before", name="x", created=2000.0))
    store.save(Run(id="after", name="x", created=1000.0, started=1001.0, finished=400.0, state=State.SUCCEEDED))
    newest = listing.page(store, Filter(), limit=1).rows[0]
    assert newest["id"] == store.find("last").id == "after"
    assert newest["finished"] == newest["started"] == 1001.0


def test_filters_search_and_facets_agree(store: Store) -> None:
    for number, (pipeline, state) in enumerate(
        [("a", State.FAILED), ("a", State.RUNNING), ("b", State.FAILED), ("b", State.FAILED)]
    ):
        store.save(Run(id=f"r{number}", name=f"GRÖßE {number}", pipeline=pipeline, state=state, notebook="%_'x"))
    store.archive("r3")
    failed = Filter(values={"state": ["failed"]})
    assert ids(listing.page(store, failed, limit=9)) == ["r2", "r0"]
    assert ids(listing.page(store, replace(failed, archived="all"), limit=9)) == ["r3", "r2", "r0"]
    assert ids(listing.page(store, replace(failed, archived="only", search="grösse"), limit=9)) == ["r3"]
    assert ids(listing.page(store, Filter(values={"notebook": ["%_'x"], "pipeline": ["a"]}), limit=9)) == ["r1", "r0"]
    counts = listing.facets(store, failed)
    assert counts["total"] == 2
    assert counts["state"] == [{"value": "failed", "count": 2}, {"value": "running", "count": 1}]  # not its own filter
    assert counts["pipeline"] == [{"value": "a", "count": 1}, {"value": "b", "count": 1}]
    assert listing.states(store)[0] == {"failed": 2, "running": 1}


def test_runs_of_new_data_are_one_kind_to_filter_by_and_each_says_which(store: Store) -> None:
    for number in range(3):
        store.save(Run(id=f"r{number}", name="x", started_by=f"trigger: gs://data/{number}.csv"))
    store.save(Run(id="other", name="x", started_by="cli"))
    assert listing.facets(store, Filter())["started_by"] == [
        {"value": "trigger", "count": 3},
        {"value": "cli", "count": 1},
    ]
    page = listing.page(store, Filter(values={"started_by": ["trigger"]}), limit=9)
    assert [row["started_by"] for row in page.rows] == [f"trigger: gs://data/{number}.csv" for number in (2, 1, 0)]
    assert store.get("r1").started_by == "trigger: gs://data/1.csv"


def test_progress_counts_steps_and_not_their_groups(store: Store) -> None:
    tasks = (
        Task(id="loop", name="loop", kind="loop", state=State.RUNNING),
        Task(id="loop/0/a", name="a", state=State.SUCCEEDED),
        Task(id="loop/1/a", name="a", state=State.FAILED),
        Task(id="b", name="b"),
        Task(id="i", name="i", kind="importer", state=State.SKIPPED),
    )
    store.save(Run(id="r", name="x", tasks=tasks, error=Failure(message="m" * 5000)))
    (row,) = listing.rows_of(store, ["r"])
    counts = {name: count for name, count in row["progress"].items() if count}
    assert counts == {"total": 4, "done": 3, "pending": 1, "succeeded": 1, "failed": 1, "skipped": 1}
    assert len(row["error"]) == 300
    with pytest.raises(NotFoundError):
        listing.rows_of(store, ["r", "nothing"])


def test_what_changed_is_told_once_and_a_save_that_says_nothing_new_is_no_change(store: Store) -> None:
    run = Run(id="r", name="x", tasks=(Task(id="a", name="a"), Task(id="b", name="b")))
    store.save(run)
    seen = store.change()
    store.save(run)
    assert store.change() == seen
    store.save_tasks("r", [Task(id="b", name="b", state=State.RUNNING)])
    news = listing.changes(store, seen, most=50)
    assert [row["id"] for row in news.rows] == ["r"]
    assert [task["id"] for task in news.tasks["r"]] == ["b"]
    assert news.rows[0]["revision"] == news.change == listing.revision(store, "r")[0]
    assert [task.id for task in listing.run_since(store, "r", seen).tasks] == ["b"]
    assert listing.changes(store, news.change, most=50).rows == []
    store.delete("r")
    assert listing.changes(store, news.change, most=50).deleted == {"r": store.change()}
    assert listing.changes(store, 0, most=0).more
    with pytest.raises(NotFoundError, match="deleted"):  # a poll that comes late does not bring it back
        store.save(run)


def test_a_store_of_the_first_version_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "runs.sqlite"
    old = sqlite3.connect(path)
    old.executescript(FIRST_SCHEMA)
    task = Task(id="t", name="t", state=State.SUCCEEDED, outputs={"loss": float("nan")})
    for run in (
        Run(id="new", name="New", created=2.0, pipeline="p"),
        Run(id="old", name="Old", created=1.0, state=State.SUCCEEDED),
    ):
        body = {key: value for key, value in run.to_json().items() if key != "tasks"}
        row = (run.id, 1, run.state, run.state.final, run.created, run.name, "pipeline", run.pipeline, "", "")
        old.execute(f"INSERT INTO runs VALUES ({'?, ' * 10}?)", (*row, json.dumps(body)))
    old.execute("INSERT INTO tasks VALUES ('old', 't', 1, 1, 1, ?)", (json.dumps(task.to_json()),))
    old.commit()
    old.close()
    store = Store(path)
    assert ids(listing.page(store, Filter(), limit=9)) == ["new", "old"]
    assert listing.rows_of(store, ["old"])[0]["progress"]["done"] == 1
    assert store.get("old").tasks[0].state is State.SUCCEEDED
    assert [run.id for run in store.unfinished()] == ["new"]
    assert listing.version(store).endswith("-7")
    store.close()


def test_a_store_that_is_damaged_removed_or_exchanged_heals_as_soon_as_the_file_does(store: Store) -> None:
    store.save(Run(id="r", name="x"))
    store.close()
    whole = store.path.read_bytes()
    store.path.write_bytes(b"no database at all, but long enough to be looked at" * 100)
    with pytest.raises(StoreError, match="damaged"):
        store.get("r")
    store.path.unlink()
    assert store.list() == []
    store.path.unlink()
    store.path.write_bytes(whole)
    assert store.get("r").name == "x"


def test_a_store_that_another_process_locks_says_so_and_works_again(store: Store) -> None:
    store.save(Run(id="r", name="x"))
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="locked"):
        store.archive("r")
    other.execute("ROLLBACK")
    other.close()
    store.archive("r")
    assert store.list() == []
    assert [run.id for run in store.list(archived=True)] == ["r"]


def test_many_that_open_a_new_store_at_once_wait_for_each_other(tmp_path: Path) -> None:
    """SQLite gives up at once when two change how the journal is kept; we wait."""
    for number in range(5):
        path = tmp_path / f"{number}.sqlite"
        gate = threading.Barrier(6)

        def use(path: Path = path, gate: threading.Barrier = gate) -> None:
            own = Store(path)
            gate.wait()
            own.change()
            own.close()

        with ThreadPoolExecutor(6) as threads:
            for one in [threads.submit(use) for _ in range(6)]:
                one.result()
