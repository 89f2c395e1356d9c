"""VDSR, the very deep super-resolution network (Kim, Lee & Lee, *Accurate Image Super-Resolution Using Very Deep Convolutional
Networks*, 2016).

The network sees an image that was enlarged bicubically and says what it lacks (section 3.1): 20 convolutions of 3x3 with 64
channels and ReLU between them, zero-padded, so that every layer has the size of the image (section 3.3). It works on the luma
alone, and colours stay bicubic (section 5.2). Adding a residual to the luma of Y'CbCr and leaving Cb and Cr adds the same
residual to red, green and blue, and the bicubic enlargement is linear: so here the colours are enlarged as they are, the luma
is taken of the result, and the network's residual is added to all three.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from facevae.config import UpscalerConfig

LUMA = (0.299, 0.587, 0.114)
"""Of red, green and blue (Rec. ITU-R BT.601), full range, as in JPEG and in Pillow's mode "YCbCr"."""


class VDSR(nn.Module):
    """The network of section 3.1, with the initial weights of He et al. (2015) that section 5.2 names, and biases of zero.

    The last layer, too, begins at zero, so that an untrained network gives the bicubic enlargement, and nothing worse.

    Attributes:
        config: depth and width.
        layers: the convolutions, a ReLU after each but the last.
    """

    def __init__(self, config: UpscalerConfig | None = None) -> None:
        super().__init__()
        self.config = config = config if config is not None else UpscalerConfig()
        pairs = pairwise(_widths(config))
        self.layers = nn.ModuleList(nn.Conv2d(*pair, kernel_size=3, padding=1) for pair in pairs)
        for name, parameter in self.layers.named_parameters():
            if name == f"{len(self.layers) - 1}.weight" or parameter.ndim == 1:
                nn.init.zeros_(parameter)
            else:
                nn.init.kaiming_normal_(parameter, nonlinearity="relu")
        self.to(memory_format=torch.channels_last)

    def forward(self, luma: Tensor) -> Tensor:
        """Return the residual (B, 1, H, W) of lumas (B, 1, H, W) in [0, 1] that were enlarged to this size."""
        maps = luma
        last = len(self.layers) - 1
        for number, layer in enumerate(self.layers):
            maps = layer(maps)
            if number < last:
                maps = functional.relu(maps, inplace=True)
        return maps


def tensor_shapes(config: UpscalerConfig) -> dict[str, torch.Size]:
    """Return the shape of each tensor of the network's state, without making the network.

    (A network on PyTorch's device "meta" has shapes alone, too, but making one imports 900 modules.)
    """
    shapes = {}
    for number, (inputs, outputs) in enumerate(pairwise(_widths(config))):
        shapes[f"layers.{number}.weight"] = torch.Size((outputs, inputs, 3, 3))
        shapes[f"layers.{number}.bias"] = torch.Size((outputs,))
    return shapes


def _widths(config: UpscalerConfig) -> list[int]:
    """Return how many channels go into each layer, and out of the last."""
    return [1, *[config.channels] * (config.depth - 1), 1]


def receptive_radius(config: UpscalerConfig) -> int:
    """Return how many pixels away from an output pixel the network looks, to each side: 20 of 41 x 41 (section 3.1)."""
    return config.depth


def luma_of(images: Tensor) -> Tensor:
    """Return the luma (B, 1, H, W) of RGB images (B, 3, H, W)."""
    red, green, blue = LUMA
    return images[:, :1] * red + images[:, 1:2] * green + images[:, 2:] * blue
