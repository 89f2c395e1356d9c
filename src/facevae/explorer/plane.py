"""The two principal components of latents: a map that is there at once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_ROWS = 16_384
"""Latents that are centred at a time: all of them would be as much memory again."""
EXTENT = 10.0
"""How far the farthest dot is from the middle, along the longer axis: about as far as in a UMAP."""


class Plane(NamedTuple):
    """What projects latents: their `mean` (D), and two `axes` (D, 2), scaled."""

    mean: Floats
    axes: Floats

    @classmethod
    def of(cls, latents: Floats) -> Plane:
        """Return the plane of the largest variance of latents (N, D), N of at least 1."""
        mean = latents.mean(axis=0, dtype=np.float64).astype(np.float32)
        width = latents.shape[1]
        covariance = np.zeros((width, width))
        for start in range(0, len(latents), _ROWS):
            centred = latents[start : start + _ROWS] - mean
            covariance += centred.T @ centred
        axes = np.zeros((width, 2))
        largest = np.linalg.eigh(covariance)[1][:, :-3:-1]
        # An eigenvector may point either way: here always so that its largest component is positive.
        signs = np.sign(np.take_along_axis(largest, np.abs(largest).argmax(axis=0)[None], axis=0))
        axes[:, : largest.shape[1]] = largest * signs
        plane = cls(mean, axes.astype(np.float32))
        farthest = float(np.abs(plane.project(latents)).max())
        return cls(mean, (plane.axes * (EXTENT / farthest if farthest > 0.0 else 1.0)).astype(np.float32))

    def project(self, latents: Floats) -> Floats:
        """Return where latents (N, D) are on the map, (N, 2)."""
        parts = [(latents[start : start + _ROWS] - self.mean) @ self.axes for start in range(0, len(latents), _ROWS)]
        return np.concatenate(parts) if parts else np.empty((0, 2), np.float32)
