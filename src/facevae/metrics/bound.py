r"""The evidence lower bound with a Gaussian likelihood of the noise scale that fits best.

    -ELBO = KL(q(z|x) || N(0, I)) + D/2 log(2 pi sigma^2) + |x - x'|^2 / (2 sigma^2)         D values a image, in [0, 1]

x' is decoded from one sample of q(z|x), and sigma^2 is the mean squared error of all these x', which maximises the bound
(Rybkin, Daniilidis & Levine 2021, *Simple and effective VAE training with calibrated decoders*, section 3). So weights that
were trained with different weights of the reconstruction are measured by one yardstick.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from facevae.metrics.estimate import Estimate, mean_estimate
from facevae.model.encoder import Floats
from facevae.model.losses import kl_divergence
from facevae.model.training import ACTIVE_NATS

_LEVEL = 1.0 / 255.0


@dataclass(frozen=True)
class LatentFigures:
    """What the latents cost, and the bound.

    Attributes:
        kl: KL(q(z|x) || N(0, I)) in nats an image.
        active_units: units whose KL, averaged over the images, exceeds a tenth of a nat.
        latent_dim: units in all.
        negative_elbo: in nats an image, of the density of pixels in [0, 1].
        noise_scale: sigma, the root of the mean squared error of reconstructions from posterior samples.
        bits_per_dimension: the bound as bits for each 8-bit value, or None if sigma is below one of its 255 steps.
    """

    kl: Estimate
    active_units: int
    latent_dim: int
    negative_elbo: Estimate
    noise_scale: float
    bits_per_dimension: Estimate | None


def unit_kl(mean: Floats, log_variance: Floats) -> NDArray[np.float64]:
    """Return the KL divergence of each unit (N, latent_dim) in nats."""
    both = (torch.from_numpy(side).double() for side in (mean, log_variance))
    return np.asarray(kl_divergence(*both).numpy())


def latent_figures(
    mean: Floats, log_variance: Floats, sampled_errors: NDArray[np.float64], values: int
) -> LatentFigures:
    """Return the figures of posteriors (N, latent_dim).

    Args:
        mean: of the posteriors.
        log_variance: of the posteriors.
        sampled_errors: the mean squared error of each image's reconstruction from a posterior sample (N).
        values: D, the values of an image.
    """
    by_unit = unit_kl(mean, log_variance)
    kl = by_unit.sum(axis=1)
    variance = float(sampled_errors.mean())
    likelihood = 0.5 * values * (math.log(2.0 * math.pi * variance) + sampled_errors / variance)
    # The bound is at its maximum over sigma, so that to first order its error is that of the mean with sigma fixed.
    negative_elbo = mean_estimate(kl + likelihood)
    return LatentFigures(
        kl=mean_estimate(kl),
        active_units=int((by_unit.mean(axis=0) > ACTIVE_NATS).sum()),
        latent_dim=mean.shape[1],
        negative_elbo=negative_elbo,
        noise_scale=math.sqrt(variance),
        bits_per_dimension=_bits(negative_elbo, values) if math.sqrt(variance) > _LEVEL else None,
    )


def _bits(nats: Estimate, values: int) -> Estimate:
    """Return the code length of 8-bit values: a value's probability is the density times 1/255, the width of its bin.

    For a Gaussian wider than a bin that is the integral over the bin to a part in a hundred or better, and on average closer.
    """
    scale = 1.0 / (values * math.log(2.0))
    error = nats.standard_error
    return Estimate(nats.value * scale - math.log2(_LEVEL), None if error is None else error * scale)
