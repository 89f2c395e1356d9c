"""`vae.checkpoint.safetensors`: all that an interrupted training needs to go on exactly where it was.

Tensors: the network's under `vae.`, the optimiser's state (`Trainer.optimizer.state()`) under `optimizer.<number>.`. Metadata,
as JSON: `model`, `train` (the two configurations), `progress` (epoch, step, seconds), `faces_fingerprint` and `history`. A
training that may stop early adds the best network so far under `best.`, and its epoch as `best_epoch`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
_OPTIMIZER = "optimizer."


@contextmanager
def damaged_as_data_error(path: Path, remedy: str = REMEDY) -> Iterator[None]:
    """Turn what reading a damaged checkpoint raises into a `DataError`."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError, UsageError) as error:
        reason = " ".join(str(error).split())[:120]
        raise DataError(f"{path} is damaged ({reason}). {remedy}") from error


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
        with damaged_as_data_error(self.path):
            vae.load_state_dict({name[4:]: value for name, value in self.tensors.items() if name.startswith("vae.")})

    def restore_best(self, vae: VAE) -> None:
        """Copy the tensors of the best network into `vae`, where there is one.

        Raises:
            DataError: they do not fit it.
        """
        if self.best is not None:
            with damaged_as_data_error(self.path):
                vae.load_state_dict(self.best.state)

    def restore_optimizer(self, trainer: Trainer) -> None:
        """Copy the state into the trainer's optimiser.

        Raises:
            DataError: it does not fit the trainer's network.
        """
        with damaged_as_data_error(self.path):
            state = optimizer_state(self.tensors)
            if state:  # none in a checkpoint of before the first step
                trainer.optimizer.load_state(state)


def optimizer_tensors(state: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the state of an optimiser under the names that a checkpoint has."""
    return {
        f"{_OPTIMIZER}{number}.{key}": value for number, entries in enumerate(state) for key, value in entries.items()
    }


def optimizer_state(tensors: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """Return the state of an optimiser from the tensors of a checkpoint.

    Raises:
        ValueError: a name is none of `optimizer_tensors`.
    """
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith(_OPTIMIZER):
            _, number, key = name.split(".")
            state.setdefault(int(number), {})[key] = value
    return [state[number] for number in sorted(state)]


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
    tensors |= optimizer_tensors(trainer.optimizer.state())
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
    with damaged_as_data_error(path):
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
            history=[_as_numbers(HistoryPoint(**point)) for point in metadata["history"]],
            best=_read_best(tensors, metadata),
        )


def _read_best(tensors: dict[str, Tensor], metadata: dict[str, Any]) -> BestNetwork | None:
    if "best_epoch" not in metadata:
        return None
    state = {name.removeprefix(_BEST): value for name, value in tensors.items() if name.startswith(_BEST)}
    return BestNetwork(int(metadata["best_epoch"]), state)


def _as_numbers(point: HistoryPoint) -> HistoryPoint:
    """Return a point of a file, whose figures are numbers: a `TypeError` or a `ValueError` tells others."""
    units = point.active_units
    values = {name: float(value) for name, value in asdict(point).items() if name not in ("split", "active_units")}
    return HistoryPoint(split=str(point.split), active_units=int(units) if units is not None else None, **values)
