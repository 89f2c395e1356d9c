"""`train`: the reference model and loss on the prepared faces, with checkpoints, the loss history and its plot."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from facevae.config import ENCODE_BATCH, FACES_FILE, WEIGHTS_FILE, ModelConfig, SplitName, TrainConfig
from facevae.errors import DataError, MismatchError, TrainingError, UsageError
from facevae.model.device import resolve_device
from facevae.model.inference import encode_images
from facevae.model.latent_space import AttributeDirections, ClassSums
from facevae.model.training import MeanLoss, Trainer, evaluate_loss, new_vae
from facevae.progress import Notice, Progress, Report, silent
from facevae.storage.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from facevae.storage.faces import Faces
from facevae.storage.history import HistoryPoint, write_history
from facevae.storage.kinds import WEIGHTS
from facevae.storage.output import StrPath, check_output, write_bytes
from facevae.storage.training_files import TrainFiles
from facevae.storage.weights import FaceModel
from facevae.version import __version__
from facevae.workflows.interruption import Interruption, deferred_interruption

CHECKPOINT_SECONDS = 60.0
_POINTS_PER_EPOCH = 20


@dataclass(frozen=True)
class TrainResult:
    """What `train` made: its files, how far it came, and the last losses (None where there are no valid faces)."""

    files: TrainFiles
    epochs: float
    seconds: float
    interrupted: bool
    train_loss: HistoryPoint | None
    valid_loss: HistoryPoint | None


def train(
    faces: StrPath = FACES_FILE,
    output: StrPath = WEIGHTS_FILE,
    *,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    latent_dim: int | None = None,
    channels: int | None = None,
    reconstruction_weight: float | None = None,
    kl_weight: float | None = None,
    seed: int | None = None,
    split: SplitName | None = None,
    device: str = "auto",
    resume: bool = False,
    report: Report = silent,
) -> TrainResult:
    """Train a VAE on `faces.h5` and write weights, checkpoint, loss history and loss plot.

    Ctrl-C or SIGTERM ends the training after the current step and keeps what was trained; a second one skips the attribute
    directions, a third breaks off at once.

    Args:
        faces: the prepared faces.
        output: the weights file; the others are named after it, see `TrainFiles`.
        epochs: rounds over the training images; of a resumed run, counted from its very beginning.
        batch_size: images a step.
        learning_rate: of Adam.
        latent_dim: latent units.
        channels: of every convolution.
        reconstruction_weight: of the mean squared error in the loss, see `TrainConfig`.
        kl_weight: of the KL divergence in the loss.
        seed: of the initial weights, the order of the images and the noise.
        split: which images to train on: train, valid, test or all.
        device: auto, cpu, cuda or mps.
        resume: go on from the checkpoint, or finish what a killed run left undone. `epochs` and `learning_rate` may then change;
            any other option may only repeat the checkpoint's value.
        report: is called with progress and notices.

    Every option left at None has the default of `TrainConfig` or `ModelConfig`, or the checkpoint's value.

    Raises:
        DataError: a file is missing, damaged, or cannot be written.
        MismatchError: the checkpoint is of other faces.
        TrainingError: the loss is no longer finite.
        UsageError: a value is out of range, or contradicts the checkpoint.
    """
    faces, output = Path(faces), Path(output)
    files = TrainFiles(output)
    check_output(output, inputs=[faces], kind=WEIGHTS)
    if output.suffix != ".safetensors":
        raise UsageError(f"Cannot write weights to {output}: their name must end in .safetensors.")
    target = resolve_device(device)
    how = _given(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        reconstruction_weight=reconstruction_weight,
        kl_weight=kl_weight,
        seed=seed,
        split=split,
    )
    shape = _given(latent_dim=latent_dim, channels=channels)
    with Faces(faces) as opened:
        if resume:
            checkpoint = _find_checkpoint(files, opened, {**how, **shape})
            config, model_config = replace(checkpoint.train, **how), checkpoint.model
        else:
            checkpoint = None
            config, model_config = TrainConfig(**how), ModelConfig(image_size=opened.image_size, **shape)
        run = _Run(files, opened, config, model_config, target, checkpoint, report)
        if not checkpoint:
            kept = files.set_aside()
            if kept:
                report(Notice(f"The earlier training is kept as {kept.weights} (and the files beside it)."))
        with deferred_interruption() as interruption:
            if not run.only_finish():
                run.train(interruption)
            run.finish(interruption)
        return run.result()


_MAY_CHANGE = ("epochs", "learning_rate")
"""What a resumed training may be asked for anew."""


def _given(**options: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return the options that were given, that is, are not None."""
    return {name: value for name, value in options.items() if value is not None}


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
    had = {**checkpoint.train.to_dict(), **checkpoint.model.to_dict()}
    for name, value in options.items():
        if name not in _MAY_CHANGE and value != had[name]:
            raise UsageError(
                f"{files.checkpoint} was trained with {name.replace('_', ' ')} {had[name]}, not {value}: resume without "
                "that option, or start a new training without --resume."
            )
    return checkpoint


class _Run:
    """One training from its first step to its files."""

    def __init__(
        self,
        files: TrainFiles,
        faces: Faces,
        config: TrainConfig,
        model_config: ModelConfig,
        device: torch.device,
        checkpoint: Checkpoint | None,
        report: Report,
    ) -> None:
        self._files, self._faces, self._config, self._report = files, faces, config, report
        self._history = list(checkpoint.history) if checkpoint else []
        self._started = time.monotonic() - (checkpoint.seconds if checkpoint else 0.0)
        self._saved_at = time.monotonic()
        self._directions: AttributeDirections | None = None
        self._train_images = torch.from_numpy(faces.images_of(config.split))
        if len(self._train_images) < 2:
            raise DataError(f"{faces.path} has one image in the split {config.split}: training needs at least two.")
        self._valid_images = self._load_valid(config)
        vae = new_vae(model_config, config.seed)
        if checkpoint:
            checkpoint.restore_network(vae)
        vae.to(device)
        where = {"epoch": checkpoint.epoch, "step": checkpoint.step} if checkpoint else {}
        self._trainer = Trainer(vae, self._train_images, config, **where)
        if checkpoint:
            checkpoint.restore_optimizer(self._trainer)

    def _load_valid(self, config: TrainConfig) -> torch.Tensor | None:
        if len(self._faces.rows_of("valid")) == 0:
            self._report(Notice(f"{self._faces.path} has no valid split: only the training loss is recorded."))
            return None
        if config.split in ("valid", "all"):
            self._report(
                Notice("The valid images are among those trained on: their loss says nothing about new faces.")
            )
        return torch.from_numpy(self._faces.images_of("valid"))

    def only_finish(self) -> bool:
        """Return whether all epochs are done and just the last files are missing, as after a kill between the two.

        Raises:
            UsageError: nothing is missing.
        """
        trainer = self._trainer
        if trainer.epoch < self._config.epochs:
            return False
        with suppress(DataError):
            model = FaceModel.load(self._files.weights)
            whole = model.directions is not None or self._faces.attributes is None
            if whole and self._files.plot.exists() and model.hash() == FaceModel(trainer.vae).hash():
                raise UsageError(
                    f"{self._files.checkpoint} has been trained for {trainer.epoch} epochs already: "
                    f"ask for more with --epochs, such as --epochs {trainer.epoch + 10}."
                )
        return True

    def train(self, interruption: Interruption) -> None:
        """Train to the last epoch or to an interruption; checkpoints by time and after every epoch."""
        trainer = self._trainer
        interval = max(1, trainer.steps_per_epoch // _POINTS_PER_EPOCH)
        images, clock = 0, time.monotonic()
        while trainer.epoch < self._config.epochs and not interruption.requested:
            images += trainer.advance()
            epoch_ended = trainer.step == 0
            if epoch_ended or trainer.step % interval == 0 or interruption.requested:
                now = time.monotonic()
                self._record_train(images / max(now - clock, 1e-9))
                images, clock = 0, now
                if epoch_ended:
                    self._end_epoch()
                    clock = time.monotonic()
                elif now - self._saved_at > CHECKPOINT_SECONDS:
                    self._save_checkpoint()
                    clock = time.monotonic()

    def _record_train(self, images_per_second: float) -> None:
        trainer = self._trainer
        loss = trainer.read_loss()
        self._check_finite(loss)
        self._history.append(_point(trainer.epochs_done, "train", loss, images_per_second))
        steps_done = trainer.epoch * trainer.steps_per_epoch + trainer.step
        self._report(
            Progress(
                "train",
                steps_done,
                self._config.epochs * trainer.steps_per_epoch,
                "steps",
                # In this order, because a narrow terminal cuts off at the right.
                {
                    "epoch": trainer.epochs_done,
                    "loss": loss.total,
                    "images/s": images_per_second,
                    "KL": loss.kl,
                    "reconstruction": loss.reconstruction,
                },
            )
        )

    def _check_finite(self, loss: MeanLoss) -> None:
        if not math.isfinite(loss.total):
            raise self._not_finite()

    def _not_finite(self) -> TrainingError:
        kept = (
            f"the state before is in {self._files.checkpoint}"
            if self._files.checkpoint.exists()
            else "no checkpoint had been written yet"
        )
        return TrainingError(
            f"The loss is no longer finite after {self._trainer.epochs_done:.2f} epochs ({kept}): "
            f"try a lower learning rate than {self._config.learning_rate:g}."
        )

    def _end_epoch(self) -> None:
        trainer = self._trainer
        text = f"epoch {trainer.epoch}/{self._config.epochs}: {_describe_epoch(self._history, trainer.epoch)}"
        if self._valid_images is not None:
            loss = evaluate_loss(trainer.vae, self._valid_images, self._config)
            # The training loss is that of before the last step, which may be the one that went wrong.
            self._check_finite(loss)
            self._history.append(_point(trainer.epochs_done, "valid", loss, 0.0))
            text += f"; valid {_describe(loss)}"
        self._report(Notice(text))
        self._save_checkpoint()
        self._save_weights()

    def _save_checkpoint(self) -> None:
        if not all(bool(torch.isfinite(parameter).all()) for parameter in self._trainer.vae.parameters()):
            raise self._not_finite()  # the last step ruined the weights after their loss was read
        save_checkpoint(
            self._files.checkpoint,
            self._trainer,
            seconds=time.monotonic() - self._started,
            faces_fingerprint=self._faces.fingerprint,
            history=self._history,
        )
        self._saved_at = time.monotonic()

    def _save_weights(self) -> None:
        names = self._faces.attribute_names
        model = FaceModel(self._trainer.vae, self._training_record(), names, self._directions)
        model.save(self._files.weights)
        write_history(self._files.history, self._history)

    def finish(self, interruption: Interruption) -> None:
        """Save, find the attribute directions, draw the loss, and save again with the directions."""
        if not self._history:
            raise KeyboardInterrupt
        if self._trainer.step:
            self._save_checkpoint()
        self._save_weights()
        self._write_plot()
        if self._trainer.epoch < self._config.epochs:
            self._report(Notice("Interrupted: keeping what was trained."))
        self._directions = self._find_directions(lambda: interruption.count > 1)
        if self._directions is not None:
            self._save_weights()
        elif self._faces.attributes is not None:
            self._report(Notice("The attribute directions were not computed: facevae train --resume computes them."))

    def _find_directions(self, stop: Callable[[], bool]) -> AttributeDirections | None:
        """Encode the training images and return the directions of their attributes; None without attributes or on `stop`."""
        if self._faces.attributes is None:
            return None
        attributes = self._faces.attributes[self._faces.rows_of(self._config.split)]
        sums = ClassSums(attributes.shape[1], self._trainer.vae.config.latent_dim)
        total = len(self._train_images)
        for start in range(0, total, ENCODE_BATCH):
            if stop():
                return None
            images: np.ndarray[Any, Any] = self._train_images[start : start + ENCODE_BATCH].numpy()
            mean, _ = encode_images(self._trainer.vae, images)
            sums.add(mean, attributes[start : start + ENCODE_BATCH])
            self._report(Progress("attribute directions", min(start + ENCODE_BATCH, total), total))
        return sums.directions()

    def _write_plot(self) -> None:
        from facevae.figures.picture import plot_bytes
        from facevae.figures.plots import LossCurves, loss_plot

        def curves(split: str) -> LossCurves:
            points = [point for point in self._history if point.split == split]
            return LossCurves(
                [point.epoch for point in points],
                [point.loss for point in points],
                [point.reconstruction for point in points],
                [point.kl for point in points],
            )

        figure = loss_plot(curves("train"), curves("valid"), self._config.reconstruction_weight, self._config.kl_weight)
        write_bytes(self._files.plot, plot_bytes(figure, self._files.plot.name))

    def _training_record(self) -> dict[str, Any]:
        last = {split: _last(self._history, split) for split in ("train", "valid")}
        return {
            **self._config.to_dict(),
            "epochs_done": self._trainer.epochs_done,
            "images_in_split": len(self._train_images),
            "seconds": round(time.monotonic() - self._started, 1),
            "device": str(self._trainer.vae.device),
            "faces_fingerprint": self._faces.fingerprint,
            "faces_source": self._faces.record["source"],
            "losses": {
                split: {"loss": point.loss, "reconstruction": point.reconstruction, "kl": point.kl, "mse": point.mse}
                for split, point in last.items()
                if point is not None
            },
            "versions": {"facevae": __version__, "torch": torch.__version__, "numpy": np.__version__},
        }

    def result(self) -> TrainResult:
        """Return what was made; a request to stop that came after the last step interrupted nothing."""
        return TrainResult(
            files=self._files,
            epochs=self._trainer.epochs_done,
            seconds=time.monotonic() - self._started,
            interrupted=self._trainer.epoch < self._config.epochs,
            train_loss=_last(self._history, "train"),
            valid_loss=_last(self._history, "valid"),
        )


def _point(epoch: float, split: str, loss: MeanLoss, images_per_second: float) -> HistoryPoint:
    return HistoryPoint(epoch, split, loss.total, loss.reconstruction, loss.kl, loss.mse, images_per_second)


def _last(history: list[HistoryPoint], split: str) -> HistoryPoint | None:
    return next((point for point in reversed(history) if point.split == split), None)


def _describe(loss: MeanLoss) -> str:
    return f"loss {loss.total:.2f} (reconstruction {loss.reconstruction:.2f}, KL {loss.kl:.2f})"


def _describe_epoch(history: list[HistoryPoint], epoch: int) -> str:
    """Return the mean training loss over the points of one epoch, in words."""
    points = [point for point in history if point.split == "train" and epoch - 1 < point.epoch <= epoch]
    columns = zip(*((point.loss, point.reconstruction, point.kl, point.mse) for point in points), strict=True)
    return f"train {_describe(MeanLoss(*(sum(column) / len(points) for column in columns)))}"
