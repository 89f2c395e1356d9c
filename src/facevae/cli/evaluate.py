"""`facevae evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facevae.cli import completion
from facevae.cli.console import Reporter, emit_json
from facevae.cli.options import Device, FacesFile, Json, Quiet, Weights
from facevae.config import EVALUATED_SPLITS, FACES_FILE

EXAMPLE = "facevae evaluate --split valid"


def evaluate(
    faces: FacesFile = FACES_FILE,
    split: Annotated[
        str,
        typer.Option(
            "--split",
            metavar="NAME",
            autocompletion=completion.one_of(EVALUATED_SPLITS),
            help="The faces to evaluate on: valid or test.",
        ),
    ] = "valid",
    edits: Annotated[bool, typer.Option("--edits/--no-edits", help="Whether to measure edits too.")] = True,
    judge: Annotated[
        Path | None,
        typer.Option(
            "--judge",
            metavar="FILE",
            autocompletion=completion.file_of(".safetensors"),
            help="The classifier that judges samples and edits. Default: facevae's own.",
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", help="Of the noise, the samples, and the faces that are drawn.")
    ] = 0,
    weights: Weights = None,
    device: Device = "auto",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Measure how good weights are on faces they were not trained on.

    Reconstruction, latents, a linear probe and principal components as the baseline, samples and edits.
    """
    from facevae.cli.evaluation_tables import evaluation_tables
    from facevae.cli.tables import print_tables
    from facevae.workflows.evaluate import evaluate as run

    with Reporter(quiet=quiet) as report:
        found = run(
            weights,
            faces=faces,
            split=split,  # type: ignore[arg-type]
            edits=edits,
            judge=judge,
            seed=seed,
            device=device,
            report=report,
        )
    if as_json:
        emit_json(found.to_dict())
    else:
        print_tables(*evaluation_tables(found))
