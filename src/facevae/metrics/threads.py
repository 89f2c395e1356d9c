"""Small problems of linear algebra side by side, each on one thread, instead of every one shared out over all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from threadpoolctl import threadpool_limits

from facevae.model.workers import Workers

Item = TypeVar("Item")
Result = TypeVar("Result")


def each_alone(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield `function` of each item, in order, on as many threads as PyTorch has; NumPy and SciPy use no others meanwhile."""
    workers = Workers()
    with workers.alone(), threadpool_limits(limits=1, user_api="blas"):
        yield from workers.each(function, items)
