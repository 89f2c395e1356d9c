"""Pictures through VDSR, in tiles: so that memory holds a few tiles besides the pictures, and each tile is one thread's.

A tile is computed with as much of the picture around it as the network looks at, so that it comes out as in the whole picture; at
the picture's own border both see the same zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facevae.model.inference import to_images, to_tensor
from facevae.model.resampling import resized
from facevae.model.vdsr import VDSR, luma_of, receptive_radius
from facevae.model.workers import Workers

Images = NDArray[np.uint8]

TILE = 320
"""The side of a tile in pixels of the result. The smaller, the more is computed twice: here a quarter."""
_CUBIC_REACH = 2
"""Pixels of the small picture that the bicubic filter looks at, to each side."""


class _Tile(NamedTuple):
    """A piece of one picture: rows and columns of the small picture, first and last but one."""

    image: int
    top: int
    bottom: int
    left: int
    right: int


@torch.inference_mode()
def upscale_images(
    network: VDSR,
    images: Sequence[Images],
    factor: int,
    dtype: torch.dtype = torch.float32,
    told: Callable[[int], None] = lambda _: None,
) -> list[Images]:
    """Return pictures (H, W, 3) uint8 enlarged to (factor H, factor W, 3).

    On a processor the tiles are shared out over PyTorch's threads.

    Args:
        network: on any device.
        images: pictures of any sizes, RGB.
        factor: a whole number of at least 1.
        dtype: what the convolutions compute in; the rest is float32.
        told: is called with how many tiles are done, after each.
    """
    results = [np.empty((image.shape[0] * factor, image.shape[1] * factor, 3), np.uint8) for image in images]
    device = next(network.parameters()).device
    margin = -(-receptive_radius(network.config) // factor) + _CUBIC_REACH

    def compute(tile: _Tile) -> None:
        image = images[tile.image]
        height, width = image.shape[:2]
        top, left = max(0, tile.top - margin), max(0, tile.left - margin)
        seen = image[top : min(height, tile.bottom + margin), left : min(width, tile.right + margin)]
        enlarged = _enlarge(network, to_tensor(seen[None], device), factor, dtype)
        rows = slice((tile.top - top) * factor, (tile.bottom - top) * factor)
        columns = slice((tile.left - left) * factor, (tile.right - left) * factor)
        target = results[tile.image][tile.top * factor : tile.bottom * factor, tile.left * factor : tile.right * factor]
        target[:] = to_images(enlarged[:, :, rows, columns])[0]

    for done, _ in enumerate(_each(compute, list(_tiles(images, factor)), device), start=1):
        told(done)
    return results


def count_tiles(images: Sequence[Images], factor: int) -> int:
    """Return how many tiles the pictures have."""
    return sum(1 for _ in _tiles(images, factor))


def _enlarge(network: VDSR, images: Tensor, factor: int, dtype: torch.dtype) -> Tensor:
    """Return images (B, 3, H, W) in [0, 1] enlarged: bicubic, and the network's residual on the luma (see `vdsr.py`)."""
    height, width = images.shape[-2] * factor, images.shape[-1] * factor
    enlarged = resized(images.contiguous(), height, width)
    luma = luma_of(enlarged).contiguous(memory_format=torch.channels_last)
    with torch.autocast(images.device.type, dtype, enabled=dtype != torch.float32):
        residual = network(luma)
    result: Tensor = enlarged + residual.float()
    return result


def _tiles(images: Sequence[Images], factor: int) -> Iterator[_Tile]:
    for number, image in enumerate(images):
        for top, bottom in _pieces(image.shape[0], factor):
            for left, right in _pieces(image.shape[1], factor):
                yield _Tile(number, top, bottom, left, right)


def _pieces(length: int, factor: int) -> Iterator[tuple[int, int]]:
    """Cut a side of the small picture into equal pieces of at most a tile."""
    count = -(-length * factor // TILE)
    for number in range(count):
        yield length * number // count, length * (number + 1) // count


def _each(function: Callable[[_Tile], None], tiles: Sequence[_Tile], device: torch.device) -> Iterator[None]:
    if device.type != "cpu" or len(tiles) == 1:
        yield from map(function, tiles)
        return
    workers = Workers()
    with workers.alone():
        yield from workers.each(function, tiles)
