"""The variational autoencoder: encoder, reparameterised sample, decoder (Kingma & Welling 2014)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from facevae.config import ModelConfig
from facevae.model.networks import Decoder, Encoder, initialise


class VAEOutput(NamedTuple):
    """What one pass gives: `reconstruction` (B, 3, S, S) in (0, 1); `mean` and `log_variance` (B, latent_dim)."""

    reconstruction: Tensor
    mean: Tensor
    log_variance: Tensor


class VAE(nn.Module):
    """The face VAE of `config` (the reference network by default), freshly initialised.

    Images are float tensors (B, 3, S, S) with values in [0, 1]; latents are (B, latent_dim).
    The weights are kept in the channels-last memory layout, in which convolutions run faster on processors, and should on GPUs.
    """

    def __init__(self, config: ModelConfig | None = None) -> None:
        super().__init__()
        self.config = config if config is not None else ModelConfig()
        self.encoder = Encoder(self.config)
        self.decoder = Decoder(self.config)
        self.apply(initialise)
        self.to(memory_format=torch.channels_last)

    @property
    def device(self) -> torch.device:
        """The device that holds the weights."""
        return next(self.parameters()).device

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return `(mean, log_variance)` of q(z | images), each (B, latent_dim)."""
        mean, log_variance = self.encoder(images)
        return mean, log_variance

    def decode(self, latents: Tensor) -> Tensor:
        """Return images (B, 3, S, S) in (0, 1) for latents (B, latent_dim)."""
        images: Tensor = self.decoder(latents)
        return images

    def forward(self, images: Tensor, noise: Tensor | None = None) -> VAEOutput:
        """Encode, draw z = mean + exp(log_variance / 2) * noise, decode.

        `noise` (B, latent_dim) is standard normal and drawn here when absent; pass it to make a pass repeatable.
        """
        mean, log_variance = self.encode(images)
        if noise is None:
            noise = torch.randn_like(mean)
        latents = mean + torch.exp(0.5 * log_variance) * noise
        return VAEOutput(self.decode(latents), mean, log_variance)
