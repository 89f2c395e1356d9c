"""Arrays through the network: uint8 images in NHWC order to latents and back, without gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facevae.config import ENCODE_BATCH
from facevae.model.encoder import Floats, FoldedEncoder, Images
from facevae.model.vae import VAE
from facevae.model.workers import Workers

CPU_BATCH = 64
"""Images of a forward pass on a processor: so many activations stay in its cache."""

Result = TypeVar("Result")
Number = TypeVar("Number", np.uint8, np.float32)


def to_tensor(images: Images | Tensor, device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return images (B, S, S, 3) uint8 as a float tensor (B, 3, S, S) in [0, 1], in the channels-last layout for free.

    Read-only images, as those of Pillow are, are copied: PyTorch warns of them.
    """
    tensor = images if isinstance(images, Tensor) else torch.from_numpy(np.require(images, requirements=["C", "W"]))
    return tensor.to(device).permute(0, 3, 1, 2).to(dtype).div_(255.0)


def to_images(tensor: Tensor) -> Images:
    """Return a float tensor (B, 3, S, S) in [0, 1] as images (B, S, S, 3) uint8, rounded to the nearest."""
    scaled = tensor.mul(255.0).round_().clamp_(0, 255).to(torch.uint8)
    array: Images = scaled.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return array


def encode_images(vae: VAE, images: Images) -> tuple[Floats, Floats]:
    """Return `(mean, log_variance)` of the posterior, each (B, latent_dim) float32, for images (B, S, S, 3) uint8.

    The network is left in evaluation mode. For more images than fit into memory, see `FoldedEncoder.batches`.
    """
    vae.eval()
    (posteriors,) = FoldedEncoder(vae).batches([images])
    return posteriors


def to_levels(tensor: Tensor) -> Floats:
    """Return a float tensor (B, 3, S, S) in [0, 1] as grey levels (B, S, S, 3) float32, from 0 to 255 and not rounded."""
    array: Floats = tensor.mul(255.0).permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return array


def decode_latents(vae: VAE, latents: Floats) -> Images:
    """Return images (B, S, S, 3) uint8 for latents (B, latent_dim)."""
    return _decoded(vae, latents, to_images)


def decode_levels(vae: VAE, latents: Floats) -> Floats:
    """Return what `decode_latents` rounds: grey levels (B, S, S, 3) float32, from 0 to 255."""
    return _decoded(vae, latents, to_levels)


@torch.inference_mode()
def _decoded(vae: VAE, latents: Floats, as_array: Callable[[Tensor], NDArray[Number]]) -> NDArray[Number]:
    vae.eval()
    tensor = torch.from_numpy(np.ascontiguousarray(latents, dtype=np.float32))

    def decode(rows: slice) -> NDArray[Number]:
        return as_array(vae.decode(tensor[rows].to(vae.device)))

    return np.concatenate(list(each_batch(decode, len(tensor), vae.device)))


def each_batch(function: Callable[[slice], Result], count: int, device: torch.device) -> Iterator[Result]:
    """Yield `function` of batches of rows, so that memory holds the activations of only so many; no rows are one empty batch.

    On a processor the batches fit its cache, and a thread does each alone.
    """
    size = CPU_BATCH if device.type == "cpu" else ENCODE_BATCH
    batches = [slice(start, start + size) for start in range(0, max(count, 1), size)]
    if device.type != "cpu" or len(batches) == 1:
        yield from map(function, batches)
    else:
        workers = Workers()
        with workers.alone():
            yield from workers.each(function, batches)
