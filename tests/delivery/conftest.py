from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kfp_magics.delivery.newdata.ledger import Ledger
from kfp_magics.delivery.newdata.verbs import NewData
from kfp_magics.runs.store import Store
from kfp_magics.settings import Settings
from tests.delivery.watched import Place


@pytest.fixture
def place(settings: Settings, store: Store, tmp_path: Path) -> Iterator[Place]:
    folder = tmp_path / "incoming"
    folder.mkdir()
    made = Place(settings, store, folder)
    yield made
    data = NewData(settings, store)
    for watch in Ledger(store).watches():
        data.delete(watch.rule.name)
