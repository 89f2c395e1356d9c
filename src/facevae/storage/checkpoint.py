"""`vae.checkpoint.safetensors`: all that an interrupted training needs to go on exactly where it was.

Tensors: the network's under `vae.`, the optimiser's state (`Trainer.optimizer.state()`) under `optimizer.<number>.`. Metadata,
as JSON: `model`, `train` (the two configurations), `progress` (epoch, step, seconds), `faces_fingerprint` and `history`. A
training that may stop early adds the best network so far under `best.`, and its epoch as `best_epoch`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from facevae.config import ModelConfig, TrainConfig
from facevae.errors import DataError, UsageError
from facevae.model.training import Trainer
from facevae.model.vae import VAE
from facevae.storage.history import HistoryPoint
from facevae.storage.safetensors_file import read_tensors, write_tensors

FORMAT = "facevae checkpoint"
REMEDY = "Start a new training with: facevae train (without --resume)"
_BEST = "best."


@contextmanager
def _damaged_as_data_error(path: Path) -> Iterator[None]:
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError, UsageError) as error:
        reason = " ".join(str(error).split())[:120]
        raise DataError(f"{path} is damaged ({reason}). {REMEDY}") from error


@dataclass(frozen=True)
class BestNetwork:
    """The network (its state by name, on the CPU) after the epoch with the lowest loss on valid so far."""

    epoch: int
    state: dict[str, Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """A training at rest: `tensors` of network and optimiser, the two configurations, and how far it had come."""

    path: Path
    tensors: dict[str, Tensor]
    model: ModelConfig
    train: TrainConfig
    epoch: int
    step: int
    seconds: float
    faces_fingerprint: str
    history: list[HistoryPoint] = field(default_factory=list)
    best: BestNetwork | None = None

    def restore_network(self, vae: VAE) -> None:
        """Copy the network's tensors into `vae`.

        Raises:
            DataError: they do not fit it.
        """
        with _damaged_as_data_error(self.path):
            vae.load_state_dict({name[4:]: value for name, value in self.tensors.items() if name.startswith("vae.")})

    def restore_best(self, vae: VAE) -> None:
        """Copy the tensors of the best network into `vae`, where there is one.

        Raises:
            DataError: they do not fit it.
        """
        if self.best is not None:
            with _damaged_as_data_error(self.path):
                vae.load_state_dict(self.best.state)

    def restore_optimizer(self, trainer: Trainer) -> None:
        """Copy the state into the trainer's optimiser.

        Raises:
            DataError: it does not fit the trainer's network.
        """
        with _damaged_as_data_error(self.path):
            state: dict[int, dict[str, Tensor]] = {}
            for name, value in self.tensors.items():
                if name.startswith("optimizer."):
                    _, number, key = name.split(".")
                    state.setdefault(int(number), {})[key] = value
            if state:  # none in a checkpoint of before the first step
                trainer.optimizer.load_state([state[number] for number in sorted(state)])


def save_checkpoint(
    path: Path,
    trainer: Trainer,
    *,
    seconds: float,
    faces_fingerprint: str,
    history: list[HistoryPoint],
    best: BestNetwork | None = None,
) -> None:
    """Write the trainer's state to `path`, atomically.

    Raises:
        DataError: the file cannot be written.
    """
    tensors: dict[str, Tensor] = {f"vae.{name}": value for name, value in trainer.vae.state_dict().items()}
    for number, state in enumerate(trainer.optimizer.state()):
        tensors |= {f"optimizer.{number}.{key}": value for key, value in state.items()}
    metadata: dict[str, Any] = {
        "model": trainer.vae.config.to_dict(),
        "train": trainer.config.to_dict(),
        "progress": {"epoch": trainer.epoch, "step": trainer.step, "seconds": seconds},
        "faces_fingerprint": faces_fingerprint,
        "history": [asdict(point) for point in history],
    }
    if best is not None:
        tensors |= {_BEST + name: value for name, value in best.state.items()}
        metadata["best_epoch"] = best.epoch
    write_tensors(path, FORMAT, tensors, metadata)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        DataError: the file is missing, damaged, or not a checkpoint.
    """
    tensors, metadata = read_tensors(path, FORMAT, "a training checkpoint", REMEDY)
    with _damaged_as_data_error(path):
        progress = metadata["progress"]
        return Checkpoint(
            path=path,
            tensors=tensors,
            model=ModelConfig.from_dict(metadata["model"]),
            train=TrainConfig(**metadata["train"]),
            epoch=int(progress["epoch"]),
            step=int(progress["step"]),
            seconds=float(progress["seconds"]),
            faces_fingerprint=str(metadata["faces_fingerprint"]),
            history=[HistoryPoint(**point) for point in metadata["history"]],
            best=_read_best(tensors, metadata),
        )


def _read_best(tensors: dict[str, Tensor], metadata: dict[str, Any]) -> BestNetwork | None:
    if "best_epoch" not in metadata:
        return None
    state = {name.removeprefix(_BEST): value for name, value in tensors.items() if name.startswith(_BEST)}
    return BestNetwork(int(metadata["best_epoch"]), state)
