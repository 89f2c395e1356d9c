"""The residual block of He et al., *Deep Residual Learning for Image Recognition* (2016), for the small classifiers."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class Residual(nn.Module):
    """Two convolutions, added to their input; with a `stride` of 2 they halve the maps, and the input is averaged.

    Takes maps (N, channels, H, W) and returns (N, width, H / stride, W / stride).
    """

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(width)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or channels != width:
            projection = nn.Conv2d(channels, width, 1, bias=False)
            self.shortcut = nn.Sequential(nn.AvgPool2d(stride), projection, nn.BatchNorm2d(width))

    def forward(self, maps: Tensor) -> Tensor:
        """Return the maps, transformed."""
        inner = functional.relu(self.first_norm(self.first(maps)))
        return functional.relu(self.second_norm(self.second(inner)) + self.shortcut(maps))
