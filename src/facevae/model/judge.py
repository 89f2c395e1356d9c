"""The judge: a small residual network that tells CelebA's attributes from 32x32 images, and never saw the VAE.

It says whether an edit flipped an attribute, and its features, the 128 averages before the last layer, are the fixed space of the
Fréchet distance between sets of images. The blocks are those of He et al., *Deep Residual Learning for Image Recognition* (2016).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from facevae.model.inference import each_batch, to_tensor
from facevae.model.residual import Residual

JUDGE_SIZE = 32
"""The side of the images that the judge takes, in pixels."""
JUDGE_WIDTHS = (32, 48, 96, 128)
"""Channels at 32, 16, 8 and 4 pixels; the last are the features."""


class JudgeView(NamedTuple):
    """What the judge sees in N images: `features` float32 (N, F), and `logits` float32 (N, A), above 0 for "has it"."""

    features: NDArray[np.float32]
    logits: NDArray[np.float32]


class Judge(nn.Module):
    """A classifier of `attributes` attributes, freshly initialised.

    `widths` are its channels at 32, 16, 8 and 4 pixels; the last is the number of features F.
    """

    def __init__(self, attributes: int, widths: tuple[int, int, int, int] = JUDGE_WIDTHS) -> None:
        super().__init__()
        stem, *stages = widths
        self.stem = nn.Conv2d(3, stem, 3, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(stem)
        blocks: list[nn.Module] = []
        channels = stem
        for number, width in enumerate(stages):
            blocks.append(Residual(channels, width, stride=2))
            if number < len(stages) - 1:
                blocks.append(Residual(width, width, stride=1))
            channels = width
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(channels, attributes)
        self.attributes, self.widths = attributes, widths
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return `(features (B, F), logits (B, attributes))` of images (B, 3, 32, 32) in [0, 1]."""
        centred = images * 4.0 - 2.0
        maps = self.blocks(functional.relu(self.stem_norm(self.stem(centred))))
        features = maps.mean(dim=(2, 3))
        logits: Tensor = self.head(features)
        return features, logits


def shrink(images: Tensor) -> Tensor:
    """Average images (B, 3, S, S), S a multiple of 32, down to (B, 3, 32, 32)."""
    factor = images.shape[-1] // JUDGE_SIZE
    return functional.avg_pool2d(images, factor) if factor > 1 else images


@torch.inference_mode()
def judge_images(network: Judge, images: NDArray[np.uint8]) -> JudgeView:
    """Return what `network`, on the CPU, sees in images (N, S, S, 3), S a multiple of 32; it is left in evaluation mode."""
    network.eval()

    cpu = torch.device("cpu")

    def judge(rows: slice) -> tuple[Tensor, Tensor]:
        features, logits = network(shrink(to_tensor(images[rows], cpu)))
        return features, logits

    parts = each_batch(judge, len(images), cpu)
    features, logits = (torch.cat(side).numpy() for side in zip(*parts, strict=True))
    return JudgeView(features, logits)
