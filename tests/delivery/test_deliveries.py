"""Each new file starts exactly one run: told of twice, in any order, by several at once, whoever dies when."""

from __future__ import annotations

import json
import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kfp_magics.backends.base import SubmitOptions
from kfp_magics.backends.connections import Connections, parse
from kfp_magics.backends.local import request as requests
from kfp_magics.compiler import load_pipeline
from kfp_magics.delivery.newdata.courier import Courier, words
from kfp_magics.delivery.newdata.ledger import Batch, Ledger, Watch
from kfp_magics.delivery.newdata.making import Wanted
from kfp_magics.delivery.newdata.rules import NewObject, Rule
from kfp_magics.delivery.newdata.verbs import NewData
from kfp_magics.errors import ArgumentError, UnavailableError
from kfp_magics.model import Run, State
from kfp_magics.options import RunOptions
from kfp_magics.runs import watch as looking
from kfp_magics.runs.store import Store
from tests.delivery.counting import counting
from tests.delivery.watched import Place
from tests.kfp.pipelines import ir_of as compiled_for_servers
from tests.kfp.server import KfpServer
from tests.local.conftest import Engine
from tests.local.conftest import ir_of as compiled

WATCH = Watch(
    rule=Rule(name="retrain", on="gs://data/in/*", pipeline="train", templates={"data": "$uris"}, as_json=("data",)),
    folder="/nowhere",
    ir="",
    backend="cluster",
)


class Death(BaseException):
    """The process is killed here."""


class Fuse:
    """Lets so many steps pass, and then the process dies."""

    def __init__(self, steps: int | None) -> None:
        self.steps = steps

    def __call__(self, _said: str = "") -> None:
        if self.steps is not None:
            self.steps -= 1
            if self.steps < 0:
                raise Death


class Cluster:
    """A server that knows its runs by their keys; it may be down, and its answers may get lost."""

    name = "cluster"

    def __init__(self) -> None:
        self.runs: dict[str, list[str]] = {}
        self.fuse = Fuse(None)
        self.down: list[str] = []

    def submit(self, ir: str, arguments: dict[str, Any], options: SubmitOptions) -> Run:
        self.fuse()
        trouble = self.down.pop() if self.down else ""
        if trouble == "silent":
            raise UnavailableError("It does not answer.")
        if trouble == "refuses":
            raise ArgumentError("It wants something else.")
        self.runs.setdefault(options.key, arguments["data"])
        self.fuse()
        if trouble == "lost":
            raise UnavailableError("The answer got lost.")
        return Run(id=f"run-{options.key}", name=options.name)


def version(number: int) -> NewObject:
    return NewObject(bucket="data", name=f"in/{number // 2}", generation=str(number % 2 + 1))


VERSIONS = st.lists(st.integers(0, 9), min_size=1, max_size=6)
STEPS = st.one_of(
    st.tuples(st.just("told"), VERSIONS),
    st.tuples(st.just("told at once"), VERSIONS),
    st.tuples(st.just("delivered"), st.lists(st.sampled_from(["silent", "lost", ""]), max_size=3)),
)


@given(
    steps=st.lists(st.tuples(STEPS, st.one_of(st.none(), st.integers(0, 12))), max_size=12),
    gather=st.sampled_from([0.0, 1e-6]),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_each_version_of_each_file_starts_exactly_one_run(
    steps: list[tuple[tuple[str, list[Any]], int | None]], gather: float
) -> None:
    watch = replace(WATCH, rule=replace(WATCH.rule, gather=gather))
    cluster, told = Cluster(), set()
    with tempfile.TemporaryDirectory() as home:
        path = Path(home) / "runs.sqlite"
        Ledger(Store(path)).put(watch, [])
        for (what, words), lives in steps:
            store, fuse = Store(path), Fuse(lives)
            courier = Courier(Ledger(store), {"cluster": cluster}, fuse)
            cluster.fuse = fuse
            try:
                if what == "told":
                    courier.receive(watch, [version(number) for number in words])
                elif what == "told at once":
                    at_once([lambda: courier.receive(watch, [version(number) for number in words])] * 3)  # noqa: B023
                else:
                    cluster.down = list(words)
                    courier.deliver(watch)
            except Death:
                pass
            except UnavailableError:
                assert what == "delivered"
            if (
                what != "delivered"
            ):  # whoever tells is told again until somebody remembers, by the next look at the folder
                told |= set(words)
            store.close()
        store = Store(path)
        cluster.fuse, cluster.down = Fuse(None), []
        courier = Courier(Ledger(store), {"cluster": cluster}, lambda _: None)
        courier.receive(watch, [version(number) for number in told])  # the next look at the folder
        assert courier.deliver(watch) is False
        assert courier.deliver(watch) is False
        started = Counter(uri for uris in cluster.runs.values() for uri in uris)
        assert started == Counter(version(number).uri for number in told)
        assert Ledger(store).counts("retrain") == Counter({"started": len(told)} if told else {})
        store.close()


def at_once(calls: list[Callable[[], None]]) -> None:
    died: list[BaseException] = []

    def called(call: Callable[[], None]) -> None:
        try:
            call()
        except Death as death:
            died.append(death)

    threads = [threading.Thread(target=called, args=[call]) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if died:
        raise died[0]


@pytest.fixture
def courier_to(store: Store) -> Callable[[Cluster], Courier]:
    ledger = Ledger(store)
    ledger.put(WATCH, [])
    return lambda cluster: Courier(ledger, {"cluster": cluster}, lambda _: None)


def test_one_file_that_is_refused_does_not_keep_others(courier_to: Callable[[Cluster], Courier], store: Store) -> None:
    cluster = Cluster()
    courier = courier_to(cluster)
    cluster.down = ["", "refuses", ""]
    courier.receive(WATCH, [version(0), version(2), version(4)])
    courier.deliver(WATCH)
    assert Ledger(store).counts("retrain") == {"started": 2, "failed": 1}
    courier.deliver(WATCH)
    assert len(cluster.runs) == 2
    Ledger(store).put(WATCH, [])  # somebody says it anew
    courier.deliver(WATCH)
    assert Ledger(store).counts("retrain") == {"started": 3}
    assert len(cluster.runs) == 3


def test_a_burst_is_one_run_and_what_comes_later_another(store: Store) -> None:
    watch, cluster = replace(WATCH, rule=replace(WATCH.rule, gather=3600.0)), Cluster()

    def an_hour_later() -> None:
        with store.writing() as connection:
            connection.execute("UPDATE deliveries SET seen = seen - 3600")

    ledger = Ledger(store)
    ledger.put(watch, [])
    courier = Courier(ledger, {"cluster": cluster}, lambda _: None)
    courier.receive(watch, [version(0), version(2)])
    assert courier.deliver(watch) is True
    assert cluster.runs == {}
    courier.receive(watch, [version(4)])
    an_hour_later()
    assert courier.deliver(watch) is False
    courier.receive(watch, [version(6)])
    assert courier.deliver(watch) is True
    an_hour_later()
    courier.deliver(watch)
    assert list(cluster.runs.values()) == [[version(n).uri for n in (0, 2, 4)], [version(6).uri]]


# On this machine: what a submission that ended too early leaves behind.


@pytest.fixture
def engine(settings: Any) -> Iterator[Engine]:
    with Engine(settings) as made:
        yield made


@pytest.fixture
def claimed(engine: Engine, tmp_path: Path) -> tuple[Watch, Batch, Path]:
    """A file whose run is about to be started, the run, and a folder that counts how often that is carried out."""
    counter = tmp_path / "counter"
    rule = Rule(name="retrain", on="gs://data/in/*", pipeline="counting", templates={"path": str(counter)})
    watch = Watch(rule=rule, folder="/nowhere", ir=compiled(counting, engine.settings.home_path))
    ledger = Ledger(engine.store)
    ledger.put(watch, [])
    ledger.note("retrain", [version(0)])
    batch = ledger.claim("retrain", 0)
    assert batch is not None
    return watch, batch, counter


def after_death(engine: Engine, watch: Watch, counter: Path) -> Run:
    """The one run that the next watcher knows or starts, when it has ended."""
    Courier(Ledger(engine.store), {"local": engine.backend}, lambda _: None).deliver(watch)
    [run] = engine.store.list()
    ended = engine.end(run)
    assert ended.state is State.SUCCEEDED, ended.error
    assert len(list(counter.iterdir())) == 1
    assert Ledger(engine.store).counts("retrain") == {"started": 1}
    assert Ledger(engine.store).runs("retrain") == [run.id]
    return ended


def begin(engine: Engine, watch: Watch, batch: Batch, counter: Path, upto: str) -> None:
    """Does what a submission does, up to a point."""
    folder = requests.folder_of(engine.settings, batch.key)
    options = SubmitOptions(key=batch.key)
    request = requests.Request(
        run_id=batch.key,
        ir=watch.ir,
        arguments={"path": str(counter)},
        options=options,
        settings=requests.engine_settings(engine.settings),
    )
    if upto == "half a folder":
        draft = folder.with_name(f".{folder.name}")
        draft.mkdir(parents=True)
        (draft / "pipeline.yaml").write_text("half")
        return
    requests.write(folder, request)
    if upto == "a folder":
        return
    engine.store.save(Run(id=batch.key, name="begun", pipeline="counting", created=time.time()))
    if upto == "a run that somebody looked at":
        looking.refresh(engine.store, {"local": engine.backend})
        assert engine.store.get(batch.key).state is State.FAILED


@pytest.mark.parametrize(
    "upto", ["nothing", "half a folder", "a folder", "a run without an engine", "a run that somebody looked at"]
)
def test_a_watcher_that_died_while_it_started_a_run_left_one_run(
    engine: Engine, claimed: tuple[Watch, Batch, Path], upto: str
) -> None:
    watch, batch, counter = claimed
    if upto != "nothing":
        begin(engine, watch, batch, counter, upto)
    assert after_death(engine, watch, counter).id == batch.key


@pytest.mark.parametrize("ended", [False, True])
def test_a_watcher_that_died_before_it_wrote_down_the_run_finds_it(
    engine: Engine, claimed: tuple[Watch, Batch, Path], ended: bool
) -> None:
    watch, batch, counter = claimed
    run = engine.backend.submit(watch.ir, {"path": str(counter)}, SubmitOptions(key=batch.key))
    if ended:
        engine.end(run)
    assert after_death(engine, watch, counter).attempt == 1


# A real process that is really killed.


def test_a_watcher_that_is_killed_again_and_again_misses_no_file_and_repeats_none(place: Place) -> None:
    place.watch()
    chance = random.Random(7)
    sizes = list(range(1, 13))
    for number, size in enumerate(sizes):
        place.watchers.start("retrain")
        place.drop(f"{size}.csv", "x" * size)
        if number % 3 == 1:  # as soon as it says that it will start a run, before or while or after it does
            log, seen = place.watchers.log_file("retrain"), place.log().count("starts the run")
            place.until(lambda: log.read_text().count("starts the run") > seen)  # noqa: B023
        else:
            time.sleep(chance.uniform(0.0, 1.5))
        place.kill("retrain")
    place.watchers.start("retrain")
    runs = place.runs(len(sizes))
    assert sorted(run.parameters["first"] for run in runs) == sizes
    place.until(lambda: Ledger(place.store).counts("retrain") == {"started": len(sizes)})
    place.until(lambda: all(place.store.get(run.id).state is State.SUCCEEDED for run in runs))


def test_what_came_while_the_server_was_down_is_started_afterwards_once_each(place: Place) -> None:
    server = KfpServer()
    Connections(place.settings.home_path).remember(parse(server.url))
    one = place.watch()
    patience = {"home": place.settings.home, "server_patience": 0.2, "server_timeout": 1.0}
    remote = replace(one, backend="kfp", ir=compiled_for_servers("plain"), settings=patience)
    Ledger(place.store).put(replace(remote, rule=replace(one.rule, pipeline="plain", templates={}, as_json=())), [])
    server.flaky = 1.0
    place.watchers.start("retrain")
    names = [f"{number}.csv" for number in range(5)]
    for name in names[:3]:
        place.drop(name)
    place.until(lambda: "It is tried again." in place.log())
    place.kill("retrain")
    for name in names[3:]:
        place.drop(name)
    place.watchers.start("retrain")
    place.until(lambda: place.log().count("It is tried again.") >= 2)
    assert place.store.list() == []
    server.flaky = 0.0
    place.until(lambda: Ledger(place.store).counts("retrain") == {"started": 5})
    assert sorted(kept.body["display_name"] for kept in server.runs.values()) == [f"plain {name}" for name in names]
    server.close()


def test_runs_go_to_the_server_that_one_was_connected_to(place: Place, tmp_path: Path) -> None:
    server, later = KfpServer(), KfpServer()
    connections = Connections(place.settings.home_path)
    connections.remember(parse(server.url))
    pipeline = tmp_path / "plain.yaml"
    pipeline.write_text(compiled_for_servers("plain"))
    place.settings.backend = "kfp"
    watching = NewData(place.settings, place.store).watch(
        str(place.folder), load_pipeline(pipeline), Wanted(), RunOptions(), notebook="/n.ipynb"
    )
    assert "Watching" in list(watching)[-1]
    connections.remember(parse(later.url))
    path = place.drop("a.csv")
    [run] = place.runs(1)
    assert (run.backend, run.started_by, run.notebook) == ("kfp", f"trigger: {path}", "/n.ipynb")
    assert (list(server.runs), list(later.runs)) == ([run.id], [])
    server.close()
    later.close()


def test_a_run_is_called_after_the_newest_of_its_files() -> None:
    long = NewObject(bucket="data", name=f"in/{'x' * 200}.csv", generation="1")
    assert words([version(0), long], short=True) == f"{'x' * 79}… and 1 more"
    assert words([version(0), long]) == f"{long.uri} and 1 more"
    assert words([long, version(0)][1:], short=True) == "0"


def test_a_second_watcher_does_not_begin(place: Place) -> None:
    place.watch()
    assert place.watchers.start("retrain") is True
    assert place.watchers.start("retrain") is False
    place.watchers.stop("retrain")
    assert place.watchers.start("retrain") is True


def test_a_watch_that_is_changed_goes_on_with_what_it_is_now(place: Place) -> None:
    one = place.watch()
    place.watchers.start("retrain")
    place.drop("a.csv", "12")
    place.runs(1)
    Ledger(place.store).put(replace(one, rule=replace(one.rule, templates={"first": 70}, as_json=())), [])
    place.until(lambda: "The watch was changed." in place.log())
    place.drop("b.csv", "12")
    assert [run.parameters["first"] for run in place.runs(2)] == [2, 70]


def test_the_body_of_a_watch_holds_nothing_that_json_does_not(place: Place) -> None:
    one = place.watch()
    assert Watch.from_json(json.loads(json.dumps(one.to_json()))) == one
