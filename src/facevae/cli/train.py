"""`facevae train`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from facevae.cli.console import Reporter, emit
from facevae.cli.options import Device, FacesFile, Json, Quiet
from facevae.config import FACES_FILE, SPLIT_NAMES, WEIGHTS_FILE, ModelConfig, TrainConfig
from facevae.errors import UsageError

EXAMPLE = "facevae train --device cuda --epochs 10"

_HOW, _SHAPE = TrainConfig(), ModelConfig()


def train(
    faces: FacesFile = FACES_FILE,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", help="The weights to write; history and plot go beside them."),
    ] = WEIGHTS_FILE,
    epochs: Annotated[
        int | None, typer.Option("--epochs", "-e", metavar="N", help=f"Rounds over the images. Default: {_HOW.epochs}.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", metavar="N", help=f"Images a step. Default: {_HOW.batch_size}.")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", metavar="X", help=f"Of Adam. Default: {_HOW.learning_rate:g}.")
    ] = None,
    latent_dim: Annotated[
        int | None, typer.Option("--latent-dim", metavar="N", help=f"Latent units. Default: {_SHAPE.latent_dim}.")
    ] = None,
    channels: Annotated[
        int | None, typer.Option("--channels", metavar="N", help=f"Of every convolution. Default: {_SHAPE.channels}.")
    ] = None,
    reconstruction_weight: Annotated[
        float | None,
        typer.Option(
            "--reconstruction-weight",
            metavar="X",
            help=f"Of the mean squared error. Default: {_HOW.reconstruction_weight:g}, as in the reference, which keeps "
            "about 20 latent units active. 10 to 20 times more gives sharper reconstructions and stronger morphs, and "
            "rougher samples. At 1 the posterior collapses and every face comes out the same.",
        ),
    ] = None,
    kl_weight: Annotated[
        float | None,
        typer.Option("--kl-weight", metavar="X", help=f"Of the KL divergence. Default: {_HOW.kl_weight:g}."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", metavar="N", help=f"Of weights, image order and noise. Default: {_HOW.seed}."),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option("--split", metavar="NAME", help=f"Images to train on: {', '.join(SPLIT_NAMES)}. Default: train."),
    ] = None,
    device: Device = "auto",
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on from the checkpoint, with its options; --epochs and --learning-rate may change."
        ),
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train the VAE on faces.h5 and write vae.safetensors, the loss history and the loss plot.

    The defaults are the reference: loss = 2000 x mean squared error + KL divergence, Adam, ten epochs of batches of 500.
    Ctrl-C keeps what was trained; --resume goes on from there. An earlier training's files are kept beside the new ones.
    """
    from facevae.workflows.train import train as run

    if split is not None and split not in SPLIT_NAMES:
        raise UsageError(f"There is no split {split}: use one of {', '.join(SPLIT_NAMES)}.")
    with Reporter(quiet=quiet) as report:
        result = run(
            faces,
            output,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            latent_dim=latent_dim,
            channels=channels,
            reconstruction_weight=reconstruction_weight,
            kl_weight=kl_weight,
            seed=seed,
            split=split,  # type: ignore[arg-type]
            device=device,
            resume=resume,
            report=report,
        )
    files = result.files
    losses = {"train_loss": result.train_loss, "valid_loss": result.valid_loss}
    emit(
        [files.weights, files.history, files.plot],
        {
            "epochs": result.epochs,
            "seconds": result.seconds,
            "interrupted": result.interrupted,
            **{name: asdict(point) if point else None for name, point in losses.items()},
        },
        as_json=as_json,
    )
    if result.interrupted:
        raise KeyboardInterrupt
