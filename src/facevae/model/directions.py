"""Directions of attributes beside the difference of the class means, and how to hold other attributes still.

delta, the difference of the class means, is one answer to "which way is this attribute". Two more:

- The regression direction is the attribute's coefficient in the multiple regression of the latents on all attributes: what it
  brings while all the others stay the same. For a 0/1 indicator x of variance v, cov(x, z) = v delta, so that the covariances of
  the indicators are all that is missing to have every coefficient from the differences of the class means.
- The normal w of a linear classifier, scaled so that n = 1 moves the classifier's logit as far as delta does:
  w (w . delta) / (w . w). Fisher's discriminant, w = C^-1 delta with the covariance C of the latents, needs no latents; a
  logistic regression does.

An attribute k is held still by leaving its discriminant's score, z . C^-1 delta_k, as it is. Of all directions that do so, and
still move the attribute's own score as far as the given direction, `hold_still` takes the one nearest to it, in the metric of
C^-1, in which lengths are standard deviations of faces.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from facevae.model.latent_space import Floats

Doubles = NDArray[np.float64]

_COLLINEAR = 1e-9
"""Of the eigenvalues of a correlation matrix: what is smaller, beside the largest, is nought but for rounding."""


class Held(NamedTuple):
    """A direction (D) that holds attributes still, and how many times as far it goes as the one it was made from, `stretch`."""

    direction: Doubles
    stretch: float


def indicator_covariance(together: NDArray[np.int64], count: int) -> Doubles:
    """Return the covariance (A, A) of the 0/1 indicators of attributes, from how many of `count` images have both of each two."""
    shares = np.diagonal(together) / count
    covariance: Doubles = together / count - np.outer(shares, shares)
    return covariance


def indicator_correlation(covariance: Doubles) -> Doubles:
    """Return the correlations (A, A) of indicators with a covariance; those of an indicator that never varies are 0."""
    spread = np.sqrt(np.diagonal(covariance))
    spread = np.where(spread > 0.0, spread, 1.0)
    correlation: Doubles = covariance / np.outer(spread, spread)
    return correlation


def regression_directions(deltas: NDArray[np.floating], covariance: Doubles) -> Doubles:
    """Return the coefficients (A, D) of the multiple regression of latents on all indicators (with an intercept).

    Args:
        deltas: differences of the class means (A, D).
        covariance: of the indicators (A, A).

    Where attributes determine each other, as when every face has just one of three, the coefficients are the least ones, in units
    of the indicators' standard deviations; those of an attribute that never varies are 0.
    """
    variances = np.diagonal(covariance)
    spread = np.sqrt(np.where(variances > 0.0, variances, 1.0))
    products = deltas.astype(np.float64) * (variances / spread)[:, None]
    inverse = np.linalg.pinv(indicator_correlation(covariance), rcond=_COLLINEAR, hermitian=True)
    coefficients: Doubles = inverse @ products / spread[:, None]
    coefficients[variances == 0.0] = 0.0
    return coefficients


def fisher_normal(delta: NDArray[np.floating], covariance: Doubles) -> Doubles:
    """Return Fisher's discriminant C^-1 delta (D); `covariance` C (D, D) is that of all latents, not of those of one class.

    With the latter it would be a multiple of this one. Fisher 1936, "The use of multiple measurements in taxonomic problems".
    """
    normal: Doubles = np.linalg.solve(covariance, delta).astype(np.float64)
    return normal


def logistic_normal(latents: Floats, has: NDArray[np.bool_]) -> Doubles:
    """Return the weights (D) of a logistic regression of an attribute (N), which some have and some not, on latents (N, D).

    With scikit-learn's penalty, C = 1. Units are not scaled to one variance, unlike in the linear probe of `facevae.metrics`:
    those that the VAE leaves unused would have the largest weights, and a direction along them shows nothing.
    """
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(solver="newton-cholesky").fit(latents.astype(np.float64), has)
    normal: Doubles = model.coef_[0].astype(np.float64)
    return normal


def along_normal(normal: Doubles, delta: NDArray[np.floating]) -> Doubles:
    """Return the multiple of a normal w (D) that moves the logit w . z as far as delta (D) does."""
    return normal * (float(normal @ delta) / float(normal @ normal))


def hold_still(
    direction: NDArray[np.floating], delta: NDArray[np.floating], kept: NDArray[np.floating], covariance: Doubles
) -> Held | None:
    """Change a direction so that it no longer moves the discriminant scores of kept attributes; None if that is impossible.

    Args:
        direction: what is to be changed (D).
        delta: the difference of the class means of its own attribute (D), whose score moves as far as before.
        kept: the differences of the class means of the kept attributes (K, D).
        covariance: of the latents (D, D), positive definite.

    It is impossible where the attribute's own difference is made up of the kept ones.
    """
    factor = np.linalg.cholesky(covariance)

    def whitened(rows: NDArray[np.floating]) -> Doubles:
        white: Doubles = np.linalg.solve(factor, rows.T).astype(np.float64)
        return white

    moved, own, others = whitened(direction), whitened(delta), whitened(kept)
    rest_of_moved, rest_of_own = (side - others @ _coefficients(others, side) for side in (moved, own))
    left = float(rest_of_own @ rest_of_own)
    if left <= _COLLINEAR * float(own @ own):
        return None
    result = rest_of_moved + (float(own @ moved - own @ rest_of_moved) / left) * rest_of_own
    return Held(factor @ result, float(np.linalg.norm(result) / np.linalg.norm(moved)))


def _coefficients(columns: Doubles, target: Doubles) -> Doubles:
    coefficients: Doubles = np.linalg.lstsq(columns, target, rcond=None)[0].astype(np.float64)
    return coefficients
