"""`map.h5`: whether it has the dots of these latents, and keeping it for the next time."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from facevae.errors import DataError, FacevaeError, MismatchError
from facevae.storage.coordinates import SavedMap, write_coordinates
from facevae.storage.kinds import COORDINATES, kind_of
from facevae.storage.latents import Latents
from facevae.storage.output import check_output
from facevae.workflows.umap_fit import MIN_DIST, N_NEIGHBORS

Floats = NDArray[np.float32]

_COMPARED_ROWS = 8192


class FoundMap(NamedTuple):
    """What there is of a map of some latents.

    Attributes:
        points: the dots (N, 2), or None.
        save: where to keep a map that is fitted, or None.
        notice: why it is not kept, or None.
    """

    points: Floats | None
    save: Path | None
    notice: str | None


def find_map(path: Path, mean: Floats, names: list[str], weights_hash: str, latents: Path, *, asked: bool) -> FoundMap:
    """Return the dots of latents `mean` (N, latent_dim) in a file, or whether they may be kept there.

    Args:
        path: the file, which need not exist.
        mean: the latents.
        names: N names.
        weights_hash: of the weights that made them.
        latents: the file that they are of.
        asked: whether the user named the map's file: then what stands in its way is an error.

    Raises:
        DataError: as said.
        UsageError: as said.
    """
    try:
        if not _holds_map(path):  # which is only read, so that its folder may be one that is not written to
            check_output(path, inputs=[latents], kind=COORDINATES, option="--map")
            if not path.exists():
                return FoundMap(None, path, None)
        with SavedMap(path) as saved:
            if saved.shows(mean, names, weights_hash):
                return FoundMap(saved.coordinates, None, None)
    except FacevaeError as error:
        if asked:
            raise
        return FoundMap(None, None, f"The map is not kept: {error}")
    text = f"{path} is not the map of all faces in {latents}: another is fitted, and not kept. Name a file for it with --map."
    return FoundMap(None, None, text)


def _holds_map(path: Path) -> bool:
    try:
        return path.is_file() and kind_of(path) == COORDINATES
    except OSError:
        return False  # `check_output` says why


def write_map(path: Path, latents: Path, points: Floats, mean: Floats) -> None:
    """Keep the fitted map of latents, which are `mean` (N, latent_dim).

    Raises:
        DataError: it cannot be written, or there is a file meanwhile.
        MismatchError: the latents' file has other latents meanwhile.
    """
    if path.exists():
        raise DataError(f"there is a {path} meanwhile.")
    with Latents(latents) as opened:
        if not _same(opened, mean):
            raise MismatchError(f"{latents} has other latents meanwhile.")
        settings: dict[str, float | int | str] = {
            "n_neighbors": min(N_NEIGHBORS, len(mean) - 1),
            "min_dist": MIN_DIST,
            "seed": -1,
            "placed_on": "",
        }
        write_coordinates(path, points, np.arange(len(mean)), opened, settings, mean=mean)


def _same(latents: Latents, mean: Floats) -> bool:
    if (latents.count, latents.latent_dim) != mean.shape:
        return False
    return all(
        np.array_equal(latents.mean(start, start + _COMPARED_ROWS), mean[start : start + _COMPARED_ROWS])
        for start in range(0, len(mean), _COMPARED_ROWS)
    )
