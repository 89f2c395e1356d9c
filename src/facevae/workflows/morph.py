"""`morph`: faces moved along an attribute, z' = z + n * delta."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from facevae.config import DEFAULT_ATTRIBUTE, MORPH_FILE, MORPH_STEPS
from facevae.errors import DataError, UsageError
from facevae.figures.animation import animation_bytes
from facevae.figures.faces import morph_frames, morph_grid
from facevae.figures.picture import image_bytes
from facevae.model.latent_space import Floats, attribute_directions, walk
from facevae.progress import Progress, Report, silent
from facevae.storage.attributes import find_attribute
from facevae.storage.latents import Latents
from facevae.storage.output import StrPath, as_output, check_output, output_name, write_bytes
from facevae.storage.weights import FaceModel, check_direction
from facevae.workflows.common import as_faces, load_faces, load_model, tile_size
from facevae.workflows.picture_format import STRIP, resolve_picture
from facevae.workflows.upscalers import FaceUpscaling, check_upscale

_FRAMES = 25
_MAX_TILES = 5_000
_MAX_STEPS = 1_000


@dataclass(frozen=True)
class MorphResult:
    """What `morph` made: the picture (None for a stream), the steps, and the morphs (N, K, S, S, 3) uint8.

    `delta_length` is the Euclidean length of the attribute's direction.
    """

    path: Path | None
    attribute: str
    steps: tuple[float, ...]
    delta_length: float
    morphs: NDArray[np.uint8]


def parse_steps(text: str) -> tuple[float, ...]:
    """Return the multipliers for a text such as "-3,3": two numbers are a range in whole steps, more are the list itself.

    A range runs from the first number by whole steps towards the second, and always ends on it. One number is itself.

    Raises:
        UsageError: the text is not a list of finite numbers, or means too many steps.
    """
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or not all(math.isfinite(number) for number in numbers):
        raise UsageError(f"Cannot read the steps {text!r}: write a range such as -3,3 or a list such as -3,-1,0,1,3.")
    if len(numbers) == 2:
        low, high = numbers
        # 1.2,2.2 is one step, though the difference of these two floats is a little more than 1.
        count = math.ceil(abs(high - low) - 1e-9)
        if count < _MAX_STEPS:
            sign = 1.0 if high >= low else -1.0
            return (*(low + sign * index for index in range(count)), high)
    if len(numbers) == 2 or len(numbers) > _MAX_STEPS:
        raise UsageError(f"The steps {text[:40]!r} are more than {_MAX_STEPS}: take a smaller range.")
    return numbers


def morph(
    faces: Sequence[StrPath | bytes] | StrPath | bytes,
    attribute: str = DEFAULT_ATTRIBUTE,
    output: StrPath | BinaryIO | None = None,
    *,
    steps: str | Sequence[float] = MORPH_STEPS,
    picture_format: str | None = None,
    latents: StrPath | None = None,
    scale: int | None = None,
    upscale: int | None = None,
    upscaler: StrPath | None = None,
    weights: StrPath | None = None,
    device: str = "auto",
    report: Report = silent,
) -> MorphResult:
    """Draw each face and, beside it, its decoded latent moved along the attribute by each step.

    Args:
        faces: image files, or the bytes of images.
        attribute: an attribute name, without regard to case, and to spaces against underscores.
        output: the picture (by default `morph.png`, or with the suffix of the format), or a binary stream.
        steps: see `parse_steps`; or the multipliers themselves.
        picture_format: "png" for a strip, "gif", "webp", "apng" or "mp4" for an animation; by default what the output's suffix
            says.
        latents: take the direction from this `latents.h5` instead of the weights file.
        scale: how many times to enlarge a face, by default to about 96 pixels.
        upscale: enlarge faces 2, 3 or 4 times with VDSR, in place of `scale`.
        upscaler: what enlarges decoded faces: a file, by default the workspace's `upscaler-reconstructions.safetensors`, or
            the shipped one if it has none. Faces that were not decoded are enlarged as photographs.
        weights: the weights file; by default the workspace's, or the shipped ones if it has none.
        device: auto, cpu, cuda or mps.
        report: is called with progress and notices.

    Raises:
        DataError: a file is missing or damaged, no direction is known for the attribute, or an MP4 is asked for without ffmpeg.
        MismatchError: the latents were made by other weights.
        UsageError: there is no such attribute, or a value is out of range.
    """
    sources = as_faces(faces)
    if not sources:
        raise UsageError("There is no face to morph: name at least one image file.")
    check_upscale(upscale, upscaler, scale)
    multipliers = parse_steps(steps) if isinstance(steps, str) else tuple(float(step) for step in steps)
    if not multipliers or not all(math.isfinite(step) for step in multipliers):
        raise UsageError(f"Cannot morph by the steps {list(multipliers)}: give at least one finite number.")
    target, picture_format = resolve_picture(
        as_output(output) if output is not None else None, picture_format, MORPH_FILE
    )
    if len(sources) * len(multipliers) > _MAX_TILES:
        raise UsageError(
            f"{len(sources)} faces at {len(multipliers)} steps do not fit into one picture: name fewer, or fewer steps."
        )
    check_output(target, inputs=[face for face in sources if isinstance(face, Path)])
    model = load_model(weights, device, report)
    name, delta = _direction(model, attribute, Path(latents) if latents is not None else None)
    of_decoded = FaceUpscaling.load(upscale, upscaler, "reconstructions", device, report)
    inputs = load_faces(sources, model.image_size)
    mean, _ = model.encode(inputs.images)
    side = tile_size(model.image_size, upscale or scale)
    length = float(np.linalg.norm(delta))
    if picture_format != STRIP:
        places = tuple(np.linspace(min(multipliers), max(multipliers), _FRAMES).tolist())
        morphs = _decode_walk(model, mean, delta, places, report)
        data = animation_bytes(morph_frames(of_decoded.all(morphs), places, name, side), picture_format)
    else:
        of_inputs = FaceUpscaling.load(upscale, None, "photographs", device, report)
        morphs = _decode_walk(model, mean, delta, multipliers, report)
        originals, shown = of_inputs.all(inputs.images), of_decoded.all(morphs)
        picture = morph_grid(originals, shown, multipliers, inputs.names, name, length, side)
        data = image_bytes(picture, output_name(target))
    write_bytes(target, data)
    return MorphResult(target if isinstance(target, Path) else None, name, multipliers, length, morphs)


def _direction(model: FaceModel, attribute: str, latents: Path | None) -> tuple[str, Floats]:
    """Return the attribute's proper name and its direction, from the weights or from latents that they made."""
    if latents is None:
        delta = model.direction(attribute)
        return model.attribute_names[find_attribute(attribute, model.attribute_names, model.name)], delta
    with Latents(latents) as opened:
        opened.check_made_by(model.hash(), model.name)
        index = find_attribute(attribute, opened.attribute_names, str(latents))
        if opened.attributes is None:
            raise DataError(f"{latents} holds no attributes: encode faces that have them.")
        delta = attribute_directions(opened.mean(), opened.attributes[:, index : index + 1]).deltas[0]
        check_direction(delta, opened.attribute_names[index], str(latents))
        return opened.attribute_names[index], delta


def _decode_walk(
    model: FaceModel, mean: Floats, delta: Floats, steps: Sequence[float], report: Report
) -> NDArray[np.uint8]:
    moved = walk(mean, delta, np.asarray(steps, dtype=np.float32))
    rows = []
    for number, latents in enumerate(moved, start=1):
        rows.append(model.decode(latents))
        report(Progress("morph", number, len(moved), "faces"))
    return np.stack(rows)
