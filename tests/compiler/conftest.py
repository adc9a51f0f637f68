from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kfp_magics.cells.options import CellOptions
from kfp_magics.session import Session

Define = Callable[..., Any]


@pytest.fixture
def session() -> Session:
    return Session(namespace={})


@pytest.fixture
def define(session: Session) -> Define:
    """Makes a step of a cell, as the magic does with the words of its line."""

    def make(body: str, **options: Any) -> Any:
        words = {"infer": False, "base_image": "python:3.11-slim"} | options
        return session.component(body, CellOptions(**words))

    return make
