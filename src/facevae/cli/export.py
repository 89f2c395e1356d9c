"""`facevae export`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from facevae.cli import completion
from facevae.cli.console import Reporter, binary_stdout, counted, emit, say
from facevae.cli.latents_file import local_latents
from facevae.cli.options import Json, Quiet
from facevae.config import EXPORT_FORMATS, LATENTS_FILE

EXAMPLE = "facevae export -o latents.csv"


def export(
    latents: Annotated[
        str,
        typer.Argument(
            metavar="LATENTS",
            autocompletion=completion.file_of(".h5"),
            help="Latents, as facevae encode wrote them; - reads them from stdin.",
        ),
    ] = str(LATENTS_FILE),
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="FILE", help="The file to write. Default: standard output."),
    ] = None,
    file_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="NAME",
            autocompletion=completion.one_of(EXPORT_FORMATS),
            help="csv, npz or parquet. Default: what the name of the output says, or csv.",
        ),
    ] = None,
    log_variance: Annotated[
        bool,
        typer.Option("--log-variance", help="Write the log-variances of the posteriors too, not only their means."),
    ] = False,
    attributes: Annotated[
        bool, typer.Option("--attributes/--no-attributes", help="Write the attributes, or leave them out.")
    ] = True,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Write latents as CSV, NumPy's .npz or Parquet, for other tools.

    A row a face: its name, its split and attributes where the latents have them, and the mean of its posterior.
    """
    to_stream = output is None or output == "-"
    target = _stdout(file_format, as_json=as_json) if to_stream else Path(str(output))
    from facevae.workflows.export import export as run

    with local_latents(latents, "export") as path, Reporter(quiet=quiet) as report:
        result = run(
            path, target, file_format=file_format, log_variance=log_variance, attributes=attributes, report=report
        )
    if not quiet:
        counts = f"{counted(result.count, 'latent')} of {counted(result.latent_dim, 'dimension')}"
        say(f"{counts}, in {counted(len(result.columns), 'column')}.")
    facts = {"format": result.file_format, "rows": result.count, "columns": len(result.columns)}
    emit([result.output] if isinstance(result.output, Path) else [], facts, as_json=as_json)


def _stdout(file_format: str | None, *, as_json: bool) -> BinaryIO:
    """Return standard output, which may be a terminal for a text."""
    if file_format not in ("npz", "parquet") and not as_json:
        return sys.stdout.buffer
    redirected = f"facevae export --format {file_format} > latents.{file_format}"
    return binary_stdout(f"redirect it ({redirected}) or name a file with -o FILE", as_json=as_json)
