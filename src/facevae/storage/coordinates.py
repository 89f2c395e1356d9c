"""UMAP coordinates as HDF5: `umap --coordinates FILE` writes them, for other tools.

Datasets: `coordinates` float32 (N, 2); `rows` int64 (N), the rows of the latents they belong to; `names` UTF-8 (N); and,
where the latents have them, `attributes` int8 (N, A). Root attributes: `format`, `format_version`, `weights_hash`,
`attribute_names`, `complete`, and the settings of the fit: `n_neighbors`, `min_dist`, `seed` (-1 for none).
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from facevae.storage import hdf5
from facevae.storage.latents import Latents
from facevae.storage.output import output_path

FORMAT = "facevae umap"


def write_coordinates(
    path: Path,
    coordinates: NDArray[np.float32],
    rows: NDArray[np.int64],
    latents: Latents,
    settings: dict[str, float | int],
) -> None:
    """Write coordinates (N, 2) of the given rows of `latents`, atomically.

    Raises:
        DataError: the file cannot be written.
    """
    with output_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["format"] = FORMAT
        file.attrs["format_version"] = hdf5.FORMAT_VERSION
        file.attrs["weights_hash"] = latents.weights_hash
        for name, value in settings.items():
            file.attrs[name] = value
        file["coordinates"] = coordinates
        file["rows"] = rows
        file.create_dataset("names", data=hdf5.encode_strings([latents.names[row] for row in rows]), dtype=hdf5.STRING)
        if latents.attributes is not None:
            file.attrs.create("attribute_names", list(latents.attribute_names), dtype=hdf5.STRING)
            file["attributes"] = latents.attributes[rows]
        file.attrs["complete"] = True
