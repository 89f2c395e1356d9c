"""What the drawing modules share about one face: its canvas, its colours and the shape of its head."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from facevae.drawing.canvas import CENTRE, Canvas, Points, Rgb, closed_curve, darken, mirrored, mix, points
from facevae.drawing.traits import FaceTraits

if TYPE_CHECKING:
    from PIL import Image

_SKIN: tuple[Rgb, ...] = (
    (250, 230, 221),
    (244, 208, 184),
    (228, 180, 148),
    (204, 150, 114),
    (164, 112, 80),
    (122, 80, 56),
    (88, 58, 42),
)
_HAIR: dict[str, tuple[Rgb, Rgb]] = {
    "black": ((18, 15, 17), (40, 32, 32)),
    "brown": ((72, 44, 28), (116, 74, 44)),
    "blond": ((200, 156, 84), (240, 212, 146)),
    "gray": ((150, 150, 154), (214, 214, 216)),
    "auburn": ((112, 40, 20), (158, 66, 30)),
}


def skin_colour(skin: float) -> Rgb:
    """Return the skin tone for `skin` from 0 (very pale) to 1 (deep brown)."""
    place = min(max(skin, 0.0), 1.0) * (len(_SKIN) - 1)
    index = min(int(place), len(_SKIN) - 2)
    return mix(_SKIN[index], _SKIN[index + 1], place - index)


class Sketch:
    """One face in the making. Lengths are in frame pixels, `x` is counted from the middle of the face.

    The head is turned (yaw) by moving what stands out of it: `turn` pixels times a depth from 0 (the eyes) to 1 (the
    tip of the nose).
    """

    def __init__(self, traits: FaceTraits) -> None:
        self.traits = traits
        self.canvas = Canvas(traits.roll, traits.scale, (traits.offset_x, traits.offset_y))
        self.turn = 5.0 * traits.yaw
        self.skin = skin_colour(traits.skin)
        self.skin_shadow: Rgb = (self.skin[0] * 0.68, self.skin[1] * 0.55, self.skin[2] * 0.5)
        self.skin_light = mix(self.skin, (255, 246, 232), 0.45)
        self.hair = mix(*_HAIR[traits.hair_colour], traits.hair_shade)
        self.hair_dark = darken(self.hair, 0.62)
        self.hair_light = mix(self.hair, (255, 236, 206), 0.3)
        self.chin = 180.0 + 2.0 * traits.male
        self.half_width = 45.0 + 5.5 * traits.face_width + 1.0 * traits.male

    def shift(self, shape: Points, depth: float = 0.0) -> Points:
        """Move a shape given about the middle of the face to its place in the frame, `depth` (0 to 1) out of it."""
        place = np.array((CENTRE[0] + self.turn * depth, 0.0))
        placed: Points = shape + place
        return placed

    @cached_property
    def outline(self) -> Points:
        """The outline of the face from the top of the skull to the chin, placed in the frame."""
        traits = self.traits
        width = self.half_width
        jaw = width * (0.80 + 0.14 * traits.jaw) + 1.5 * max(traits.face_width, 0)
        chin = 13.5 + 9.5 * traits.jaw + 4.0 * max(traits.face_width, 0) + 2.0 * traits.male
        half = points(
            (0, 44),
            (22, 47.5),
            (38, 63),
            (width - 1, 88),
            (width, 108),
            (width * 0.985, 124),
            (jaw, 146),
            ((jaw + chin) / 2 + 2, 164),
            (chin, self.chin - 4),
            (0, self.chin),
        )
        shape = closed_curve(mirrored(half))
        # The lower face turns with the nose, the skull a little against it.
        lean = np.clip((shape[:, 1:] - 100) / 80, -0.5, 1) * (self.turn * 0.5, 0.0)
        return self.shift(shape + lean)

    @cached_property
    def face_mask(self) -> Image.Image:
        """The face as a mask for the canvas."""
        return self.canvas.mask(self.outline)

    @cached_property
    def rng(self) -> np.random.Generator:
        """Chance for the small irregularities of the hair, fixed by the traits."""
        return np.random.default_rng(self.traits.strands)
