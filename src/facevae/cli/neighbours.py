"""`facevae neighbours`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facevae.cli import completion
from facevae.cli.console import Reporter, emit, picture_output, read_face, write_line
from facevae.cli.options import (
    Align,
    DecodedUpscaler,
    Device,
    FacesFile,
    Json,
    Quiet,
    Scale,
    Upscale,
    Weights,
    WhichFace,
)
from facevae.config import FACES_FILE, LATENTS_FILE, METRICS, NEIGHBOURS_COUNT

if TYPE_CHECKING:
    from facevae.workflows.neighbours import Neighbourhood

EXAMPLE = "facevae neighbours face.jpg -n 8 -o neighbours.png"


def neighbours(
    images: Annotated[
        list[str] | None, typer.Argument(metavar="FACE", help="Face images; - reads one image from stdin.")
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Draw the neighbours instead of naming them; - for standard output."
        ),
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option("--name", metavar="NAME", help="Instead of an image: a face of the latents, which is left out."),
    ] = None,
    latents: Annotated[
        Path,
        typer.Option(
            "--latents",
            metavar="FILE",
            autocompletion=completion.file_of(".h5"),
            help="Where to look, as facevae encode wrote it.",
        ),
    ] = LATENTS_FILE,
    count: Annotated[
        int, typer.Option("--count", "-n", metavar="N", help="How many neighbours of each face.")
    ] = NEIGHBOURS_COUNT,
    metric: Annotated[
        str,
        typer.Option(
            "--metric",
            metavar="NAME",
            autocompletion=completion.one_of(METRICS),
            help="How far two latents are apart: cosine or euclidean.",
        ),
    ] = METRICS[0],
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
    """Find the faces of a latents file that are nearest to a face.

    Prints a line for each: its name, a tab, the distance. With several faces, the face comes first.
    """
    target = picture_output(output, as_json=as_json)
    sources = [read_face(face, "neighbours") for face in images] if images else None
    from facevae.workflows.neighbours import neighbours as run

    with Reporter(quiet=quiet) as report:
        result = run(
            sources,
            target,
            name=name,
            latents=latents,
            count=count,
            metric=metric,
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
    if target is None and not as_json:
        _print_lines(result.queries)
        return
    found = [
        {"name": query, "neighbours": [{"name": face.name, "distance": face.distance} for face in nearest]}
        for query, nearest in result.queries
    ]
    emit([result.path] if result.path else [], {"metric": result.metric, "faces": found}, as_json=as_json)


def _print_lines(queries: tuple[Neighbourhood, ...]) -> None:
    for query, nearest in queries:
        for face in nearest:
            line = f"{face.name}\t{face.distance:.4f}"
            write_line(sys.stdout, line if len(queries) == 1 else f"{query}\t{line}")
