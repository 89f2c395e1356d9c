"""Ctrl-C (and SIGTERM) as a request to end at the next safe point, rather than an exception anywhere."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interruption:
    """Counts the requests to stop. The third one raises `KeyboardInterrupt`, for whoever cannot wait."""

    def __init__(self) -> None:
        self.count = 0

    @property
    def requested(self) -> bool:
        """Whether the user asked to stop."""
        return self.count > 0

    def handle(self, _signal: int, _frame: FrameType | None) -> None:
        """Note one request."""
        self.count += 1
        if self.count > 2:
            raise KeyboardInterrupt


@contextmanager
def deferred_interruption() -> Iterator[Interruption]:
    """Turn SIGINT and SIGTERM into a request that the block polls. Outside the main thread nothing is changed."""
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    earlier = {number: signal.signal(number, interruption.handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interruption
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
