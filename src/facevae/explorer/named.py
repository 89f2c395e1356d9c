"""The directions of attributes, computed once for each attribute and what it holds still: a slider asks for one at every step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from facevae.storage.directions import Direction, NamedDirections

_REMEMBERED = 2_000


@dataclass(frozen=True)
class CachedDirections(NamedDirections):
    """`NamedDirections` that remember what they computed."""

    _found: Callable[[str, tuple[str, ...], str], Direction] = field(init=False)

    def __post_init__(self) -> None:
        """Begin with nothing remembered."""
        compute = super().direction
        object.__setattr__(self, "_found", lru_cache(_REMEMBERED)(compute))

    @classmethod
    def of(cls, directions: NamedDirections) -> CachedDirections:
        """Return the same directions."""
        return cls(directions.names, directions.table, directions.where, directions.covariance, directions.logistic)

    def direction(self, attribute: str, keep: Sequence[str] = (), kind: str = "mean") -> Direction:
        """Return the direction of an attribute, see `NamedDirections.direction`."""
        return self._found(attribute, tuple(keep), kind)

    def lengths(self) -> dict[str, float]:
        """Return the Euclidean lengths of the directions by name, in their order; of length 0 is none."""
        lengths = np.linalg.norm(self.table.deltas.astype(np.float64), axis=1)
        return {name: float(length) for name, length in zip(self.names, lengths, strict=True) if length > 0.0}
