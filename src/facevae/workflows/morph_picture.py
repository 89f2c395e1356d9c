"""How `morph` draws what it made: a strip, a grid of two directions, or an animation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from facevae.figures.animation import animation_bytes
from facevae.figures.faces import MorphAxis, morph_frames, morph_grid, morph_plane
from facevae.figures.picture import image_bytes
from facevae.progress import Report
from facevae.storage.output import StrPath
from facevae.workflows.morph_faces import FoundFaces
from facevae.workflows.moving import Movement
from facevae.workflows.picture_format import STRIP
from facevae.workflows.upscalers import FaceUpscaling

Images = NDArray[np.uint8]


class Walked(NamedTuple):
    """A direction, and how far it was gone along it."""

    movement: Movement
    steps: Sequence[float]


class MorphPicture(NamedTuple):
    """How a picture is drawn.

    Attributes:
        picture_format: "png" for a still picture, or that of an animation.
        side: of a face in the picture, in pixels.
        of_inputs: what enlarges the originals, None for an animation, which shows none.
        of_decoded: what enlarges decoded faces.
    """

    picture_format: str
    side: int
    of_inputs: FaceUpscaling | None
    of_decoded: FaceUpscaling

    @classmethod
    def load(
        cls, picture_format: str, side: int, upscale: int | None, upscaler: StrPath | None, device: str, report: Report
    ) -> MorphPicture:
        """Return the picture that the options ask for, with the upscalers that it takes."""
        of_inputs = None
        if picture_format == STRIP:
            of_inputs = FaceUpscaling.load(upscale, None, "photographs", device, report)
        of_decoded = FaceUpscaling.load(upscale, upscaler, "reconstructions", device, report)
        return cls(picture_format, side, of_inputs, of_decoded)

    def drawn(self, faces: FoundFaces, morphs: Images, walked: Sequence[Walked], name: str) -> bytes:
        """Return the bytes of the picture, in the format that the file name `name` asks for where it is a still one.

        `morphs` is (N, K, S, S, 3) for one direction and (K2, K, S, S, 3) for two.
        """
        (movement, steps), how = walked[0], _how(walked)
        shown = self.of_decoded.all(morphs)
        if self.of_inputs is None or faces.originals is None:
            return animation_bytes(morph_frames(shown, steps, movement.label, self.side, how), self.picture_format)
        originals = self._enlarged(faces.originals, faces.decoded, self.of_inputs)
        first = "decoded" if all(faces.decoded) else "original"
        if len(walked) == 2:
            across, down = (MorphAxis(each.movement.label, each.steps, each.movement.length) for each in walked)
            return image_bytes(morph_plane(originals[0], shown, across, down, self.side, how, first), name)
        length = movement.length
        picture = morph_grid(originals, shown, steps, faces.names, movement.label, length, self.side, how, first)
        return image_bytes(picture, name)

    def _enlarged(self, originals: Images, decoded: Sequence[bool], of_inputs: FaceUpscaling) -> Images:
        """Return the faces before they are moved, enlarged each as what it is: a photograph, or decoded."""
        mask = np.array(decoded, dtype=np.bool_)
        photographs, others = of_inputs.each(originals[~mask]), self.of_decoded.each(originals[mask])
        return np.stack([next(others if made else photographs) for made in decoded])


def _how(walked: Sequence[Walked]) -> str:
    """Return what is to be said of the directions beside their names; kind and kept attributes are the same for both."""
    movement = walked[0].movement
    kind = f"{movement.direction} direction" if movement.direction != "mean" else ""
    kept = f"held still: {', '.join(movement.kept)}" if movement.kept else ""
    return "; ".join(part for part in (kind, kept) if part)
