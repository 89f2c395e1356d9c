"""Arrays through the network: uint8 images in NHWC order to latents and back, without gradients."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facevae.config import ENCODE_BATCH
from facevae.model.vae import VAE

Images = NDArray[np.uint8]
Floats = NDArray[np.float32]


def to_tensor(images: Images | Tensor, device: torch.device) -> Tensor:
    """Return images (B, S, S, 3) uint8 as a float tensor (B, 3, S, S) in [0, 1], in the channels-last layout for free."""
    tensor = images if isinstance(images, Tensor) else torch.from_numpy(np.ascontiguousarray(images))
    return tensor.to(device).permute(0, 3, 1, 2).float().div_(255.0)


def to_images(tensor: Tensor) -> Images:
    """Return a float tensor (B, 3, S, S) in [0, 1] as images (B, S, S, 3) uint8, rounded to the nearest."""
    scaled = tensor.mul(255.0).round_().clamp_(0, 255).to(torch.uint8)
    array: Images = scaled.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return array


@torch.inference_mode()
def encode_images(vae: VAE, images: Images) -> tuple[Floats, Floats]:
    """Return `(mean, log_variance)` of the posterior, each (B, latent_dim) float32, for images (B, S, S, 3) uint8."""
    vae.eval()
    batches = [vae.encode(to_tensor(images[rows], vae.device)) for rows in _batches(len(images))]
    mean, log_variance = (
        np.concatenate([part.float().cpu().numpy() for part in parts]) for parts in zip(*batches, strict=True)
    )
    return mean, log_variance


@torch.inference_mode()
def decode_latents(vae: VAE, latents: Floats) -> Images:
    """Return images (B, S, S, 3) uint8 for latents (B, latent_dim)."""
    vae.eval()
    tensor = torch.from_numpy(np.ascontiguousarray(latents, dtype=np.float32))
    return np.concatenate([to_images(vae.decode(tensor[rows].to(vae.device))) for rows in _batches(len(tensor))])


def _batches(count: int) -> list[slice]:
    """Cut many rows into batches, so that memory holds the activations of only so many; no rows are one empty batch."""
    return [slice(start, start + ENCODE_BATCH) for start in range(0, max(count, 1), ENCODE_BATCH)]
