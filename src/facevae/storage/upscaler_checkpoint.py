"""`upscaler.checkpoint.safetensors`: all that an interrupted training of the upscaler needs to go on exactly where it was.

Tensors: the network's under `vdsr.`, the optimiser's under `optimizer.<number>.`. Metadata, as JSON: `network`, `train` (the two
configurations), `progress` (epoch, step, seconds), `faces_fingerprint`, `vae` (the hash of the weights whose reconstructions it
learns from, or null) and `history`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

from torch import Tensor

from facevae.config import UpscalerConfig, UpscalerTrainConfig
from facevae.model.upscaler_training import UpscalerTrainer
from facevae.model.vdsr import VDSR, tensor_shapes
from facevae.storage.checkpoint import damaged_as_data_error, optimizer_state, optimizer_tensors
from facevae.storage.history import UpscalerPoint
from facevae.storage.safetensors_file import read_tensors, write_tensors

FORMAT = "facevae upscaler checkpoint"
REMEDY = "Start a new training with: facevae train-upscaler (without --resume)"
_NETWORK = "vdsr."


@dataclass(frozen=True)
class UpscalerCheckpoint:
    """A training of the upscaler at rest; see the module."""

    path: Path
    tensors: dict[str, Tensor]
    network: UpscalerConfig
    train: UpscalerTrainConfig
    epoch: int
    step: int
    seconds: float
    faces_fingerprint: str
    vae: str | None
    history: list[UpscalerPoint] = field(default_factory=list)

    def restore_network(self, network: VDSR) -> None:
        """Copy the network's tensors into `network`.

        Raises:
            DataError: they do not fit it.
        """
        with damaged_as_data_error(self.path, REMEDY):
            network.load_state_dict(_network_state(self.tensors))

    def restore_optimizer(self, trainer: UpscalerTrainer) -> None:
        """Copy the state into the trainer's optimiser.

        Raises:
            DataError: it does not fit the trainer's network.
        """
        with damaged_as_data_error(self.path, REMEDY):
            trainer.optimizer.load_state(optimizer_state(self.tensors))


def save_upscaler_checkpoint(
    path: Path,
    trainer: UpscalerTrainer,
    *,
    seconds: float,
    faces_fingerprint: str,
    vae: str | None,
    history: list[UpscalerPoint],
) -> None:
    """Write the trainer's state to `path`, atomically.

    Raises:
        DataError: the file cannot be written.
    """
    tensors = {_NETWORK + name: value for name, value in trainer.network.state_dict().items()}
    tensors |= optimizer_tensors(trainer.optimizer.state())
    metadata = {
        "network": trainer.network.config.to_dict(),
        "train": trainer.config.to_dict(),
        "progress": {"epoch": trainer.epoch, "step": trainer.step, "seconds": seconds},
        "faces_fingerprint": faces_fingerprint,
        "vae": vae,
        "history": [asdict(point) for point in history],
    }
    write_tensors(path, FORMAT, tensors, metadata)


def load_upscaler_checkpoint(path: Path) -> UpscalerCheckpoint:
    """Read a checkpoint.

    Raises:
        DataError: the file is missing, damaged, or not a checkpoint of the upscaler.
    """
    tensors, metadata = read_tensors(path, FORMAT, "an upscaler's checkpoint", REMEDY)
    with damaged_as_data_error(path, REMEDY):
        progress, vae, network = metadata["progress"], metadata["vae"], UpscalerConfig(**metadata["network"])
        shapes = {name: value.shape for name, value in _network_state(tensors).items()}
        if shapes != tensor_shapes(network):
            raise ValueError("its tensors are not those of the network it describes")
        return UpscalerCheckpoint(
            path=path,
            tensors=tensors,
            network=network,
            train=UpscalerTrainConfig(**{**metadata["train"], "factors": tuple(metadata["train"]["factors"])}),
            epoch=int(progress["epoch"]),
            step=int(progress["step"]),
            seconds=float(progress["seconds"]),
            faces_fingerprint=str(metadata["faces_fingerprint"]),
            vae=str(vae) if vae is not None else None,
            history=[_point(**point) for point in metadata["history"]],
        )


def _network_state(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(_NETWORK): value for name, value in tensors.items() if name.startswith(_NETWORK)}


def _point(split: str, **figures: float) -> UpscalerPoint:
    return UpscalerPoint(split=str(split), **{name: float(value) for name, value in figures.items()})
