"""`interpolate`: the faces between faces, on the straight line between their latents or on the great circle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from facevae.config import INTERPOLATION_FILE
from facevae.errors import UsageError
from facevae.figures.animation import animation_bytes
from facevae.figures.interpolation import interpolation_frames, interpolation_grid
from facevae.figures.picture import image_bytes
from facevae.model.interpolation import Floats, linear
from facevae.model.interpolation import spherical as great_circle
from facevae.progress import Report, silent
from facevae.storage.output import StrPath, as_output, check_output, output_name, write_bytes
from facevae.workflows.common import decode_rows, load_model, tile_size
from facevae.workflows.face_finding import FaceChoice, FaceOptions
from facevae.workflows.face_loading import load_faces, named_images
from facevae.workflows.picture_format import STRIP, resolve_picture
from facevae.workflows.picture_sources import as_sources
from facevae.workflows.upscalers import FaceUpscaling, check_upscale

_STRIP_STEPS = 9
_FRAMES = 25
_MAX_STEPS = 1_000
_MAX_TILES = 5_000


@dataclass(frozen=True)
class InterpolateResult:
    """What `interpolate` made of N faces.

    Attributes:
        path: the picture, None for a stream.
        names: of the faces, N.
        places: the K places t, from 0 to 1.
        latents: float32 (N - 1, K, latent_dim), from each face to the next.
        faces: what they decode to, uint8 (N - 1, K, S, S, 3).
        distances: the length between the latents of each face and the next, N - 1.
    """

    path: Path | None
    names: tuple[str, ...]
    places: tuple[float, ...]
    latents: Floats
    faces: NDArray[np.uint8]
    distances: tuple[float, ...]


def interpolate(
    faces: Sequence[StrPath | bytes],
    output: StrPath | BinaryIO | None = None,
    *,
    steps: int | None = None,
    spherical: bool = False,
    picture_format: str | None = None,
    align: bool = True,
    which: FaceChoice = None,
    scale: int | None = None,
    upscale: int | None = None,
    upscaler: StrPath | None = None,
    weights: StrPath | None = None,
    device: str = "auto",
    report: Report = silent,
) -> InterpolateResult:
    """Draw the way from each face to the next: latents between the means of their posteriors, decoded.

    Args:
        faces: at least two image files, or the bytes of images.
        output: the picture (by default `interpolation.png`, or with the suffix of the format), or a binary stream.
        steps: how many latents from one face to the next, both ends included; by default 9, in an animation 25.
        spherical: go along the great circle instead of the straight line, see `model.interpolation.spherical`.
        picture_format: "png" for a strip, "gif", "webp", "apng" or "mp4" for an animation there and back; by default what the
            output's suffix says.
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
        DataError: a file is missing or damaged, or an MP4 is asked for without ffmpeg.
        UsageError: there are fewer than two faces, or a value is out of range.
    """
    sources = as_sources(faces)
    options = FaceOptions.of(align, which)
    if len(sources) < 2 and not (sources and options.all_faces):
        raise UsageError("An interpolation goes from one face to another: name at least two image files.")
    check_upscale(upscale, upscaler, scale)
    target, picture_format = resolve_picture(
        as_output(output) if output is not None else None, picture_format, INTERPOLATION_FILE
    )
    places = _places(steps, picture_format)
    check_output(target, inputs=[face for face in sources if isinstance(face, Path)])
    model = load_model(weights, device, report)
    of_inputs = FaceUpscaling.load(upscale, None, "photographs", device, report)
    of_decoded = FaceUpscaling.load(upscale, upscaler, "reconstructions", device, report)
    inputs = named_images(load_faces(sources, model.image_size, options, report))
    _check_extent(inputs.names, len(places))
    mean, _ = model.encode(inputs.images)
    way = great_circle if spherical else linear
    latents = np.stack([way(first, second, np.asarray(places, dtype=np.float32)) for first, second in pairwise(mean)])
    decoded = decode_rows(model, latents, "interpolate", "pairs", report)
    originals, shown = of_inputs.all(inputs.images), of_decoded.all(decoded)
    side = tile_size(model.image_size, upscale or scale)
    if picture_format == STRIP:
        told = "decoded slerp(a, b, t)" if spherical else "decoded (1 − t) a + t b"
        picture = interpolation_grid(originals, shown, places, inputs.names, told, side)
        data = image_bytes(picture, output_name(target))
    else:
        frames = interpolation_frames(originals, shown, places, inputs.names, side)
        data = animation_bytes(frames, picture_format)
    write_bytes(target, data)
    distances = np.linalg.norm(np.diff(mean.astype(np.float64), axis=0), axis=1)
    path = target if isinstance(target, Path) else None
    return InterpolateResult(path, tuple(inputs.names), places, latents, decoded, tuple(distances.tolist()))


def _places(steps: int | None, picture_format: str) -> tuple[float, ...]:
    if steps is None:
        steps = _STRIP_STEPS if picture_format == STRIP else _FRAMES
    if not 2 <= steps <= _MAX_STEPS:
        raise UsageError(
            f"{steps} steps from face to face are out of range: use a whole number from 2 to {_MAX_STEPS:,}."
        )
    return tuple((np.arange(steps) / (steps - 1)).tolist())


def _check_extent(names: Sequence[str], steps: int) -> None:
    """Raise a `UsageError` for fewer faces than two, or more than a picture holds."""
    if len(names) < 2:
        raise UsageError(
            f"An interpolation goes from one face to another, and {names[0]} has only one: name another image."
        )
    if steps * (len(names) - 1) > _MAX_TILES:
        raise UsageError(
            f"{len(names)} faces with {steps} steps between them do not fit into one picture: name fewer, or fewer steps."
        )
