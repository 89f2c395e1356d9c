"""`facevae activations`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facevae.cli.console import Reporter, emit, read_face
from facevae.cli.options import Align, Device, Json, Quiet, Weights, WhichFace
from facevae.config import ACTIVATIONS_DIRECTORY

EXAMPLE = "facevae activations face.jpg"


def activations(
    face: Annotated[str, typer.Argument(metavar="FACE", help="A face image; - reads it from stdin.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="The folder to write the pictures to.")
    ] = ACTIVATIONS_DIRECTORY,
    align: Align = True,
    which: WhichFace = None,
    weights: Weights = None,
    device: Device = "auto",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Draw what every convolution gives out for one face: every channel of the nine layers, and an overview.

    Writes overview.png, 00-input.png, 01-encoder-1.png ... 09-decoder-5.png.
    """
    source = read_face(face, "activations")
    from facevae.workflows.activations import activations as run

    with Reporter(quiet=quiet) as report:
        result = run(source, output, align=align, which=which, weights=weights, device=device, report=report)
    layers = {name: list(maps.shape) for name, maps in result.layers.items()}
    emit(list(result.paths), {"layers": layers}, as_json=as_json)
