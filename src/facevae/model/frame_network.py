"""The frame network: how a face that nearly lies in CelebA's frame has to be moved to lie in it.

CelebA was aligned by five landmarks, which no detector finds as its makers did. So a small residual network (blocks of He et al.,
*Deep Residual Learning for Image Recognition*, 2016) looks at the face, upright in its supposed frame, and says where the two
points are that belong on the frame's eyes. It was shown frames of CelebA, moved at random (`benchmarks/make_frame_network.py`).

Its window of 64 x 64 pixels is the core of the frame: it sees no edge of one, and little of what only the file has.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from facevae.model.alignment import FRAME_EYES, Similarity, fit_similarity
from facevae.model.residual import Residual
from facevae.model.warping import as_tensor, warped

WINDOW_SIDE = 64
"""The network takes windows of so many pixels a side."""
WINDOW_CENTRE = (89.0, 122.0)
WINDOW_EXTENT = 112.0
"""Where the window lies in the frame, and how long its side is there: from above the brows to the chin, in a frame of 178 x 218.

Turned, scaled and shifted as in training it stays within the frame, of which the network thus sees no edge.
"""
FRAME_WIDTHS = (24, 48, 96)
"""Channels at 32, 16 and 8 pixels a side."""
MOST_MOVED = 0.15
"""Of the eyes' distance: 99 faces in 100 lie nearer, and the network is not believed where it would move one farther."""
_LEAST_SEEN = 0.8
"""Of the window: so much of it must lie within the picture. In half a face at a picture's border the network sees a whole one."""
_HEAD_CHANNELS, _HIDDEN = 32, 128
_PASSES = 2
_EYE_DISTANCE = float(np.linalg.norm(FRAME_EYES[1] - FRAME_EYES[0]))
_UNIT = 0.05
"""Of the eyes' distance: what the network counts in, so that its answers are about one."""


class FrameNetwork(nn.Module):
    """The network, freshly initialised. Its last layer begins at zero, so that untrained it leaves a face where it is."""

    def __init__(self, widths: tuple[int, int, int] = FRAME_WIDTHS) -> None:
        super().__init__()
        stem, *stages = widths
        self.widths = widths
        self.stem = nn.Conv2d(3, stem, 3, stride=2, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(stem)
        blocks: list[nn.Module] = [Residual(stem, stem, 1)]
        for channels, width in zip(widths, stages, strict=False):
            blocks += [Residual(channels, width, 2), Residual(width, width, 1)]
        self.blocks = nn.Sequential(*blocks)
        self.narrow = nn.Conv2d(widths[-1], _HEAD_CHANNELS, 1, bias=False)
        self.narrow_norm = nn.BatchNorm2d(_HEAD_CHANNELS)
        self.hidden = nn.Linear(_HEAD_CHANNELS * (WINDOW_SIDE // 8) ** 2, _HIDDEN)
        self.eyes = nn.Linear(_HIDDEN, 4)
        nn.init.zeros_(self.eyes.weight)
        nn.init.zeros_(self.eyes.bias)
        self.to(memory_format=torch.channels_last)

    def forward(self, windows: Tensor) -> Tensor:
        """Return where the points are that belong on the frame's eyes, float (N, 2, 2), as shifts from there in its pixels.

        Args:
            windows: (N, 3, 64, 64), RGB of any range: only differences within a window, in proportion, count.
        """
        maps = functional.relu(self.stem_norm(self.stem(_normalised(windows))))
        maps = functional.relu(self.narrow_norm(self.narrow(self.blocks(maps))))
        inner = functional.relu(self.hidden(maps.flatten(1)))
        shifts: Tensor = self.eyes(inner).float().view(-1, 2, 2)
        return shifts * (_UNIT * _EYE_DISTANCE)


def _normalised(windows: Tensor) -> Tensor:
    """Return windows with a mean of nought in each colour, and a deviation of one in all together."""
    centred = windows - windows.mean(dim=(2, 3), keepdim=True)
    return centred / (centred.square().mean(dim=(1, 2, 3), keepdim=True) + 1.0).sqrt()


def to_window() -> Similarity:
    """Return the similarity that takes the frame's coordinates to those of the window."""
    scale, half = WINDOW_SIDE / WINDOW_EXTENT, WINDOW_SIDE / 2
    return Similarity(scale, 0.0, half - scale * WINDOW_CENTRE[0], half - scale * WINDOW_CENTRE[1])


@torch.inference_mode()
def eye_shifts(network: FrameNetwork, windows: Tensor) -> NDArray[np.float64]:
    """Return what `network` says of windows (N, 3, 64, 64), float64 (N, 2, 2): the mean of each and its mirror image."""
    plain, mirrored = network(torch.cat([windows, windows.flip(3)])).double().chunk(2)
    back = mirrored.flip(1) * torch.tensor([-1.0, 1.0], dtype=torch.float64)
    shifts: NDArray[np.float64] = ((plain + back) / 2).numpy()
    return shifts


def correction(shifts: NDArray[np.float64]) -> Similarity:
    """Return the similarity that brings the points that lie by `shifts` (2, 2) from the frame's eyes to these."""
    return fit_similarity(FRAME_EYES + shifts, FRAME_EYES)


def refined(network: FrameNetwork, image: NDArray[np.uint8], to_frame: Similarity) -> Similarity:
    """Return a better similarity to CelebA's frame than `to_frame` is.

    It is the same where the picture's border cuts through the face, or where the network would move it far.

    Args:
        network: in evaluation mode.
        image: uint8 (H, W, 3), RGB.
        to_frame: takes the picture's coordinates to about those of the frame.
    """
    if _part_seen(image, to_frame.then(to_window())) < _LEAST_SEEN:
        return to_frame
    better = to_frame
    for _ in range(_PASSES):
        window = as_tensor(warped(image, better.then(to_window()), WINDOW_SIDE, WINDOW_SIDE)).float()
        better = better.then(correction(eye_shifts(network, window)[0]))
        moved = to_frame.inverse().then(better)(FRAME_EYES) - FRAME_EYES
        if np.linalg.norm(moved, axis=1).max() > MOST_MOVED * _EYE_DISTANCE:
            return to_frame
    return better


def _part_seen(image: NDArray[np.uint8], to_window: Similarity) -> float:
    """Return the part of the window that lies within the picture."""
    places = np.arange(WINDOW_SIDE) + 0.5
    seen = to_window.inverse()(np.stack(np.meshgrid(places, places), axis=-1))
    return float(((seen > 0) & (seen < [image.shape[1], image.shape[0]])).all(axis=-1).mean())
