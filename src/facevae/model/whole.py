"""The training pass on a GPU: the network as `networks.py` has it, whole batches at a time, with autograd going backward.

Its counterpart for a processor is `blocked.py`. Both return the same for the same weights, images and noise, up to rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from facevae.model.blocked import PassOutput
from facevae.model.inference import to_tensor
from facevae.model.losses import mean_squared_error, pixel_weights
from facevae.model.ranks import Ranks
from facevae.model.vae import VAE


class WholePass:
    """Runs `vae` on a batch with gradients: convolutions, normalisations and activations in `dtype`, the rest in float32.

    With several ranks the normalisations take their statistics over all of them (`torch.nn.SyncBatchNorm`, on CUDA alone).
    """

    def __init__(self, vae: VAE, dtype: torch.dtype, ranks: Ranks, focus: float = 0.0) -> None:
        self.vae = vae
        weights = pixel_weights(vae.config.image_size, focus)
        self._weights = weights.to(vae.device) if weights is not None else None
        if ranks.count > 1:
            nn.SyncBatchNorm.convert_sync_batchnorm(vae)  # type: ignore[no-untyped-call]
        self._dtype = dtype

    def __call__(self, images: Tensor, noise: Tensor) -> PassOutput:
        """Return the losses of `images` (B, S, S, 3) uint8 under standard normal `noise` (B, latent_dim)."""
        encoder: Any = self.vae.encoder  # Any: submodules are reached by name
        decoder: Any = self.vae.decoder
        floats = to_tensor(images, images.device)
        with self._autocast():
            features = encoder.blocks(floats).flatten(start_dim=1)
        features = features.float()
        mean, log_variance = encoder.mean(features), encoder.log_variance(features)
        latents = mean + torch.exp(0.5 * log_variance) * noise
        inner = decoder.input(latents).unflatten(1, decoder.inner_shape).contiguous(memory_format=torch.channels_last)
        with self._autocast():
            logits = decoder.output(decoder.blocks(inner))
        mse = mean_squared_error(floats, logits.float().sigmoid(), self._weights)
        return PassOutput(mse, mean, log_variance)

    def free_buffers(self) -> None:
        """Do nothing: PyTorch keeps the memory for whoever asks next."""

    def update_statistics(self, copies: float = 1.0) -> None:
        """Do nothing: PyTorch's normalisations move their running averages during the pass."""

    def _autocast(self) -> torch.autocast:
        enabled = self._dtype != torch.float32
        return torch.autocast(self.vae.device.type, self._dtype if enabled else None, enabled=enabled)
