"""Threads that each compute blocks of a batch by themselves.

PyTorch splits every single operation over its threads and makes them wait for each other at its end. In a training by blocks
those are thousands of meetings a step, and each lasts as long as the slowest thread takes to come: on cores that other programs
use as well, hundreds of times longer than the operation. Here a thread takes a whole block through all its operations, and they
meet once a layer. Sums over blocks are taken in the order of the blocks, so that results don't depend on the number of threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD = 8
"""Items that wait for each thread, so that none is idle while the one that gives them out does something else."""


class Workers:
    """As many threads as PyTorch has at the time, or none if that is one."""

    def __init__(self) -> None:
        self.count = torch.get_num_threads()
        self._pool = ThreadPoolExecutor(self.count, "facevae-worker") if self.count > 1 else None
        if self._pool is not None:
            barrier = Barrier(self.count, timeout=60.0)  # in seconds, lest one that cannot start keeps the others
            list(self._pool.map(lambda _: _compute_alone(barrier), range(self.count)))
            # What a thread sets is the default of those made later, too.
            torch.set_num_threads(self.count)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep PyTorch from using threads of its own in this one meanwhile."""
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(self.count)

    def each(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield `function` of each item, in the order of the items, without gradients (in inference mode, if the caller is)."""
        inference = torch.is_inference_mode_enabled()  # a setting of each thread

        def call(item: Item) -> Result:
            with torch.inference_mode() if inference else torch.no_grad():
                return function(item)

        return map(call, items) if self._pool is None else self._pool.map(call, items)

    def ahead(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield `function` of each item, as the function `ahead` does, on these threads."""
        return ahead(function, items, self._pool, self.count)


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep PyTorch from using threads of its own in this one meanwhile: for small operations one after the other, see above."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def ahead(
    function: Callable[[Item], Result], items: Iterable[Item], pool: Executor | None = None, threads: int = 1
) -> Iterator[Result]:
    """Yield `function` of each item, in the order of the items, computed in the pool (by default on a thread of its own).

    Unlike `Workers.each` this is for more items than fit into memory: the caller's thread takes a few of them ahead of what it
    is asked for, so that it can read and write while the threads compute.
    """
    if pool is None:
        with ThreadPoolExecutor(1, "facevae-ahead") as own:
            yield from ahead(function, items, own)
        return
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > _AHEAD * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _compute_alone(barrier: Barrier) -> None:
    """Make the operations of this thread use it alone; the barrier sees to it that every thread comes by."""
    barrier.wait()
    torch.set_num_threads(1)
