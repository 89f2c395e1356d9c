"""Images at another size, as Pillow resizes them."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional

Filter = Literal["bicubic", "bilinear"]


def resized(images: Tensor, height: int, width: int, filter_name: Filter = "bicubic") -> Tensor:
    """Return images (B, C, H, W) at another size: antialiased where it reduces, a = -1/2 in the cubic."""
    if images.shape[-2:] == (height, width):
        return images
    return functional.interpolate(images, size=(height, width), mode=filter_name, antialias=True, align_corners=False)
