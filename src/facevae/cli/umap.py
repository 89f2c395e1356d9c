"""`facevae umap`."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from facevae.cli.console import Reporter, emit, missing_stdin, picture_output
from facevae.cli.options import Json, PictureOutput, Quiet
from facevae.config import DEFAULT_ATTRIBUTE, LATENTS_FILE, UMAP_FILE
from facevae.errors import FacevaeError
from facevae.progress import Event, Notice

EXAMPLE = "facevae umap --attr Smiling"


def umap(
    latents: Annotated[
        str, typer.Argument(metavar="LATENTS", help="Latents, as facevae encode wrote them; - reads them from stdin.")
    ] = str(LATENTS_FILE),
    attribute: Annotated[
        str | None,
        typer.Option("--attr", "-a", metavar="NAME", help=f"Colours the dots. Default: {DEFAULT_ATTRIBUTE}."),
    ] = None,
    output: PictureOutput = None,
    coordinates: Annotated[
        Path | None,
        typer.Option("--coordinates", metavar="FILE", help="Also write the coordinates, as HDF5, for --fit-on later."),
    ] = None,
    fit_on: Annotated[
        Path | None,
        typer.Option("--fit-on", metavar="FILE", help="Place the latents on this map instead of fitting one."),
    ] = None,
    max_points: Annotated[
        int | None, typer.Option("--max-points", metavar="N", help="Take only N latents, chosen at random.")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", metavar="N", help="A repeatable fit; its layout takes one core and so longer."),
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Draw a two-dimensional UMAP of the latents: a dot a face, a disk at the mean of the dots of each class.

    Writes umap.png; a name that ends in .svg or .pdf gives that format.
    """
    target = picture_output(output, as_json=as_json)
    from facevae.workflows.umap import umap as run

    with _local_file(latents) as path, Reporter(quiet=quiet) as reporter:

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
            report=report,
        )
    paths = [path for path in (result.path, coordinates) if path is not None]
    counts = dict(zip(("with", "without"), result.counts, strict=True)) if result.counts else None
    emit(paths, {"points": len(result.rows), "attribute": result.attribute, "counts": counts}, as_json=as_json)


@contextmanager
def _local_file(latents: str) -> Iterator[Path]:
    """Yield the latents as a file: HDF5 needs one, so standard input is copied to a temporary file first."""
    if latents != "-":
        yield Path(latents)
        return
    missing = missing_stdin("latents", "facevae encode | facevae umap -")
    if sys.stdin.isatty():
        raise missing
    import shutil

    with tempfile.TemporaryDirectory(prefix="facevae-") as folder:
        path = Path(folder) / "stdin.h5"
        with path.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        if path.stat().st_size == 0:
            raise missing
        try:
            yield path
        except FacevaeError as error:
            raise type(error)(str(error).replace(str(path), "stdin")) from None
