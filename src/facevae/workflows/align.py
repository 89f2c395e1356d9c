"""`align`: the faces of photographs, found and brought to CelebA's frame, as pictures for `prepare`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facevae.config import ALIGNED_DIRECTORY
from facevae.errors import DataError, UsageError
from facevae.figures.picture import image_bytes
from facevae.model.face_finder import Face, align_face
from facevae.progress import Notice, Progress, Report, silent
from facevae.storage.images import open_image, unpiped
from facevae.storage.output import Output, StrPath, as_output, check_output, make_folder, output_name, write_bytes
from facevae.workflows.face_finding import ChosenFace, FaceChoice, FaceFinding, FaceOptions
from facevae.workflows.picture_folders import is_folder, no_pictures, pictures_in
from facevae.workflows.picture_sources import PictureSource, as_sources, short_name, source_name
from facevae.workflows.picture_targets import single_target
from facevae.workflows.skipped import Skipped, all_skipped, report_skipped


@dataclass(frozen=True)
class AlignedFace:
    """A face that `align` wrote.

    Attributes:
        name: the picture it is from.
        path: the picture that was written, None for a stream.
        face: where it was found; None for a picture that was a frame already, and was left as it is.
        number: which of the picture's faces it is, the largest being 1; None for the only one, or the largest alone.
    """

    name: str
    path: Path | None
    face: Face | None = None
    number: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return what is known of it as plain lists and numbers, for JSON: the eyes are (x, y) in pixels of its picture."""
        found: dict[str, Any] = {
            "name": self.name,
            "path": str(self.path) if self.path else None,
            "number": self.number,
        }
        if self.face is None:
            return found | {"frame": True}
        back = self.face.to_frame.inverse()
        eyes = self.face.landmarks[:2].round(2).tolist()
        return found | {
            "frame": False,
            "eyes": eyes,
            "scale": back.scale,
            "degrees": back.degrees,
            "score": self.face.score,
        }


@dataclass(frozen=True)
class AlignResult:
    """What `align` wrote, in the order of the pictures, and the pictures that were left out."""

    faces: tuple[AlignedFace, ...]
    skipped: tuple[Skipped, ...]

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files written."""
        return tuple(face.path for face in self.faces if face.path is not None)


class _Photo(NamedTuple):
    """A picture to read, and where in the output folder its face goes: a name without suffix, with folders."""

    source: PictureSource
    place: PurePosixPath


class _Aligned(NamedTuple):
    """A face in its frame, or a picture that is one, (H, W, 3) uint8."""

    pixels: NDArray[np.uint8]
    chosen: ChosenFace | None


def align(
    photos: Sequence[StrPath | bytes] | StrPath | bytes,
    output: StrPath | BinaryIO = ALIGNED_DIRECTORY,
    *,
    which: FaceChoice = None,
    strict: bool = False,
    report: Report = silent,
) -> AlignResult:
    """Find faces and write them turned, scaled and cropped to CelebA's frame of 178 x 218 pixels, the eyes in their places.

    These are (69, 111) and (108, 111). A picture that is such a frame already is written as it is.

    Args:
        photos: image files, folders of images with all below them, or the bytes of images.
        output: a folder, made if it does not exist, or for one image a picture (a name with a suffix) or a binary stream for a
            PNG. In a folder, `anna.jpg` becomes `anna.png`, its second face `anna-face2.png`.
        which: of a picture with several faces, 1 for the largest, 2 for the next, ..., or "all"; by default the largest.
        strict: whether an unreadable image, or one without a face, is an error instead of being left out.
        report: is called with progress and notices.

    Raises:
        DataError: a file is missing or damaged, no face was found at all, or the output cannot be written.
        MissingExtraError: the extra that finds faces is not installed.
        UsageError: a value is out of range.
    """
    target = as_output(output)
    finding = FaceFinding(FaceOptions.of(True, which), whole=False)
    sources = _photos(as_sources(photos), target)
    single = single_target(len(sources), target)
    inputs = [photo.source for photo in sources if isinstance(photo.source, Path)]
    if single is not None:
        check_output(single, inputs=inputs)
    known = {_identity(path): path for path in inputs}
    made: list[AlignedFace] = []
    skipped: list[Skipped] = []
    used: set[str] = set()
    for number, photo in enumerate(sources, start=1):
        try:
            aligned = list(_aligned(photo.source, finding))
        except DataError as error:
            if strict:
                raise
            skipped.append(Skipped(source_name(photo.source), str(error)))
        else:
            targets = _targets(photo, aligned, single, target, used)
            made += [_write(photo, *each, known) for each in zip(aligned, targets, strict=True)]
        report(Progress("align", number, len(sources)))
    if not made:
        raise DataError(all_skipped(skipped))
    _tell(made, finding, report)
    report_skipped(skipped, report)
    return AlignResult(tuple(made), tuple(skipped))


def _photos(sources: Sequence[PictureSource], output: Output) -> list[_Photo]:
    """Return the pictures to read: of folders all below them, but not what was written before."""
    found: list[tuple[PictureSource, PurePosixPath]] = []
    for source in sources:
        if not isinstance(source, Path) or not is_folder(source):
            found.append((source, PurePosixPath(source.name if isinstance(source, Path) else short_name(source))))
            continue
        names = _pictures_in(source, output)
        found += [(source / name, PurePosixPath(name)) for name in names]
    if not found:
        raise UsageError("There is no photograph to align: name image files, or a folder.")
    alike = Counter(place.with_suffix("") for _, place in found)
    # Where two have one name, they keep their suffixes.
    return [_Photo(source, short if alike[short := place.with_suffix("")] == 1 else place) for source, place in found]


def _pictures_in(folder: Path, output: Output) -> list[str]:
    """List the pictures below a folder, without those below an output folder inside it."""
    names = pictures_in(folder)
    if not isinstance(output, Path) or not is_folder(output):
        return names
    inside, written = folder.resolve(), output.resolve()
    if inside == written:
        raise UsageError(f"The faces of {folder} cannot be written among its photographs: name another folder with -o.")
    if written.is_relative_to(inside):
        names = [name for name in names if not (inside / name).is_relative_to(written)]
    if not names:
        raise no_pictures(folder)
    return names


def _aligned(source: PictureSource, finding: FaceFinding) -> Iterator[_Aligned]:
    name = source_name(source)
    source = unpiped(source, name)
    photo = finding.photograph(source, name)
    if photo is None:
        yield _Aligned(np.asarray(open_image(source, name)), None)
        return
    for chosen in photo.chosen:
        yield _Aligned(align_face(photo.pixels, chosen.face), chosen)


def _targets(
    photo: _Photo, aligned: Sequence[_Aligned], single: Output | None, output: Output, used: set[str]
) -> list[Output]:
    """Return where the faces of a picture go; the names of earlier ones are in `used`."""
    if single is not None:
        if len(aligned) > 1:
            where = str(single) if isinstance(single, Path) else "standard output"
            raise UsageError(
                f"{source_name(photo.source)} has {len(aligned)} faces, which cannot all go to {where}: name a folder with -o, "
                "or one of them with --face."
            )
        return [single]
    folder = output if isinstance(output, Path) else Path()
    marks = [each.chosen.number if each.chosen is not None else None for each in aligned]
    names = [photo.place.name + (f"-face{mark}" if mark is not None else "") for mark in marks]
    return [_free(folder / photo.place.parent, name, used) for name in names]


def _free(folder: Path, name: str, used: set[str]) -> Path:
    """Return the path of the PNG of that name, with a number where an earlier one of this run has it."""
    for number in count(1):
        path = folder / (f"{name}.png" if number == 1 else f"{name}-{number}.png")
        if os.path.normcase(path) not in used:
            break
    used.add(os.path.normcase(path))
    return path


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what two names of one file have in common, None where there is no file."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def _write(
    photo: _Photo, aligned: _Aligned, target: Output, inputs: Mapping[tuple[int, int] | None, Path]
) -> AlignedFace:
    if isinstance(target, Path):
        make_folder(target.parent)
        same = inputs.get(_identity(target))  # to compare each of many with every input would take long
        check_output(target, inputs=[same] if same is not None else [])
    write_bytes(target, image_bytes(Image.fromarray(aligned.pixels), output_name(target)))
    face, number = (aligned.chosen.face, aligned.chosen.number) if aligned.chosen is not None else (None, None)
    return AlignedFace(source_name(photo.source), target if isinstance(target, Path) else None, face, number)


def _tell(made: Sequence[AlignedFace], finding: FaceFinding, report: Report) -> None:
    finding.tell(report)
    frames = [face for face in made if face.face is None]
    if len(frames) == 1:
        report(Notice(f"{frames[0].name} is CelebA's frame already: it is written as it is."))
    elif frames:
        report(
            Notice(
                f"{len(frames)} pictures, such as {frames[0].name}, are CelebA's frame already: they are written as they are."
            )
        )
