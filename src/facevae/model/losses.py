r"""The negative evidence lower bound, up to a constant: weighted squared error plus KL divergence.

    loss = reconstruction_weight * MSE(x, x') + kl_weight * KL(q(z|x) || N(0, I))
    KL   = 1/2 sum_i (mu_i^2 + exp(log sigma_i^2) - log sigma_i^2 - 1)                        (Kingma & Welling 2014, app. B)

The formula is sometimes printed with `log sigma_i` in the third term; that is a slip, and a test holds this one against
`torch.distributions.kl_divergence`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class LossParts(NamedTuple):
    """Means over the batch, as scalars: `total` = `reconstruction` + kl_weight * `kl`.

    `reconstruction` is already weighted, `mse` is the plain mean squared error of pixels in [0, 1], `kl` is in nats.
    """

    total: Tensor
    reconstruction: Tensor
    kl: Tensor
    mse: Tensor


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return KL(N(mean, exp(log_variance)) || N(0, I)) in nats, per unit: the shape of `mean`."""
    return 0.5 * (mean.square() + log_variance.exp() - log_variance - 1.0)


def vae_loss(
    images: Tensor,
    reconstruction: Tensor,
    mean: Tensor,
    log_variance: Tensor,
    *,
    reconstruction_weight: float,
    kl_weight: float,
) -> LossParts:
    """Return the loss of a batch and its parts, averaged over the batch.

    `images` and `reconstruction` are (B, 3, S, S) in [0, 1]; `mean` and `log_variance` are (B, latent_dim).
    """
    mse = torch.nn.functional.mse_loss(reconstruction, images)
    return weighted_loss(mse, mean, log_variance, reconstruction_weight=reconstruction_weight, kl_weight=kl_weight)


def weighted_loss(
    mse: Tensor, mean: Tensor, log_variance: Tensor, *, reconstruction_weight: float, kl_weight: float
) -> LossParts:
    """Return the loss of a batch whose mean squared error is known already, see `vae_loss`."""
    kl = kl_divergence(mean, log_variance).sum(dim=1).mean()
    weighted = reconstruction_weight * mse
    return LossParts(weighted + kl_weight * kl, weighted, kl, mse)
