"""`sample`: new faces, decoded from latents drawn from the fitted prior or from N(0, I)."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from facevae.config import SAMPLE_COUNT, SAMPLES_DIRECTORY, SAMPLES_FILE
from facevae.errors import UsageError
from facevae.figures.canvas import enlarge
from facevae.figures.faces import sample_grid
from facevae.figures.picture import check_image_name, image_bytes
from facevae.model.prior import check_prior_name
from facevae.progress import Report, silent
from facevae.storage.output import StrPath, as_output, check_output, make_folder, output_name, write_bytes
from facevae.storage.weights import FaceModel
from facevae.workflows.common import load_model, tile_size
from facevae.workflows.draws import check_seed, check_temperature
from facevae.workflows.upscalers import FaceUpscaling, check_upscale

_MAX_COUNT = 100_000
_MAX_IN_GRID = 2_000


@dataclass(frozen=True)
class SampleResult:
    """What `sample` made: the picture files (none for a stream), the faces (N, S, S, 3) uint8, and the seed that gives them.

    `prior` is what the latents were drawn from, "fitted" or "normal".
    """

    paths: tuple[Path, ...]
    faces: NDArray[np.uint8]
    seed: int
    prior: str


def sample(
    count: int = SAMPLE_COUNT,
    output: StrPath | BinaryIO | None = None,
    *,
    seed: int | None = None,
    temperature: float = 1.0,
    prior: str = "auto",
    separate: bool = False,
    scale: int | None = None,
    upscale: int | None = None,
    upscaler: StrPath | None = None,
    weights: StrPath | None = None,
    device: str = "auto",
    report: Report = silent,
) -> SampleResult:
    """Draw new faces and write them as one grid or as single files.

    Args:
        count: how many.
        output: the picture, by default `samples.png`; with `separate` a folder, by default `samples/`.
        seed: for repeatable faces; without, one is drawn, which the result names.
        temperature: multiplies the standard deviation of z; below 1 the faces are more average, above 1 stranger.
        prior: draw from the "fitted" prior of the weights, from N(0, I) with "normal", or with "auto" from the fitted one
            where the weights have one.
        separate: write `sample-01.png`, ... instead of a grid.
        scale: how many times to enlarge a face (by default to about 96 pixels; single files are not enlarged).
        upscale: enlarge faces 2, 3 or 4 times with VDSR, in place of `scale`.
        upscaler: what enlarges decoded faces: a file, by default the workspace's `upscaler-reconstructions.safetensors`, or
            the shipped one if it has none.
        weights: the weights file; by default the workspace's, or the shipped ones if it has none.
        device: auto, cpu, cuda or mps.
        report: is called with progress and notices.

    Raises:
        DataError: the weights are missing, damaged or without the fitted prior asked for, or the output cannot be written.
        UsageError: a value is out of range.
    """
    if not 1 <= count <= (_MAX_COUNT if separate else _MAX_IN_GRID):
        most = f"up to {_MAX_COUNT:,}" if separate else f"up to {_MAX_IN_GRID:,} in one picture (more with --separate)"
        raise UsageError(f"{count} faces cannot be drawn: ask for at least 1, {most}.")
    check_temperature(temperature)
    check_prior_name(prior)
    check_upscale(upscale, upscaler, scale)
    if seed is None:
        seed = secrets.randbits(32)
    check_seed(seed)
    output = as_output(output) if output is not None else SAMPLES_DIRECTORY if separate else SAMPLES_FILE
    if separate:
        if not isinstance(output, Path):
            raise UsageError(
                "Single files cannot go to standard output: name a folder with -o, or leave --separate out."
            )
        model = load_model(weights, device, report)
        upscaling = FaceUpscaling.load(upscale, upscaler, "reconstructions", device, report)
        side = tile_size(model.image_size, upscale or (1 if scale is None else scale))
        faces = model.sample(count, seed=seed, temperature=temperature, prior=prior)
        paths = _write_separate(output, faces, side, upscaling)
        return SampleResult(paths, faces, seed, _prior_used(model, prior))
    check_image_name(output_name(output))
    check_output(output)
    model = load_model(weights, device, report)
    upscaling = FaceUpscaling.load(upscale, upscaler, "reconstructions", device, report)
    side = tile_size(model.image_size, upscale or scale)
    faces = model.sample(count, seed=seed, temperature=temperature, prior=prior)
    write_bytes(output, image_bytes(sample_grid(upscaling.all(faces), side), output_name(output)))
    return SampleResult((output,) if isinstance(output, Path) else (), faces, seed, _prior_used(model, prior))


def _prior_used(model: FaceModel, prior: str) -> str:
    return "normal" if model.resolve_prior(prior) is None else "fitted"


def _write_separate(folder: Path, faces: NDArray[np.uint8], side: int, upscaling: FaceUpscaling) -> tuple[Path, ...]:
    make_folder(folder)
    digits = max(2, len(str(len(faces))))
    paths = []
    for number, face in enumerate(upscaling.each(faces), start=1):
        path = folder / f"sample-{number:0{digits}}.png"
        check_output(path)
        write_bytes(path, image_bytes(enlarge(face, side)))
        paths.append(path)
    return tuple(paths)
