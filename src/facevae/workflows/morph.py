"""`morph`: faces moved along attributes, z' = z + n * delta."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from facevae.config import DEFAULT_ATTRIBUTE, MORPH_FILE, MORPH_STEPS, PASTE_STEPS
from facevae.errors import UsageError
from facevae.model.latent_space import Floats, walk
from facevae.progress import Notice, Report, silent
from facevae.storage.directions import check_kind
from facevae.storage.output import StrPath, as_output, check_output, output_name, write_bytes
from facevae.storage.weights import FaceModel
from facevae.workflows.common import decode_rows, load_model, tile_size
from facevae.workflows.face_finding import FaceChoice, FaceOptions
from facevae.workflows.morph_faces import WantedFaces, find_faces
from facevae.workflows.morph_photograph import PhotographEdit, StepTarget, check_paste, pasted_file, step_targets
from facevae.workflows.morph_picture import MorphPicture, Walked
from facevae.workflows.moving import (
    Attributes,
    Movement,
    WeightedAttribute,
    find_movement,
    open_directions,
    report_stand_in,
    weighted_attributes,
)
from facevae.workflows.picture_format import STRIP, resolve_picture
from facevae.workflows.side_effects import SideEffect, side_effects, side_effects_in_words
from facevae.workflows.skipped import Skipped
from facevae.workflows.upscalers import check_upscale

_FRAMES = 25
_MAX_TILES = 5_000
_MAX_STEPS = 1_000


@dataclass(frozen=True)
class MorphResult:
    """What `morph` made.

    Attributes:
        paths: the pictures: one, several with `paste` and several steps, none for a stream.
        names: of the faces.
        movement: what was added for n = 1.
        steps: every n; of an animation, those it goes between.
        morphs: uint8 (N, K, S, S, 3), a row for each face; of a grid (K2, K, S, S, 3), a row for each of `steps2`.
        side_effects: what n = 1 changes with and without `keep`, see `SideEffect`; None without `keep`, for faces that the judge
            does not take, and for attributes that it does not know.
        movement2: of a grid, what was added for a step down; else None.
        steps2: of a grid, every step down.
        side_effects2: as `side_effects`, of `movement2`.
        skipped: pictures that were left out.
    """

    paths: tuple[Path, ...]
    names: tuple[str, ...]
    movement: Movement
    steps: tuple[float, ...]
    morphs: NDArray[np.uint8]
    side_effects: tuple[SideEffect, ...] | None = None
    movement2: Movement | None = None
    steps2: tuple[float, ...] = ()
    side_effects2: tuple[SideEffect, ...] | None = None
    skipped: tuple[Skipped, ...] = ()

    @property
    def path(self) -> Path | None:
        """The picture where there is one, None for a stream and for several."""
        return self.paths[0] if len(self.paths) == 1 else None

    @property
    def attribute(self) -> str:
        """The attribute moved along, or the sum of several in words."""
        return self.movement.label

    @property
    def delta_length(self) -> float:
        """The Euclidean length of what is added for n = 1."""
        return self.movement.length

    def to_dict(self) -> dict[str, Any]:
        """Return what was done as plain dictionaries, lists and numbers, for JSON."""
        found = {"faces": list(self.names), **_plain(self.movement, self.steps, self.side_effects)}
        if self.movement2 is not None:
            found["second"] = _plain(self.movement2, self.steps2, self.side_effects2)
        found["skipped"] = [{"name": name, "reason": reason} for name, reason in self.skipped]
        return found


def _plain(movement: Movement, steps: Sequence[float], side_effects: Sequence[SideEffect] | None) -> dict[str, Any]:
    return {
        "attribute": movement.label,
        "attributes": [attribute._asdict() for attribute in movement.attributes],
        "direction": movement.direction,
        "kept": list(movement.kept),
        "steps": list(steps),
        "delta_length": movement.length,
        "side_effects": [asdict(effect) for effect in side_effects] if side_effects is not None else None,
    }


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
    faces: Sequence[StrPath | bytes] | StrPath | bytes | None = None,
    attribute: Attributes = DEFAULT_ATTRIBUTE,
    output: StrPath | BinaryIO | None = None,
    *,
    name: Sequence[str] | str | None = None,
    among: StrPath | None = None,
    sample: Sequence[int] | int | None = None,
    temperature: float | None = None,
    steps: str | Sequence[float] | None = None,
    attribute2: Attributes | None = None,
    steps2: str | Sequence[float] | None = None,
    keep: str | Sequence[str] = (),
    direction: str = "mean",
    paste: bool = False,
    picture_format: str | None = None,
    latents: StrPath | None = None,
    align: bool = True,
    which: FaceChoice = None,
    scale: int | None = None,
    upscale: int | None = None,
    upscaler: StrPath | None = None,
    weights: StrPath | None = None,
    device: str = "auto",
    strict: bool = False,
    report: Report = silent,
) -> MorphResult:
    """Draw each face and, beside it, its decoded latent moved along attributes by each step.

    The faces are those of pictures, then those of latents, then those drawn at random.

    Args:
        faces: image files, or the bytes of images. Of several, those that cannot be read are left out.
        attribute: an attribute, or several with their weights, see `Attributes`; names without regard to case, and to spaces
            against underscores.
        output: the picture, or a binary stream. By default `morph.png`, and with `paste` `anna-morph.jpg` for `anna.jpg`; or with
            the suffix of the format.
        name: faces of the latents `among`, by their names there: they are moved from their posterior means as these stand in
            the file. Their originals are shown from the workspace's `faces.h5` where that belongs to the latents, else as
            decoded.
        among: the latents that `name` is about, by default the workspace's `latents.h5`.
        sample: seeds, one for each face that is drawn at random, as `sample(1, seed=...)` draws it.
        temperature: of those, by default 1: multiplies the standard deviation of z.
        steps: see `parse_steps`; or the multipliers themselves. By default -3,3, and with `paste` 1.
        attribute2: what to move one face along in a second direction: a grid, with a row for each of `steps2`.
        steps2: the multipliers of the second direction, by default as `steps`.
        keep: attributes to hold still: "Male,Young" or a list of names.
        direction: "mean", the difference of the class means; "logistic", along the normal of a linear classifier; or
            "regression", what an attribute brings while all the others stay. See `facevae.model.directions`.
        paste: instead of decoded faces, write the photograph with the edit in it: what it changes in the decoded faces is
            enlarged and added where they lie, see `facevae.model.pasting`. Several steps are several files, `anna-morph_n-1.jpg`.
        picture_format: "png" for a strip, "gif", "webp", "apng" or "mp4" for an animation; by default what the output's suffix
            says.
        latents: take the directions from this `latents.h5` instead of the weights file.
        align: find the faces of pictures that are not CelebA's frames and bring them there; False takes every picture as a frame.
        which: of a picture with several faces, 1 for the largest, 2 for the next, ..., or "all"; by default the largest.
        scale: how many times to enlarge a face, by default to about 96 pixels.
        upscale: enlarge faces 2, 3 or 4 times with VDSR, in place of `scale`.
        upscaler: what enlarges decoded faces: a file, by default the workspace's `upscaler-reconstructions.safetensors`, or
            the shipped one if it has none. Faces that were not decoded are enlarged as photographs.
        weights: the weights file; by default the workspace's, or the shipped ones if it has none.
        device: auto, cpu, cuda or mps.
        strict: whether one of several pictures that cannot be read is an error, instead of being left out.
        report: is called with progress and notices.

    Raises:
        DataError: a file is missing or damaged, no direction is known for the attribute, or an MP4 is asked for without ffmpeg.
        MismatchError: the latents were made by other weights.
        UsageError: there is no such attribute, no such face, or no face at all, or a value is out of range.
    """
    wanted = WantedFaces.of(faces, name, among, sample, temperature)
    if paste:
        drawn = (("--scale", scale), ("--upscale", upscale), ("--upscaler", upscaler))
        check_paste(wanted, grid=attribute2 is not None, direct=drawn)
    options = FaceOptions.of(align, which, wanted.pictures or None)
    check_upscale(upscale, upscaler, scale)
    check_kind(direction)
    default = pasted_file(wanted.pictures[0]) if paste else MORPH_FILE
    target, picture_format = resolve_picture(as_output(output) if output is not None else None, picture_format, default)
    pasted_still = paste and picture_format == STRIP
    axes = [_Axis.of(attribute, (PASTE_STEPS if pasted_still else MORPH_STEPS) if steps is None else steps)]
    if attribute2 is not None:
        axes.append(_Axis.of(attribute2, MORPH_STEPS if steps2 is None else steps2))
    elif steps2 is not None:
        raise UsageError("--steps2 goes with a second attribute: name one with --attr2.")
    _check_extent(wanted.count, axes, picture_format)
    check_output(target, inputs=wanted.inputs)
    targets = step_targets(target, axes[0].steps, wanted.inputs) if pasted_still else [StepTarget(0.0, target)]
    model = load_model(weights, device, report)
    with open_directions(model, Path(latents) if latents is not None else None) as directions:
        report_stand_in(directions, direction, report)
        movements = [find_movement(directions, axis.attributes, keep, direction, report) for axis in axes]
    side = tile_size(model.image_size, upscale or scale)
    picture = MorphPicture.load(picture_format, side, upscale, upscaler, device, report)
    still = picture_format == STRIP and not paste
    found = find_faces(wanted, model, options, strict=strict, with_originals=still, report=report)
    _check_extent(len(found.names), axes, picture_format)
    effects = [_side_effects(model, found.latents, movement, report) for movement in movements]
    walked = [Walked(movement, axis.steps) for movement, axis in zip(movements, axes, strict=True)]
    if picture_format != STRIP:
        ends = min(axes[0].steps), max(axes[0].steps)
        walked = [Walked(movements[0], tuple(np.linspace(*ends, _FRAMES).tolist()))]
    morphs = _decode_walks(model, found.latents, walked, report)
    if paste:
        edit = PhotographEdit.of(found.loaded, found.latents, model)
        edit.write(walked[0], targets, picture_format, report)
    else:
        write_bytes(target, picture.drawn(found, morphs, walked, output_name(target)))
    paths = tuple(each.output for each in targets if isinstance(each.output, Path))
    names, skipped = tuple(found.names), tuple(found.skipped)
    result = MorphResult(paths, names, movements[0], axes[0].steps, morphs, side_effects=effects[0], skipped=skipped)
    if len(axes) == 1:
        return result
    return replace(result, movement2=movements[1], steps2=axes[1].steps, side_effects2=effects[1])


class _Axis(NamedTuple):
    """What was asked for in one direction."""

    attributes: list[WeightedAttribute]
    steps: tuple[float, ...]

    @classmethod
    def of(cls, attributes: Attributes, steps: str | Sequence[float]) -> _Axis:
        multipliers = parse_steps(steps) if isinstance(steps, str) else tuple(float(step) for step in steps)
        if not multipliers or not all(math.isfinite(step) for step in multipliers):
            raise UsageError(f"Cannot morph by the steps {list(multipliers)}: give at least one finite number.")
        return cls(weighted_attributes(attributes), multipliers)


def _check_extent(faces: int, axes: Sequence[_Axis], picture_format: str) -> None:
    """Raise a `UsageError` for more than a picture holds."""
    counts = [len(axis.steps) for axis in axes]
    if len(axes) == 2:
        if faces > 1:
            raise UsageError(
                f"A grid of two directions is of one face, not of {faces}: name one, or leave --attr2 out."
            )
        if picture_format != STRIP:
            raise UsageError(f"A grid of two directions is a still picture: leave --attr2 out for a {picture_format}.")
        if math.prod(counts) > _MAX_TILES:
            raise UsageError(f"{counts[0]} by {counts[1]} steps do not fit into one picture: take fewer.")
    elif faces * counts[0] > _MAX_TILES:
        raise UsageError(f"{faces} faces at {counts[0]} steps do not fit into one picture: name fewer, or fewer steps.")


def _side_effects(
    model: FaceModel, latents: Floats, movement: Movement, report: Report
) -> tuple[SideEffect, ...] | None:
    """Have what `keep` is worth measured, and told."""
    effects = side_effects(model, latents, movement) if movement.kept else None
    if effects is not None:
        report(Notice(side_effects_in_words(effects, movement)))
    return effects


def _decode_walks(model: FaceModel, mean: Floats, walked: Sequence[Walked], report: Report) -> NDArray[np.uint8]:
    """Return the faces at `mean` (N, D) moved by each step of the first direction; a second makes rows of one face."""
    if len(walked) == 2:
        mean = walk(mean, walked[1].movement.delta, np.asarray(walked[1].steps, dtype=np.float32))[0]
    moved = walk(mean, walked[0].movement.delta, np.asarray(walked[0].steps, dtype=np.float32))
    return decode_rows(model, moved, "morph", "faces" if len(walked) == 1 else "rows", report)
