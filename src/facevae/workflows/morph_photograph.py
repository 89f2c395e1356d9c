"""How `morph` puts an edit back into the photograph that the faces are from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facevae.config import PASTED_STEM
from facevae.errors import UsageError
from facevae.figures.animation import animation_bytes, there_and_back
from facevae.figures.photograph import PHOTOGRAPH_SUFFIXES, photograph_bytes
from facevae.model.alignment import FRAME_HEIGHT, FRAME_WIDTH
from facevae.model.latent_space import Floats, walk
from facevae.model.pasting import pasted
from facevae.model.warping import resized_picture
from facevae.progress import Notice, Progress, Report
from facevae.storage.output import Output, check_output, output_name, write_bytes
from facevae.storage.photograph import Photograph
from facevae.storage.weights import FaceModel
from facevae.workflows.face_loading import LoadedFace
from facevae.workflows.morph_faces import WantedFaces
from facevae.workflows.morph_picture import Walked
from facevae.workflows.picture_format import STRIP
from facevae.workflows.picture_sources import PictureSource, short_name

PASTE_FRAMES_SIDE = 960
"""Pixels of the longer side of an animation: a photograph's millions, 48 times over, are more than any player shows."""


class StepTarget(NamedTuple):
    """Where the photograph moved by one n goes."""

    step: float
    output: Output


def check_paste(wanted: WantedFaces, *, grid: bool, direct: Sequence[tuple[str, object]]) -> None:
    """Raise a `UsageError` for what does not go with `--paste`: no picture or several, a grid, and options of drawn faces.

    Args:
        wanted: the faces that are asked for.
        grid: whether a second direction is asked for.
        direct: options of drawn faces with their values, None where they are not given.
    """
    if wanted.names or wanted.seeds:
        option = "--name" if wanted.names else "--sample"
        raise UsageError(
            f"--paste goes back into a photograph, and a face by {option} has none: name an image file, or leave --paste out."
        )
    if len(wanted.pictures) != 1:
        raise UsageError(f"--paste goes back into one photograph, not into {len(wanted.pictures)}: name one.")
    if grid:
        raise UsageError("--paste goes along one direction: leave --attr2 out, or add it with another --attr.")
    for option, value in direct:
        if value is not None:
            raise UsageError(f"--paste keeps the photograph's own size: leave {option} out.")


def pasted_file(picture: PictureSource) -> Path:
    """Return the default output for a photograph: `anna-morph.jpg` in the current folder for `photos/anna.jpg`.

    PNG where the photograph's own suffix stands for no format that it can be written in.
    """
    suffix = picture.suffix if isinstance(picture, Path) else ""
    writable = suffix.lower() in PHOTOGRAPH_SUFFIXES
    return Path(PASTED_STEM.format(short_name(picture)) + (suffix if writable else ".png"))


def step_targets(target: Output, steps: Sequence[float], inputs: Sequence[Path]) -> list[StepTarget]:
    """Return where the photographs go, one for each step: `out.png` becomes `out_n-1.png` where there are several.

    Raises:
        UsageError: several cannot go to standard output, or one would replace an input.
    """
    if len(steps) == 1:
        return [StepTarget(steps[0], target)]
    if not isinstance(target, Path):
        raise UsageError(
            f"{len(steps)} photographs cannot all go to standard output: take one step, as in --steps 1, or name a file with -o."
        )
    targets = []
    for step in dict.fromkeys(steps):
        path = target.with_name(f"{target.stem}_n{step:+g}{target.suffix}")
        check_output(path, inputs=inputs)
        targets.append(StepTarget(step, path))
    return targets


class PhotographEdit(NamedTuple):
    """A photograph with faces that can be moved along a direction.

    Attributes:
        photograph: the picture.
        to_frame: of each face, the 2 x 3 matrix that takes the picture's coordinates to those of its frame.
        latents: of each face, float32 (F, latent_dim).
        levels: what these decode to, float32 (F, S, S, 3).
        model: what decodes.
    """

    photograph: Photograph
    to_frame: list[NDArray[np.float64]]
    latents: Floats
    levels: Floats
    model: FaceModel

    @classmethod
    def of(cls, faces: Sequence[LoadedFace], latents: Floats, model: FaceModel) -> PhotographEdit:
        """Open the photograph that all `faces` are from."""
        photograph = Photograph.load(faces[0].source, faces[0].name)
        whole = _whole_picture(*photograph.pixels.shape[:2])
        to_frame = [face.found.to_frame.matrix if face.found is not None else whole for face in faces]
        return cls(photograph, to_frame, latents, model.decode_levels(latents), model)

    def moved(self, delta: Floats, step: float) -> NDArray[np.uint8]:
        """Return the photograph's pixels (H, W, 3) with every face moved by `step` times `delta`."""
        moved = walk(self.latents, delta, np.array([step], dtype=np.float32))[:, 0]
        pixels = self.photograph.pixels
        for change, to_frame in zip(self.model.decode_levels(moved) - self.levels, self.to_frame, strict=True):
            pixels = pasted(pixels, change, to_frame)
        return pixels

    def write(self, walked: Walked, targets: Sequence[StepTarget], picture_format: str, report: Report) -> None:
        """Write the photograph for each target's step, or into the only one an animation of it through the steps of `walked`.

        Raises:
            DataError: a file cannot be written.
        """
        delta = walked.movement.delta
        if picture_format != STRIP:
            write_bytes(targets[0].output, self.animation(delta, walked.steps, picture_format, report))
            return
        for number, (step, output) in enumerate(targets, start=1):
            changed = self.photograph.with_pixels(self.moved(delta, step))
            write_bytes(output, photograph_bytes(changed.image, output_name(output), changed.icc_profile))
            report(Progress("morph", number, len(targets), "photographs"))

    def animation(self, delta: Floats, steps: Sequence[float], picture_format: str, report: Report) -> bytes:
        """Return an animation of the photograph through the steps and back, reduced where it is large."""
        height, width = self.photograph.pixels.shape[:2]
        factor = min(1.0, PASTE_FRAMES_SIDE / max(height, width))
        rows, columns = (max(round(side * factor), 1) for side in (height, width))
        if factor < 1:
            report(Notice(f"The photograph of {width} x {height} pixels is shown reduced to {columns} x {rows}."))
        small = self._reduced(rows, columns)
        frames = []
        for number, step in enumerate(steps, start=1):
            frames.append(Image.fromarray(small.moved(delta, step)))
            report(Progress("morph", number, len(steps), "frames"))
        return animation_bytes(there_and_back(frames), picture_format)

    def _reduced(self, rows: int, columns: int) -> PhotographEdit:
        height, width = self.photograph.pixels.shape[:2]
        stretch = np.array([width / columns, height / rows, 1.0])
        small = Photograph(resized_picture(self.photograph.shown, rows, columns, "bicubic"))
        return self._replace(photograph=small, to_frame=[matrix * stretch for matrix in self.to_frame])


def _whole_picture(height: int, width: int) -> NDArray[np.float64]:
    """Return the matrix for a picture that is a frame as a whole, perhaps squashed."""
    return np.array([[FRAME_WIDTH / width, 0.0, 0.0], [0.0, FRAME_HEIGHT / height, 0.0]])
