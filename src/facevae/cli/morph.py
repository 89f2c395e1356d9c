"""`facevae morph`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facevae.cli import completion
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
    Strict,
    Upscale,
    Weights,
    WhichFace,
)
from facevae.config import DEFAULT_ATTRIBUTE, DIRECTIONS, LATENTS_FILE, MORPH_STEPS, PASTE_STEPS

EXAMPLE = "facevae morph face.jpg --attr Attractive --steps -3,3"


def morph(
    faces: Annotated[
        list[str] | None, typer.Argument(metavar="FACE", help="Face images; - reads one image from stdin.")
    ] = None,
    attribute: Annotated[
        list[str] | None,
        typer.Option(
            "--attr",
            "-a",
            metavar="NAME",
            autocompletion=completion.attribute,
            help=f"The attribute to move along, or NAME=X for X times it; may be repeated. Default: {DEFAULT_ATTRIBUTE}.",
        ),
    ] = None,
    steps: Annotated[
        str | None,
        typer.Option(
            "--steps",
            "-s",
            metavar="LO,HI",
            help=f"A range in whole steps; more numbers are the list itself. Default: {MORPH_STEPS}; with --paste {PASTE_STEPS}.",
        ),
    ] = None,
    attribute2: Annotated[
        list[str] | None,
        typer.Option(
            "--attr2",
            metavar="NAME",
            autocompletion=completion.attribute,
            help="As --attr, for a second direction: makes a grid of one face.",
        ),
    ] = None,
    steps2: Annotated[
        str | None,
        typer.Option("--steps2", metavar="LO,HI", help=f"As --steps, for --attr2. Default: {MORPH_STEPS}."),
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(
            "--keep",
            "-k",
            metavar="NAMES",
            autocompletion=completion.attribute_list,
            help="Attributes to hold still, with commas between them.",
        ),
    ] = None,
    direction: Annotated[
        str,
        typer.Option(
            "--direction",
            metavar="NAME",
            autocompletion=completion.one_of(DIRECTIONS),
            help="Of each attribute: mean, logistic or regression.",
        ),
    ] = DIRECTIONS[0],
    name: Annotated[
        list[str] | None,
        typer.Option(
            "--name", metavar="NAME", help="Instead of an image: a face of the latents, as encoded; may be repeated."
        ),
    ] = None,
    among: Annotated[
        Path | None,
        typer.Option(
            "--among",
            metavar="FILE",
            autocompletion=completion.file_of(".h5"),
            help=f"With --name: the latents that hold the face. Default: {LATENTS_FILE}.",
        ),
    ] = None,
    sample: Annotated[
        list[int] | None,
        typer.Option(
            "--sample",
            metavar="SEED",
            help="Instead of an image: the face that sample -n 1 --seed SEED draws; may be repeated.",
        ),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(
            "--temperature", metavar="X", help="With --sample: multiplies the spread of z, as in sample. Default: 1."
        ),
    ] = None,
    output: PictureOutput = None,
    paste: Annotated[
        bool, typer.Option("--paste", help="Write the photograph itself, at its full size, with the edit in it.")
    ] = False,
    picture_format: PictureFormat = None,
    latents: Annotated[
        Path | None,
        typer.Option(
            "--latents",
            metavar="FILE",
            autocompletion=completion.file_of(".h5"),
            help="Take the directions from these latents, not from the weights.",
        ),
    ] = None,
    align: Align = True,
    which: WhichFace = None,
    scale: Scale = None,
    upscale: Upscale = None,
    upscaler: DecodedUpscaler = None,
    weights: Weights = None,
    device: Device = "auto",
    strict: Strict = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Move faces along attributes: z' = z + n delta, delta being the difference of the class means.

    A row a face: the original, then a column for each n. Writes morph.png, anna-morph.jpg (--paste), or an animation (--format).
    """
    target = picture_output(output, as_json=as_json)
    sources = [read_face(face, "morph") for face in faces] if faces else None
    from facevae.workflows.morph import morph as run

    with Reporter(quiet=quiet) as report:
        result = run(
            sources,
            attribute or DEFAULT_ATTRIBUTE,
            target,
            name=name,
            among=among,
            sample=sample,
            temperature=temperature,
            steps=steps,
            attribute2=attribute2 or None,
            steps2=steps2,
            keep=keep or (),
            direction=direction,
            paste=paste,
            picture_format=picture_format,
            latents=latents,
            align=align,
            which=which,
            scale=scale,
            upscale=upscale,
            upscaler=upscaler,
            weights=weights,
            device=device,
            strict=strict,
            report=report,
        )
    emit(list(result.paths), result.to_dict(), as_json=as_json)
