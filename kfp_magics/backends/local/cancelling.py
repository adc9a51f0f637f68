"""What is under way when somebody cancels: it ends as it should before the cancellation goes on."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine


@asynccontextmanager
async def ending(process: asyncio.subprocess.Process) -> AsyncIterator[None]:
    """Ends a process when whoever waits for it inside is cancelled."""
    try:
        yield
    except asyncio.CancelledError:
        with suppress(ProcessLookupError):  # it may just have ended
            process.terminate()
        await process.wait()
        raise


async def to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Ends an attempt that was cancelled; cancelled once more meanwhile, by a user or by a timeout, goes on with it.

    Args:
        work: What ends it; whoever awaits this raises the cancellation afterwards.
    """
    task = asyncio.ensure_future(work)
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait({task})
    task.result()
