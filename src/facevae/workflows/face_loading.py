"""Faces as the network takes them, read from pictures: CelebA's frames as they are, faces of photographs aligned."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facevae.errors import DataError
from facevae.model.alignment import FRAME_WIDTH
from facevae.model.face_finder import Face, align_face
from facevae.progress import Progress, Report
from facevae.storage.images import load_face, squashed, unpiped
from facevae.workflows.common import NamedImages
from facevae.workflows.face_finding import FaceFinding, FaceOptions
from facevae.workflows.picture_sources import PictureSource, short_name, source_name
from facevae.workflows.skipped import Skipped


class LoadedFace(NamedTuple):
    """A face that was read from a picture.

    Attributes:
        image: uint8 (S, S, 3), as the network takes it.
        name: what to call it in files: the picture's path, with "#2" for its second face.
        short: what to call it in a picture.
        source: the picture; of a pipe, what came through it.
        frame: uint8 (218, 178, 3), or larger where S is: the face in CelebA's frame; None where the picture is one as a whole.
        found: where the face lies in the picture; None as for `frame`.
    """

    image: NDArray[np.uint8]
    name: str
    short: str
    source: PictureSource
    frame: NDArray[np.uint8] | None = None
    found: Face | None = None


class FaceLoader:
    """Reads faces from pictures, as squares of `size` pixels a side.

    Attributes:
        read: how many pictures of the batches were read or left out.
    """

    def __init__(self, size: int, options: FaceOptions) -> None:
        self.size, self.finding = size, FaceFinding(options)
        self.read = 0

    def faces_of(self, source: PictureSource, name: str | None = None) -> list[LoadedFace]:
        """Return the faces of a picture that were asked for; at least one. `name` is its name where `source` does not tell it.

        Raises:
            DataError: the picture cannot be read, or the face is not there.
            MissingExtraError: a face must be found, and the extra that does it is not installed.
        """
        short = short_name(source if name is None else Path(name))
        name, size = source_name(source) if name is None else name, self.size
        source = unpiped(source, name)
        photo = self.finding.photograph(source, name)
        if photo is None:
            return [LoadedFace(load_face(source, size, name), name, short, source)]
        found = []
        for number, face in photo.chosen:
            frame = align_face(photo.pixels, face, max(1.0, size / FRAME_WIDTH))
            image = squashed(Image.fromarray(frame), size)
            mark = "" if number is None else f"#{number}"
            found.append(LoadedFace(image, name + mark, f"{short} {mark}".rstrip(), source, frame, face))
        return found

    def batches(
        self, sources: Iterable[PictureSource], batch_size: int, skipped: list[Skipped], *, strict: bool
    ) -> Iterator[list[LoadedFace]]:
        """Yield the faces of many pictures, in batches; unreadable ones are added to `skipped`, or raised when `strict`."""
        waiting: list[LoadedFace] = []
        for source in sources:
            try:
                waiting += [face._replace(frame=None) for face in self.faces_of(source)]
            except DataError as error:
                if strict:
                    raise
                skipped.append(Skipped(source_name(source), str(error)))
            self.read += 1
            while len(waiting) >= batch_size:
                yield waiting[:batch_size]
                waiting = waiting[batch_size:]
        if waiting:
            yield waiting


def load_faces(
    sources: Sequence[PictureSource],
    size: int,
    options: FaceOptions,
    report: Report,
    skipped: list[Skipped] | None = None,
) -> list[LoadedFace]:
    """Return the faces of pictures as squares of `size` pixels a side; of all faces perhaps more than pictures.

    With `skipped`, those of several pictures that cannot be read, or have no face, are added to it instead of raised.

    Raises:
        DataError: one of them is not a readable image, or no face is found in it.
        MissingExtraError: a face must be found, and the extra that does it is not installed.
    """
    loader = FaceLoader(size, options)
    found: list[LoadedFace] = []
    for number, source in enumerate(sources, start=1):
        try:
            found += loader.faces_of(source)
        except DataError as error:
            if skipped is None or len(sources) == 1:
                raise
            skipped.append(Skipped(source_name(source), str(error)))
        if len(sources) > 1:
            report(Progress("read", number, len(sources), "pictures"))
    loader.finding.tell(report)
    return found


def named_images(faces: Sequence[LoadedFace]) -> NamedImages:
    """Return faces as one array, with the names that they have in a picture."""
    return NamedImages(np.stack([face.image for face in faces]), [face.short for face in faces])
