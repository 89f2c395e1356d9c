"""The geometry of the latent space: attribute directions, and walks along them.

An attribute's direction is the mean of the latent means of the images that have it minus that of the images that do not,
not normalised; a face is moved along it by z' = z + n * delta.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class AttributeDirections(NamedTuple):
    """`deltas` (A, latent_dim) float32, and how many images stand behind each class mean: `positive`, `negative` (A,).

    `together` (A, A) says how many images have both of two attributes; None where that was not counted.
    """

    deltas: Floats
    positive: NDArray[np.int64]
    negative: NDArray[np.int64]
    together: NDArray[np.int64] | None = None


class ClassSums:
    """Running sums of latents by class, so that directions need only one pass and no stored latents."""

    def __init__(self, attributes: int, latent_dim: int) -> None:
        self._sums = np.zeros((2, attributes, latent_dim), dtype=np.float64)
        self._counts = np.zeros((2, attributes), dtype=np.int64)
        self._together = np.zeros((attributes, attributes), dtype=np.int64)

    def add(self, latents: Floats, attributes: NDArray[np.int8]) -> None:
        """Count in latents (B, latent_dim) with attributes (B, A) in {-1, 1}."""
        has = (attributes > 0).astype(np.float64)
        latents64 = latents.astype(np.float64)
        self._sums[1] += has.T @ latents64
        self._sums[0] += (1.0 - has).T @ latents64
        positive = has.sum(axis=0).astype(np.int64)
        self._counts += np.stack([len(latents) - positive, positive])
        self._together += (has.T @ has).astype(np.int64)

    def directions(self) -> AttributeDirections:
        """Return the differences of the class means; an attribute with an empty class gets a zero direction."""
        means = self._sums / np.maximum(self._counts, 1)[:, :, None]
        empty = (self._counts == 0).any(axis=0)
        deltas = np.where(empty[:, None], 0.0, means[1] - means[0]).astype(np.float32)
        return AttributeDirections(deltas, self._counts[1], self._counts[0], self._together)


def attribute_directions(latents: Floats, attributes: NDArray[np.int8]) -> AttributeDirections:
    """Return the direction of every attribute from latent means (N, latent_dim) and attributes (N, A) in {-1, 1}."""
    sums = ClassSums(attributes.shape[1], latents.shape[1])
    sums.add(latents, attributes)
    return sums.directions()


def walk(latents: Floats, delta: Floats, steps: Floats) -> Floats:
    """Return z + n * delta for every latent (N, latent_dim) and step n (K,): (N, K, latent_dim)."""
    moved: Floats = latents[:, None, :] + steps[None, :, None] * delta[None, None, :]
    return moved.astype(np.float32)
