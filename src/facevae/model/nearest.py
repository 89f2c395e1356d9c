"""The nearest of many latents, seen a slice at a time, so that they need not fit into memory."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from facevae.config import METRICS
from facevae.errors import UsageError

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


class Nearest(NamedTuple):
    """Per query the nearest latents, nearest first, of equally near ones the earlier row: `rows` and `distances` (Q, n)."""

    rows: NDArray[np.int64]
    distances: Doubles


def check_metric(metric: str) -> None:
    """Raise a `UsageError` unless this is one of `METRICS`."""
    if metric not in METRICS:
        raise UsageError(f"There is no metric {metric}: use {' or '.join(METRICS)}.")


def distances(queries: Floats, latents: Floats, metric: str) -> Doubles:
    """Return the distance of every query (Q, D) to every latent (B, D): float64 (Q, B). The origin is at 1 from all by cosine."""
    first, second = (np.asarray(values, dtype=np.float64) for values in (queries, latents))
    if metric == "cosine":
        apart: Doubles = 1.0 - _directions(first) @ _directions(second).T
        return apart.clip(0.0, 2.0)
    squares = np.square(first).sum(axis=1)[:, None] + np.square(second).sum(axis=1) - 2.0 * (first @ second.T)
    lengths: Doubles = np.sqrt(squares.clip(0.0))
    return lengths


def _directions(latents: Doubles) -> Doubles:
    lengths = np.linalg.norm(latents, axis=1, keepdims=True)
    units: Doubles = latents / np.where(lengths > 0.0, lengths, 1.0)
    return units


class NearestSearch:
    """A search for the `count` latents nearest to each query: `add` all latents in order, then ask for the `result`."""

    def __init__(self, queries: Floats, count: int, metric: str, leave_out: NDArray[np.int64] | None = None) -> None:
        """Begin with queries (Q, D); `leave_out` (Q) names the row that is not to be found for each, -1 for none."""
        self._queries, self._count, self._metric = queries, count, metric
        self._leave_out = np.full(len(queries), -1) if leave_out is None else leave_out
        self._seen = 0
        self._rows = np.empty((len(queries), 0), dtype=np.int64)
        self._distances = np.empty((len(queries), 0))

    def add(self, latents: Floats) -> None:
        """Look at the next latents (B, D)."""
        rows = np.arange(self._seen, self._seen + len(latents))
        apart = distances(self._queries, latents, self._metric)
        apart[rows == self._leave_out[:, None]] = np.inf
        all_rows = np.concatenate([self._rows, np.broadcast_to(rows, apart.shape)], axis=1)
        all_distances = np.concatenate([self._distances, apart], axis=1)
        # What was found before stands in front, so a stable order leaves the earlier of two equally near ones there.
        order = np.argsort(all_distances, axis=1, kind="stable")[:, : self._count]
        self._rows = np.take_along_axis(all_rows, order, axis=1)
        self._distances = np.take_along_axis(all_distances, order, axis=1)
        self._seen += len(latents)

    def result(self) -> Nearest:
        """Return what was found: `count` latents for each query, or as many as there were for every one of them."""
        found = min(self._count, self._seen - int((self._leave_out >= 0).any()))
        return Nearest(self._rows[:, :found], self._distances[:, :found])
