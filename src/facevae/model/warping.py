"""Pictures turned, scaled and shifted: resampled along a similarity, without aliasing where they are reduced."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facevae.model.alignment import Similarity
from facevae.model.resampling import Filter, resized

_MARGIN = 12
"""Pixels around the part that is seen: a cubic spline's weights fall to less than a millionth within them."""

_REDUCES = 0.75
"""Reduced to more than this, a photograph has hardly anything that could alias, and would lose more by being resampled twice."""


def as_tensor(image: NDArray[np.uint8]) -> Tensor:
    """Return a picture, uint8 (H, W, 3), as a tensor (1, 3, H, W): of the same memory, unless that is not to be written to."""
    return torch.from_numpy(np.require(image, requirements=["C", "W"])).permute(2, 0, 1)[None]


def resized_picture(
    image: NDArray[np.uint8], height: int, width: int, filter_name: Filter = "bilinear"
) -> NDArray[np.uint8]:
    """Return a picture, uint8 (H, W, 3), at another size, antialiased: by default with the filter that `prepare` uses."""
    if image.shape[:2] == (height, width):
        return image
    return resized(as_tensor(image), height, width, filter_name)[0].permute(1, 2, 0).contiguous().numpy()


def warped(
    image: NDArray[np.uint8], similarity: Similarity, height: int, width: int, order: Literal[1, 3] = 3
) -> NDArray[np.uint8]:
    """Return what `similarity` makes of a picture, on a canvas of its own.

    Where it reduces much, the part that is seen is first resized to the final scale with an antialiased bicubic filter; then it
    is turned and shifted along cubic splines, which lose less than a bicubic filter: a photograph that comes to the frame and
    back at its own scale keeps 42 instead of 37 to 39 dB. Beyond the picture's borders the border's pixels are repeated, as in
    CelebA.

    Args:
        image: uint8 (H, W, 3).
        similarity: takes pixel coordinates of `image` to those of the canvas, see `alignment`.
        height: of the canvas.
        width: of the canvas.
        order: of the splines; 1 is linear, and sooner done.

    Returns:
        uint8 (height, width, 3).
    """
    from scipy.ndimage import affine_transform  # 0.1 seconds, which most pictures, being frames, need not wait for

    part, first = _part_seen(image, similarity, height, width)
    factor = similarity.scale if similarity.scale < _REDUCES else 1.0
    rows, columns = (max(round(side * factor), 1) for side in part.shape[:2])
    sides = np.array([columns / part.shape[1], rows / part.shape[0]])
    back = similarity.inverse().matrix
    turn, shift = back[:, :2] * sides[:, None], (back[:, 2] - first) * sides
    # SciPy counts pixels from the centre of the first one, rows before columns.
    shift += turn @ [0.5, 0.5] - 0.5
    pixels = resized_picture(part, rows, columns, "bicubic")
    canvas = np.empty((height, width, 3), dtype=np.uint8)
    for channel in range(3):
        colour = pixels[..., channel].astype(np.float32)
        found = affine_transform(
            colour, turn[::-1, ::-1], shift[::-1], (height, width), np.float32, order, mode="nearest"
        )
        canvas[..., channel] = np.clip(found.round(), 0, 255)
    return canvas


def _part_seen(
    image: NDArray[np.uint8], similarity: Similarity, height: int, width: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the part of a picture that the canvas sees, with a margin, and where it begins: left and top."""
    corners = similarity.inverse()([(0, 0), (width, 0), (0, height), (width, height)])
    margin = _MARGIN * max(1.0, 1.0 / similarity.scale)
    limits = np.array([image.shape[1], image.shape[0]])
    first = np.clip(np.floor(corners.min(axis=0) - margin), 0, limits - 1).astype(np.int64)
    last = np.clip(np.ceil(corners.max(axis=0) + margin), first + 1, limits).astype(np.int64)
    return image[first[1] : last[1], first[0] : last[0]], first
