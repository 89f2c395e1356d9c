"""UMAP coordinates as HDF5: `umap --coordinates FILE` writes them, for other tools and for `umap --fit-on FILE`.

Datasets: `coordinates` float32 (N, 2); `rows` int64 (N), the rows of the latents they belong to; `names` UTF-8 (N);
where the latents have them, `attributes` int8 (N, A); and, of a fit, `mean` float32 (N, latent_dim), the latents that were
fitted. Root attributes: `format`, `format_version`, `weights_hash`, `attribute_names`, `complete`, the settings of the fit,
`n_neighbors`, `min_dist`, `seed` (-1 for none), and `placed_on`: empty for a fit, and for latents that were placed on
another map the SHA-256 of that map's coordinates.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facevae.errors import DataError, MismatchError
from facevae.storage import hdf5
from facevae.storage.latents import Latents
from facevae.storage.output import output_path
from facevae.version import __version__

FORMAT = "facevae umap"
REMEDY = "Make one with: facevae umap --coordinates FILE"
_COMPARED_ROWS = 8192


def write_coordinates(
    path: Path,
    coordinates: NDArray[np.float32],
    rows: NDArray[np.int64],
    latents: Latents,
    settings: Mapping[str, float | int | str],
    *,
    mean: NDArray[np.float32] | None = None,
) -> None:
    """Write coordinates (N, 2) of the given rows of `latents`, atomically; with `mean` (N, latent_dim) where they are a fit.

    Raises:
        DataError: the file cannot be written.
    """
    record = {"weights_hash": latents.weights_hash, "facevae_version": __version__, **settings}
    with output_path(path) as temporary, hdf5.written(temporary, FORMAT, record) as file:
        file["coordinates"] = coordinates
        file["rows"] = rows
        if mean is not None:
            file["mean"] = mean
        file.create_dataset("names", data=hdf5.encode_strings([latents.names[row] for row in rows]), dtype=hdf5.STRING)
        if latents.attributes is not None:
            file.attrs.create("attribute_names", list(latents.attribute_names), dtype=hdf5.STRING)
            file["attributes"] = latents.attributes[rows]


class FittedMap(hdf5.Reader):
    """An open file of coordinates that new latents can be placed on.

    Attributes:
        path: the file.
        count: N, the number of dots.
        latent_dim: the width of a latent.
        coordinates: the dots, float32 (N, 2).
        n_neighbors: what the map was fitted with.
        min_dist: what the map was fitted with.
        seed: of the fit, -1 for none.
        weights_hash: the hash of the weights that made the latents.

    Raises:
        DataError: the file is missing, damaged, incomplete, holds something else, or was not fitted but placed.
    """

    format_name = FORMAT
    remedy = REMEDY

    def _load(self) -> None:
        file = self._file
        self.coordinates: NDArray[np.float32] = hdf5.as_single(file["coordinates"][:])
        self.attribute_names = tuple(hdf5.read_string_attribute(file, "attribute_names"))
        self.weights_hash = str(file.attrs["weights_hash"])
        self.n_neighbors = int(file.attrs["n_neighbors"])
        self.min_dist = float(file.attrs["min_dist"])
        self.seed = int(file.attrs["seed"])
        self._check_fitted(bool(file.attrs.get("placed_on", "")))
        self.latent_dim: int
        self.count, self.latent_dim = file["mean"].shape
        if self.coordinates.shape != (self.count, 2) or self.count <= self.n_neighbors or self.n_neighbors < 1:
            raise ValueError("its datasets differ in length")
        if not np.isfinite(self.coordinates).all():
            raise ValueError("coordinates holds values that are not finite")

    def _check_fitted(self, placed: bool) -> None:
        if placed:
            raise DataError(
                f"{self.path} holds faces that were placed on another map: give --fit-on the map that was fitted."
            )
        if "mean" not in self._file:
            raise DataError(f"{self.path} holds no latents to place others among. {self.remedy}")

    def mean(self) -> NDArray[np.float32]:
        """Return the latents that were fitted (N, latent_dim)."""
        with self._reading():
            values = hdf5.as_single(self._file["mean"][:])
        if not np.isfinite(values).all():
            raise DataError(f"{self.path} is damaged (mean holds values that are not finite). {self.remedy}")
        return values

    def fingerprint(self) -> str:
        """Return the SHA-256 of the dots, by which a file of placed latents names its map."""
        return hashlib.sha256(np.ascontiguousarray(self.coordinates, dtype="<f4").tobytes()).hexdigest()

    def check_takes(self, latents: Latents) -> None:
        """Raise a `MismatchError` unless these latents were made by the weights that made the map's."""
        if (latents.weights_hash, latents.latent_dim) != (self.weights_hash, self.latent_dim):
            raise MismatchError(
                f"{latents.path} and {self.path} were made by different weights: encode the faces with the weights "
                "of the map, or fit a map of their own without --fit-on."
            )


class SavedMap(hdf5.Reader):
    """An open file of coordinates, fitted or placed, to show its dots.

    Attributes:
        path: the file.
        count: N, the number of dots.
        coordinates: the dots, float32 (N, 2).
        rows: of the latents, (N).
        weights_hash: the hash of the weights that made the latents.

    Raises:
        DataError: the file is missing, damaged, incomplete, or holds something else.
    """

    format_name = FORMAT
    remedy = REMEDY

    def _load(self) -> None:
        file = self._file
        self.coordinates: NDArray[np.float32] = hdf5.as_single(file["coordinates"][:])
        self.rows: NDArray[np.int64] = file["rows"][:].astype(np.int64)
        self.attribute_names = tuple(hdf5.read_string_attribute(file, "attribute_names"))
        self.weights_hash = str(file.attrs["weights_hash"])
        self.count = len(self.rows)
        if self.coordinates.shape != (self.count, 2) or file["names"].shape != (self.count,):
            raise ValueError("its datasets differ in length")
        if not np.isfinite(self.coordinates).all():
            raise ValueError("coordinates holds values that are not finite")

    def shows(self, mean: NDArray[np.float32], names: Sequence[str], weights_hash: str) -> bool:
        """Return whether the dots are those of all latents `mean` (N, latent_dim) with these names, in order."""
        if self.weights_hash != weights_hash or not np.array_equal(self.rows, np.arange(len(mean))):
            return False
        if "mean" not in self._file:  # they were placed on another map
            return self.names == list(names)
        stored = self._file["mean"]
        if stored.shape != mean.shape:
            return False
        starts = range(0, len(mean), _COMPARED_ROWS)
        with self._reading():
            return all(
                np.array_equal(stored[start : start + _COMPARED_ROWS], mean[start : start + _COMPARED_ROWS])
                for start in starts
            )
