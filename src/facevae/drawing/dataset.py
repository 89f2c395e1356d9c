"""Write drawn faces in the layout in which CelebA is distributed, so that whatever reads CelebA reads them too.

DRAWN_FACES.txt            says what these files are; CelebA has no such file
img_align_celeba/000001.jpg, 000002.jpg, ...
list_attr_celeba.txt       the number of images, the attribute names, then a row of 1 and -1 for each image
list_eval_partition.txt    0 (train), 1 (valid) or 2 (test) for each image
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from facevae.drawing.face import draw_face
from facevae.drawing.traits import ATTRIBUTE_NAMES, FaceTraits, attributes_of, random_traits
from facevae.errors import DataError, UsageError
from facevae.progress import Progress, Report, silent

MARKER_NAME = "DRAWN_FACES.txt"
IMAGES_NAME = "img_align_celeba"
ATTRIBUTES_NAME = "list_attr_celeba.txt"
PARTITION_NAME = "list_eval_partition.txt"
JPEG_QUALITY = 90

_MARKER_TITLE = "Drawn faces, made by facevae"
_MARKER = """{title}

The pictures in {images} are drawings that a program made from random numbers.
They depict no person, living or dead, and no photograph went into them.
The attributes in {attributes} are those of the drawings. Only the layout and the names of the files
and attributes are those of the CelebA data set, so that the same tools read both.

faces: {count}
seed: {seed}
made with: facevae.drawing.write_drawn_faces(directory, {count}, seed={seed})

facevae replaces the files of this folder when it draws faces here again. Keep nothing else in it.
"""


def drawn_traits(seed: int, number: int) -> FaceTraits:
    """Return the traits of face `number`, counted from 1, of the data set `seed`; they depend on nothing else."""
    return random_traits(np.random.default_rng([seed, number]))


def write_drawn_faces(directory: Path, count: int, *, seed: int = 0, report: Report = silent) -> Path:
    """Draw `count` faces and write them to `directory` in CelebA's layout; return `directory`.

    Each picture is written under another name and then renamed, and the two lists come last: a data set whose lists
    are there is complete. The last 5% of the faces are the test set, the 10% before them the validation set. Faces
    that an earlier call drew into the same directory are replaced.

    Raises `UsageError` for a count below 1, a negative seed, or a directory that holds a data set which this function
    did not write, and `DataError` if the directory cannot be written.
    """
    if count < 1:
        raise UsageError(f"cannot draw {count} faces: ask for 1 or more.")
    if count > 999_999:
        raise UsageError(f"cannot draw {count} faces: CelebA's six-digit file names end at 999999.")
    if seed < 0:
        raise UsageError(f"the seed {seed} is negative: give 0 or a larger whole number.")
    directory = Path(directory)
    try:
        _clear_earlier_faces(directory)
        _write_all(directory, count, seed, report)
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(
            f"cannot write drawn faces to {directory}: {reason}. Name a folder you may write to."
        ) from error
    return directory


def _clear_earlier_faces(directory: Path) -> None:
    """Remove what an earlier call wrote, or raise `UsageError` if the directory holds other data."""
    earlier = _count_earlier_faces(directory)
    # The lists go first, for pictures without lists are visibly unfinished, whereas old lists would mislabel new faces.
    for name in (ATTRIBUTES_NAME, PARTITION_NAME):
        (directory / name).unlink(missing_ok=True)
    for number in range(1, earlier + 1):
        (directory / IMAGES_NAME / image_name(number)).unlink(missing_ok=True)


def _count_earlier_faces(directory: Path) -> int:
    """Return how many faces an earlier call drew into the directory; raise `UsageError` if it holds other data."""
    if not directory.exists():
        return 0
    if not directory.is_dir():
        raise UsageError(f"{directory} is a file: name a folder for the drawn faces.")
    remedy = "name another folder, so that nothing of yours is overwritten."
    marker = directory / MARKER_NAME
    if not marker.exists():
        others = [name for name in (IMAGES_NAME, ATTRIBUTES_NAME, PARTITION_NAME) if (directory / name).exists()]
        if others:
            raise UsageError(f"{directory} already holds {others[0]}, which facevae did not draw: {remedy}")
        return 0
    text = marker.read_text(encoding="utf-8", errors="replace")
    recorded = re.search(r"^faces: (\d{1,6})$", text, re.MULTILINE)
    if not text.startswith(_MARKER_TITLE) or recorded is None:
        raise UsageError(f"{marker} was not written by facevae: {remedy}")
    attributes = directory / ATTRIBUTES_NAME
    # Someone may have unpacked CelebA itself over drawn faces; its list gives it away.
    if attributes.exists() and not attributes.read_bytes().startswith(f"{recorded[1]}\n".encode()):
        raise UsageError(f"{attributes} is not the list that facevae wrote there: {remedy}")
    return int(recorded[1])


def image_name(number: int) -> str:
    """Return the file name of face `number`, counted from 1, as CelebA numbers its images."""
    return f"{number:06d}.jpg"


def _write_all(directory: Path, count: int, seed: int, report: Report) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    marker = _MARKER.format(title=_MARKER_TITLE, images=IMAGES_NAME, attributes=ATTRIBUTES_NAME, count=count, seed=seed)
    # First of all, so that the pictures of a run that is cut short are known as drawn and may be replaced.
    _write_text(directory / MARKER_NAME, marker)
    (directory / IMAGES_NAME).mkdir(exist_ok=True)
    rows = [str(count), " ".join(ATTRIBUTE_NAMES) + " "]
    for number in range(1, count + 1):
        traits = drawn_traits(seed, number)
        _write_picture(directory / IMAGES_NAME / image_name(number), traits)
        signs = " ".join(f"{1 if present else -1:2d}" for present in attributes_of(traits).values())
        rows.append(f"{image_name(number)} {signs}")
        report(Progress(stage="draw", done=number, total=count))
    _write_text(directory / ATTRIBUTES_NAME, "\n".join(rows) + "\n")
    _write_text(directory / PARTITION_NAME, _partition(count))


def _partition(count: int) -> str:
    """Return the partition list: train, then the validation set of a tenth, then the test set of a twentieth."""
    test = count // 20
    valid = count // 10
    splits = [0] * (count - valid - test) + [1] * valid + [2] * test
    return "".join(f"{image_name(number)} {split}\n" for number, split in enumerate(splits, start=1))


def _write_picture(path: Path, traits: FaceTraits) -> None:
    partial = path.with_suffix(".part")
    try:
        draw_face(traits).save(partial, "JPEG", quality=JPEG_QUALITY)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _write_text(path: Path, text: str) -> None:
    partial = path.with_suffix(".part")
    try:
        partial.write_text(text, encoding="utf-8", newline="\n")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
