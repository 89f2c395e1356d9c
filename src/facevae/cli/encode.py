"""`facevae encode`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facevae.cli import completion
from facevae.cli.console import Reporter, binary_stdout, counted, emit, read_paths, say
from facevae.cli.options import Align, Device, FacesFile, Json, Quiet, Strict, Weights, WhichFace
from facevae.config import FACES_FILE, PRECISIONS

EXAMPLE = "facevae encode > latents.h5"


def encode(
    images: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IMAGE", help="Images to encode, or folders with all images below; - reads their paths from stdin."
        ),
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="The file to write. Default: standard output.")
    ] = None,
    faces: FacesFile = FACES_FILE,
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard", metavar="I/N", help="Encode only part I of N of the faces; facevae merge joins the N files."
        ),
    ] = None,
    align: Align = True,
    which: WhichFace = None,
    weights: Weights = None,
    precision: Annotated[
        str,
        typer.Option(
            "--precision",
            metavar="NAME",
            autocompletion=completion.one_of(PRECISIONS),
            help=f"Of the convolutions: {', '.join(PRECISIONS)}. bf16 is faster where the device computes it natively (auto "
            "finds out), and changes latents in the third digit.",
        ),
    ] = "fp32",
    device: Device = "auto",
    strict: Strict = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Encode all of faces.h5, or the images given, to latents in HDF5.

    Mean and log-variance of every posterior, with names, splits and attributes carried over. Under torchrun every process
    encodes its share, and the first writes the file.
    """
    if output is None or output == "-":
        target = binary_stdout("redirect it (facevae encode > latents.h5) or name a file with -o FILE", as_json=as_json)
    else:
        target = None
    from facevae.workflows.encode import encode as run

    with Reporter(quiet=quiet) as report:
        result = run(
            read_paths(images) if images else None,
            target or Path(str(output)),
            faces=faces,
            shard=shard,
            align=align,
            which=which,
            weights=weights,
            precision=precision,
            device=device,
            strict=strict,
            report=report,
        )
    if not result.leads:
        return
    if not quiet:
        say(f"{counted(result.count, 'latent')} of {counted(result.latent_dim, 'dimension')}.")
    paths = [result.output] if isinstance(result.output, Path) else []
    skipped = [{"name": name, "reason": reason} for name, reason in result.skipped]
    emit(paths, {"latents": result.count, "latent_dim": result.latent_dim, "skipped": skipped}, as_json=as_json)
