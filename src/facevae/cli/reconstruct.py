"""`facevae reconstruct`."""

from __future__ import annotations

from typing import Annotated

import typer

from facevae.cli.console import Reporter, emit, picture_output, read_paths
from facevae.cli.options import (
    Align,
    DecodedUpscaler,
    Device,
    FacesFile,
    Json,
    PictureOutput,
    Quiet,
    Scale,
    Upscale,
    Weights,
    WhichFace,
)
from facevae.config import FACES_FILE, RECONSTRUCT_COUNT, RECONSTRUCTIONS_FILE

EXAMPLE = "facevae reconstruct face1.jpg face2.jpg"


def reconstruct(
    images: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IMAGE", help="Images, or folders with all images below; - reads their paths from stdin."
        ),
    ] = None,
    output: PictureOutput = None,
    count: Annotated[
        int, typer.Option("--count", "-n", metavar="N", help="Without images: the first N valid faces of faces.h5.")
    ] = RECONSTRUCT_COUNT,
    faces: FacesFile = FACES_FILE,
    align: Align = True,
    which: WhichFace = None,
    scale: Scale = None,
    upscale: Upscale = None,
    upscaler: DecodedUpscaler = None,
    weights: Weights = None,
    device: Device = "auto",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Draw faces over their reconstructions, with the mean squared error under each. Writes reconstructions.png."""
    target = picture_output(output, as_json=as_json)
    from facevae.workflows.reconstruct import reconstruct as run

    with Reporter(quiet=quiet) as report:
        result = run(
            read_paths(images) if images else None,
            target or RECONSTRUCTIONS_FILE,
            count=count,
            faces=faces,
            align=align,
            which=which,
            scale=scale,
            upscale=upscale,
            upscaler=upscaler,
            weights=weights,
            device=device,
            report=report,
        )
    errors = [{"name": name, "mse": error} for name, error in zip(result.names, result.errors, strict=True)]
    emit([result.path] if result.path else [], {"faces": errors}, as_json=as_json)
