"""`vae.checkpoint.safetensors`: all that an interrupted training needs to go on exactly where it was.

Tensors: the network's under `vae.`, Adam's moments and step counts under `optimizer.<parameter number>.`. Metadata, as JSON:
`model`, `train` (the two configurations), `progress` (epoch, step, seconds), `faces_fingerprint` and `history`.
"""

from __future__ import annotations

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


@dataclass(frozen=True)
class Checkpoint:
    """A training at rest: `tensors` of network and optimiser, the two configurations, and how far it had come."""

    tensors: dict[str, Tensor]
    model: ModelConfig
    train: TrainConfig
    epoch: int
    step: int
    seconds: float
    faces_fingerprint: str
    history: list[HistoryPoint] = field(default_factory=list)

    def restore_network(self, vae: VAE) -> None:
        """Copy the network's tensors into `vae`."""
        vae.load_state_dict({name[4:]: value for name, value in self.tensors.items() if name.startswith("vae.")})

    def restore_optimizer(self, trainer: Trainer) -> None:
        """Copy Adam's state into the trainer's optimiser."""
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in self.tensors.items():
            if name.startswith("optimizer."):
                _, number, key = name.split(".")
                state.setdefault(int(number), {})[key] = value
        groups = trainer.optimizer.state_dict()["param_groups"]
        if state and sorted(state) != list(range(len(groups[0]["params"]))):
            raise ValueError("the optimiser's state does not fit the network")
        trainer.optimizer.load_state_dict({"state": state, "param_groups": groups})


def save_checkpoint(
    path: Path, trainer: Trainer, *, seconds: float, faces_fingerprint: str, history: list[HistoryPoint]
) -> None:
    """Write the trainer's state to `path`, atomically.

    Raises:
        DataError: the file cannot be written.
    """
    tensors: dict[str, Tensor] = {f"vae.{name}": value for name, value in trainer.vae.state_dict().items()}
    for number, state in trainer.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{key}": value for key, value in state.items()}
    metadata: dict[str, Any] = {
        "model": trainer.vae.config.to_dict(),
        "train": trainer.config.to_dict(),
        "progress": {"epoch": trainer.epoch, "step": trainer.step, "seconds": seconds},
        "faces_fingerprint": faces_fingerprint,
        "history": [asdict(point) for point in history],
    }
    write_tensors(path, FORMAT, tensors, metadata)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        DataError: the file is missing, damaged, or not a checkpoint.
    """
    tensors, metadata = read_tensors(path, FORMAT, "a training checkpoint", REMEDY)
    try:
        progress = metadata["progress"]
        return Checkpoint(
            tensors=tensors,
            model=ModelConfig.from_dict(metadata["model"]),
            train=TrainConfig(**metadata["train"]),
            epoch=int(progress["epoch"]),
            step=int(progress["step"]),
            seconds=float(progress["seconds"]),
            faces_fingerprint=str(metadata["faces_fingerprint"]),
            history=[HistoryPoint(**point) for point in metadata["history"]],
        )
    except (KeyError, TypeError, ValueError, UsageError) as error:
        raise DataError(f"{path} is damaged ({str(error)[:120]}). {REMEDY}") from error
