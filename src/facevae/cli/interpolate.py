"""`facevae interpolate`."""

from __future__ import annotations

from typing import Annotated

import typer

from facevae.cli.console import Reporter, emit, picture_output, read_face
from facevae.cli.options import (
    Align,
    DecodedUpscaler,
    Device,
    Json,
    PictureFormat,
    PictureOutput,
    Quiet,
    Scale,
    Upscale,
    Weights,
    WhichFace,
)

EXAMPLE = "facevae interpolate anna.jpg ben.jpg --steps 9"


def interpolate(
    faces: Annotated[
        list[str], typer.Argument(metavar="FACE", help="Two face images or more; - reads one image from stdin.")
    ],
    output: PictureOutput = None,
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps", "-s", metavar="N", help="From one face to the next, both ends included. Default: 9, animated 25."
        ),
    ] = None,
    spherical: Annotated[
        bool, typer.Option("--spherical", help="Along the great circle instead of the straight line.")
    ] = False,
    picture_format: PictureFormat = None,
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
    """Draw the faces between one face and the next. Writes interpolation.png.

    One row for each pair: the one face, decoded latents from t = 0 to 1, the other. With --format gif an animation.
    """
    target = picture_output(output, as_json=as_json)
    sources = [read_face(face, "interpolate") for face in faces]
    from facevae.workflows.interpolate import interpolate as run

    with Reporter(quiet=quiet) as report:
        result = run(
            sources,
            target,
            steps=steps,
            spherical=spherical,
            picture_format=picture_format,
            align=align,
            which=which,
            scale=scale,
            upscale=upscale,
            upscaler=upscaler,
            weights=weights,
            device=device,
            report=report,
        )
    facts = {"faces": result.names, "t": result.places, "spherical": spherical, "distances": result.distances}
    emit([result.path] if result.path else [], facts, as_json=as_json)
