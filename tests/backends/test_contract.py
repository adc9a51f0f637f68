"""The contract of `Backend`, against each of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kfp_magics.backends.connections import Connections, parse
from kfp_magics.backends.kfp import KfpBackend
from kfp_magics.backends.vertex import VertexBackend
from kfp_magics.backends.vertex.looks import Pace
from kfp_magics.model import Run
from kfp_magics.runs.store import Store
from kfp_magics.settings import Settings
from tests.backends.contract import *  # noqa: F403  (its tests are those of this module)
from tests.backends.contract import Place
from tests.kfp.server import KfpServer
from tests.kfp.workflow import Plan, fnv1a
from tests.local.conftest import Engine
from tests.vertex.server import Plan as VertexPlan
from tests.vertex.server import VertexServer


@pytest.fixture
def _local(settings: Settings) -> Iterator[Place]:
    with Engine(settings) as engine:
        yield Place(engine.backend, engine.store)


@pytest.fixture
def _kfp(settings: Settings) -> Iterator[Place]:
    server, store = KfpServer(), Store(settings.store_path)
    Connections(settings.home_path).remember(parse(server.url))

    def hold(name: str) -> None:
        server.plans[name] = Plan(steps=0)

    def fail(name: str) -> None:
        server.plans[name] = Plan(failed={"broken"})

    def printed(run: Run, text: str) -> None:
        workflow = server.runs[run.id].workflow
        server.logs[f"{workflow}-system-container-impl-{fnv1a(f'{workflow}.root.one.executor')}"] = text

    yield Place(KfpBackend(settings, store), store, hold, fail, printed)
    store.close()
    server.close()


@pytest.fixture
def _serve(settings: Settings, shared_gateway, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setenv("DOOR_TOKEN", shared_gateway.token)
    store = Store(settings.store_path)
    Connections(settings.home_path).remember(parse(shared_gateway.url, {"token_env": "DOOR_TOKEN"}))
    yield Place(KfpBackend(settings, store), store)
    store.close()


@pytest.fixture
def _vertex(settings: Settings) -> Iterator[Place]:
    server, store = VertexServer(), Store(settings.store_path)
    options = {"endpoint": server.endpoint, "pipeline_root": "gs://wares/runs"}
    Connections(settings.home_path).remember(parse("vertex:shop/europe-west4", options))

    def hold(name: str) -> None:
        server.plans[name] = VertexPlan(lasts=3600.0)

    def fail(name: str) -> None:
        server.plans[name] = VertexPlan(fails={"broken": "The replica exited with a non-zero status of 1."})

    def printed(run: Run, text: str) -> None:
        server.print(server.job_of(run.id, "one"), text.rstrip("\n"))

    pace = Pace(look=0.05, apart=0.0, log=0.05)
    yield Place(VertexBackend(settings, store, pace), store, hold, fail, printed, resumes=False)
    store.close()
    server.close()


@pytest.fixture(params=["local", "kfp", "serve", "vertex"])
def place(request: pytest.FixtureRequest) -> Place:
    made: Place = request.getfixturevalue(f"_{request.param}")
    return made
