"""`reconstruct`: faces over what the VAE makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from facevae.config import FACES_FILE, RECONSTRUCT_COUNT, RECONSTRUCTIONS_FILE
from facevae.errors import UsageError
from facevae.figures.faces import reconstruction_grid
from facevae.figures.picture import check_image_name, image_bytes
from facevae.progress import Report, silent
from facevae.storage.faces import Faces
from facevae.storage.output import StrPath, as_output, check_output, output_name, write_bytes
from facevae.storage.weights import FaceModel
from facevae.workflows.common import NamedImages, check_size, load_model, tile_size
from facevae.workflows.face_finding import FaceChoice, FaceOptions
from facevae.workflows.face_loading import load_faces, named_images
from facevae.workflows.picture_folders import with_folders_listed
from facevae.workflows.upscalers import FaceUpscaling, check_upscale

_MAX_IN_PICTURE = 200


@dataclass(frozen=True)
class ReconstructResult:
    """What `reconstruct` made: the picture (None for a stream), the names, and each face's mean squared error."""

    path: Path | None
    names: tuple[str, ...]
    errors: tuple[float, ...]
    inputs: NDArray[np.uint8]
    reconstructions: NDArray[np.uint8]


def reconstruct(
    images: Sequence[StrPath] | StrPath | None = None,
    output: StrPath | BinaryIO = RECONSTRUCTIONS_FILE,
    *,
    count: int = RECONSTRUCT_COUNT,
    faces: StrPath = FACES_FILE,
    align: bool = True,
    which: FaceChoice = None,
    scale: int | None = None,
    upscale: int | None = None,
    upscaler: StrPath | None = None,
    weights: StrPath | None = None,
    device: str = "auto",
    report: Report = silent,
) -> ReconstructResult:
    """Draw inputs in the top row and, below, what the decoder makes of their posterior means, with the error under each.

    Args:
        images: image files, and folders with all images in them and below; None to take the first `count` faces of the valid
            split of `faces` (of all, if it is empty).
        output: the picture, or a binary stream for a PNG.
        count: how many faces to take from `faces`.
        faces: the prepared faces, read only when `images` is None.
        align: find the faces of pictures that are not CelebA's frames and bring them there; False takes every picture as a frame.
        which: of a picture with several faces, 1 for the largest, 2 for the next, ..., or "all"; by default the largest.
        scale: how many times to enlarge a face, by default to about 96 pixels.
        upscale: enlarge faces 2, 3 or 4 times with VDSR, in place of `scale`.
        upscaler: what enlarges decoded faces: a file, by default the workspace's `upscaler-reconstructions.safetensors`, or
            the shipped one if it has none. Faces that were not decoded are enlarged as photographs.
        weights: the weights file; by default the workspace's, or the shipped ones if it has none.
        device: auto, cpu, cuda or mps.
        report: is called with progress and notices.

    Raises:
        DataError: a file is missing or damaged.
        MismatchError: the faces are not of the size the weights take.
        UsageError: a value is out of range.
    """
    output = as_output(output)
    if isinstance(images, str | Path):
        images = [images]
    paths = [Path(image) for image in images] if images is not None else None
    if paths is not None and not paths:
        raise UsageError(
            "There is no face to reconstruct: name image files or folders, or send paths to standard input."
        )
    options = FaceOptions.of(align, which, paths)
    paths = with_folders_listed(paths) if paths is not None else None
    _check_count(count if paths is None else len(paths))
    check_upscale(upscale, upscaler, scale)
    check_image_name(output_name(output))
    check_output(output, inputs=paths or [])
    model = load_model(weights, device, report)
    of_inputs = FaceUpscaling.load(upscale, None, "photographs", device, report)
    of_outputs = FaceUpscaling.load(upscale, upscaler, "reconstructions", device, report)
    if paths is None:
        inputs = _prepared(Path(faces), model, count)
    else:
        inputs = named_images(load_faces(paths, model.image_size, options, report))
        _check_count(len(inputs.names))
    mean, _ = model.encode(inputs.images)
    reconstructions = model.decode(mean)
    difference = inputs.images.astype(np.float64) - reconstructions
    errors = (np.square(difference / 255.0)).mean(axis=(1, 2, 3)).tolist()
    picture = reconstruction_grid(
        of_inputs.all(inputs.images),
        of_outputs.all(reconstructions),
        errors,
        inputs.names,
        tile_size(model.image_size, upscale or scale),
    )
    write_bytes(output, image_bytes(picture, output_name(output)))
    path = output if isinstance(output, Path) else None
    return ReconstructResult(path, tuple(inputs.names), tuple(errors), inputs.images, reconstructions)


def _check_count(wanted: int) -> None:
    if not 1 <= wanted <= _MAX_IN_PICTURE:
        raise UsageError(f"{wanted} faces do not fit into one picture: ask for 1 to {_MAX_IN_PICTURE}.")


def _prepared(path: Path, model: FaceModel, count: int) -> NamedImages:
    with Faces(path) as faces:
        check_size(faces, model)
        rows = faces.rows_of("valid") if len(faces.rows_of("valid")) else faces.rows_of("all")
        chosen = rows[:count].tolist()
        images = np.concatenate([faces.read(row, row + 1) for row in chosen])
        return NamedImages(images, [Path(faces.names[row]).stem for row in chosen])
