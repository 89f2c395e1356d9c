"""A prior fitted to the latents: where the faces really lie, as a mixture of Gaussians with full covariances.

The loss pulls each posterior towards N(0, I), but the posteriors of all faces together, the aggregate posterior
q(z) = mean over the faces of N(mean, diag(exp(log_variance))), do not fill N(0, I): their units are correlated, and the more the
reconstruction weighs, the further q(z) is from it. A decoder sees only q(z) while it learns; drawn from N(0, I), many latents
lie where it never was. The remedy is to draw from a model of q(z) itself (Tomczak & Welling 2018; Ghosh et al. 2020).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facevae.config import PRIOR_NAMES
from facevae.errors import DataError, UsageError

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

MOST_UNITS = 4096
"""Latent units up to which training fits a prior: its covariance has the square of their number in it, 128 MB here."""

_REGULARISATION = 1e-6
"""Added to every variance, as a part of the largest where that is above 1: a unit that never varies must not make the
covariance singular, and a standard deviation of 0.001 is beneath notice."""
_ITERATIONS = 100


@dataclass(frozen=True)
class LatentPrior:
    """A Gaussian mixture over latents, with K components in D = latent_dim dimensions.

    Attributes:
        weights: float64 (K), positive, with sum 1.
        means: float32 (K, D).
        scale_trils: float32 (K, D, D), the lower Cholesky factor of each covariance.
    """

    weights: Doubles
    means: Floats
    scale_trils: Floats

    def __post_init__(self) -> None:
        """Refuse what is not a mixture with a `ValueError`."""
        components, size = self.means.shape if self.means.ndim == 2 else (0, 0)
        if components < 1 or self.weights.shape != (components,) or self.scale_trils.shape != (components, size, size):
            raise ValueError("the tensors of the prior do not fit each other")
        if not all(np.isfinite(array).all() for array in (self.weights, self.means, self.scale_trils)):
            raise ValueError("the prior holds values that are not finite")
        if not (self.weights > 0.0).all() or abs(float(self.weights.sum()) - 1.0) > 1e-3:
            raise ValueError("the weights of the prior are not positive with sum 1")
        if not (np.diagonal(self.scale_trils, axis1=1, axis2=2) > 0.0).all() or np.triu(self.scale_trils, 1).any():
            raise ValueError("the covariances of the prior are not positive definite")

    @property
    def components(self) -> int:
        """K, the number of Gaussians."""
        return len(self.means)

    @property
    def latent_dim(self) -> int:
        """D, the number of latent units."""
        return int(self.means.shape[1])

    def covariance(self) -> Doubles:
        """Return the covariance (D, D) of the whole mixture, float64."""
        shares, means = self.weights / self.weights.sum(), self.means.astype(np.float64)
        about = means - shares @ means
        covariance: Doubles = (about.T * shares) @ about
        for share, scale_tril in zip(shares, self.scale_trils, strict=True):
            factor = scale_tril.astype(np.float64)
            covariance += share * (factor @ factor.T)
        return covariance

    def sample(self, count: int, generator: np.random.Generator, temperature: float = 1.0) -> Floats:
        """Return `count` latents (count, D): m_k + temperature * L_k eps, with k drawn by weight and eps ~ N(0, I)."""
        chosen = generator.choice(self.components, size=count, p=self.weights / self.weights.sum())
        noise = temperature * generator.standard_normal((count, self.latent_dim))
        latents = np.empty((count, self.latent_dim), dtype=np.float32)
        for component, (mean, scale_tril) in enumerate(zip(self.means, self.scale_trils, strict=True)):
            rows = chosen == component
            latents[rows] = mean + noise[rows] @ scale_tril.astype(np.float64).T
        return latents

    def log_density(self, latents: Floats) -> Doubles:
        """Return the log of the density in nats, float64 (N), at latents (N, D)."""
        logs = np.empty((self.components, len(latents)))
        for component, (mean, scale_tril) in enumerate(zip(self.means, self.scale_trils, strict=True)):
            factor = scale_tril.astype(np.float64)
            standard = np.linalg.solve(factor, (latents.astype(np.float64) - mean).T)
            logs[component] = -0.5 * np.square(standard).sum(axis=0) - np.log(np.diagonal(factor)).sum()
        logs += np.log(self.weights / self.weights.sum())[:, None] - 0.5 * self.latent_dim * np.log(2.0 * np.pi)
        highest = logs.max(axis=0)
        density: Doubles = highest + np.log(np.exp(logs - highest).sum(axis=0))
        return density


def check_prior_name(name: str) -> None:
    """Raise a `UsageError` unless this is one of `PRIOR_NAMES`."""
    if name not in PRIOR_NAMES:
        raise UsageError(f"There is no prior {name}: use one of {', '.join(PRIOR_NAMES)}.")


class LatentMoments:
    """Running moments of posteriors, so that a prior of one Gaussian needs only one pass and no stored latents.

    Batches are merged by their means and sums of products about these (Chan, Golub & LeVeque 1979), in float64: sums of plain
    squares would lose the digits of a unit whose mean is large beside its spread.
    """

    def __init__(self, latent_dim: int) -> None:
        self._count = 0
        self._mean = np.zeros(latent_dim)
        self._products = np.zeros((latent_dim, latent_dim))
        self._variances = np.zeros(latent_dim)

    def add(self, means: Floats, log_variances: Floats) -> None:
        """Count in posteriors: means and log-variances, (B, latent_dim) each."""
        count = len(means)
        if count == 0:
            return
        means64 = means.astype(np.float64)
        total = self._count + count
        with np.errstate(invalid="ignore"):  # what is not finite is told at the end
            mean = means64.mean(axis=0)
            about = means64 - mean
            apart = mean - self._mean
            self._products += about.T @ about + np.outer(apart, apart) * (self._count * count / total)
            self._mean += apart * (count / total)
        self._variances += _variances(log_variances).sum(axis=0)
        self._count = total

    def prior(self, *, posterior_variance: bool = True) -> LatentPrior:
        """Return the Gaussian with the moments of all that was added; for `posterior_variance` see `fit_prior`.

        Raises:
            DataError: nothing was added, or values that are not finite.
        """
        _check_fit(self._count, self._mean, self._products, self._variances)
        covariance = self._products / self._count
        if posterior_variance:
            covariance[np.diag_indices_from(covariance)] += self._variances / self._count
        return _as_prior(np.ones(1), self._mean[None], covariance[None])


def fit_prior(
    means: Floats, log_variances: Floats, components: int = 1, seed: int = 0, *, posterior_variance: bool = True
) -> LatentPrior:
    """Return a prior fitted to the posteriors of faces: means and log-variances, (N, latent_dim) each.

    One component has the moments of the faces; several are scikit-learn's Gaussian mixture, fitted to the posterior means by
    expectation maximisation.

    Args:
        means: of the posteriors.
        log_variances: of the posteriors.
        components: how many Gaussians; each wants some times latent_dim faces of its own.
        seed: of the mixture's beginning.
        posterior_variance: add the mean posterior variance to each covariance (weighted by how far a face belongs to the
            component). With it the prior is that of the aggregate posterior, which is what the decoder saw in training; without
            it that of the posterior means alone.

    Raises:
        DataError: there are fewer faces than components, or values that are not finite.
        UsageError: the number of components is out of range.
    """
    if components < 1:
        raise UsageError(f"A prior of {components} components is out of range: ask for at least 1.")
    if components == 1:
        moments = LatentMoments(means.shape[1])
        moments.add(means, log_variances)
        return moments.prior(posterior_variance=posterior_variance)
    variances = _variances(log_variances)
    _check_fit(len(means) // components, means, variances)
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    means64 = means.astype(np.float64)
    largest = float(means64.var(axis=0).max())
    mixture = GaussianMixture(
        components, max_iter=_ITERATIONS, reg_covar=_REGULARISATION * max(1.0, largest), random_state=seed
    )
    with warnings.catch_warnings():
        # The last of the steps bring little: a mixture that is not at rest is a prior as good.
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit(means64)
    covariances = mixture.covariances_
    if posterior_variance:
        shares = mixture.predict_proba(means64)
        added = shares.T @ variances / np.maximum(shares.sum(axis=0), 1e-12)[:, None]
        covariances = covariances + np.eye(means.shape[1]) * added[:, :, None]
    return _as_prior(mixture.weights_, mixture.means_, covariances)


def _variances(log_variances: Floats) -> Doubles:
    with np.errstate(over="ignore"):
        variances: Doubles = np.exp(log_variances.astype(np.float64))
    return variances


def _check_fit(count: int, *values: NDArray[np.floating]) -> None:
    if count < 1:
        raise DataError("There are too few latents to fit a prior to: encode more faces, or ask for fewer components.")
    if not all(np.isfinite(array).all() for array in values):
        raise DataError(
            "No prior can be fitted to latents that are not finite: train again, with a lower learning rate."
        )


def _as_prior(weights: Doubles, means: Doubles, covariances: Doubles) -> LatentPrior:
    size = means.shape[1]
    largest = max(1.0, float(np.diagonal(covariances, axis1=1, axis2=2).max()))
    scale_trils = np.linalg.cholesky(covariances + _REGULARISATION * largest * np.eye(size))
    return LatentPrior(weights.astype(np.float64), means.astype(np.float32), scale_trils.astype(np.float32))
