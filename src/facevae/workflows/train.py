"""`train`: the reference model and loss on the prepared faces, with checkpoints, the loss history and its plot."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from facevae.config import (
    DEFAULT_RECIPE,
    FACES_FILE,
    RECIPES,
    WEIGHTS_FILE,
    ModelConfig,
    OptimizerName,
    ScheduleName,
    SplitName,
    TrainConfig,
    fits_network,
)
from facevae.errors import DataError, MismatchError, UsageError, did_you_mean
from facevae.model.device import resolve_device
from facevae.progress import Report, silent
from facevae.storage.checkpoint import Checkpoint, load_checkpoint
from facevae.storage.faces import Faces
from facevae.storage.history import HistoryPoint
from facevae.storage.kinds import WEIGHTS
from facevae.storage.output import StrPath, check_output
from facevae.storage.run_log import check_run_log
from facevae.storage.tensorboard_log import check_tensorboard
from facevae.storage.training_files import TrainFiles
from facevae.workflows.duration import parse_duration
from facevae.workflows.interruption import deferred_interruption
from facevae.workflows.launch import leads, local_device, meet, process_count
from facevae.workflows.training_log import open_logs
from facevae.workflows.training_options import check_repeated, given, set_aside
from facevae.workflows.training_outputs import last_point
from facevae.workflows.training_run import Stopped, TrainingRun


@dataclass(frozen=True)
class TrainResult:
    """What `train` made: its files, how far it came and why it stopped, and the last losses (None without valid faces).

    `stopped` is "done" (all epochs), "interrupted" (Ctrl-C), "max time" or "patience". `best_epoch` is the epoch whose network
    the weights hold, where that need not be the last: with patience. `leads` is whether this process is the one that wrote.
    """

    files: TrainFiles
    epochs: float
    seconds: float
    stopped: Stopped
    best_epoch: int | None
    train_loss: HistoryPoint | None
    valid_loss: HistoryPoint | None
    leads: bool = True

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C or SIGTERM ended the training before its time."""
        return self.stopped == "interrupted"


def train(
    faces: StrPath = FACES_FILE,
    output: StrPath = WEIGHTS_FILE,
    *,
    recipe: str | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    latent_dim: int | None = None,
    channels: int | None = None,
    reconstruction_weight: float | None = None,
    kl_weight: float | None = None,
    seed: int | None = None,
    split: SplitName | None = None,
    schedule: ScheduleName | None = None,
    warmup: float | None = None,
    flip: bool | None = None,
    optimizer: OptimizerName | None = None,
    focus: float | None = None,
    patience: int | None = None,
    max_time: str | float | None = None,
    log: StrPath | None = None,
    tensorboard: StrPath | None = None,
    precision: str | None = None,
    device: str = "auto",
    processes: int | None = None,
    resume: bool = False,
    report: Report = silent,
) -> TrainResult:
    """Train a VAE on `faces.h5` and write weights, checkpoint, loss history and loss plot.

    Ctrl-C or SIGTERM ends the training after the current step and keeps what was trained; a second one skips the attribute
    directions, a third breaks off at once.

    Args:
        faces: the prepared faces.
        output: the weights file; the others are named after it, see `TrainFiles`.
        recipe: what the other options begin with: detail (the default), or note, the reference run; see `config.RECIPES`.
        epochs: rounds over the training images; of a resumed run, counted from its very beginning.
        batch_size: images a step.
        learning_rate: of the optimizer.
        latent_dim: latent units.
        channels: of every convolution.
        reconstruction_weight: of the mean squared error in the loss, see `TrainConfig`.
        kl_weight: of the KL divergence in the loss.
        seed: of the initial weights, the order of the images and the noise.
        split: which images to train on: train, valid, test or all.
        schedule: of the learning rate: constant, or cosine, which falls to 0 at the last epoch.
        warmup: epochs in which the learning rate first rises.
        flip: mirror each image in half of the epochs.
        focus: how much more the middle of the face weighs in the squared error than the corners.
        optimizer: adam, or muon for weights and filters and Adam for the rest.
        patience: stop after that many epochs without a lower loss on valid, and keep the weights of the best; 0 for never.
        max_time: stop after that much time of this call: seconds, or a text such as "90s", "30m" or "1.5h".
        log: a file to add JSON lines to while it trains, see `facevae.storage.run_log`.
        tensorboard: a folder for TensorBoard's event files; needs the package tensorboard.
        precision: of the convolutions: fp32, bf16, or auto for bf16 where the device has it, see `facevae.model.precision`.
        device: auto, cpu, cuda or mps.
        processes: how many train together on this machine, each with its share of every batch: by default one for each visible
            GPU of `cuda`, and otherwise one. Where `torchrun` has started this one, its processes train together.
        resume: go on from the checkpoint, or finish what a killed run left undone. `epochs`, `learning_rate`, `patience` and
            `precision` may then change; any other option of the training may only repeat the checkpoint's value.
        report: is called with progress and notices.

    An option of the training left at None has the value of the recipe, or of the checkpoint that is resumed.

    Raises:
        DataError: a file is missing, damaged, or cannot be written.
        LostRankError: of several processes, one is gone.
        MismatchError: the checkpoint is of other faces.
        TrainingError: the loss is no longer finite.
        UsageError: a value is out of range, or contradicts the checkpoint.
    """
    faces, output = Path(faces), Path(output)
    files = TrainFiles(output)
    check_output(output, inputs=[faces], kind=WEIGHTS)
    if output.suffix != ".safetensors":
        raise UsageError(f"Cannot write weights to {output}: their name must end in .safetensors.")
    max_seconds = parse_duration(max_time) if max_time is not None else math.inf
    if leads():
        log, tensorboard = _checked_logs(log, tensorboard, files, faces, resume=resume)
    else:
        log, tensorboard, report = None, None, silent
    target = resolve_device(device)
    count = process_count(processes, target)
    target = local_device(target, count)
    how = given(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        reconstruction_weight=reconstruction_weight,
        kl_weight=kl_weight,
        seed=seed,
        split=split,
        schedule=schedule,
        warmup=warmup,
        flip=flip,
        optimizer=optimizer,
        focus=focus,
        patience=patience,
        precision=precision,
    )
    shape = given(latent_dim=latent_dim, channels=channels)
    base = _recipe(recipe)
    with Faces(faces) as opened:
        if resume:
            # What a recipe decides, not what it leaves at every recipe's default.
            repeated = _told_apart(base) if recipe is not None else {}
            checkpoint = _find_checkpoint(files, opened, {**repeated, **how, **shape})
            config, model_config = replace(checkpoint.train, **how), checkpoint.model
        else:
            checkpoint = None
            _check_size(opened)
            config, model_config = replace(base, **how), ModelConfig(image_size=opened.image_size, **shape)
        asked = {
            "faces": str(faces),
            "output": str(output),
            "recipe": recipe,
            **how,
            **shape,
            "device": device,
            "resume": resume,
        }
        with meet(target, count, asked) as ranks:
            run = TrainingRun(files, opened, config, model_config, target, checkpoint, ranks, report)
            run.check_agreement()
            only_finish = run.only_finish()
            with (
                open_logs(log, tensorboard, run.start_record(), report) as logs,
                deferred_interruption() as interruption,
            ):
                if not checkpoint and ranks.leads:
                    set_aside(files, report)
                if not only_finish:
                    run.train(interruption, logs, max_seconds)
                run.finish(interruption, logs)
    return TrainResult(
        files=files,
        epochs=run.epochs_done,
        seconds=run.seconds,
        stopped=run.stopped,
        best_epoch=run.best.epoch if run.best else None,
        train_loss=last_point(run.history, "train"),
        valid_loss=last_point(run.history, "valid"),
        leads=ranks.leads,
    )


def _check_size(faces: Faces) -> None:
    size = faces.image_size
    if not fits_network(size):
        nearest = min(1 << max(size.bit_length() - 1, 4), 512)
        raise DataError(
            f"{faces.path} holds faces of {size} x {size} pixels, which do not fit the network: "
            f"prepare them with --size {nearest} (a power of two from 16 to 512)."
        )


def _recipe(name: str | None) -> TrainConfig:
    if name is None:
        return RECIPES[DEFAULT_RECIPE]
    if name not in RECIPES:
        raise UsageError(f"There is no recipe {name}: use one of {', '.join(RECIPES)}.{did_you_mean(name, RECIPES)}")
    return RECIPES[name]


def _told_apart(recipe: TrainConfig) -> dict[str, Any]:
    """Return the options by which the recipes differ, apart from those that are often given beside one."""
    others = [other.to_dict() for other in RECIPES.values()]
    return {
        name: value
        for name, value in recipe.to_dict().items()
        if name not in _GIVEN_BESIDE and any(other[name] != value for other in others)
    }


def _checked_logs(
    log: StrPath | None, tensorboard: StrPath | None, files: TrainFiles, faces: Path, *, resume: bool
) -> tuple[Path | None, Path | None]:
    """Return the two logs as paths, once they can be written."""
    log = Path(log) if log is not None else None
    tensorboard = Path(tensorboard) if tensorboard is not None else None
    if log is not None:
        check_run_log(log, inputs=[faces], outputs=files.all())
    if tensorboard is not None:
        check_tensorboard(tensorboard, resume=resume)
    return log, tensorboard


_GIVEN_BESIDE = ("batch_size", "learning_rate")

_MAY_CHANGE = ("epochs", "learning_rate", "patience", "precision")
"""What a resumed training may be asked for anew."""


def _find_checkpoint(files: TrainFiles, faces: Faces, options: dict[str, Any]) -> Checkpoint:
    if not files.checkpoint.exists():
        raise DataError(
            f"There is no {files.checkpoint} to resume from: start the training with facevae train, without --resume."
        )
    checkpoint = load_checkpoint(files.checkpoint)
    if checkpoint.faces_fingerprint != faces.fingerprint:
        raise MismatchError(
            f"{files.checkpoint} was trained on other faces than {faces.path} holds: resume with those faces, "
            "or start a new training without --resume."
        )
    train = checkpoint.train
    had = {**train.to_dict(), "warmup": train.warmup_epochs, **checkpoint.model.to_dict()}
    check_repeated(files.checkpoint, options, had, _MAY_CHANGE)
    return checkpoint
