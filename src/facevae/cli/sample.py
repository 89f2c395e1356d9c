"""`facevae sample`."""

from __future__ import annotations

from typing import Annotated

import typer

from facevae.cli import completion
from facevae.cli.console import Reporter, emit, picture_output
from facevae.cli.options import DecodedUpscaler, Device, Json, Quiet, Scale, Upscale, Weights
from facevae.config import PRIOR_NAMES, SAMPLE_COUNT

EXAMPLE = "facevae sample -n 40 --seed 1 -o - | display"


def sample(
    count: Annotated[int, typer.Option("--count", "-n", metavar="N", help="How many faces.")] = SAMPLE_COUNT,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="The picture to write, - for standard output; with --separate a folder. Default: samples.png, samples/.",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", metavar="N", help="For repeatable faces.")] = None,
    temperature: Annotated[
        float,
        typer.Option("--temperature", metavar="X", help="Multiplies the spread of z: below 1 more average faces."),
    ] = 1.0,
    prior: Annotated[
        str,
        typer.Option(
            "--prior",
            metavar="NAME",
            autocompletion=completion.one_of(PRIOR_NAMES),
            help="Draw z from: fitted (to the training faces), normal (N(0, I)), or auto: fitted where the weights have it.",
        ),
    ] = "auto",
    separate: Annotated[
        bool, typer.Option("--separate", help="Single files, one a face, instead of one grid.")
    ] = False,
    scale: Scale = None,
    upscale: Upscale = None,
    upscaler: DecodedUpscaler = None,
    weights: Weights = None,
    device: Device = "auto",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Draw new faces from the latent space, as a grid or as single files."""
    target = picture_output(output, as_json=as_json)
    from facevae.workflows.sample import sample as run

    with Reporter(quiet=quiet) as report:
        result = run(
            count,
            target,
            seed=seed,
            temperature=temperature,
            prior=prior,
            separate=separate,
            scale=scale,
            upscale=upscale,
            upscaler=upscaler,
            weights=weights,
            device=device,
            report=report,
        )
    facts = {"faces": len(result.faces), "seed": result.seed, "prior": result.prior}
    emit(list(result.paths), facts, as_json=as_json)
