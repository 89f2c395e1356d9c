"""The encoder for many images: the network of `networks.py` in evaluation mode, rearranged to do less for the same result.

In evaluation mode a batch normalisation is an affine function of each channel, so that it can be folded into the weights of the
convolution before it (and the division by 255 into those of the first):

    norm(w * x + b) = (s w) * x + s (b - mean) + bias        s = weight / sqrt(variance + epsilon)

What is left is four convolutions with a leaky ReLU each, and one matrix product for mean and log-variance. The images go through
in blocks: on a processor as many as its cache holds, each on one thread (see `workers.py`).
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from facevae.config import ModelConfig
from facevae.model.vae import VAE
from facevae.model.workers import Workers, ahead

Images = NDArray[np.uint8]
Floats = NDArray[np.float32]

_CACHED_ELEMENTS = 2**20
"""Values of the first convolution's output in a block on a processor."""
_DEVICE_ELEMENTS = 2**24
"""The same on a GPU, where a block has to be large enough to be worth its launches, and small enough for any memory."""


def block_images(config: ModelConfig, device: torch.device) -> int:
    """Return how many images to encode at a time."""
    elements = config.channels * (config.image_size // 2) ** 2
    limit, most = (_CACHED_ELEMENTS, 64) if device.type == "cpu" else (_DEVICE_ELEMENTS, 512)
    return max(1, min(most, limit // elements))


class FoldedEncoder:
    """The encoder of `vae` as it is now, on its device; the convolutions compute in `dtype`, the rest in float32.

    Attributes:
        block: how many images go through at a time. The latents of an image are the same, bit for bit, whenever its block is.
    """

    def __init__(self, vae: VAE, dtype: torch.dtype = torch.float32) -> None:
        encoder: Any = vae.encoder  # Any: submodules are reached by name
        self.device, self.dtype = vae.device, dtype
        self._slope = vae.config.negative_slope
        self._latent_dim = vae.config.latent_dim
        with torch.inference_mode():
            divisors = [255.0, *[1.0] * (len(encoder.blocks) - 1)]
            folded = (_folded(block, divisor) for block, divisor in zip(encoder.blocks, divisors, strict=True))
            self._convolutions = [tuple(part.to(self.device, dtype) for part in parts) for parts in folded]
            heads = (encoder.mean, encoder.log_variance)
            self._weight = torch.cat([head.weight for head in heads]).float()
            self._bias = torch.cat([head.bias for head in heads]).float()
        self.block = block_images(vae.config, self.device)

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance, each (B, latent_dim) float32, of images (B, S, S, 3) uint8 on the device."""
        return self.forward(images.permute(0, 3, 1, 2).to(self.dtype))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the same of images (B, 3, S, S) in [0, 255], in `dtype` already."""
        x = images
        with self._exactly():
            for weight, bias in self._convolutions:
                x = nn.functional.leaky_relu_(nn.functional.conv2d(x, weight, bias, stride=2, padding=1), self._slope)
        latents = nn.functional.linear(x.flatten(start_dim=1).float(), self._weight, self._bias)
        return latents[:, : self._latent_dim], latents[:, self._latent_dim :]

    def batches(self, batches: Iterable[Images]) -> Generator[tuple[Floats, Floats], None, None]:
        """Yield mean and log-variance, each (B, latent_dim) float32, of each batch of images (B, S, S, 3) uint8.

        Batches may be large: they are encoded in blocks. While threads do that, the caller has its own time for what is done, and
        for the next batches, some of which are asked for ahead.
        """
        for piece in self._pieces_encoded(_pieces(batches, self.block, self._latent_dim)):
            if piece.is_last:
                yield piece.mean, piece.log_variance

    def _pieces_encoded(self, pieces: Iterator[_Piece]) -> Iterator[_Piece]:
        if self.device.type != "cpu":
            yield from ahead(self._encode, pieces)
            return
        workers = Workers()
        with workers.alone():
            yield from workers.ahead(self._encode, pieces)

    def _encode(self, piece: _Piece) -> _Piece:
        """Fill in the piece's rows of mean and log-variance."""
        images = torch.from_numpy(np.require(piece.images[piece.rows], requirements=["C", "W"])).to(self.device)
        for target, values in zip((piece.mean, piece.log_variance), self(images), strict=True):
            target[piece.rows] = values.cpu().numpy()
        return piece

    def _exactly(self) -> AbstractContextManager[None]:
        """Keep cuDNN from computing float32 convolutions with 10 bits of mantissa (TF32), its default."""
        if self.device.type != "cuda" or self.dtype != torch.float32:
            return nullcontext()
        flags: AbstractContextManager[None] = torch.backends.cudnn.flags(
            enabled=torch.backends.cudnn.enabled, allow_tf32=False
        )
        return flags


class _Piece(NamedTuple):
    """Some `rows` of a batch of `images`, and where the latents of the batch go."""

    images: Images
    mean: Floats
    log_variance: Floats
    rows: slice

    @property
    def is_last(self) -> bool:
        return bool(self.rows.stop >= len(self.images))


def _pieces(batches: Iterable[Images], size: int, latent_dim: int) -> Iterator[_Piece]:
    """Cut each batch into pieces of `size` rows; one of no images is one piece."""
    for images in batches:
        mean, log_variance = (np.empty((len(images), latent_dim), dtype=np.float32) for _ in range(2))
        for start in range(0, max(len(images), 1), size):
            yield _Piece(images, mean, log_variance, slice(start, start + size))


def _folded(block: Any, divisor: float) -> tuple[Tensor, Tensor]:  # noqa: ANN401
    """Return weight and bias of the block's convolution with its normalisation, for inputs that are `divisor` times as large.

    On the processor, in double precision, which Apple's GPUs don't have.
    """
    convolution, norm = block.convolution, block.norm
    gain, offset, mean, variance = (
        part.cpu().double() for part in (norm.weight, norm.bias, norm.running_mean, norm.running_var)
    )
    scale = gain / (variance + norm.eps).sqrt()
    weight = convolution.weight.cpu().double() * scale[:, None, None, None]
    bias = (convolution.bias.cpu().double() - mean) * scale + offset
    return weight / divisor, bias
