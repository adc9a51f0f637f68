"""Environments that are being made when somebody cancels."""

import asyncio
import time
from pathlib import Path

import pytest

from kfp_magics.backends.local.environments import Environments
from kfp_magics.backends.local.recipe import Recipe

BARE = Recipe(packages=(), index_urls=(), trusted_hosts=(), kfp="", source="", function="")


@pytest.mark.parametrize("turns", range(8))
def test_cancelled_just_as_uv_ends_it_is_cancelled_and_not_failed(tmp_path: Path, turns: int) -> None:
    async def cancel_late() -> None:
        making = asyncio.create_task(Environments(tmp_path, offline=True).python(BARE))
        while not list(tmp_path.glob("*/pyvenv.cfg")):  # what uv writes, shortly before it ends
            assert not making.done()
            await asyncio.sleep(0)
        time.sleep(0.15)  # uv ends, and the event loop does not see it yet
        for _ in range(turns):
            await asyncio.sleep(0)
        if making.cancel():
            with pytest.raises(asyncio.CancelledError):
                await making
            assert not list(tmp_path.glob("*/pyvenv.cfg"))

    asyncio.run(cancel_late())
