r"""The negative evidence lower bound, up to a constant: weighted squared error plus KL divergence.

    loss = reconstruction_weight * MSE(x, x') + kl_weight * KL(q(z|x) || N(0, I))
    KL   = 1/2 sum_i (mu_i^2 + exp(log sigma_i^2) - log sigma_i^2 - 1)                        (Kingma & Welling 2014, app. B)

With a focus f the mean over pixels is a weighted one, with 1 + f exp(-d^2 / 2) at a distance of d standard deviations from the
middle of the face: where people look, and where most attributes are, instead of the background.

The formula is sometimes printed with `log sigma_i` in the third term; that is a slip, and a test holds this one against
`torch.distributions.kl_divergence`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

FACE_CENTRE = (0.497, 0.5625)
"""Of the face in CelebA's aligned frame, between eyes and mouth, as parts of its width and height."""
FACE_SPREAD = (0.156, 0.1875)
"""The standard deviations of the focus, in the same units: the eyes and the mouth lie within one."""


class LossParts(NamedTuple):
    """Means over the batch, as scalars: `total` = `reconstruction` + kl_weight * `kl`.

    `reconstruction` is already weighted, `mse` is the mean squared error of pixels in [0, 1] (a weighted one with a focus), `kl`
    is in nats.
    """

    total: Tensor
    reconstruction: Tensor
    kl: Tensor
    mse: Tensor


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return KL(N(mean, exp(log_variance)) || N(0, I)) in nats, per unit: the shape of `mean`."""
    return 0.5 * (mean.square() + log_variance.exp() - log_variance - 1.0)


def pixel_weights(size: int, focus: float) -> Tensor | None:
    """Return what each pixel of an image weighs (S, S), 1 on average; None for a focus of 0, where all weigh the same."""
    if focus == 0.0:
        return None
    places = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    across, down = (
        ((places - centre) / spread).square() for centre, spread in zip(FACE_CENTRE, FACE_SPREAD, strict=True)
    )
    weights = 1.0 + focus * torch.exp(-0.5 * (down[:, None] + across[None, :]))
    return (weights / weights.mean()).float()


def mean_squared_error(images: Tensor, reconstruction: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the mean over images, channels and pixels of the squared difference, the pixels weighted by `pixel_weights`."""
    if weights is None:
        return torch.nn.functional.mse_loss(reconstruction, images)
    return ((reconstruction - images).square() * weights).mean()


def vae_loss(
    images: Tensor,
    reconstruction: Tensor,
    mean: Tensor,
    log_variance: Tensor,
    *,
    reconstruction_weight: float,
    kl_weight: float,
    weights: Tensor | None = None,
) -> LossParts:
    """Return the loss of a batch and its parts, averaged over the batch.

    `images` and `reconstruction` are (B, 3, S, S) in [0, 1]; `mean` and `log_variance` are (B, latent_dim); `weights` are those
    of `pixel_weights`.
    """
    mse = mean_squared_error(images, reconstruction, weights)
    return weighted_loss(mse, mean, log_variance, reconstruction_weight=reconstruction_weight, kl_weight=kl_weight)


def weighted_loss(
    mse: Tensor, mean: Tensor, log_variance: Tensor, *, reconstruction_weight: float, kl_weight: float
) -> LossParts:
    """Return the loss of a batch whose mean squared error is known already, see `vae_loss`."""
    kl = kl_divergence(mean, log_variance).sum(dim=1).mean()
    weighted = reconstruction_weight * mse
    return LossParts(weighted + kl_weight * kl, weighted, kl, mse)
