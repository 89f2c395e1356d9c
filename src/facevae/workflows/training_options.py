"""What the trainings of the VAE and of the upscaler make of their options alike."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from facevae.errors import UsageError
from facevae.progress import Notice, Report
from facevae.storage.training_files import TrainFiles


def given(**options: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return the options that were given, that is, are not None."""
    return {name: value for name, value in options.items() if value is not None}


def check_repeated(
    checkpoint: Path, options: Mapping[str, Any], had: Mapping[str, Any], may_change: Collection[str]
) -> None:
    """Raise a `UsageError` unless the options only repeat what the checkpoint `had`, but for those that may change."""
    for name, value in options.items():
        if name not in may_change and value != had[name]:
            raise UsageError(
                f"{checkpoint} was trained with {name.replace('_', ' ')} {had[name]}, not {value}: resume without "
                "that option, or start a new training without --resume."
            )


def trained_already(checkpoint: Path, epochs: int) -> UsageError:
    """Return the error for a training that is to be resumed, and has no epoch left."""
    return UsageError(
        f"{checkpoint} has been trained for {epochs} epochs already: "
        f"ask for more with --epochs, such as --epochs {epochs + 10}."
    )


def set_aside(files: TrainFiles, report: Report) -> None:
    """Rename the files of an earlier training, if there is one, and say so."""
    kept = files.set_aside()
    if kept:
        report(Notice(f"The earlier training is kept as {kept.weights} (and the files beside it)."))
