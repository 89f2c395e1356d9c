"""`facevae merge`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facevae.cli import completion
from facevae.cli.console import Reporter, binary_stdout, counted, emit, say
from facevae.cli.options import Json, Quiet
from facevae.config import LATENTS_FILE

EXAMPLE = "facevae merge latents.1-of-2.h5 latents.2-of-2.h5"


def merge(
    shards: Annotated[
        list[Path],
        typer.Argument(
            metavar="SHARD",
            autocompletion=completion.file_of(".h5"),
            help="The shards of a set, as encode --shard wrote them, in any order.",
        ),
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="The file to write; - for standard output.")
    ] = str(LATENTS_FILE),
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Join the shards of facevae encode --shard to the latents of all faces.

    They must be of the same faces and weights, and all there; the file is the one that a single encode writes.
    """
    remedy = "redirect it (facevae merge ... -o - > latents.h5) or name a file with -o FILE"
    target = binary_stdout(remedy, as_json=as_json) if output == "-" else Path(output)
    from facevae.workflows.merge import merge as run

    with Reporter(quiet=quiet) as report:
        result = run(shards, target, report=report)
    if not quiet:
        latents, dimensions = counted(result.count, "latent"), counted(result.latent_dim, "dimension")
        say(f"{latents} of {dimensions}, from {counted(result.shards, 'shard')}.")
    paths = [result.output] if isinstance(result.output, Path) else []
    emit(paths, {"latents": result.count, "latent_dim": result.latent_dim, "shards": result.shards}, as_json=as_json)
