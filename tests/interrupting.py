"""Interrupts, as a person sends them: by the interrupt key, in the middle of something."""

from __future__ import annotations

import _thread
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interrupted(reached: Callable[[], bool]) -> Iterator[None]:
    """Interrupts this process as a person does, once it has come so far."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(0.02):
            if reached():
                _thread.interrupt_main()
                return

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def inside(function: Callable[..., object]) -> bool:
    """Whether the main thread carries out what a function calls."""
    frame: FrameType | None = sys._current_frames()[threading.main_thread().ident or 0]
    while frame is not None and frame.f_back is not None:
        if frame.f_back.f_code is function.__code__:  # type: ignore[attr-defined]
            return True
        frame = frame.f_back
    return False
