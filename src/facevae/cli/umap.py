"""`facevae umap`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facevae.cli import completion
from facevae.cli.console import Reporter, emit, picture_output
from facevae.cli.latents_file import local_latents
from facevae.cli.options import Json, PictureOutput, Quiet
from facevae.config import DEFAULT_ATTRIBUTE, FACES_FILE, LATENTS_FILE, UMAP_FILE
from facevae.progress import Event, Notice

EXAMPLE = "facevae umap --attr Smiling"


def umap(
    latents: Annotated[
        str,
        typer.Argument(
            metavar="LATENTS",
            autocompletion=completion.file_of(".h5"),
            help="Latents, as facevae encode wrote them; - reads them from stdin.",
        ),
    ] = str(LATENTS_FILE),
    attribute: Annotated[
        str | None,
        typer.Option(
            "--attr",
            "-a",
            metavar="NAME",
            autocompletion=completion.attribute,
            help=f"Colours the dots. Default: {DEFAULT_ATTRIBUTE}.",
        ),
    ] = None,
    output: PictureOutput = None,
    coordinates: Annotated[
        Path | None,
        typer.Option("--coordinates", metavar="FILE", help="Also write the coordinates, as HDF5, for --fit-on later."),
    ] = None,
    fit_on: Annotated[
        Path | None,
        typer.Option(
            "--fit-on",
            metavar="FILE",
            autocompletion=completion.file_of(".h5"),
            help="Place the latents on this map instead of fitting one.",
        ),
    ] = None,
    max_points: Annotated[
        int | None, typer.Option("--max-points", metavar="N", help="Take only N latents, chosen at random.")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", metavar="N", help="A repeatable fit; its layout takes one core and so longer."),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Also write the map as a page: one file that opens in a browser."),
    ] = None,
    faces: Annotated[
        Path,
        typer.Option(
            "--faces",
            metavar="FILE",
            autocompletion=completion.file_of(".h5"),
            help="The prepared faces of the latents, for the page.",
        ),
    ] = FACES_FILE,
    thumbnails: Annotated[
        bool, typer.Option("--thumbnails/--no-thumbnails", help="Whether the page holds the faces themselves.")
    ] = True,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Draw a two-dimensional UMAP of the latents: a dot a face, a disk at the mean of the dots of each class.

    Writes umap.png; a name that ends in .svg or .pdf gives that format.
    """
    target = picture_output(output, as_json=as_json)
    from facevae.workflows.umap import umap as run

    with local_latents(latents, "umap") as path, Reporter(quiet=quiet) as reporter:

        def report(event: Event) -> None:
            if latents == "-" and isinstance(event, Notice):
                event = Notice(event.text.replace(str(path), "stdin"))
            reporter(event)

        result = run(
            path,
            target or UMAP_FILE,
            attribute=attribute,
            coordinates=coordinates,
            fit_on=fit_on,
            max_points=max_points,
            seed=seed,
            html=html,
            faces=faces,
            thumbnails=thumbnails,
            report=report,
        )
    paths = [path for path in (result.path, coordinates, result.page) if path is not None]
    counts = dict(zip(("with", "without"), result.counts, strict=True)) if result.counts else None
    emit(paths, {"points": len(result.rows), "attribute": result.attribute, "counts": counts}, as_json=as_json)
