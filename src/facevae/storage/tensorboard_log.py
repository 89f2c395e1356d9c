"""The course of a training as TensorBoard scalars over the steps. Needs the package `tensorboard`, an extra of facevae."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from facevae.errors import DataError, MissingExtraError, UsageError
from facevae.storage.output import describe_os_error, make_folder

_EVENT_FILES = "events.out.tfevents.*"
_LOSSES = ("loss", "reconstruction", "kl", "mse", "active_units")
_OF_TRAIN = ("learning_rate", "images_per_second")


def check_tensorboard(folder: Path, *, resume: bool) -> None:
    """Refuse early a folder that could not be written, or that holds the events of another training.

    Raises:
        MissingExtraError: the package is missing, `folder` is a file, or a new training would be mixed with an earlier one.
        DataError: the folder cannot be read or written.
    """
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            "--tensorboard needs the package tensorboard: pip install 'facevae[tensorboard]'"
        ) from error
    try:
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder} is a file: name a folder with --tensorboard.")
        if not resume and any(folder.glob(_EVENT_FILES)):
            raise UsageError(
                f"{folder} holds the TensorBoard events of an earlier training: name another folder with --tensorboard, "
                "or remove it."
            )
        if folder.is_dir() and not os.access(folder, os.W_OK):
            raise DataError(f"The folder {folder} cannot be written to: name another with --tensorboard.")
    except OSError as error:
        raise DataError(f"{folder} cannot be written: {describe_os_error(error)}.") from error


class TensorBoardLog:
    """Writes the train and valid points of one run as scalars such as `loss/train`.

    `step` is where the run begins. Points beyond it, which a killed run left after its last checkpoint, are dropped by
    TensorBoard.
    """

    def __init__(self, folder: Path, *, step: int) -> None:
        """Make the folder and open an event file in it.

        Raises:
            DataError: it cannot be written.
        """
        from torch.utils.tensorboard import SummaryWriter

        self.name = str(folder)
        make_folder(folder)
        try:
            self._writer: Any = SummaryWriter(str(folder), purge_step=step + 1, flush_secs=10)
        except OSError as error:
            raise DataError(f"{folder} cannot be written: {describe_os_error(error)}.") from error

    def write(self, event: str, values: Mapping[str, Any]) -> None:
        """Write the numbers of a `train` or `valid` event at its step; other events are passed over.

        Raises:
            OSError: they cannot be written.
        """
        if event not in ("train", "valid"):
            return
        for name in _LOSSES:
            if values.get(name) is not None:
                self._writer.add_scalar(f"{name}/{event}", values[name], values["step"])
        for name in _OF_TRAIN:
            if name in values:
                self._writer.add_scalar(name, values[name], values["step"])

    def close(self) -> None:
        """Write what is still in memory, and close the event file."""
        self._writer.close()
