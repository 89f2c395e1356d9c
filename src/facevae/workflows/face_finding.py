"""The faces of a picture that a user asks for: the largest, the N-th, or all. A frame of CelebA has none to be found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from facevae.config import EVERY_FACE
from facevae.errors import DataError, InstallationError, MissingExtraError, UsageError
from facevae.model.detector import smallest_face
from facevae.model.face_finder import Face, is_celeba_frame, is_frame_by_size, locate_faces
from facevae.model.mtcnn import FaceNetworks
from facevae.model.workers import one_thread
from facevae.progress import Notice, Report
from facevae.storage.detector_weights import load_face_networks
from facevae.storage.images import open_image, picture_size
from facevae.workflows.picture_sources import PictureSource

FaceChoice = int | str | None
"""Which of a picture's faces: a number, the largest being 1, "all", or None for the largest."""


class ChosenFace(NamedTuple):
    """A face of a photograph that was asked for.

    Attributes:
        number: which of the photograph's faces it is, the largest being 1; None where that goes without saying: it is the
            largest, and it alone was asked for, or it is the only one.
        face: where it lies.
    """

    number: int | None
    face: Face


class Photograph(NamedTuple):
    """A picture that is not CelebA's frame: uint8 (H, W, 3), and its faces that were asked for, at least one."""

    pixels: NDArray[np.uint8]
    chosen: list[ChosenFace]


@dataclass(frozen=True)
class FaceOptions:
    """Which faces of pictures are wanted.

    Attributes:
        align: look for faces in pictures that are not CelebA's frames; otherwise every picture is taken as one.
        which: the number of the face, the largest being 1; 0 for all.
        asked: whether the user said which; otherwise it is told where the largest of several was taken.
    """

    align: bool = True
    which: int = 1
    asked: bool = False

    @property
    def all_faces(self) -> bool:
        """Whether every face of a picture is wanted."""
        return self.which == 0

    @classmethod
    def of(cls, align: bool, face: FaceChoice, images: Sequence[object] | None = ()) -> FaceOptions:
        """Make them from the options `--no-align` and `--face`; None for `images` where none is given to find faces in.

        Raises:
            UsageError: there is no such face, one is to be chosen without looking for faces, or without an image.
        """
        if images is None and (face is not None or not align):
            option = "--face" if face is not None else "--no-align"
            raise UsageError(f"{option} is about images, and none is given: name some, or leave it out.")
        if face is None:
            return cls(align)
        if not align:
            raise UsageError("--face chooses among the faces that are found: leave it out, or --no-align.")
        if str(face).strip().casefold() == EVERY_FACE:
            return cls(which=0, asked=True)
        try:
            number = int(face)
        except ValueError:
            number = 0
        if number < 1:
            raise UsageError(f"There is no face {face}: use 1 for the largest, 2 for the next, ..., or all.")
        return cls(which=number, asked=True)


class FaceFinding:
    """Finds the faces of pictures, one picture after the other.

    The networks are loaded for the first picture that is not a frame already, so that CelebA's own need no extra.

    Args:
        options: which faces are wanted.
        whole: whether errors may propose `--no-align`.
    """

    def __init__(self, options: FaceOptions, *, whole: bool = True) -> None:
        self.options = options
        self._or_whole = ", or use --no-align to take the whole picture as CelebA's frame" if whole else ""
        self._several: list[tuple[str, int]] = []

    def photograph(self, source: PictureSource, name: str) -> Photograph | None:
        """Return a picture with the faces that were asked for, or None for one that is a frame as a whole.

        `name` is what to call it in messages. A pipe can be read only once: see `storage.images.unpiped`.

        Raises:
            DataError: the picture cannot be read, or the face is not there.
            InstallationError: the networks that find faces are damaged.
            MissingExtraError: a face must be found, and the extra that does it is not installed.
        """
        if not self.options.align:
            return None
        width, height = picture_size(source, name)
        by_size = is_frame_by_size(height, width)
        if by_size:
            self._check_frame(name)
            return None
        networks = self._networks_for(name)
        pixels = np.asarray(open_image(source, name))
        with one_thread():  # of two on busy cores, a photograph would take twenty times as long
            if by_size is None and is_celeba_frame(networks, pixels):
                self._check_frame(name)
                return None
            found = locate_faces(networks, pixels)
        return Photograph(pixels, self._chosen(found, pixels, name))

    def tell(self, report: Report) -> None:
        """Tell of the pictures with several faces, where the largest was taken without having been asked for."""
        if not self._several:
            return
        name, count = self._several[0]
        if len(self._several) == 1:
            text = f"{name} has {count} faces: the largest is taken; --face 2 takes the next."
        else:
            text = (
                f"{len(self._several)} pictures have several faces, such as {name} with {count}: of each the largest is taken; "
                "--face all takes every one."
            )
        report(Notice(text))

    def _check_frame(self, name: str) -> None:
        """A frame has one face."""
        if self.options.which > 1:
            raise DataError(
                f"{name} is CelebA's frame with one face, and no number {self.options.which}: leave --face out."
            )

    def _networks_for(self, name: str) -> FaceNetworks:
        try:
            return self._networks
        except MissingExtraError as error:
            raise MissingExtraError(
                f'Finding the face in {name} needs the extra align: pip install "facevae[align]"{self._or_whole}.'
            ) from error
        except DataError as error:
            raise InstallationError(str(error)) from error  # or every photograph of many would be left out

    @cached_property
    def _networks(self) -> FaceNetworks:
        return load_face_networks()

    def _chosen(self, found: Sequence[Face], pixels: NDArray[np.uint8], name: str) -> list[ChosenFace]:
        which, count = self.options.which, len(found)
        if not found:
            least = round(smallest_face(*pixels.shape[:2]))
            raise DataError(f"No face of {least} pixels or more was found in {name}: crop it closer{self._or_whole}.")
        if which > count:
            there = "only one face" if count == 1 else f"only {count} faces"
            remedy = "leave --face out" if count == 1 else f"use --face with 1 to {count}, or all"
            raise DataError(f"{name} has {there}, and no number {which}: {remedy}.")
        if count > 1 and not self.options.asked:
            self._several.append((name, count))
        if self.options.all_faces and count > 1:
            return [ChosenFace(number, face) for number, face in enumerate(found, start=1)]
        index = max(which, 1) - 1
        return [ChosenFace(which if index else None, found[index])]
