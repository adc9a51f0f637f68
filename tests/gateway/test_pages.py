"""Lists of 20,000 runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest

from kfp_magics.model import Run, State, Task
from kfp_magics.runs import database
from kfp_magics.runs.store import Store
from kfp_magics.settings import Settings
from tests.gateway.servers import Gateway

NUMBER = 20_000
STATES = (State.SUCCEEDED, State.FAILED, State.CANCELLED)


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    made = Gateway(tmp_path_factory.mktemp("crowded") / "home")
    store = Store(Settings(home=str(made.home)).store_path)
    run = Run(id="", name="", pipeline="crowd", experiment="crowd")
    step = Task(id="step", name="step", state=State.SUCCEEDED, attempt=1, started=1.0, finished=2.0)
    with store.writing() as connection:
        for number in range(NUMBER):
            one = replace(
                run,
                id=f"r{number:05}",
                name=f"run {number % 100:02}",
                state=STATES[number % 3],
                created=1e9 + number,
                started=1e9 + number,
                finished=1e9 + number + 1,
            )
            connection.execute(database.SAVE_RUN, database.run_row(one, 1))
            connection.execute(database.SAVE_TASK, database.task_row(step, one.id, 1, 1))
    store.close()
    made.start()
    yield made
    made.end()


def walk(gateway: Gateway, **asked: object) -> list[dict]:
    found, token = [], ""
    with httpx.Client(base_url=gateway.url, headers={"Authorization": f"Bearer {gateway.token}"}, timeout=60) as client:
        while True:
            answer = client.get("/apis/v2beta1/runs", params={**asked, "page_token": token}).json()
            found += answer["runs"]
            if not (token := answer.get("next_page_token", "")):
                assert answer["total_size"] == len(found)
                return found


def test_pages_hold_every_run_once(crowded: Gateway):
    found = walk(crowded, page_size=200)
    assert [run["run_id"] for run in found] == [f"local-r{number:05}" for number in range(NUMBER)]
    assert {len(run["run_details"]["task_details"]) for run in found} == {4}


def test_pages_of_a_filter_in_an_order_with_many_equals(crowded: Gateway):
    failed = {"operation": "EQUALS", "key": "state", "string_value": "FAILED"}
    late = {"operation": "GREATER_THAN_EQUALS", "key": "created_at", "timestamp_value": "2001-09-09T05:46:40Z"}
    wanted = json.dumps({"predicates": [failed, late]})
    found = walk(crowded, page_size=200, filter=wanted, sort_by="display_name desc")
    numbers = [int(run["run_id"].removeprefix("local-r")) for run in found]
    expected = [number for number in range(NUMBER) if number % 3 == 1 and number >= 14_400]
    assert numbers == sorted(expected, key=lambda number: (number % 100, number), reverse=True)


def test_a_page_of_the_official_client(crowded: Gateway):
    page = crowded.client().list_runs(page_size=50, sort_by="created_at desc")
    assert [run.run_id for run in page.runs] == [f"local-r{NUMBER - 1 - number:05}" for number in range(50)]
    assert page.total_size == NUMBER
