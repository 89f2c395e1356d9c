"""`upscale`: pictures of any size enlarged by VDSR."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facevae.config import UPSCALE_FACTOR
from facevae.errors import DataError, UsageError
from facevae.figures.picture import check_image_size, save_image
from facevae.model.device import resolve_device
from facevae.model.precision import resolve_precision
from facevae.model.upscaling import count_tiles
from facevae.progress import Progress, Report, silent
from facevae.storage.images import open_image
from facevae.storage.output import Output, StrPath, as_output, check_output, make_folder, output_name, output_path
from facevae.storage.upscaler_file import check_factor
from facevae.workflows.picture_sources import PictureSource, as_sources, short_name, source_name
from facevae.workflows.picture_targets import single_target
from facevae.workflows.skipped import Skipped, report_skipped
from facevae.workflows.upscalers import load_upscaler

_GROUP_PIXELS = 4_000_000
"""Of results: pictures that together have no more are enlarged together, so that small ones share the threads."""


@dataclass(frozen=True)
class UpscaledPicture:
    """One picture that `upscale` made: of which input, its file (None for a stream), and both sizes (width, height)."""

    name: str
    path: Path | None
    size: tuple[int, int]
    enlarged: tuple[int, int]


@dataclass(frozen=True)
class UpscaleResult:
    """What `upscale` made: the pictures, by which factor and which upscaler, and the images left out."""

    pictures: tuple[UpscaledPicture, ...]
    factor: int
    upscaler: str
    skipped: tuple[Skipped, ...]

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files written."""
        return tuple(picture.path for picture in self.pictures if picture.path is not None)


class _Picture(NamedTuple):
    """An image that was read, (H, W, 3) uint8, of which source, and where its enlargement goes."""

    source: PictureSource
    target: Output
    image: NDArray[np.uint8]


def upscale(
    images: Sequence[StrPath | bytes] | StrPath | bytes,
    output: StrPath | BinaryIO | None = None,
    *,
    factor: int = UPSCALE_FACTOR,
    upscaler: StrPath | None = None,
    precision: str = "auto",
    device: str = "auto",
    strict: bool = False,
    report: Report = silent,
) -> UpscaleResult:
    """Enlarge pictures of any size with VDSR.

    Args:
        images: image files, or the bytes of images.
        output: a folder, made if it does not exist, or for one image a picture (a name with a suffix) or a binary stream for a
            PNG. By default the current folder. In a folder, `face.jpg` becomes `face-x3.png`.
        factor: how many times to enlarge: 2, 3 or 4.
        upscaler: the upscaler's file; by default the workspace's `upscaler.safetensors`, or the shipped one if it has none.
        precision: of the convolutions: fp32, bf16, or auto for bf16 where the device has it.
        device: auto, cpu, cuda or mps.
        strict: whether an unreadable image is an error instead of being left out.
        report: is called with progress and notices.

    Raises:
        DataError: a file is missing or damaged, no image could be enlarged, or the output cannot be written.
        UsageError: a value is out of range, or two pictures would have the same name.
    """
    sources = as_sources(images)
    if not sources:
        raise UsageError("There is no image to enlarge: name at least one image file.")
    check_factor(factor)
    resolve_precision(precision, resolve_device(device))
    folder, targets = _targets(sources, as_output(output) if output is not None else None, factor)
    enlarger = load_upscaler(upscaler, "photographs", device, report)
    skipped: list[Skipped] = []
    made: list[UpscaledPicture] = []
    for group in _groups(list(zip(sources, targets, strict=True)), factor, skipped, strict=strict):
        if folder is not None:
            make_folder(folder)
        taken = [picture.image for picture in group]
        told = _told(count_tiles(taken, factor), len(made) + len(skipped), len(sources), report)
        results = enlarger.upscale(taken, factor, precision=precision, told=told)
        made += [_write(picture, results.pop(0)) for picture in group]
    if not made:
        first = skipped[0].reason
        raise DataError(first if len(skipped) == 1 else f"None of the {len(skipped)} images could be enlarged. {first}")
    report_skipped(skipped, report)
    return UpscaleResult(tuple(made), factor, enlarger.name, tuple(skipped))


def _told(tiles: int, done: int, images: int, report: Report) -> Callable[[int], None]:
    """Return what reports finished tiles: of the only image, or beside how many images are done."""

    def told(tile: int) -> None:
        if images == 1:
            report(Progress("upscale", tile, tiles, "tiles"))
        else:
            report(Progress("upscale", done, images, "images", {"tile": tile, "of": tiles}))

    return told


def _targets(sources: Sequence[PictureSource], output: Output | None, factor: int) -> tuple[Path | None, list[Output]]:
    """Return the folder to make, if there is one, and where the enlargement of each source goes.

    Raises:
        UsageError: two of them would go to one place, or one over an input.
    """
    inputs = [source for source in sources if isinstance(source, Path)]
    single = single_target(len(sources), output) if output is not None else None
    if single is not None:
        check_output(single, inputs=inputs)
        return None, [single]
    folder = output if isinstance(output, Path) else Path()
    targets = [folder / f"{short_name(source)}-x{factor}.png" for source in sources]
    _check_distinct(sources, targets)
    for target in targets if folder.is_dir() else []:
        check_output(target, inputs=inputs)
    return output if isinstance(output, Path) else None, list(targets)


def _check_distinct(sources: Sequence[PictureSource], targets: Sequence[Path]) -> None:
    taken: dict[str, PictureSource] = {}
    for source, target in zip(sources, targets, strict=True):
        place = os.path.normcase(target)
        if place in taken:
            raise UsageError(
                f"{source_name(taken[place])} and {source_name(source)} would both be written to {target}: "
                "enlarge them one by one, each with its own -o."
            )
        taken[place] = source


def _groups(
    jobs: Sequence[tuple[PictureSource, Output]], factor: int, skipped: list[Skipped], *, strict: bool
) -> Iterator[list[_Picture]]:
    """Yield the pictures, read, in groups of so many pixels, and a larger one alone; unreadable ones go to `skipped`."""
    group: list[_Picture] = []
    pixels = 0
    for source, target in jobs:
        try:
            image = np.array(open_image(source, source_name(source), enlarged=factor))
        except DataError as error:
            if strict:
                raise
            skipped.append(Skipped(source_name(source), str(error)))
            continue
        check_image_size(output_name(target), image.shape[1] * factor, image.shape[0] * factor)
        size = image.shape[0] * image.shape[1] * factor**2
        if group and pixels + size > _GROUP_PIXELS:
            yield group
            group, pixels = [], 0
        group.append(_Picture(source, target, image))
        pixels += size
        if pixels >= _GROUP_PIXELS:
            yield group
            group, pixels = [], 0
    if group:
        yield group


def _write(picture: _Picture, enlarged: NDArray[np.uint8]) -> UpscaledPicture:
    with output_path(picture.target) as temporary, temporary.open("wb") as stream:
        save_image(Image.fromarray(enlarged), stream, output_name(picture.target))
    (height, width), (tall, wide) = picture.image.shape[:2], enlarged.shape[:2]
    path = picture.target if isinstance(picture.target, Path) else None
    return UpscaledPicture(source_name(picture.source), path, (width, height), (wide, tall))
