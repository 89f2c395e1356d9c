"""Means of groups of latents, seen a batch at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class GroupMeans:
    """Running sums of latents by group: `add` all of them, then ask for the `counts` (G) and the `means` (G, latent_dim)."""

    def __init__(self, groups: int, latent_dim: int) -> None:
        self._sums = np.zeros((groups, latent_dim), dtype=np.float64)
        self.counts: NDArray[np.int64] = np.zeros(groups, dtype=np.int64)

    def add(self, latents: Floats, members: NDArray[np.bool_]) -> None:
        """Count in latents (B, latent_dim), each to the groups that `members` (B, G) says."""
        self._sums += members.T.astype(np.float64) @ latents.astype(np.float64)
        self.counts += members.sum(axis=0)

    @property
    def means(self) -> Floats:
        """The means float32 (G, latent_dim); of an empty group the origin."""
        means: Floats = (self._sums / np.maximum(self.counts, 1)[:, None]).astype(np.float32)
        return means
