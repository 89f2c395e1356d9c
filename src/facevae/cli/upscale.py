"""`facevae upscale`."""

from __future__ import annotations

from typing import Annotated

import typer

from facevae.cli import completion
from facevae.cli.console import Reporter, emit, picture_output, read_face
from facevae.cli.options import Device, Json, Quiet, Strict, Upscaler
from facevae.config import PRECISIONS, UPSCALE_FACTOR, UPSCALE_FACTORS

EXAMPLE = "facevae upscale face.jpg"


def upscale(
    images: Annotated[
        list[str], typer.Argument(metavar="IMAGE", help="Images of any size; - reads one image from stdin.")
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="A folder, or for one image the picture to write, - for standard output. Default: face-x3.png for face.jpg.",
        ),
    ] = None,
    factor: Annotated[
        int,
        typer.Option(
            "--factor",
            "-x",
            metavar="N",
            autocompletion=completion.one_of(UPSCALE_FACTORS),
            help="How many times to enlarge: 2, 3 or 4.",
        ),
    ] = UPSCALE_FACTOR,
    upscaler: Upscaler = None,
    precision: Annotated[
        str,
        typer.Option(
            "--precision",
            metavar="NAME",
            autocompletion=completion.one_of(PRECISIONS),
            help=f"Of the convolutions: {', '.join(PRECISIONS)}. auto is bf16 where the device computes it natively.",
        ),
    ] = "auto",
    device: Device = "auto",
    strict: Strict = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Enlarge pictures with VDSR, a very deep super-resolution network. Writes face-x3.png for face.jpg."""
    target = picture_output(output, as_json=as_json)
    sources = [read_face(image, "upscale") for image in images]
    from facevae.workflows.upscale import upscale as run

    with Reporter(quiet=quiet) as report:
        result = run(
            sources,
            target,
            factor=factor,
            upscaler=upscaler,
            precision=precision,
            device=device,
            strict=strict,
            report=report,
        )
    pictures = [
        {"name": made.name, "path": str(made.path), "size": made.size, "enlarged": made.enlarged}
        for made in result.pictures
    ]
    skipped = [{"name": name, "reason": reason} for name, reason in result.skipped]
    facts = {"factor": result.factor, "upscaler": result.upscaler, "pictures": pictures, "skipped": skipped}
    emit(list(result.paths), facts, as_json=as_json)
