"""Faces in a picture, with five landmarks each, by the cascade of MTCNN (Zhang et al. 2016, section 3; networks in `mtcnn`).

The proposal network looks at every place of a picture at every size; what it takes for a face goes to the refine network, and
what remains to the output network. Each corrects the boxes, and of boxes that overlap the surest stays. The thresholds and the
pyramid's factor are those of the authors' released program, as the paper names none.

Coordinates are pixels from the top left corner of the picture, so that the centre of its first pixel is (0.5, 0.5).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from facevae.model.mtcnn import (
    PROPOSAL_SIDE,
    PROPOSAL_STRIDE,
    FaceNetworks,
    ProposalNetwork,
    Seen,
    WindowNetwork,
    normalised,
)
from facevae.model.resampling import resized
from facevae.model.warping import as_tensor, resized_picture

SMALLEST_PART = 20
SMALLEST_PIXELS = 20
"""The smallest face that is looked for is a twentieth of the picture's smaller side, and at least 20 pixels."""
_MOST_PIXELS = 16_000_000
"""Only panoramas have more pixels when they are reduced for the smallest face, and are reduced further: a bound on memory."""

_THRESHOLDS = (0.6, 0.7, 0.7)
_PYRAMID_FACTOR = 0.5**0.5
_MOST_WINDOWS = 1000
"""So many windows of a level, and of all levels, go on at the most: a bound on memory and time, far above what a crowd needs."""
_BLOCK = 128


@dataclass(frozen=True, eq=False)
class Detection:
    """A face that was found.

    Attributes:
        box: left, top, right, bottom, in pixels; may reach beyond the picture.
        score: the probability of a face, from 0.7 to 1.
        landmarks: float64 (5, 2), x and y in pixels of the eye on the left of the picture (the person's right one), the eye on
            the right, the tip of the nose, and the left and right corner of the mouth.
    """

    box: tuple[float, float, float, float]
    score: float
    landmarks: NDArray[np.float64]

    @property
    def size(self) -> float:
        """The geometric mean of the box's width and height, in pixels."""
        left, top, right, bottom = self.box
        return math.sqrt(max(right - left, 0.0) * max(bottom - top, 0.0))


def smallest_face(height: int, width: int) -> float:
    """Return the side of the smallest face that `detect` looks for in a picture, in pixels."""
    largest_reduction = math.sqrt(max(height * width / _MOST_PIXELS, 1.0))
    return max(SMALLEST_PIXELS, min(height, width) / SMALLEST_PART, PROPOSAL_SIDE * largest_reduction)


@torch.inference_mode()
def detect(networks: FaceNetworks, image: NDArray[np.uint8]) -> list[Detection]:
    """Return the faces of a picture, the largest first.

    Faces smaller than `smallest_face` are not looked for. The picture is first reduced until such a face has 48 pixels, the size
    that the last network takes: a photograph of any number of pixels takes less than two million.

    Args:
        networks: the cascade.
        image: uint8 (H, W, 3), RGB.
    """
    height, width = image.shape[:2]
    smallest = smallest_face(height, width)
    factor = min(1.0, networks.output.side / smallest, math.sqrt(_MOST_PIXELS / max(height * width, 1)))
    picture = _reduced(image, factor)
    down = torch.tensor([picture.shape[-1] / width, picture.shape[-2] / height], dtype=torch.float64)
    boxes = _propose(networks.proposal, picture, smallest * float(down.min()))
    boxes = _refine(networks.refine, picture, boxes)
    found = _locate(networks.output, picture, boxes)
    return sorted((_on_picture(*one, down) for one in zip(*found, strict=True)), key=lambda face: -face.size)


def _reduced(image: NDArray[np.uint8], factor: float) -> Tensor:
    """Return a picture uint8 (H, W, 3) reduced by a factor of at most 1, as float32 (1, 3, h, w), values 0 to 255."""
    height, width = (max(round(side * factor), 1) for side in image.shape[:2])
    return as_tensor(resized_picture(image, height, width)).float()


def _propose(network: ProposalNetwork, picture: Tensor, smallest: float) -> Tensor:
    """Return boxes (N, 4) of what may be faces in a picture (1, 3, H, W), from those of `smallest` pixels a side on."""
    height, width = picture.shape[-2:]
    boxes, scores = [torch.empty(0, 4)], [torch.empty(0)]
    level, factor = picture, PROPOSAL_SIDE / smallest
    while True:
        size = round(height * factor), round(width * factor)
        if min(size) < PROPOSAL_SIDE:
            break
        level = resized(level, *size, "bilinear")
        score, shift = network(normalised(level))
        places, score, shift = _above(score, shift, _THRESHOLDS[0])
        windows = _windows(places) * torch.tensor([width / size[1], height / size[0]]).repeat(2)
        kept = surest(windows, score, 0.5)
        boxes.append(shifted(windows[kept], shift[kept]))
        scores.append(score[kept])
        factor *= _PYRAMID_FACTOR
    every, score = torch.cat(boxes), torch.cat(scores)
    return every[surest(every, score, 0.7)]


def _above(score: Tensor, shift: Tensor, threshold: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the places (N, 2), row and column, of the map's highest scores above the threshold, with score and shift."""
    places = (score > threshold).nonzero()
    found = score[places[:, 0], places[:, 1]]
    surest = found.argsort(descending=True, stable=True)[: 4 * _MOST_WINDOWS]
    places = places[surest]
    return places, found[surest], shift[:, places[:, 0], places[:, 1]].T


def _windows(places: Tensor) -> Tensor:
    """Return the boxes (N, 4) that the proposal network sees from places (N, 2) of its map, row and column."""
    corners = places.flip(1).float() * PROPOSAL_STRIDE
    return torch.cat([corners, corners + PROPOSAL_SIDE], dim=1)


def _refine(network: WindowNetwork, picture: Tensor, boxes: Tensor) -> Tensor:
    """Return those boxes (N, 4) in which the refine network sees a face, corrected."""
    windows, seen = _faces_in(network, picture, boxes, _THRESHOLDS[1])
    kept = surest(windows, seen.score, 0.7)
    return shifted(windows[kept], seen.shift[kept])


def _locate(network: WindowNetwork, picture: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the corrected boxes (N, 4), scores (N,) and landmarks (N, 5, 2) of the faces that the output network sees."""
    windows, seen = _faces_in(network, picture, boxes, _THRESHOLDS[2])
    boxes = shifted(windows, seen.shift)
    kept = surest(boxes, seen.score, 0.7, nested=True)
    return boxes[kept], seen.score[kept], on_windows(seen.landmarks, windows)[kept]


def _faces_in(network: WindowNetwork, picture: Tensor, boxes: Tensor, threshold: float) -> tuple[Tensor, Seen]:
    """Show the network the squares around `boxes` (N, 4); return those that it gives more than the threshold, and what it saw."""
    windows = squared(boxes).round()
    windows = windows[windows[:, 2] > windows[:, 0]]
    seen = look(network, picture, windows)
    sure = seen.score > threshold
    return windows[sure], Seen(*(part[sure] for part in seen))


def look(network: WindowNetwork, picture: Tensor, windows: Tensor) -> Seen:
    """Return what the network sees in square windows (N, 4), of whole pixels, of a picture (1, 3, H, W) of 0 to 255."""
    blocks = [network(normalised(crops(picture, block, network.side))) for block in torch.split(windows, _BLOCK)]
    return Seen(*(torch.cat(parts) for parts in zip(*blocks, strict=True)))


def crops(picture: Tensor, windows: Tensor, side: int) -> Tensor:
    """Return windows (N, 4), of whole pixels, of a picture (1, 3, H, W) as (N, 3, side, side): black beyond its borders."""
    height, width = picture.shape[-2:]
    found = torch.empty(len(windows), 3, side, side)
    for index, (left, top, right, bottom) in enumerate(windows.int().tolist()):
        inside = picture[..., max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
        beyond = max(-left, 0), max(right - width, 0), max(-top, 0), max(bottom - height, 0)
        whole = functional.pad(inside, beyond) if any(beyond) else inside
        found[index] = resized(whole, side, side, "bilinear")[0]
    return found


def squared(boxes: Tensor) -> Tensor:
    """Return the squares (N, 4) around the same centres, as large as the longer sides of the boxes."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).amax(dim=1, keepdim=True) / 2
    return torch.cat([centres - half, centres + half], dim=1)


def shifted(boxes: Tensor, shift: Tensor) -> Tensor:
    """Return boxes (N, 4) corrected by shifts (N, 4) in parts of their width and height."""
    sides = boxes[:, 2:] - boxes[:, :2]
    return boxes + shift * sides.repeat(1, 2)


def on_windows(points: Tensor, windows: Tensor) -> Tensor:
    """Return points (N, K, 2) in parts of windows (N, 4) as pixels of the picture."""
    return windows[:, None, :2] + points * (windows[:, None, 2:] - windows[:, None, :2])


def surest(boxes: Tensor, scores: Tensor, threshold: float, *, nested: bool = False) -> list[int]:
    """Return the indices of the boxes that stay when a surer one takes those that it overlaps by more than `threshold`.

    Non-maximum suppression. The overlap of two boxes is their intersection over their union, or with `nested` over the smaller of
    the two, so that a box within another falls too. The surest comes first; at most a thousand stay.
    """
    order = scores.argsort(descending=True, stable=True)
    boxes = boxes[order]
    areas = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(dim=1)
    standing = torch.ones(len(boxes), dtype=torch.bool)
    kept: list[int] = []
    for place, index in enumerate(order.tolist()):
        if not standing[place]:
            continue
        kept.append(index)
        if len(kept) == _MOST_WINDOWS:
            break
        corner, far = torch.maximum(boxes[place, :2], boxes[:, :2]), torch.minimum(boxes[place, 2:], boxes[:, 2:])
        shared = (far - corner).clamp(min=0).prod(dim=1)
        whole = torch.minimum(areas[place], areas) if nested else areas[place] + areas - shared
        standing &= shared <= threshold * whole
    return kept


def _on_picture(box: Tensor, score: Tensor, landmarks: Tensor, down: Tensor) -> Detection:
    """Return a face that was found on the reduced picture as one of the whole."""
    left, top, right, bottom = (box / down.repeat(2)).tolist()
    return Detection((left, top, right, bottom), float(score), (landmarks / down).numpy())
