"""`average`: the face in the middle of many, of given images or of all that have an attribute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facevae.config import AVERAGE_FILE, ENCODE_BATCH, LATENTS_FILE
from facevae.errors import DataError, UsageError
from facevae.figures.averages import class_grid
from facevae.figures.canvas import enlarge
from facevae.figures.picture import check_image_name, image_bytes
from facevae.model.means import Floats, GroupMeans
from facevae.progress import Progress, Report, silent
from facevae.storage.attributes import find_attribute
from facevae.storage.latents import Latents
from facevae.storage.output import StrPath, as_output, check_output, output_name, write_bytes
from facevae.storage.weights import FaceModel
from facevae.workflows.common import load_model, tile_size
from facevae.workflows.face_finding import FaceChoice, FaceOptions
from facevae.workflows.face_loading import FaceLoader, named_images
from facevae.workflows.picture_folders import with_folders_listed
from facevae.workflows.skipped import Skipped, all_skipped, report_skipped
from facevae.workflows.upscalers import FaceUpscaling, check_upscale

_READ_LATENTS = 8192
_MAX_ATTRIBUTES = 100


@dataclass(frozen=True)
class AverageResult:
    """What `average` made.

    Attributes:
        path: the picture, None for a stream.
        attributes: the A attributes asked for; empty where the mean is that of all.
        counts: over how many faces each mean is: of an attribute those without it, then those with it.
        latents: the means, float32 (1, latent_dim) or, by attribute, (2 A, latent_dim) in the order of `counts`.
        faces: what they decode to, uint8 of as many (S, S, 3).
        skipped: images that were left out.
    """

    path: Path | None
    attributes: tuple[str, ...]
    counts: tuple[int, ...]
    latents: Floats
    faces: NDArray[np.uint8]
    skipped: tuple[Skipped, ...]


def average(
    images: Sequence[StrPath] | StrPath | None = None,
    output: StrPath | BinaryIO = AVERAGE_FILE,
    *,
    attribute: Sequence[str] | str | None = None,
    latents: StrPath = LATENTS_FILE,
    align: bool = True,
    which: FaceChoice = None,
    scale: int | None = None,
    upscale: int | None = None,
    upscaler: StrPath | None = None,
    weights: StrPath | None = None,
    device: str = "auto",
    strict: bool = False,
    report: Report = silent,
) -> AverageResult:
    """Decode the mean of the posterior means of many faces: of images, or of a latents file, as a whole or by attribute.

    Without attributes the picture is the face alone, which every command takes as an input. With them it is a grid: a row for
    each, the mean of the faces without it beside that of the faces with it.

    Args:
        images: image files, and folders with all images in them and below; None for all faces of `latents`.
        output: the picture, or a binary stream for a PNG.
        attribute: one or more attributes, to take the means of the faces without and with each; only of `latents`.
        latents: the latents file, read only when `images` is None.
        align: find the faces of pictures that are not CelebA's frames and bring them there; False takes every picture as a frame.
        which: of a picture with several faces, 1 for the largest, 2 for the next, ..., or "all"; by default the largest.
        scale: how many times to enlarge a face, by default to about 96 pixels.
        upscale: enlarge faces 2, 3 or 4 times with VDSR, in place of `scale`.
        upscaler: what enlarges decoded faces: a file, by default the workspace's `upscaler-reconstructions.safetensors`, or
            the shipped one if it has none.
        weights: the weights file; by default the workspace's, or the shipped ones if it has none.
        device: auto, cpu, cuda or mps.
        strict: an unreadable image is an error, instead of being left out.
        report: is called with progress and notices.

    Raises:
        DataError: a file is missing or damaged, no image could be read, or no face has or lacks an attribute.
        MismatchError: the latents were made by other weights.
        UsageError: there is no such attribute, or attributes of images are asked for.
    """
    output, latents = as_output(output), Path(latents)
    paths = [Path(image) for image in ([images] if isinstance(images, str | Path) else images or ())]
    wanted = [attribute] if isinstance(attribute, str) else list(attribute or ())
    if images is not None and not paths:
        raise UsageError("There is no face to average: name image files or folders, or send paths to standard input.")
    if paths and wanted:
        raise UsageError(
            "Single images have no attributes: leave --attr out, or the images, to average faces of latents.h5."
        )
    if len(wanted) > _MAX_ATTRIBUTES:
        raise UsageError(f"{len(wanted)} attributes do not fit into one picture: name up to {_MAX_ATTRIBUTES}.")
    options = FaceOptions.of(align, which, paths or None)
    paths = with_folders_listed(paths)
    check_upscale(upscale, upscaler, scale)
    check_image_name(output_name(output))
    check_output(output, inputs=paths or [latents])
    model = load_model(weights, device, report)
    upscaling = FaceUpscaling.load(upscale, upscaler, "reconstructions", device, report)
    side = tile_size(model.image_size, upscale or scale)
    skipped: list[Skipped] = []
    names: tuple[str, ...] = ()
    if paths:
        loader = FaceLoader(model.image_size, options)
        groups = _of_images(paths, loader, model, skipped, strict, report)
    else:
        names, groups = _of_latents(latents, wanted, model, report)
    counts = tuple(groups.counts.tolist())
    faces = model.decode(groups.means)
    write_bytes(output, image_bytes(_picture(upscaling.all(faces), names, counts, side), output_name(output)))
    report_skipped(skipped, report)
    path = output if isinstance(output, Path) else None
    return AverageResult(path, names, counts, groups.means, faces, tuple(skipped))


def _of_images(
    paths: Sequence[Path], loader: FaceLoader, model: FaceModel, skipped: list[Skipped], strict: bool, report: Report
) -> GroupMeans:
    groups = GroupMeans(1, model.latent_dim)
    for batch in loader.batches(paths, ENCODE_BATCH, skipped, strict=strict):
        mean, _ = model.encode(named_images(batch).images)
        groups.add(mean, np.ones((len(mean), 1), dtype=np.bool_))
        report(Progress("average", loader.read, len(paths)))
    loader.finding.tell(report)
    if not groups.counts[0]:
        raise DataError(all_skipped(skipped))
    return groups


def _of_latents(
    path: Path, wanted: Sequence[str], model: FaceModel, report: Report
) -> tuple[tuple[str, ...], GroupMeans]:
    """Return the proper names of the attributes, and the means of the faces without and with each, or of all."""
    with Latents(path) as latents:
        latents.check_made_by(model.hash(), model.name)
        indices = [find_attribute(each, latents.attribute_names, str(path)) for each in wanted]
        names = tuple(latents.attribute_names[index] for index in indices)
        groups = GroupMeans(2 * len(indices) or 1, latents.latent_dim)
        for start in range(0, latents.count, _READ_LATENTS):
            mean = latents.mean(start, start + _READ_LATENTS)
            groups.add(mean, _members(latents, indices, start, start + len(mean)))
            report(Progress("average", start + len(mean), latents.count, "latents"))
    _check_groups(path, names, groups)
    return names, groups


def _members(latents: Latents, indices: Sequence[int], start: int, stop: int) -> NDArray[np.bool_]:
    """Return which rows are without, and which with each of the attributes, in turns: (B, 2 A); without any, all (B, 1)."""
    attributes = latents.columns(start, stop).attributes if indices else None
    if attributes is None:
        return np.ones((stop - start, 1), dtype=np.bool_)
    has = attributes[:, list(indices)] > 0
    return np.stack([~has, has], axis=2).reshape(stop - start, -1)


def _check_groups(path: Path, names: Sequence[str], groups: GroupMeans) -> None:
    if not names and not groups.counts[0]:
        raise DataError(f"{path} holds no faces: encode some.")
    for number, name in enumerate(names):
        without, having = groups.counts[2 * number : 2 * number + 2]
        if not without or not having:
            raise DataError(
                f"{path} has no faces {'with' if without else 'without'} {name}: choose another attribute, or encode more faces."
            )


def _picture(faces: NDArray[np.uint8], names: Sequence[str], counts: Sequence[int], side: int) -> Image.Image:
    if not names:
        return enlarge(faces[0], side)
    pairs = faces.reshape(len(names), 2, *faces.shape[1:])
    return class_grid(pairs, names, list(zip(counts[::2], counts[1::2], strict=True)), side)
