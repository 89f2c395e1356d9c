"""`facevae train-upscaler`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facevae.cli import completion
from facevae.cli.console import Reporter, emit
from facevae.cli.options import Device, Json, MaxTime, Precision, Quiet, Weights
from facevae.config import (
    RECONSTRUCTIONS_UPSCALER_FILE,
    UPSCALER_FACES_FILE,
    UPSCALER_FACES_SIZE,
    UPSCALER_FILE,
    UPSCALER_INPUTS,
    UpscalerTrainConfig,
)
from facevae.errors import UsageError

EXAMPLE = "facevae train-upscaler --faces faces-96.h5"

_HOW = UpscalerTrainConfig()


def train_upscaler(
    faces: Annotated[
        Path,
        typer.Option(
            "--faces",
            metavar="FILE",
            autocompletion=completion.file_of(".h5"),
            help=f"Faces that carry detail: facevae prepare --size {UPSCALER_FACES_SIZE} -o {UPSCALER_FACES_FILE} ...",
        ),
    ] = UPSCALER_FACES_FILE,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help=f"The file to write; history and plot go beside it. Default: {UPSCALER_FILE}; for reconstructions "
            f"{RECONSTRUCTIONS_UPSCALER_FILE}.",
        ),
    ] = None,
    inputs: Annotated[
        str | None,
        typer.Option(
            "--inputs",
            metavar="NAME",
            autocompletion=completion.one_of(UPSCALER_INPUTS),
            help=f"What to learn to enlarge: {' or '.join(UPSCALER_INPUTS)}, the VAE's own. Default: {_HOW.inputs}.",
        ),
    ] = None,
    weights: Weights = None,
    epochs: Annotated[
        int | None,
        typer.Option("--epochs", "-e", metavar="N", help=f"Rounds over the faces. Default: {_HOW.epochs}."),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", metavar="N", help=f"Patches a step. Default: {_HOW.batch_size}.")
    ] = None,
    patch_size: Annotated[
        int | None,
        typer.Option("--patch-size", metavar="N", help=f"Pixels a side of a patch. Default: {_HOW.patch_size}."),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option("--learning-rate", metavar="X", help=f"The highest. Default: {_HOW.learning_rate:g}."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", metavar="N", help=f"Of weights, order and patches. Default: {_HOW.seed}."),
    ] = None,
    max_time: MaxTime = None,
    precision: Precision = None,
    device: Device = "auto",
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on from the checkpoint; --epochs, --learning-rate and --precision may change."
        ),
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train VDSR, the network behind upscale and --upscale, on faces of 96 pixels.

    Writes upscaler.safetensors, the history and a plot of the gain over bicubic enlargement on faces that were held out.
    Ctrl-C keeps what was trained; --resume goes on from there. An earlier training's files are kept beside the new ones.
    """
    from facevae.workflows.train_upscaler import train_upscaler as run

    if inputs is not None and inputs not in UPSCALER_INPUTS:
        raise UsageError(f"There are no inputs {inputs}: use one of {', '.join(UPSCALER_INPUTS)}.")
    with Reporter(quiet=quiet) as report:
        result = run(
            faces,
            output,
            inputs=inputs,  # type: ignore[arg-type]
            weights=weights,
            epochs=epochs,
            batch_size=batch_size,
            patch_size=patch_size,
            learning_rate=learning_rate,
            seed=seed,
            max_time=max_time,
            precision=precision,
            device=device,
            resume=resume,
            report=report,
        )
    files = result.files
    emit(
        [files.weights, files.history, files.plot],
        {
            "inputs": result.inputs,
            "epochs": result.epochs,
            "seconds": result.seconds,
            "interrupted": result.interrupted,
            "stopped": result.stopped,
            "psnr": result.psnr,
            "gain": result.gain,
        },
        as_json=as_json,
    )
    if result.interrupted:
        raise KeyboardInterrupt
