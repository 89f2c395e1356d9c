"""Directions by the names of their attributes, whatever they are computed from: a weights file, or latents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from facevae.config import DIRECTIONS
from facevae.errors import DataError, UsageError
from facevae.model.directions import (
    along_normal,
    fisher_normal,
    hold_still,
    indicator_correlation,
    indicator_covariance,
    regression_directions,
)
from facevae.model.latent_space import AttributeDirections, Floats
from facevae.storage.attributes import find_attribute

Doubles = NDArray[np.float64]

_FARTHEST = 2.0
"""How many times as far a direction may go for holding others still: faces that are moved much farther fall apart."""


class Direction(NamedTuple):
    """The direction of one attribute.

    Attributes:
        name: the attribute's proper name.
        vector: the direction (D) float32.
        kept: the proper names of what it holds still.
        share: how far it still moves the attribute's own score, as a share of what it would without holding others still.
    """

    name: str
    vector: Floats
    kept: tuple[str, ...] = ()
    share: float = 1.0


@dataclass(frozen=True)
class NamedDirections:
    """What the directions of named attributes are computed from.

    Attributes:
        names: A names.
        table: the differences of the class means, with the counts behind them.
        where: what to call the file in messages.
        covariance: gives the covariance (D, D) of the latents, or None where it is not known.
        logistic: gives the weights (D) of a logistic regression for attribute number i; None where there are no latents to fit
            one to.
    """

    names: tuple[str, ...]
    table: AttributeDirections
    where: str
    covariance: Callable[[], Doubles | None]
    logistic: Callable[[int], Doubles] | None = None

    def direction(self, attribute: str, keep: Sequence[str] = (), kind: str = "mean") -> Direction:
        """Return the direction of an attribute, named without regard to case and underscores.

        Args:
            attribute: the attribute.
            keep: attributes whose score the direction must not move, see `facevae.model.directions.hold_still`.
            kind: "mean", the difference of the class means; "regression"; or "logistic", for which Fisher's discriminant stands
                in where there are no latents.

        Raises:
            UsageError: there is no such attribute or kind, or the attribute is among those to be kept.
            DataError: what this takes is not known, or the attribute cannot be told from those to be kept.
        """
        check_kind(kind)
        index = find_attribute(attribute, self.names, self.where)
        kept = self._kept(index, keep)
        for number in (index, *kept):
            check_direction(self.table.deltas[number], self.names[number], self.where)
        vector = self._vector(index, kind)
        if not kept:
            return Direction(self.names[index], vector.astype(np.float32, copy=False))
        return self._held(index, kept, vector)

    def correlations(self) -> Doubles | None:
        """Return how the attributes go together in the images (A, A), correlations of 0/1; None where that was not counted."""
        covariance = self._indicators()
        return indicator_correlation(covariance) if covariance is not None else None

    def _kept(self, index: int, keep: Sequence[str]) -> list[int]:
        kept = list(dict.fromkeys(find_attribute(name, self.names, self.where) for name in keep))
        if index in kept:
            raise UsageError(
                f"{self.names[index]} cannot be moved and kept at once: leave it out of --attr, or out of --keep."
            )
        return kept

    def _vector(self, index: int, kind: str) -> NDArray[np.floating]:
        delta: Floats = self.table.deltas[index]
        if kind == "mean":
            return delta
        if kind == "logistic":
            normal = self.logistic(index) if self.logistic else fisher_normal(delta, self._covariance("--direction"))
            return along_normal(normal, delta)
        covariance = self._indicators()
        if covariance is None:
            raise DataError(
                f"{self.where} does not say which attributes go together, as an older facevae trained it: let "
                "facevae train --resume add that, or take the direction from latents with --latents."
            )
        coefficients: Doubles = regression_directions(self.table.deltas, covariance)[index]
        return coefficients

    def _held(self, index: int, kept: list[int], vector: NDArray[np.floating]) -> Direction:
        deltas = self.table.deltas
        held = hold_still(vector, deltas[index], deltas[kept], self._covariance("--keep"))
        names = tuple(self.names[number] for number in kept)
        if held is None:
            raise DataError(
                f"{self.names[index]} cannot be moved without {', '.join(names)}: in {self.where} its direction is made up of "
                "theirs. Keep fewer attributes, or others."
            )
        share = min(1.0, _FARTHEST / held.stretch)
        return Direction(self.names[index], (share * held.direction).astype(np.float32), names, share)

    def _covariance(self, option: str) -> Doubles:
        covariance = self.covariance()
        if covariance is None:
            raise DataError(
                f"{self.where} holds no fitted prior, from which {option} knows how latents vary: take the direction from "
                "latents with --latents."
            )
        return covariance

    def _indicators(self) -> Doubles | None:
        counts = self.table.positive + self.table.negative
        if self.table.together is None or not counts.any():
            return None
        return indicator_covariance(self.table.together, int(counts[0]))


def check_kind(kind: str) -> None:
    """Raise a `UsageError` unless this is one of `DIRECTIONS`."""
    if kind not in DIRECTIONS:
        raise UsageError(f"There is no direction {kind}: use one of {', '.join(DIRECTIONS)}.")


def check_direction(delta: NDArray[np.floating], attribute: str, where: str) -> None:
    """Raise a `DataError` for the zero direction of an attribute of which the faces had only one value."""
    if not np.any(delta):
        raise DataError(
            f"{where} knows no direction for {attribute}: its faces all have the same value of it. "
            "Choose another attribute, or train on faces of both kinds."
        )
