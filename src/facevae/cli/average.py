"""`facevae average`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facevae.cli import completion
from facevae.cli.console import Reporter, emit, picture_output, read_paths
from facevae.cli.options import (
    Align,
    DecodedUpscaler,
    Device,
    Json,
    PictureOutput,
    Quiet,
    Scale,
    Strict,
    Upscale,
    Weights,
    WhichFace,
)
from facevae.config import AVERAGE_FILE, LATENTS_FILE

EXAMPLE = "facevae average friends/*.jpg -o friends.png"


def average(
    images: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IMAGE",
            help="Images, or folders with all images below; - reads their paths from stdin. Without: all faces of the latents.",
        ),
    ] = None,
    output: PictureOutput = None,
    attribute: Annotated[
        list[str] | None,
        typer.Option(
            "--attr",
            "-a",
            metavar="NAME",
            autocompletion=completion.attribute,
            help="Of the latents: the mean without and with this attribute; may be repeated.",
        ),
    ] = None,
    latents: Annotated[
        Path,
        typer.Option(
            "--latents",
            metavar="FILE",
            autocompletion=completion.file_of(".h5"),
            help="Without images: the latents, as facevae encode wrote them.",
        ),
    ] = LATENTS_FILE,
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
    """Draw the mean face of images, of all latents, or of the faces without and with an attribute. Writes average.png.

    The mean is that of the latents, decoded. Without --attr the picture is the face alone.
    """
    target = picture_output(output, as_json=as_json)
    from facevae.workflows.average import average as run

    with Reporter(quiet=quiet) as report:
        result = run(
            read_paths(images) if images else None,
            target or AVERAGE_FILE,
            attribute=attribute,
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
    skipped = [{"name": name, "reason": reason} for name, reason in result.skipped]
    facts: dict[str, object] = {"faces": result.counts[0], "skipped": skipped}
    if result.attributes:
        pairs = zip(result.attributes, result.counts[::2], result.counts[1::2], strict=True)
        facts = {"attributes": [{"name": name, "without": none, "with": some} for name, none, some in pairs]}
    emit([result.path] if result.path else [], facts, as_json=as_json)
