"""`train-upscaler`: VDSR on faces of 96 pixels, or on what the VAE makes of them."""

from __future__ import annotations

import math
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from facevae.config import (
    RECONSTRUCTIONS_UPSCALER_FILE,
    UPSCALER_FACES_FILE,
    UPSCALER_FACES_SIZE,
    UPSCALER_FILE,
    UpscalerConfig,
    UpscalerInputs,
    UpscalerTrainConfig,
)
from facevae.errors import DataError, MismatchError, TrainingError, UsageError
from facevae.model.device import resolve_device
from facevae.model.precision import resolve_precision
from facevae.model.upscaler_training import UpscalerTrainer, measure_gain, new_upscaler
from facevae.model.vdsr import VDSR
from facevae.progress import Notice, Progress, Report, silent
from facevae.storage.faces import Faces
from facevae.storage.history import UpscalerPoint, write_history
from facevae.storage.kinds import UPSCALER
from facevae.storage.output import StrPath, check_output, write_bytes
from facevae.storage.training_files import TrainFiles
from facevae.storage.upscaler_checkpoint import (
    UpscalerCheckpoint,
    load_upscaler_checkpoint,
    save_upscaler_checkpoint,
)
from facevae.storage.upscaler_file import Upscaler
from facevae.storage.weights import FaceModel
from facevae.version import __version__
from facevae.workflows.common import load_model
from facevae.workflows.duration import describe_duration, parse_duration
from facevae.workflows.interruption import Interruption, deferred_interruption
from facevae.workflows.training_options import check_repeated, given, set_aside, trained_already
from facevae.workflows.upscaler_data import upscaler_data

LEAST_GAIN = 0.05
"""In dB: a network that gains less gives next to nothing but the bicubic enlargement."""
CHECKPOINT_SECONDS = 60.0
_POINTS_PER_EPOCH = 20
_MAY_CHANGE = ("epochs", "learning_rate", "precision")

Stopped = Literal["done", "interrupted", "max time"]


@dataclass(frozen=True)
class TrainUpscalerResult:
    """What `train_upscaler` made: its files, how far it came and why it stopped.

    `gain` is how many dB of luma it gains over bicubic on faces that were held out, by the factor of 3; None before the
    first epoch is over.
    """

    files: TrainFiles
    inputs: UpscalerInputs
    epochs: float
    seconds: float
    stopped: Stopped
    psnr: float | None
    gain: float | None

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C or SIGTERM ended the training before its time."""
        return self.stopped == "interrupted"


def train_upscaler(
    faces: StrPath = UPSCALER_FACES_FILE,
    output: StrPath | None = None,
    *,
    inputs: UpscalerInputs | None = None,
    weights: StrPath | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    patch_size: int | None = None,
    learning_rate: float | None = None,
    seed: int | None = None,
    max_time: str | float | None = None,
    precision: str | None = None,
    device: str = "auto",
    resume: bool = False,
    report: Report = silent,
) -> TrainUpscalerResult:
    """Train VDSR on faces of 96 pixels; write its weights, checkpoint, history and a plot.

    Ctrl-C or SIGTERM ends the training after the current step and keeps what was trained.

    Args:
        faces: prepared faces that carry detail, as `prepare --size 96` writes them; those of the valid split, or every tenth
            where there are none, only measure the gain.
        output: the file to write, by default `upscaler.safetensors` or, for reconstructions,
            `upscaler-reconstructions.safetensors`.
        inputs: what to learn to enlarge: "photographs" (the default), or "reconstructions", the VAE's own.
        weights: the VAE whose reconstructions those are; by default the workspace's, or the shipped one if it has none.
        epochs: rounds over the faces, one patch of each; of a resumed run, counted from its very beginning.
        batch_size: patches a step.
        patch_size: the side of a patch in pixels.
        learning_rate: the highest.
        seed: of the initial weights and of the order, places and mirroring of patches.
        max_time: stop after that much time of this call: seconds, or a text such as "90s", "30m" or "1.5h".
        precision: of the convolutions: fp32, bf16, or auto for bf16 where the device has it.
        device: auto, cpu, cuda or mps.
        resume: go on from the checkpoint, or finish what a killed run left undone. `epochs`, `learning_rate` and `precision` may
            then change; any other option of the training may only repeat the checkpoint's value.
        report: is called with progress and notices.

    Raises:
        DataError: a file is missing, damaged, or cannot be written.
        MismatchError: the faces are too small, or the checkpoint is of other faces or weights.
        TrainingError: the error is no longer finite.
        UsageError: a value is out of range, or contradicts the checkpoint.
    """
    faces = Path(faces)
    files = TrainFiles(Path(output) if output is not None else _default_output(inputs))
    check_output(files.weights, inputs=[faces], kind=UPSCALER)
    if files.weights.suffix != ".safetensors":
        raise UsageError(f"Cannot write weights to {files.weights}: their name must end in .safetensors.")
    max_seconds = parse_duration(max_time) if max_time is not None else math.inf
    place = resolve_device(device)
    how = given(
        inputs=inputs,
        epochs=epochs,
        batch_size=batch_size,
        patch_size=patch_size,
        learning_rate=learning_rate,
        seed=seed,
        precision=precision,
    )
    checkpoint = _find_checkpoint(files, how) if resume else None
    config = replace(checkpoint.train if checkpoint else UpscalerTrainConfig(), **how)
    resolve_precision(config.precision, place)
    if weights is not None and config.inputs != "reconstructions":
        raise UsageError("Photographs need no weights: leave --weights out, or add --inputs reconstructions.")
    if not faces.exists():
        raise DataError(
            f"There is no {faces}. Prepare some with: "
            f"facevae prepare --celeba-dir DIR --size {UPSCALER_FACES_SIZE} -o {faces}"
        )
    with Faces(faces) as opened:
        model = load_model(weights, device, report) if config.inputs == "reconstructions" else None
        run = _Run(files, opened, model, config, place, checkpoint, report)
        with deferred_interruption() as interruption:
            if checkpoint is None:
                set_aside(files, report)
            stopped = run.train(interruption, max_seconds)
            run.finish()
    last = run.last("valid")
    return TrainUpscalerResult(
        files=files,
        inputs=config.inputs,
        epochs=run.trainer.epochs_done,
        seconds=run.seconds,
        stopped=stopped,
        psnr=last.psnr if last else None,
        gain=last.gain if last else None,
    )


def _default_output(inputs: str | None) -> Path:
    return RECONSTRUCTIONS_UPSCALER_FILE if inputs == "reconstructions" else UPSCALER_FILE


def _find_checkpoint(files: TrainFiles, options: dict[str, Any]) -> UpscalerCheckpoint:
    if not files.checkpoint.exists():
        raise DataError(
            f"There is no {files.checkpoint} to resume from: start the training with facevae train-upscaler, "
            "without --resume."
        )
    checkpoint = load_upscaler_checkpoint(files.checkpoint)
    check_repeated(files.checkpoint, options, checkpoint.train.to_dict(), _MAY_CHANGE)
    wanted = options.get("epochs", checkpoint.train.epochs)
    if checkpoint.epoch >= wanted and _is_whole(files, checkpoint):
        raise trained_already(files.checkpoint, checkpoint.epoch)
    return checkpoint


def _is_whole(files: TrainFiles, checkpoint: UpscalerCheckpoint) -> bool:
    """Return whether the other files are those of the checkpoint, and not left behind by a kill at the end of the training."""
    with suppress(DataError):
        found = Upscaler.load(files.weights).network
        kept = VDSR(checkpoint.network)
        checkpoint.restore_network(kept)
        pairs = zip(found.state_dict().values(), kept.state_dict().values(), strict=True)
        return files.plot.exists() and found.config == kept.config and all(torch.equal(*pair) for pair in pairs)
    return False


class _Run:
    """One training of the upscaler."""

    def __init__(
        self,
        files: TrainFiles,
        faces: Faces,
        model: FaceModel | None,
        config: UpscalerTrainConfig,
        device: torch.device,
        checkpoint: UpscalerCheckpoint | None,
        report: Report,
    ) -> None:
        self._files, self._faces, self._report = files, faces, report
        self._vae = model.hash() if model is not None else None
        if checkpoint is not None:
            self._check_same(checkpoint)
        self.history = list(checkpoint.history) if checkpoint else []
        data = upscaler_data(faces, config.inputs, model, report)
        self._held_out = data.held_out
        network = new_upscaler(checkpoint.network if checkpoint else UpscalerConfig(), config.seed)
        if checkpoint:
            checkpoint.restore_network(network)
        epoch, step = (checkpoint.epoch, checkpoint.step) if checkpoint else (0, 0)
        self.trainer = UpscalerTrainer(network.to(device), data.train, config, epoch=epoch, step=step)
        if checkpoint:
            checkpoint.restore_optimizer(self.trainer)
        self._started = time.monotonic() - (checkpoint.seconds if checkpoint else 0.0)
        self._saved_at = time.monotonic()
        self._warned = False

    def _check_same(self, checkpoint: UpscalerCheckpoint) -> None:
        if checkpoint.faces_fingerprint != self._faces.fingerprint:
            raise MismatchError(
                f"{checkpoint.path} was trained on other faces than {self._faces.path} holds: resume with those faces, or "
                "start a new training without --resume."
            )
        if checkpoint.vae != self._vae:
            raise MismatchError(
                f"{checkpoint.path} was trained on the reconstructions of other weights: name those with --weights, or start "
                "a new training without --resume."
            )

    @property
    def seconds(self) -> float:
        """How long it took so far, with the runs before this one."""
        return time.monotonic() - self._started

    def last(self, split: str) -> UpscalerPoint | None:
        """Return the last point of a split."""
        return next((point for point in reversed(self.history) if point.split == split), None)

    def train(self, interruption: Interruption, max_seconds: float) -> Stopped:
        """Train until something ends it; checkpoints by time and after every epoch."""
        trainer, deadline = self.trainer, time.monotonic() + max_seconds
        interval = max(1, trainer.steps_per_epoch // _POINTS_PER_EPOCH)
        patches, clock, taken = 0, time.monotonic(), False
        stopped: Stopped = "done"
        while trainer.epoch < trainer.config.epochs:
            now = time.monotonic()
            if interruption.requested or (taken and now >= deadline):
                stopped = "interrupted" if interruption.requested else "max time"
                break
            if now - self._saved_at > CHECKPOINT_SECONDS:
                if patches:
                    self._record(patches / max(now - clock, 1e-9))
                self._save_checkpoint()
                patches, clock = 0, time.monotonic()
            patches, taken = patches + trainer.advance(), True
            if trainer.step % interval == 0:
                now = time.monotonic()
                self._record(patches / max(now - clock, 1e-9))
                if trainer.step == 0:
                    self._end_epoch()
                patches, clock = 0, time.monotonic()
        if patches:
            self._record(patches / max(time.monotonic() - clock, 1e-9))
        self._say_why(stopped, max_seconds)
        return stopped

    def _say_why(self, stopped: Stopped, max_seconds: float) -> None:
        if stopped == "interrupted" and self.history:
            self._report(Notice("Interrupted: keeping what was trained."))
        elif stopped == "max time":
            config = self.trainer.config
            command = "train-upscaler" + (" --inputs reconstructions" if config.inputs == "reconstructions" else "")
            self._report(
                Notice(
                    f"The time of {describe_duration(max_seconds)} is up after {self.trainer.epochs_done:.2f} of "
                    f"{config.epochs} epochs: facevae {command} --resume goes on."
                )
            )

    def _record(self, rate: float) -> None:
        trainer = self.trainer
        errors = trainer.read_errors()
        if not math.isfinite(errors.mse):
            raise self._not_finite()
        point = UpscalerPoint(trainer.epochs_done, "train", errors.mse, errors.psnr, errors.gain, rate)
        self.history.append(point)
        done, per_epoch = trainer.epoch * trainer.steps_per_epoch + trainer.step, trainer.steps_per_epoch
        # In this order, because a narrow terminal cuts off at the right.
        values = {"epoch": trainer.epochs_done, "gain, dB": errors.gain, "patches/s": rate, "PSNR": errors.psnr}
        self._report(Progress("train", done, trainer.config.epochs * per_epoch, "steps", values))

    def _not_finite(self) -> TrainingError:
        kept = (
            f"the state before is in {self._files.checkpoint}"
            if self._files.checkpoint.exists()
            else "no checkpoint had been written yet"
        )
        return TrainingError(
            f"The error is no longer finite after {self.trainer.epochs_done:.2f} epochs ({kept}): "
            f"try a lower learning rate than {self.trainer.config.learning_rate:g}."
        )

    def _end_epoch(self) -> None:
        trainer = self.trainer
        dtype = resolve_precision(trainer.config.precision, trainer.device).dtype
        found = measure_gain(trainer.network, self._held_out, dtype)
        if not math.isfinite(found.psnr):
            raise self._not_finite()
        self.history.append(UpscalerPoint(trainer.epochs_done, "valid", found.mse, found.psnr, found.gain))
        self._report(
            Notice(
                f"epoch {trainer.epoch}/{trainer.config.epochs}: held-out faces at {found.psnr:.2f} dB, "
                f"{found.gain:+.2f} against bicubic"
            )
        )
        if found.gain < LEAST_GAIN and not self._warned:
            self._warned = True
            self._report(
                Notice(
                    f"That is less than {LEAST_GAIN} dB: so far the network adds next to nothing to the bicubic enlargement. "
                    f"If it stays so, train anew with {self._another_rate()}."
                )
            )
        self._save_checkpoint()
        self._save_weights()

    def _save_checkpoint(self) -> None:
        if not all(bool(torch.isfinite(parameter).all()) for parameter in self.trainer.network.parameters()):
            raise self._not_finite()
        save_upscaler_checkpoint(
            self._files.checkpoint,
            self.trainer,
            seconds=self.seconds,
            faces_fingerprint=self._faces.fingerprint,
            vae=self._vae,
            history=self.history,
        )
        self._saved_at = time.monotonic()

    def _save_weights(self) -> None:
        Upscaler(self.trainer.network, self._training_record()).save(self._files.weights)
        write_history(self._files.history, self.history)

    def _training_record(self) -> dict[str, Any]:
        valid = self.last("valid")
        return {
            **self.trainer.config.to_dict(),
            "epochs_done": self.trainer.epochs_done,
            "faces": self.trainer.faces,
            "face_size": self._faces.image_size,
            "seconds": round(self.seconds, 1),
            "device": str(self.trainer.device),
            "faces_fingerprint": self._faces.fingerprint,
            "faces_source": self._faces.record["source"],
            "vae": self._vae,
            "valid": {"faces": self._held_out.count, "psnr": valid.psnr, "gain": valid.gain} if valid else None,
            "versions": {"facevae": __version__, "torch": str(torch.__version__)},
        }

    def finish(self) -> None:
        """Save everything, draw the plot, and say so if nothing was learned."""
        if not self.history:
            raise KeyboardInterrupt
        if self.trainer.step:
            self._save_checkpoint()
        self._save_weights()
        from facevae.figures.picture import plot_bytes
        from facevae.figures.plots import gain_plot

        train, valid = ([point for point in self.history if point.split == split] for split in ("train", "valid"))
        figure = gain_plot(
            [point.epoch for point in train],
            [point.gain for point in train],
            [point.epoch for point in valid],
            [point.gain for point in valid],
        )
        write_bytes(self._files.plot, plot_bytes(figure, self._files.plot.name))
        last = self.last("valid")
        if last is not None and last.gain < LEAST_GAIN and self.trainer.epoch >= self.trainer.config.epochs:
            self._report(
                Notice(
                    f"The network has learned next to nothing: {last.gain:+.2f} dB against the bicubic enlargement. Train for "
                    f"more epochs (--resume --epochs N), or anew with {self._another_rate()}."
                )
            )

    def _another_rate(self) -> str:
        rate, usual = self.trainer.config.learning_rate, UpscalerTrainConfig.learning_rate
        return f"a {'higher' if rate < usual else 'lower'} learning rate than {rate:g}"
