"""The files of one training, all named after its weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from facevae.errors import DataError
from facevae.storage.output import describe_os_error


@dataclass(frozen=True)
class TrainFiles:
    """The files of one training: `vae.safetensors` gives `vae.checkpoint.safetensors` and so on."""

    weights: Path

    @property
    def checkpoint(self) -> Path:
        """What `--resume` goes on from."""
        return self.weights.with_suffix(".checkpoint.safetensors")

    @property
    def history(self) -> Path:
        """The loss history as a table."""
        return self.weights.with_suffix(".history.csv")

    @property
    def plot(self) -> Path:
        """The loss plot."""
        return self.weights.with_suffix(".loss.png")

    def all(self) -> tuple[Path, ...]:
        """Return the four files, weights first."""
        return self.weights, self.checkpoint, self.history, self.plot

    def set_aside(self) -> TrainFiles | None:
        """Rename the files of an earlier training, so that nothing that took training is lost.

        They become `vae.previous.safetensors` and so on; with earlier ones there, `vae.previous-2.safetensors`, ...

        Returns:
            The new names, or None where there was nothing to set aside.

        Raises:
            DataError: a file cannot be renamed.
        """
        existing = [path for path in self.all() if path.exists()]
        if not existing:
            return None
        kept = self._unused()
        for path, target in zip(self.all(), kept.all(), strict=True):
            if path in existing:
                try:
                    path.replace(target)
                except OSError as error:
                    raise DataError(f"{path} cannot be set aside: {describe_os_error(error)}.") from error
        return kept

    def _unused(self) -> TrainFiles:
        number = 1
        while True:
            mark = "previous" if number == 1 else f"previous-{number}"
            files = TrainFiles(self.weights.with_name(f"{self.weights.stem}.{mark}{self.weights.suffix}"))
            if not any(path.exists() for path in files.all()):
                return files
            number += 1
