"""`latents.h5`: the posteriors of a set of faces. `encode` writes it; `umap` and `morph` read it.

Datasets: `mean` and `log_variance` float32 (N, latent_dim); `names` UTF-8 (N); and, carried over from the faces where they
have them, `split` uint8 (N) and `attributes` int8 (N, A) in {-1, 1}. Root attributes: `format`, `format_version`,
`weights_hash`, `faces_fingerprint` (empty when single images were encoded), `precision`, `attribute_names`, `facevae_version`,
`complete`; and in a shard, which holds one of several parts of the faces, `shard`, `shards`, `first_row` and `total`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facevae.errors import DataError, MismatchError
from facevae.storage import hdf5

FORMAT = "facevae latents"
REMEDY = "Make one with: facevae encode > latents.h5"


@dataclass(frozen=True)
class Shard:
    """Number `shard` (from 1) of so many `shards`, equal contiguous parts of `total` faces."""

    shard: int
    shards: int
    total: int

    @property
    def rows(self) -> range:
        """The rows of the faces that are in this shard: every row is in one, and the shards differ by one row at most."""
        start, stop = (self.total * number // self.shards for number in (self.shard - 1, self.shard))
        return range(start, stop)

    def __str__(self) -> str:
        return f"shard {self.shard} of {self.shards}"


class LatentsWriter(hdf5.Writer):
    """Writes a `latents.h5` batch by batch; with a `shard`, one that holds these of the faces alone."""

    def __init__(
        self,
        path: Path,
        *,
        latent_dim: int,
        attribute_names: Sequence[str],
        with_split: bool,
        weights_hash: str,
        faces_fingerprint: str,
        facevae_version: str,
        precision: str = "fp32",
        shard: Shard | None = None,
    ) -> None:
        record: dict[str, Any] = {
            "weights_hash": weights_hash,
            "faces_fingerprint": faces_fingerprint,
            "facevae_version": facevae_version,
            "precision": precision,
        }
        if shard is not None:
            record |= {**asdict(shard), "first_row": shard.rows.start}
        super().__init__(path, FORMAT, attribute_names, record, with_split=with_split)
        self._mean = hdf5.growing(self._file, "mean", (latent_dim,), np.float32, 256)
        self._log_variance = hdf5.growing(self._file, "log_variance", (latent_dim,), np.float32, 256)

    def append(
        self,
        mean: NDArray[np.float32],
        log_variance: NDArray[np.float32],
        names: list[str],
        split: NDArray[np.uint8] | None = None,
        attributes: NDArray[np.int8] | None = None,
    ) -> None:
        """Add posteriors (B, latent_dim) with their names, and their splits and attributes if the file has them."""
        hdf5.append(self._mean, mean)
        hdf5.append(self._log_variance, log_variance)
        self._append_companions(names, split, attributes)

    def finish(self) -> None:
        """Mark the file complete."""
        self._complete()


class Latents(hdf5.Reader):
    """An open `latents.h5`, of all faces or a shard of them.

    Attributes:
        path: the file.
        count: N, the number of faces.
        latent_dim: the width of a latent.
        names: N names.
        split: uint8 (N), or None where `has_split` is false.
        attribute_names: A names; empty when there are none.
        attributes: int8 (N, A) in {-1, 1}, or None.
        weights_hash: the hash of the weights that made the latents.
        faces_fingerprint: of the `faces.h5` they were made from, or empty.
        precision: of the encoder's convolutions, fp32 or bf16.
        shard: which part of the faces it holds, or None for all.

    Raises:
        DataError: the file is missing, damaged, incomplete, or holds something else.
    """

    format_name = FORMAT
    remedy = REMEDY

    def _load(self) -> None:
        file = self._file
        self.latent_dim: int
        self.count, self.latent_dim = file["mean"].shape
        if file["log_variance"].shape != file["mean"].shape:
            raise ValueError("mean and log_variance differ in shape")
        self.attribute_names = tuple(hdf5.read_string_attribute(file, "attribute_names"))
        self.weights_hash = str(file.attrs["weights_hash"])
        self.faces_fingerprint = str(file.attrs["faces_fingerprint"])
        self.facevae_version = str(file.attrs["facevae_version"])
        self.precision = str(file.attrs.get("precision", "fp32"))  # before it was recorded there was no other
        self.has_split = "split" in file
        self.shard = self._read_shard()
        self._check_columns()

    def _read_shard(self) -> Shard | None:
        attributes = self._file.attrs
        if "shards" not in attributes:
            return None
        shard = Shard(*(int(attributes[name]) for name in ("shard", "shards", "total")))
        if not 1 <= shard.shard <= shard.shards or (shard.rows.start, len(shard.rows)) != (
            int(attributes["first_row"]),
            self.count,
        ):
            raise ValueError(f"its {self.count} rows are not those of {shard} of {shard.total} faces")
        return shard

    def mean(self, start: int = 0, stop: int | None = None) -> NDArray[np.float32]:
        """Return the posterior means (N, latent_dim), by default of all rows."""
        return self._read("mean", slice(start, stop))

    def log_variance(self, start: int = 0, stop: int | None = None) -> NDArray[np.float32]:
        """Return the posterior log-variances (N, latent_dim), by default of all rows."""
        return self._read("log_variance", slice(start, stop))

    def _read(self, name: str, rows: slice) -> NDArray[np.float32]:
        with self._reading():
            values = hdf5.as_single(self._file[name][rows])
        if not np.isfinite(values).all():
            raise DataError(f"{self.path} is damaged ({name} holds values that are not finite). {REMEDY}")
        return values

    def check_made_by(self, weights_hash: str, weights_name: str) -> None:
        """Raise a `MismatchError` unless the weights with this hash made these latents."""
        if self.weights_hash != weights_hash:
            raise MismatchError(
                f"{self.path} was not made by {weights_name} but by other weights: encode the faces again "
                "(facevae encode > latents.h5), or name the weights that made it with --weights."
            )
