"""`facevae morph`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facevae.cli.console import Reporter, emit, picture_output, read_face
from facevae.cli.options import (
    DecodedUpscaler,
    Device,
    Json,
    PictureFormat,
    PictureOutput,
    Quiet,
    Scale,
    Upscale,
    Weights,
)
from facevae.config import DEFAULT_ATTRIBUTE, MORPH_STEPS

EXAMPLE = "facevae morph face.jpg --attr Attractive --steps -3,3"


def morph(
    faces: Annotated[list[str], typer.Argument(metavar="FACE", help="Face images; - reads one image from stdin.")],
    attribute: Annotated[
        str, typer.Option("--attr", "-a", metavar="NAME", help="The attribute to move along.")
    ] = DEFAULT_ATTRIBUTE,
    steps: Annotated[
        str,
        typer.Option(
            "--steps", "-s", metavar="LO,HI", help="A range in whole steps; more numbers are the list itself."
        ),
    ] = MORPH_STEPS,
    output: PictureOutput = None,
    picture_format: PictureFormat = None,
    latents: Annotated[
        Path | None,
        typer.Option("--latents", metavar="FILE", help="Take the direction from these latents, not from the weights."),
    ] = None,
    scale: Scale = None,
    upscale: Upscale = None,
    upscaler: DecodedUpscaler = None,
    weights: Weights = None,
    device: Device = "auto",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Move faces along an attribute: z' = z + n delta, delta being the difference of the class means.

    One row a face: the original, then one column for each n. Writes morph.png, or with --format an animation.
    """
    target = picture_output(output, as_json=as_json)
    sources = [read_face(face, "morph") for face in faces]
    from facevae.workflows.morph import morph as run

    with Reporter(quiet=quiet) as report:
        result = run(
            sources,
            attribute,
            target,
            steps=steps,
            picture_format=picture_format,
            latents=latents,
            scale=scale,
            upscale=upscale,
            upscaler=upscaler,
            weights=weights,
            device=device,
            report=report,
        )
    emit(
        [result.path] if result.path else [],
        {"attribute": result.attribute, "steps": result.steps, "delta_length": result.delta_length},
        as_json=as_json,
    )
