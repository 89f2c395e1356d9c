"""`facevae prepare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facevae.cli.console import Reporter, counted, emit, say
from facevae.cli.options import Json, Quiet, Strict
from facevae.config import FACES_FILE, ModelConfig

EXAMPLE = "facevae prepare --celeba-dir data/"


def prepare(
    celeba_dir: Annotated[
        Path,
        typer.Option("--celeba-dir", metavar="DIR", help="CelebA in any of its forms, or a plain folder of faces."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The file to write.")] = FACES_FILE,
    size: Annotated[
        int, typer.Option("--size", metavar="N", help="Pixels a side, from 16 to 512; train takes powers of two.")
    ] = ModelConfig.image_size,
    min_side: Annotated[
        int | None,
        typer.Option("--min-side", metavar="N", help="Leave out images with a side of less than N pixels."),
    ] = None,
    attributes: Annotated[
        bool, typer.Option("--attributes/--no-attributes", help="Read the attribute table, or go on without.")
    ] = True,
    limit: Annotated[
        int | None,
        typer.Option("--limit", metavar="N", help="Take only N of the images found, spread evenly over all."),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", metavar="N", help="Decode on N cores. Default: on all.")
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin anew instead of going on where an earlier run was stopped.")
    ] = False,
    strict: Strict = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Read CelebA, or any folder of faces, and write faces.h5.

    Takes img_align_celeba.zip without unpacking it, an unpacked img_align_celeba/, Kaggle's and torchvision's layouts, and
    plain folders. Damaged images are left out, counted and named. A run that was stopped goes on when it is started again.
    """
    from facevae.workflows.prepare import prepare as run

    with Reporter(quiet=quiet) as report:
        result = run(
            celeba_dir,
            output,
            size=size,
            min_side=min_side,
            attributes=attributes,
            strict=strict,
            limit=limit,
            jobs=jobs,
            restart=restart,
            report=report,
        )
    splits = ", ".join(f"{count:,} {name}" for name, count in result.splits.items())
    if not quiet:
        say(f"{counted(result.count, 'face')} ({splits}) with {counted(len(result.attribute_names), 'attribute')}.")
    emit(
        [result.path],
        {
            "faces": result.count,
            "splits": result.splits,
            "attributes": list(result.attribute_names),
            "skipped": [{"name": name, "reason": reason} for name, reason in result.skipped],
            "too_small": result.too_small,
            "fingerprint": result.fingerprint,
        },
        as_json=as_json,
    )
