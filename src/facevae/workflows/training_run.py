"""One training from its first step to its files: the loop, what it records on the way, and what it leaves at the end."""

from __future__ import annotations

import hashlib
import json
import math
import time
from contextlib import suppress
from typing import Any, Literal

import numpy as np
import torch

from facevae.config import ModelConfig, TrainConfig
from facevae.errors import DataError, LostRankError, MismatchError, TrainingError, UsageError
from facevae.model.prior import MOST_UNITS
from facevae.model.ranks import Ranks
from facevae.model.schedule import learning_rate_at
from facevae.model.training import MeanLoss, Trainer, evaluate_loss, new_vae
from facevae.model.vae import VAE
from facevae.progress import Notice, Progress, Report
from facevae.storage.checkpoint import BestNetwork, Checkpoint, save_checkpoint
from facevae.storage.faces import Faces
from facevae.storage.history import HistoryPoint, write_history
from facevae.storage.training_files import TrainFiles
from facevae.storage.weights import FaceModel
from facevae.version import __version__
from facevae.workflows.duration import describe_duration
from facevae.workflows.interruption import Interruption
from facevae.workflows.patience import best_valid, epochs_without_progress, is_stalled
from facevae.workflows.training_log import TrainingLogs
from facevae.workflows.training_options import trained_already
from facevae.workflows.training_outputs import (
    LatentStatistics,
    describe_point,
    last_point,
    mean_of_epoch,
    measure_latents,
    write_loss_plot,
)

CHECKPOINT_SECONDS = 60.0
_POINTS_PER_EPOCH = 20

# What a rank wishes before the next step: the highest of all ranks' numbers counts.
_GO_ON, _SAVE, _LATE, _INTERRUPTED = range(4)

Stopped = Literal["done", "interrupted", "max time", "patience"]
"""Why a training ended: all epochs were trained, Ctrl-C, its time was up, or the loss on valid no longer fell."""


class TrainingRun:
    """One training from its first step to its files.

    Attributes:
        history: the points so far.
        stopped: why it ended, once it has.
        best: the network that the weights file gets when the training may stop early, and its epoch.
    """

    def __init__(
        self,
        files: TrainFiles,
        faces: Faces,
        config: TrainConfig,
        model_config: ModelConfig,
        device: torch.device,
        checkpoint: Checkpoint | None,
        ranks: Ranks,
        report: Report,
    ) -> None:
        self._files, self._faces, self._config, self._report = files, faces, config, report
        self._ranks = ranks
        self._logs = TrainingLogs([], report)
        self.history = list(checkpoint.history) if checkpoint else []
        self.stopped: Stopped = "done"
        self._resumed = checkpoint is not None
        self._started = time.monotonic() - (checkpoint.seconds if checkpoint else 0.0)
        self._saved_at = time.monotonic()
        self._told_refusal = False
        self._latents: LatentStatistics | None = None
        self._train_images = torch.from_numpy(faces.images_of(config.split))
        if len(self._train_images) < 2:
            raise DataError(f"{faces.path} has one image in the split {config.split}: training needs at least two.")
        self._valid_images = self._load_valid(config)
        vae = new_vae(model_config, config.seed)
        if checkpoint:
            checkpoint.restore_network(vae)
        vae.to(device)
        epoch, step = (checkpoint.epoch, checkpoint.step) if checkpoint else (0, 0)
        self._trainer = Trainer(vae, self._train_images, config, epoch=epoch, step=step, ranks=ranks)
        if checkpoint:
            checkpoint.restore_optimizer(self._trainer)
        self.best = self._find_best(checkpoint)
        self._stalled = is_stalled(self.history, config.patience)

    def _load_valid(self, config: TrainConfig) -> torch.Tensor | None:
        if len(self._faces.rows_of("valid")) == 0:
            if config.patience:
                raise UsageError(
                    f"{self._faces.path} has no valid split, whose loss --patience watches: train without --patience."
                )
            self._report(Notice(f"{self._faces.path} has no valid split: only the training loss is recorded."))
            return None
        if config.split in ("valid", "all"):
            self._report(
                Notice("The valid images are among those trained on: their loss says nothing about new faces.")
            )
        if config.split == "all":
            rows = self._faces.rows_of("valid")
            if rows[-1] - rows[0] == len(rows) - 1:  # one piece of them, as in CelebA: no second copy
                return self._train_images[rows[0] : rows[-1] + 1]
        return torch.from_numpy(self._faces.images_of("valid"))

    def _find_best(self, checkpoint: Checkpoint | None) -> BestNetwork | None:
        """Return the best network so far, where one is kept: a training without patience keeps none."""
        best = best_valid(self.history)
        if not self._config.patience or checkpoint is None or best is None:
            return None
        if checkpoint.best is not None:
            checkpoint.restore_best(new_vae(checkpoint.model, 0))  # a damaged one is found now, not in the end
            return checkpoint.best
        if best.epoch == self._trainer.epochs_done:
            return self._as_best()
        self._report(
            Notice(
                f"The network of epoch {best.epoch:.0f}, the best so far, was not kept, as it was trained without --patience: "
                "the weights will be those of the best epoch from here on."
            )
        )
        return None

    def _as_best(self) -> BestNetwork:
        state = {name: value.detach().cpu().clone() for name, value in self._trainer.vae.state_dict().items()}
        return BestNetwork(self._trainer.epoch, state)

    # Where it is

    @property
    def epochs_done(self) -> float:
        """How far the training has come, as a fraction."""
        return self._trainer.epochs_done

    @property
    def seconds(self) -> float:
        """How long it took so far, with the runs before this one."""
        return time.monotonic() - self._started

    @property
    def _steps_done(self) -> int:
        return self._trainer.epoch * self._trainer.steps_per_epoch + self._trainer.step

    def _where(self) -> dict[str, Any]:
        return {"seconds": round(self.seconds, 3), "epoch": self.epochs_done, "step": self._steps_done}

    def start_record(self) -> dict[str, Any]:
        """Return what a log should know at the start: where the run begins, and every setting."""
        return {
            **self._where(),
            "resumed": self._resumed,
            "steps_per_epoch": self._trainer.steps_per_epoch,
            "model": self._trainer.vae.config.to_dict(),
            "train": self._settings(),
            "images": len(self._train_images),
            "valid_images": len(self._valid_images) if self._valid_images is not None else 0,
            "faces": self._faces.path,
            "faces_fingerprint": self._faces.fingerprint,
            "weights": self._files.weights,
            "device": str(self._trainer.vae.device),
            "versions": _versions(),
        }

    def _settings(self) -> dict[str, Any]:
        config = self._trainer.config
        return {**config.to_dict(), "warmup": config.warmup_epochs}

    # Training

    def check_agreement(self) -> None:
        """Make sure that all ranks train the same thing from the same state.

        Raises:
            MismatchError: they do not.
        """
        if self._ranks.count == 1:
            return
        trainer = self._trainer
        what = [self._settings(), trainer.vae.config.to_dict(), self._faces.fingerprint, trainer.epoch, trainer.step]
        digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode())
        for tensor in (
            *trainer.vae.state_dict().values(),
            *trainer.optimizer.tensors(),
        ):
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        number = int.from_bytes(digest.digest()[:7], "big")
        if self._ranks.highest(number) != -self._ranks.highest(-number):
            raise MismatchError(
                "The processes of this training were given different options, faces or checkpoints: start all of them with "
                "the same command, faces.h5 and, with --resume, checkpoint."
            )

    def only_finish(self) -> bool:
        """Return whether the training itself is over and just the last files are missing, as after a kill between the two.

        Raises:
            UsageError: nothing is missing.
        """
        if not self._ended() or self._lacks_valid():
            return False
        with suppress(DataError):
            model = FaceModel.load(self._files.weights)
            # An older facevae did not count which attributes go together.
            table = model.directions
            directed = self._faces.attributes is None or (table is not None and table.together is not None)
            whole = directed and (model.prior is not None or model.latent_dim > MOST_UNITS)
            if whole and self._files.plot.exists() and model.hash() == FaceModel(self._network()).hash():
                raise self._nothing_left()
        self._ranks.highest(0)  # all have looked before one writes
        self.stopped = self._why_ended()
        return True

    def _ended(self) -> bool:
        return self._trainer.epoch >= self._config.epochs or self._stalled

    def _why_ended(self) -> Stopped:
        return "done" if self._trainer.epoch >= self._config.epochs else "patience"

    def _nothing_left(self) -> UsageError:
        checkpoint, epoch = self._files.checkpoint, self._trainer.epoch
        if self._why_ended() == "done":
            return trained_already(checkpoint, epoch)
        waited = epochs_without_progress(self.history)
        return UsageError(
            f"{checkpoint} ends at epoch {epoch}, {waited} after the lowest loss on valid, with a patience of "
            f"{self._config.patience}: go on with a higher --patience, such as --patience {waited + 10}, "
            "or with --patience 0 to the last epoch."
        )

    def train(self, interruption: Interruption, logs: TrainingLogs, max_seconds: float) -> None:
        """Train until something ends it, see `Stopped`; checkpoints by time and after every epoch.

        Raises:
            LostRankError: another process of the training is gone.
            TrainingError: the loss is no longer finite.
        """
        self._logs = logs
        try:
            asked_to_stop = self._steps(interruption, time.monotonic() + max_seconds)
        except LostRankError as error:
            raise self._lost_rank(error) from error
        self.stopped = self._why_ended() if self._ended() else asked_to_stop
        self._say_why(max_seconds)

    def _steps(self, interruption: Interruption, deadline: float) -> Stopped:
        """Take steps, at least one, until the training is over or a rank asks to stop; return why, if one did."""
        trainer = self._trainer
        interval = max(1, trainer.steps_per_epoch // _POINTS_PER_EPOCH)
        if self._lacks_valid():
            self._end_epoch()
        images, clock, taken, wish = 0, time.monotonic(), False, _GO_ON
        while not self._ended():
            wish = self._agree(interruption, deadline if taken else math.inf)
            if wish > _SAVE:
                break
            if wish == _SAVE:
                if images:
                    self._record_train(images / max(time.monotonic() - clock, 1e-9))
                self._save_checkpoint()
                images, clock = 0, time.monotonic()
            images, taken = images + trainer.advance(), True
            epoch_ended = trainer.step == 0
            if epoch_ended or trainer.step % interval == 0:
                now = time.monotonic()
                self._record_train(images / max(now - clock, 1e-9))
                images, clock = 0, now
                if epoch_ended:
                    self._end_epoch()
                    clock = time.monotonic()
        if images:
            self._record_train(images / max(time.monotonic() - clock, 1e-9))
        return "interrupted" if wish == _INTERRUPTED else "max time"

    def _lacks_valid(self) -> bool:
        """Return whether the last epoch was not evaluated, because another rank was lost just then."""
        trainer = self._trainer
        if self._valid_images is None or trainer.step or not trainer.epoch:
            return False
        point = last_point(self.history, "valid")
        return point is None or point.epoch != trainer.epoch

    def _agree(self, interruption: Interruption, deadline: float) -> int:
        """Return what to do before the next step: the same on all ranks."""
        now = time.monotonic()
        if interruption.requested:
            wish = _INTERRUPTED
        elif now >= deadline:
            wish = _LATE
        else:
            wish = _SAVE if self._ranks.leads and now - self._saved_at > CHECKPOINT_SECONDS else _GO_ON
        return self._ranks.highest(wish)

    def _lost_rank(self, error: LostRankError) -> LostRankError:
        """Save what was trained: a step that was broken off changed nothing, because ranks meet before they change anything.

        Not on GPUs, where the step may hang in the device's queue, and the weights behind it.
        """
        saved = self._ranks.leads and self._trainer.vae.device.type == "cpu"
        if saved:
            self._save_checkpoint()
        if not self._files.checkpoint.exists():
            return LostRankError(f"{error} There is no checkpoint yet: start anew.")
        return LostRankError(
            f"{error} {self._files.checkpoint} holds what was trained"
            f"{f', {self.epochs_done:.2f} epochs' if saved else ''}: go on from there with --resume."
        )

    def _say_why(self, max_seconds: float) -> None:
        epochs = self._config.epochs
        if self.stopped == "interrupted" and self.history:
            self._report(Notice("Interrupted: keeping what was trained."))
        elif self.stopped == "max time":
            self._report(
                Notice(
                    f"The time of {describe_duration(max_seconds)} is up after {self.epochs_done:.2f} of {epochs} epochs: "
                    "facevae train --resume goes on."
                )
            )
        elif self.stopped == "patience":
            waited = epochs_without_progress(self.history)
            self._report(
                Notice(f"No lower loss on valid for {waited} epochs: stopped after {self._trainer.epoch} of {epochs}.")
            )

    def _record_train(self, images_per_second: float) -> None:
        trainer = self._trainer
        if trainer.graph_refusal and not self._told_refusal:
            self._told_refusal = True
            self._report(
                Notice(f"The steps are launched one by one, which is slower: no CUDA graph ({trainer.graph_refusal}).")
            )
        loss = trainer.read_loss()
        point = _point(trainer.epochs_done, "train", loss, images_per_second)
        rate = learning_rate_at(self._config, (self._steps_done - 1) / trainer.steps_per_epoch)
        self._log(point, images_per_second=images_per_second, learning_rate=rate)
        self._check_finite(loss)
        self.history.append(point)
        self._report(
            Progress(
                "train",
                self._steps_done,
                self._config.epochs * trainer.steps_per_epoch,
                "steps",
                # In this order, because a narrow terminal cuts off at the right.
                {
                    "epoch": trainer.epochs_done,
                    "loss": loss.total,
                    "images/s": images_per_second,
                    "KL": loss.kl,
                    "active units": loss.active_units,
                    "reconstruction": loss.reconstruction,
                },
            )
        )

    def _log(self, point: HistoryPoint, **more: float) -> None:
        self._logs.write(
            point.split,
            **self._where(),
            loss=point.loss,
            reconstruction=point.reconstruction,
            kl=point.kl,
            mse=point.mse,
            active_units=point.active_units,
            **more,
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
        mean = mean_of_epoch(self.history, trainer.epoch)
        described = [describe_point(mean)] if mean is not None else []
        if self._valid_images is not None:
            loss = evaluate_loss(trainer.vae, self._valid_images, self._config, self._ranks)
            point = _point(trainer.epochs_done, "valid", loss, 0.0)
            self._log(point)
            # The training loss is that of before the last step, which may be the one that went wrong.
            self._check_finite(loss)
            self.history.append(point)
            self._keep_best(point)
            described.append(describe_point(point))
        self._report(Notice(f"epoch {trainer.epoch}/{self._config.epochs}: {'; '.join(described)}"))
        self._save_checkpoint()
        self._save_weights()

    def _keep_best(self, point: HistoryPoint) -> None:
        self._stalled = is_stalled(self.history, self._config.patience)
        if self._config.patience:
            # Not simply the best of the history: its network may not have been kept.
            known = last_point(self.history, "valid", self.best.epoch) if self.best else None
            if known is None or point.loss < known.loss:
                self.best = self._as_best()

    # Files

    def _save_checkpoint(self) -> None:
        if not all(bool(torch.isfinite(parameter).all()) for parameter in self._trainer.vae.parameters()):
            raise self._not_finite()  # the last step ruined the weights after their loss was read
        if not self._ranks.leads:
            return
        save_checkpoint(
            self._files.checkpoint,
            self._trainer,
            seconds=self.seconds,
            faces_fingerprint=self._faces.fingerprint,
            history=self.history,
            best=self.best,
        )
        self._saved_at = time.monotonic()
        self._logs.write("checkpoint", **self._where(), file=self._files.checkpoint)

    def _network(self) -> VAE:
        """Return the network that the weights file gets."""
        trained = self._trainer.vae
        if self.best is None:
            return trained
        vae = new_vae(trained.config, self._config.seed)
        vae.load_state_dict(self.best.state)
        return vae.to(trained.device)

    def _save_weights(self) -> None:
        if not self._ranks.leads:
            return
        directions, prior = self._latents or (None, None)
        names = self._faces.attribute_names
        model = FaceModel(self._network(), self._training_record(), names, directions, prior=prior)
        model.save(self._files.weights)
        write_history(self._files.history, self.history)

    def _training_record(self) -> dict[str, Any]:
        epochs_done = float(self.best.epoch) if self.best else self.epochs_done
        last = {split: last_point(self.history, split, epochs_done) for split in ("train", "valid")}
        names = ("loss", "reconstruction", "kl", "mse", "active_units")
        return {
            **self._settings(),
            "epochs_done": epochs_done,
            # Of a network that is not the last one, how far the training went on after it.
            **({"epochs_trained": self.epochs_done} if self.best else {}),
            "images_in_split": len(self._train_images),
            "seconds": round(self.seconds, 1),
            "device": str(self._trainer.vae.device),
            "faces_fingerprint": self._faces.fingerprint,
            "faces_source": self._faces.record["source"],
            "losses": {
                split: {name: getattr(point, name) for name in names}
                for split, point in last.items()
                if point is not None
            },
            "versions": _versions(),
        }

    def finish(self, interruption: Interruption, logs: TrainingLogs) -> None:
        """Save, draw the loss, find attribute directions and prior, and save again with these."""
        if not self.history:
            raise KeyboardInterrupt
        if not self._ranks.leads:
            return
        self._logs = logs
        self._trainer.free_buffers()
        if self._trainer.step:
            self._save_checkpoint()
        self._save_weights()
        write_loss_plot(self._files.plot, self.history, self._config)
        if self.best and self.best.epoch != self.epochs_done:
            self._report(Notice(f"The weights are those of epoch {self.best.epoch}, with the lowest loss on valid."))
        attributes = self._faces.attributes
        self._latents = measure_latents(
            self._network(),
            self._train_images.numpy(),
            attributes[self._faces.rows_of(self._config.split)] if attributes is not None else None,
            stop=lambda: interruption.count > 1,
            report=self._report,
        )
        if self._latents is not None:
            self._save_weights()
        else:
            missing = "The prior was" if attributes is None else "The attribute directions and the prior were"
            self._report(Notice(f"{missing} not computed: facevae train --resume computes them."))
        logs.write("end", **self._where(), reason=self.stopped, files=self._files.all())


def _versions() -> dict[str, str]:
    return {"facevae": __version__, "torch": torch.__version__, "numpy": np.__version__}


def _point(epoch: float, split: str, loss: MeanLoss, images_per_second: float) -> HistoryPoint:
    return HistoryPoint(
        epoch, split, loss.total, loss.reconstruction, loss.kl, loss.mse, images_per_second, loss.active_units
    )
