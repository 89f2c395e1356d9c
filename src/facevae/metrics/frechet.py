r"""The Fréchet distance between two sets of feature vectors, as if each were drawn from a Gaussian.

    d^2 = |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))

(Dowson & Landau 1982, *The Fréchet distance between multivariate normal distributions*; for images first Heusel et al. 2017,
there in the features of an Inception network: a distance in other features has another scale, and must not be compared.)

With C = L L^T the trace of the root is the sum of the singular values of L1^T L2, which needs no root of a matrix that isn't
symmetric, and stays real and finite where a covariance is singular.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from facevae.metrics.estimate import Estimate
from facevae.metrics.threads import each_alone

_RESAMPLES = 40

Features = NDArray[Any]


class _Gaussian(NamedTuple):
    """A Gaussian fitted to features: mean (F), and a factor (F, F) whose product with its transpose is the covariance."""

    mean: NDArray[np.float64]
    factor: NDArray[np.float64]


def frechet_distance(one: Features, other: Features) -> float:
    """Return d^2 between features (N, F) and (M, F)."""
    return _distance(_fit(np.asarray(one, dtype=np.float64)), _fit(np.asarray(other, dtype=np.float64)))


def frechet_estimate(one: Features, other: Features, random: np.random.Generator, *, paired: bool = False) -> Estimate:
    """Return d^2 with the standard error of a bootstrap, which draws both sets anew with replacement (Efron 1979).

    Where the sets are `paired`, as images and their reconstructions are, each draw takes the same rows of both. The value is that
    of the sets themselves: the resampled ones, which repeat some images, lie a little further apart.
    """
    sides = [np.asarray(side, dtype=np.float64) for side in (one, other)]
    value = _distance(*(_fit(side) for side in sides))
    if min(len(side) for side in sides) < 2:
        return Estimate(value)

    def resampled(generator: np.random.Generator) -> float:
        rows = [generator.integers(0, len(side), len(side)) for side in sides]
        if paired:
            rows[1] = rows[0]
        return _distance(*(_fit(side[drawn]) for side, drawn in zip(sides, rows, strict=True)))

    return Estimate(value, float(np.std(list(each_alone(resampled, random.spawn(_RESAMPLES))), ddof=1)))


def _fit(features: NDArray[np.float64]) -> _Gaussian:
    mean = features.mean(axis=0)
    centred = features - mean
    covariance = centred.T @ centred / max(len(features) - 1, 1)
    values, vectors = scipy.linalg.eigh(covariance)
    # Rounding may leave a variance a little below zero.
    return _Gaussian(mean, vectors * np.sqrt(np.maximum(values, 0.0)))


def _distance(one: _Gaussian, other: _Gaussian) -> float:
    shift = float(np.square(one.mean - other.mean).sum())
    spread = float(np.square(one.factor).sum() + np.square(other.factor).sum())
    common = float(scipy.linalg.svdvals(one.factor.T @ other.factor).sum())
    return max(shift + spread - 2.0 * common, 0.0)
