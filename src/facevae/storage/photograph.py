"""A photograph that is changed in places and written again: what it takes beside the pixels that a network is to see.

`images.open_image` gives those. Here are the transparency and the colour profile, too, so that the picture comes back as it was.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facevae.errors import UsageError
from facevae.storage.images import on_white, open_layer


@dataclass(frozen=True, eq=False)
class Photograph:
    """A picture as its file has it, in 8 bits a channel and upright.

    What else a file may say of itself, such as the camera, the date and the place where it was taken, is dropped on purpose: a
    changed picture is no longer what they tell of, and few people mean to hand on where they live.

    Attributes:
        pixels: uint8 (H, W, 3), RGB; not laid on white, so that colours which can't be seen are kept as well.
        alpha: uint8 (H, W), from 0, transparent, to 255; None where the file says nothing of it.
        icc_profile: what the colours mean; None where the file has no profile for RGB. The profile of a CMYK or grey picture is
            left out, as its pixels become RGB.
    """

    pixels: NDArray[np.uint8]
    alpha: NDArray[np.uint8] | None = None
    icc_profile: bytes | None = None

    @classmethod
    def load(cls, source: Path | bytes, name: str | None = None) -> Photograph:
        """Read a picture of any kind that `images.open_image` takes; of an animation the first frame.

        Args:
            source: the path of an image file, or its bytes.
            name: what to call the image in errors (by default the path).

        Raises:
            DataError: the image is missing, unreadable, damaged or too large.
        """
        image, profile = open_layer(source, name)
        alpha = np.array(image.getchannel("A")) if image.mode == "RGBA" else None
        return cls(np.array(image.convert("RGB")), alpha, profile)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, in pixels."""
        height, width = self.pixels.shape[:2]
        return width, height

    @cached_property
    def shown(self) -> NDArray[np.uint8]:
        """What one sees, uint8 (H, W, 3): what is transparent lies on white, as `images.open_image` gives it."""
        return self.pixels if self.alpha is None else np.array(on_white(self.image))

    @property
    def image(self) -> Image.Image:
        """The picture, RGB or with its transparency RGBA."""
        image = Image.fromarray(np.ascontiguousarray(self.pixels))
        if self.alpha is not None:
            image.putalpha(Image.fromarray(self.alpha))
        return image

    def with_pixels(self, pixels: NDArray[np.uint8]) -> Photograph:
        """Return this photograph with other pixels, uint8 (H, W, 3).

        Raises:
            UsageError: the pixels are of another shape or type.
        """
        if pixels.shape != self.pixels.shape or pixels.dtype != np.uint8:
            raise UsageError(
                f"The photograph's pixels are of shape {self.pixels.shape} and type uint8, not {pixels.shape} {pixels.dtype}."
            )
        return replace(self, pixels=pixels)
