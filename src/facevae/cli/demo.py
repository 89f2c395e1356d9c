"""`facevae demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facevae.cli.console import Reporter, emit, say
from facevae.cli.options import Device, Json, Quiet
from facevae.config import DEMO_DIRECTORY, DEMO_FACES

EXAMPLE = "facevae demo --out facevae-demo"


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="The folder to work in.")] = DEMO_DIRECTORY,
    count: Annotated[int, typer.Option("--count", "-n", metavar="N", help="How many faces to draw.")] = DEMO_FACES,
    epochs: Annotated[
        int | None, typer.Option("--epochs", "-e", metavar="N", help="Rounds of training. Default: as long as pays.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of the drawn faces and the training.")] = 0,
    device: Device = "auto",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Try everything without any data: draws faces in CelebA's layout, then runs every stage on them.

    Writes the faces, the prepared file, the weights, the latents, all pictures and an index.html that shows them.
    """
    from facevae.workflows.demo import demo as run

    with Reporter(quiet=quiet) as report:
        result = run(out, count=count, epochs=epochs, seed=seed, device=device, report=report)
    if not quiet:
        say(f"Done in {result.seconds:.0f} s. Open {result.index} in a browser.")
    paths = [result.index, *(picture.path for picture in result.pictures)]
    emit(paths, {"seconds": result.seconds}, as_json=as_json)
