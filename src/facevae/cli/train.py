"""`facevae train`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facevae.cli import completion
from facevae.cli.console import Reporter, emit
from facevae.cli.options import Device, FacesFile, Json, MaxTime, Precision, Quiet
from facevae.config import (
    DEFAULT_RECIPE,
    FACES_FILE,
    OPTIMIZER_NAMES,
    RECIPES,
    SCHEDULE_NAMES,
    SPLIT_NAMES,
    WEIGHTS_FILE,
    ModelConfig,
)
from facevae.errors import UsageError

if TYPE_CHECKING:
    from facevae.workflows.train import TrainResult

EXAMPLE = "facevae train --device cuda --epochs 10"

_HOW, _NOTE, _SHAPE = RECIPES[DEFAULT_RECIPE], RECIPES["note"], ModelConfig()


def _default(name: str) -> str:
    """Say what an option is without being given, in each recipe."""
    value, note = getattr(_HOW, name), getattr(_NOTE, name)
    words = [f"{each:g}" if isinstance(each, float) else str(each) for each in (value, note)]
    return f"Default: {words[0]}." if value == note else f"Default: {words[0]}; with --recipe note {words[1]}."


def train(
    faces: FacesFile = FACES_FILE,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", help="The weights to write; history and plot go beside them."),
    ] = WEIGHTS_FILE,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            metavar="NAME",
            autocompletion=completion.one_of(RECIPES),
            help=f"What the options below begin with: {', '.join(RECIPES)}. note is the reference. Default: {DEFAULT_RECIPE}.",
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", "-e", metavar="N", help=f"Rounds over the images. {_default('epochs')}")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", metavar="N", help=f"Images a step. {_default('batch_size')}")
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option("--learning-rate", metavar="X", help=f"Of the optimizer. {_default('learning_rate')}"),
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
            help=f"Of the mean squared error. {_default('reconstruction_weight')} The less, the fewer latent units stay "
            "active and the softer are reconstructions and morphs: with 2000 a dozen units. At 1 the posterior collapses and "
            "every face comes out the same.",
        ),
    ] = None,
    kl_weight: Annotated[
        float | None,
        typer.Option("--kl-weight", metavar="X", help=f"Of the KL divergence. {_default('kl_weight')}"),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", metavar="N", help=f"Of weights, image order and noise. {_default('seed')}"),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            "--split",
            metavar="NAME",
            autocompletion=completion.one_of(SPLIT_NAMES),
            help=f"Images to train on: {', '.join(SPLIT_NAMES)}. Default: train.",
        ),
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            "--schedule",
            metavar="NAME",
            autocompletion=completion.one_of(SCHEDULE_NAMES),
            help=f"Of the learning rate: {' or '.join(SCHEDULE_NAMES)}, which falls to 0 at the last epoch. "
            f"{_default('schedule')}",
        ),
    ] = None,
    warmup: Annotated[
        float | None,
        typer.Option(
            "--warmup",
            metavar="EPOCHS",
            help="In which the learning rate rises at first. Default: 0; with the cosine, a twentieth of all epochs.",
        ),
    ] = None,
    flip: Annotated[
        bool | None,
        typer.Option(
            "--flip/--no-flip",
            help="Mirror each image in half of the epochs. Default: --flip; with --recipe note --no-flip.",
        ),
    ] = None,
    optimizer: Annotated[
        str | None,
        typer.Option(
            "--optimizer",
            metavar="NAME",
            autocompletion=completion.one_of(OPTIMIZER_NAMES),
            help=f"{' or '.join(OPTIMIZER_NAMES)}; muon is for weights and filters, with Adam for the rest. "
            f"{_default('optimizer')}",
        ),
    ] = None,
    focus: Annotated[
        float | None,
        typer.Option(
            "--focus",
            metavar="X",
            help=f"How much more the middle of the face weighs in the squared error than the corners. {_default('focus')}",
        ),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            "--patience",
            metavar="N",
            help="Stop after N epochs without a lower loss on valid, and keep the weights of the best epoch. 0: never, "
            "the default.",
        ),
    ] = None,
    max_time: MaxTime = None,
    log: Annotated[
        Path | None,
        typer.Option("--log", metavar="FILE", help="Add every figure to FILE while training, as JSON lines."),
    ] = None,
    tensorboard: Annotated[
        Path | None,
        typer.Option(
            "--tensorboard",
            metavar="DIR",
            help="Write every figure for TensorBoard too; needs the package tensorboard.",
        ),
    ] = None,
    precision: Precision = None,
    device: Device = "auto",
    processes: Annotated[
        int | None,
        typer.Option(
            "--processes",
            metavar="N",
            help="Train in so many processes on this machine. Default: one for each CUDA GPU that is used, otherwise one.",
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on from the checkpoint, with its options; --epochs, --learning-rate, --patience and --precision may change.",
        ),
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train the VAE on faces.h5 and write vae.safetensors, the loss history and the loss plot.

    Loss = weight x mean squared error + KL divergence. --recipe note is the reference run: weight 2000, batches of 500.
    Ctrl-C keeps what was trained; --resume goes on from there. An earlier training's files are kept beside the new ones.
    """
    from facevae.workflows.train import train as run

    if split is not None and split not in SPLIT_NAMES:
        raise UsageError(f"There is no split {split}: use one of {', '.join(SPLIT_NAMES)}.")
    if schedule is not None and schedule not in SCHEDULE_NAMES:
        raise UsageError(f"There is no schedule {schedule}: use one of {', '.join(SCHEDULE_NAMES)}.")
    if optimizer is not None and optimizer not in OPTIMIZER_NAMES:
        raise UsageError(f"There is no optimizer {optimizer}: use one of {', '.join(OPTIMIZER_NAMES)}.")
    with Reporter(quiet=quiet) as report:
        result = run(
            faces,
            output,
            recipe=recipe,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            latent_dim=latent_dim,
            channels=channels,
            reconstruction_weight=reconstruction_weight,
            kl_weight=kl_weight,
            seed=seed,
            split=split,  # type: ignore[arg-type]
            schedule=schedule,  # type: ignore[arg-type]
            warmup=warmup,
            flip=flip,
            optimizer=optimizer,  # type: ignore[arg-type]
            focus=focus,
            patience=patience,
            max_time=max_time,
            log=log,
            tensorboard=tensorboard,
            precision=precision,
            device=device,
            processes=processes,
            resume=resume,
            report=report,
        )
    if result.leads:
        _emit(result, as_json=as_json)
    if result.interrupted:
        raise KeyboardInterrupt


def _emit(result: TrainResult, *, as_json: bool) -> None:
    files = result.files
    losses = {"train_loss": result.train_loss, "valid_loss": result.valid_loss}
    emit(
        [files.weights, files.history, files.plot],
        {
            "epochs": result.epochs,
            "seconds": result.seconds,
            "interrupted": result.interrupted,
            "stopped": result.stopped,
            "best_epoch": result.best_epoch,
            **{name: asdict(point) if point else None for name, point in losses.items()},
        },
        as_json=as_json,
    )
