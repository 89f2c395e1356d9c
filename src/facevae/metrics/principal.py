"""Principal component analysis (Pearson 1901) of images: the best linear reconstruction, as the baseline to beat."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from facevae.metrics.estimate import Estimate, mean_estimate
from facevae.model.encoder import Images

Doubles = NDArray[np.float64]

_ROWS = 2048
"""Images made into floats at a time."""
_FEW = 1000


class PrincipalComponents(NamedTuple):
    """`mean` (D), and `components` (K, D) float64, orthonormal rows, the one of the largest variance first."""

    mean: Doubles
    components: Doubles

    def scores(self, images: Images) -> NDArray[np.float32]:
        """Return the coordinates (N, K) of images (N, S, S, 3) uint8 along the components."""
        blocks = [(block - self.mean) @ self.components.T for block in _blocks(images)]
        return np.concatenate(blocks).astype(np.float32)

    def squared_errors(self, images: Images, counts: Sequence[int]) -> Iterator[Doubles]:
        """Yield, for each number of components, the mean squared error of each reconstruction (N), pixels in [0, 1]."""
        kept, total = [], []
        for block in _blocks(images):
            centred = block - self.mean
            total.append(np.square(centred).sum(axis=1))
            # With orthonormal components each takes its squared score from the error.
            squares = np.cumsum(np.square(centred @ self.components.T), axis=1)
            kept.append(np.concatenate([np.zeros((len(block), 1)), squares], axis=1)[:, list(counts)])
        explained, whole = np.concatenate(kept), np.concatenate(total)
        for column in range(len(counts)):
            yield np.maximum(whole - explained[:, column], 0.0) / len(self.mean)


def fit_components(batches: Iterable[Images], count: int) -> PrincipalComponents:
    """Return the first `count` components of images that come in batches (B, S, S, 3) uint8.

    Only the covariance (D, D) is kept of them, so that memory doesn't grow with their number. There are at most as many
    components as values in an image, and one fewer than images.
    """
    blocks = (block for batch in batches for block in _blocks(batch))
    held: list[Doubles] = []
    for block in blocks:
        held.append(block)
        if sum(len(rows) for rows in held) > _FEW:
            return _of_covariance(chain(held, blocks), count)
    return _of_few(np.concatenate(held), count)


def _of_few(rows: Doubles, count: int) -> PrincipalComponents:
    """Return the components of a few images (N, D), for which a covariance would be far larger than they are."""
    mean = rows.mean(axis=0)
    _, _, vectors = scipy.linalg.svd(rows - mean, full_matrices=False)
    return PrincipalComponents(mean, vectors[: min(count, len(rows) - 1)])


def _of_covariance(blocks: Iterator[Doubles], count: int) -> PrincipalComponents:
    images, total, products = 0, np.zeros(0), np.zeros((0, 0))
    for block in blocks:
        # Near the mean, so that little is lost when it is subtracted below. In single precision each block, in double all.
        centred = (block - 0.5).astype(np.float32)
        if images == 0:
            total, products = np.zeros(centred.shape[1]), np.zeros((centred.shape[1],) * 2)
        images += len(block)
        total += centred.sum(axis=0, dtype=np.float64)
        products += centred.T @ centred
    mean = total / images
    products -= images * np.outer(mean, mean)
    size = len(mean)
    count = min(count, size, images - 1)
    _, vectors = scipy.linalg.eigh(products, subset_by_index=(size - count, size - 1), overwrite_a=True)
    return PrincipalComponents(mean + 0.5, np.ascontiguousarray(vectors.T[::-1]))


def component_errors(
    components: PrincipalComponents, images: Images, counts: Iterable[int]
) -> tuple[tuple[int, Estimate], ...]:
    """Return (number of components, mean squared error) for each of `counts` that the components suffice for, ascending."""
    fitting = sorted({count for count in counts if count <= len(components.components)})
    errors = components.squared_errors(images, fitting)
    return tuple((count, mean_estimate(values)) for count, values in zip(fitting, errors, strict=True))


def _blocks(images: Images) -> Iterator[Doubles]:
    """Yield images as rows of D values in [0, 1], some at a time."""
    for start in range(0, len(images), _ROWS):
        block = images[start : start + _ROWS]
        yield block.reshape(len(block), -1) / 255.0
