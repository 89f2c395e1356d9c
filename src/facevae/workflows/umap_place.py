"""Placing new latents on a fitted map, without the object that fitted it: its dots and their latents are enough.

It is what UMAP itself does with new data (McInnes, Healy & Melville 2018): each new latent gets membership strengths to its
nearest fitted ones, begins at their weighted mean, and then descends the same cross-entropy while all fitted dots stay where
they are. Computed here in NumPy, so that a map outlives the version of umap-learn that made it, and the result is the same
each time on one machine.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from facevae.progress import Progress, Report, silent

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]

CURVE = 1.5769, 0.8951
"""a and b of UMAP's curve 1 / (1 + a d^2b) for a minimum distance of 0.1 and a spread of 1."""

_ROWS = 1024
_COLUMNS = 16_384
"""Latents of which all distances are in memory at a time: 64 MB."""
_EPOCHS = 100
_STEP = 1.0
_REPULSIONS = 5
"""Dots that push a new one away for each that attracts it, as in UMAP's layout."""
_PUSHING = 40
_LONGEST_PUSH = 4.0


def place(new: Floats, fitted: Floats, dots: Floats, neighbours: int, *, report: Report = silent) -> Floats:
    """Return where latents (N, latent_dim) belong on the map of `fitted` (M, latent_dim), whose dots are (M, 2).

    A latent that equals a fitted one lands on its dot. `neighbours` is what the map was fitted with.
    """
    indices, distances = nearest(new, fitted, min(neighbours, len(fitted)), report=report)
    weights = membership(distances)
    anchors = dots[indices]
    placed = _descend(np.einsum("nk,nkd->nd", weights, anchors), anchors, weights, dots, report)
    same = distances[:, 0] == 0
    placed[same] = anchors[same, 0]
    return placed


def nearest(new: Floats, fitted: Floats, count: int, *, report: Report = silent) -> tuple[Indices, Floats]:
    """Return the rows of the `count` nearest fitted latents of each new one, and their distances: (N, count) each.

    They are exact and in ascending order. Memory does not grow with the number of latents.
    """
    squares = np.einsum("md,md->m", fitted, fitted)
    found = [
        _nearest_of(new[start : start + _ROWS], fitted, squares, count)
        for start in _reported("umap: neighbours", len(new), _ROWS, report)
    ]
    return np.concatenate([rows for rows, _ in found]), np.concatenate([distances for _, distances in found])


def _nearest_of(new: Floats, fitted: Floats, squares: Floats, count: int) -> tuple[Indices, Floats]:
    owners = np.repeat(np.arange(len(new)), count)
    best = np.full((len(new), count), np.inf, dtype=np.float32)
    rows = np.zeros((len(new), count), dtype=np.int64)
    for start in range(0, len(fitted), _COLUMNS):
        # Squared distances less the new latent's own square, which does not change the order.
        scores = new @ fitted[start : start + _COLUMNS].T
        scores *= -2.0
        scores += squares[start : start + _COLUMNS]
        if start == 0 and scores.shape[1] > count:
            chosen = np.argpartition(scores, count - 1, axis=1)[:, :count]
            best, rows = np.take_along_axis(scores, chosen, axis=1), chosen
            continue
        # After the first columns few are nearer than what was found: sorting only those is much the fastest.
        row, column = np.nonzero(scores < best.max(axis=1, keepdims=True))
        candidates = np.concatenate([best.ravel(), scores[row, column]])
        belongs = np.concatenate([owners, row])
        order = np.lexsort((candidates, belongs))
        starts = np.searchsorted(belongs[order], np.arange(len(new)))
        kept = order[starts[:, None] + np.arange(count)]
        best, rows = candidates[kept], np.concatenate([rows.ravel(), column + start])[kept]
    # Exactly, for differences of squares leave a rounding error where a latent meets its own.
    distances = np.linalg.norm(fitted[rows] - new[:, None], axis=2)
    order = np.argsort(distances, axis=1, kind="stable")
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(distances, order, axis=1)


def membership(distances: Floats) -> Floats:
    """Return membership strengths (N, k) that sum to 1, of ascending distances (N, k).

    exp(-d / sigma), with sigma such that they sum to log2(k) before they are scaled. As in UMAP's `transform` the nearest is not
    subtracted from the distances, as it is in a fit.
    """
    apart = distances.astype(np.float64)
    goal = max(np.log2(distances.shape[1]), 1.0)
    low = np.zeros((len(apart), 1))
    high = np.full((len(apart), 1), 1e3) * np.maximum(apart.mean(axis=1, keepdims=True), 1e-12)
    for _ in range(60):
        middle = (low + high) / 2
        too_many = np.exp(-apart / middle).sum(axis=1, keepdims=True) > goal
        low, high = np.where(too_many, low, middle), np.where(too_many, middle, high)
    strengths = np.exp(-apart / high)
    shares: Floats = (strengths / strengths.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares


def _descend(placed: Floats, anchors: Floats, weights: Floats, dots: Floats, report: Report) -> Floats:
    """Return `placed` (N, 2) after descending the cross-entropy to its anchors (N, k, 2) and to dots drawn at random."""
    # Drawn beforehand, so that where a latent lands does not depend on which others are placed with it.
    pushing = dots[np.random.default_rng(0).integers(len(dots), size=(_EPOCHS, _PUSHING))]
    blocks = []
    for start in _reported("umap: layout", len(placed), _ROWS, report):
        rows = slice(start, start + _ROWS)
        blocks.append(_descend_block(placed[rows], anchors[rows], weights[rows], pushing))
    return np.concatenate(blocks)


def _descend_block(placed: Floats, anchors: Floats, weights: Floats, pushing: Floats) -> Floats:
    a, b = CURVE
    for epoch, pushers in enumerate(pushing):
        apart = placed[:, None] - anchors
        square = np.maximum(np.einsum("nkd,nkd->nk", apart, apart), 1e-12)[..., None]
        pull = np.clip(-2 * a * b * square ** (b - 1) / (1 + a * square**b) * apart, -_LONGEST_PUSH, _LONGEST_PUSH)
        away = placed[:, None] - pushers
        square = np.einsum("nkd,nkd->nk", away, away)[..., None]
        push = np.clip(2 * b / ((0.001 + square) * (1 + a * square**b)) * away, -_LONGEST_PUSH, _LONGEST_PUSH)
        force = np.einsum("nk,nkd->nd", weights, pull) + _REPULSIONS * push.mean(axis=1)
        placed = placed + np.float32(_STEP * (1 - epoch / len(pushing))) * force
    return placed


def _reported(stage: str, total: int, block: int, report: Report) -> Iterator[int]:
    """Yield the starts of blocks of `total` faces, reporting each and the end."""
    for start in range(0, total, block):
        report(Progress(stage, start, total, "faces"))
        yield start
    report(Progress(stage, total, total, "faces"))
