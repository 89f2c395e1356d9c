"""Back into the photograph: what an edit changes in the decoded face, enlarged and added where the face lies.

A decoder of 32 x 32 pixels knows nothing of a photograph's pores and hairs. So it is not the decoded face that is pasted but the
difference that the edit makes to it, decoded(z + n delta) - decoded(z): that is smooth, and added to the photograph it leaves the
fine detail as it is.

Coordinates are those of `alignment`: pixels to the right and down, the centre of the first pixel at (0.5, 0.5).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from facevae.model.alignment import FRAME_HEIGHT, FRAME_WIDTH
from facevae.model.resampling import resized

MASK_CENTRE = (89.0, 112.0)
"""Between the eyes, in pixels of CelebA's frame of 178 x 218."""
MASK_RADII = (70.0, 94.0)
"""Of the ellipse where the mask ends, across and down, in the same pixels: at least 12 pixels inside the frame."""
MASK_CORE = 0.5
"""Within this part of the radii the mask is 1: eyebrows, cheeks and mouth, and half of the forehead.

Chosen by eye, on edits of hair, hats, beards, age, sex and smiles at n = 2. What a direction does to hair it does to the
background beside it as well: with a mask that is 1 out to long hair, blond heads glow and hats darken the sky. This one leaves
the ends of long hair as they were, and of the glow what one has to look for.
"""
_BLOCK_PIXELS = 1 << 18
"""Pixels computed at a time: some 10 MB of work space, however large the photograph is."""


def soft_mask(points: ArrayLike) -> NDArray[np.float32]:
    """Return how much of a difference is added at points of CelebA's frame: 1 on the face, 0 where the head ends.

    Across the outer half of an ellipse it falls as 3 t^2 - 2 t^3, which begins and ends without an edge.

    Args:
        points: (..., 2), in pixels of the frame of 178 x 218; they may lie outside.

    Returns:
        float32 (...), from 0 to 1; exactly 0 at the frame's border and beyond.
    """
    x, y = np.moveaxis(np.asarray(points, dtype=np.float64), -1, 0)
    across, down = (x - MASK_CENTRE[0]) / MASK_RADII[0], (y - MASK_CENTRE[1]) / MASK_RADII[1]
    radius = np.sqrt(across * across + down * down, dtype=np.float32, casting="same_kind")
    part = np.clip((1 - radius) / (1 - MASK_CORE), 0, 1)
    mask: NDArray[np.float32] = part * part * (3 - 2 * part)
    return mask


def pasted(photo: NDArray[np.uint8], difference: NDArray[np.float32], to_frame: ArrayLike) -> NDArray[np.uint8]:
    """Return a photograph with a difference added to its face.

    The difference is sampled once, along cubic splines, at the photograph's own pixels. It goes on beyond its border as in a
    mirror, so that nothing rings there. Where a pixel of the photograph covers more than one of the difference, that is first
    reduced, antialiased.

    Args:
        photo: uint8 (H, W, 3). It is left as it is.
        difference: float32 (S, S, 3), in grey levels from -255 to 255: of the whole frame, squashed to a square as for the model.
        to_frame: 2 x 3, invertible: takes the photograph's coordinates (x, y, 1) to those of CelebA's frame of 178 x 218 pixels,
            such as `Similarity.matrix`; or stretched, for a photograph that is a squashed frame.

    Returns:
        uint8 (H, W, 3). Pixels where `soft_mask` is 0 or the difference is 0 are those of `photo`, bit for bit.
    """
    result = photo.copy()
    matrix = np.asarray(to_frame, dtype=np.float64)
    splines = _splines(difference, matrix)
    for block in _blocks(_box_of_mask(matrix, *photo.shape[:2])):
        mask = soft_mask(block.centres() @ matrix[:, :2].T + matrix[:, 2])
        seen = np.flatnonzero(mask.any(axis=0))
        if len(seen):
            # A turned ellipse leaves much of its box empty, and the splines are what takes the time.
            part = block._replace(left=block.left + int(seen[0]), right=block.left + int(seen[-1]) + 1)
            _add(part.of(result), splines, mask[:, seen[0] : seen[-1] + 1], _to_indices(matrix, splines, part))
    return result


class _Box(NamedTuple):
    """A part of a picture, in whole pixels; right and bottom are beyond it."""

    left: int
    top: int
    right: int
    bottom: int

    def of(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return picture[self.top : self.bottom, self.left : self.right]

    def centres(self) -> NDArray[np.float64]:
        """Return the coordinates of the pixels' centres, (rows, columns, 2)."""
        x, y = np.arange(self.left, self.right) + 0.5, np.arange(self.top, self.bottom) + 0.5
        return np.stack(np.meshgrid(x, y), axis=-1)


def _box_of_mask(matrix: NDArray[np.float64], height: int, width: int) -> _Box:
    """Return the part of a picture of this size outside of which the mask is 0; it may be empty."""
    back = np.linalg.inv(matrix[:, :2])
    centre = back @ (MASK_CENTRE - matrix[:, 2])
    reach = np.hypot(*(back * MASK_RADII).T)
    limits = np.array([width, height])
    first = np.clip(np.floor(centre - reach), 0, limits).astype(int).tolist()
    last = np.clip(np.ceil(centre + reach), 0, limits).astype(int).tolist()
    return _Box(*first, *last)


def _blocks(box: _Box) -> Iterator[_Box]:
    rows = max(_BLOCK_PIXELS // max(box.right - box.left, 1), 1)
    for top in range(box.top, box.bottom, rows):
        yield box._replace(top=top, bottom=min(top + rows, box.bottom))


def _splines(difference: NDArray[np.float32], matrix: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the coefficients of the splines through a difference: (3, S, S), or smaller where the photograph is."""
    from scipy.ndimage import spline_filter  # see `warping`

    planes = torch.from_numpy(np.ascontiguousarray(difference.transpose(2, 0, 1), dtype=np.float32))
    size = np.array(difference.shape[1::-1])
    # By how many pixels of the difference one goes on, at the most, from one pixel of the photograph to the next.
    steps = np.hypot(*matrix[:, :2].T) * size / (FRAME_WIDTH, FRAME_HEIGHT)
    columns, rows = np.ceil(size / np.maximum(steps, 1)).astype(int).tolist()
    reduced = resized(planes[None], rows, columns)[0].numpy()
    return np.stack([spline_filter(plane, 3, np.float32, mode="reflect") for plane in reduced])


def _to_indices(matrix: NDArray[np.float64], splines: NDArray[np.float32], box: _Box) -> NDArray[np.float64]:
    """Return the 2 x 3 matrix from (row, column, 1) of a box's pixels to row and column among the splines' coefficients."""
    stretch = np.array([splines.shape[2] / FRAME_WIDTH, splines.shape[1] / FRAME_HEIGHT])
    turn, shift = matrix[:, :2] * stretch[:, None], matrix[:, 2] * stretch
    # Indices count from the centre of the first pixel, on both sides.
    shift += turn @ [box.left + 0.5, box.top + 0.5] - 0.5
    return np.column_stack([turn[::-1, ::-1], shift[::-1]])


def _add(
    pixels: NDArray[np.uint8], splines: NDArray[np.float32], mask: NDArray[np.float32], to_indices: NDArray[np.float64]
) -> None:
    """Add what the splines are worth under the mask to a part of a picture, in place."""
    from scipy.ndimage import affine_transform

    turn, shift = to_indices[:, :2], to_indices[:, 2]
    for channel, spline in enumerate(splines):
        change = affine_transform(spline, turn, shift, mask.shape, np.float32, mode="reflect", prefilter=False)
        pixels[..., channel] = np.clip(np.rint(change * mask + pixels[..., channel]), 0, 255)
