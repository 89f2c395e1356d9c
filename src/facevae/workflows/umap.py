"""`umap`: the map of the latent means in two dimensions (McInnes, Healy & Melville 2018, through umap-learn)."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from facevae.config import DEFAULT_ATTRIBUTE, LATENTS_FILE, UMAP_FILE
from facevae.errors import DataError, UsageError
from facevae.figures.picture import check_plot_name, plot_bytes
from facevae.figures.plots import scatter_plot
from facevae.progress import Notice, Progress, Report, silent
from facevae.storage.attributes import find_attribute
from facevae.storage.coordinates import write_coordinates
from facevae.storage.kinds import COORDINATES
from facevae.storage.latents import Latents
from facevae.storage.output import StrPath, as_output, check_output, output_name, write_bytes

N_NEIGHBORS = 15
MIN_DIST = 0.1
_FEWEST = 10


@dataclass(frozen=True)
class UmapResult:
    """What `umap` made.

    Attributes:
        path: the picture, None for a stream.
        coordinates: float32 (N, 2).
        rows: the rows of the latents that the coordinates belong to, (N).
        attribute: the attribute that colours the dots, None where there is none.
        counts: how many of the dots have it, and how many have not.
    """

    path: Path | None
    coordinates: NDArray[np.float32]
    rows: NDArray[np.int64]
    attribute: str | None
    counts: tuple[int, int] | None


def umap(
    latents: StrPath = LATENTS_FILE,
    output: StrPath | BinaryIO = UMAP_FILE,
    *,
    attribute: str | None = None,
    coordinates: StrPath | None = None,
    max_points: int | None = None,
    seed: int | None = None,
    report: Report = silent,
) -> UmapResult:
    """Fit a two-dimensional UMAP of the latent means and draw it, coloured by an attribute, with the class means as disks.

    Args:
        latents: the latents file.
        output: the picture (.png, .svg or .pdf), or a binary stream for a PNG.
        attribute: which attribute colours the dots; by default Attractive, or one colour where the latents have none.
        coordinates: also write the coordinates to this HDF5 file.
        max_points: fit only so many latents, chosen at random (the same ones each time).
        seed: makes the fit repeatable, on one core and so slower. Without, it runs on all cores.
        report: is called with progress and notices.

    Raises:
        DataError: the latents are missing, damaged, or too few.
        UsageError: there is no such attribute, or a value is out of range.
    """
    latents, output = Path(latents), as_output(output)
    coordinates = Path(coordinates) if coordinates is not None else None
    if max_points is not None and max_points < _FEWEST:
        raise UsageError(f"A map of {max_points} points is too small: ask for at least {_FEWEST}.")
    if seed is not None and not 0 <= seed < 2**32:
        raise UsageError(f"A seed of {seed} is out of range: use a whole number from 0 to 4294967295.")
    check_plot_name(output_name(output))
    check_output(output, inputs=[latents])
    if coordinates is not None:
        check_output(coordinates, inputs=[latents], kind=COORDINATES, option="--coordinates")
        if coordinates == output:
            raise UsageError(f"{output} cannot hold both the picture and the coordinates: name two files.")
    with Latents(latents) as opened:
        if opened.count < _FEWEST:
            raise DataError(f"{latents} holds {opened.count} latents: a map needs at least {_FEWEST}.")
        name, labels = _labels(opened, attribute, report)
        rows = _choose_rows(opened.count, max_points, seed)
        points = fit(opened.mean()[rows], seed, report)
        if coordinates is not None:
            settings = {"n_neighbors": N_NEIGHBORS, "min_dist": MIN_DIST, "seed": -1 if seed is None else seed}
            write_coordinates(coordinates, points, rows, opened, settings)
    chosen = labels[rows] if labels is not None else None
    subtitle = f"{len(rows):,} of {opened.count:,} faces" if len(rows) < opened.count else f"{len(rows):,} faces"
    figure = scatter_plot(points, chosen, name or "", subtitle=subtitle)
    write_bytes(output, plot_bytes(figure, output_name(output)))
    counts = (int(chosen.sum()), int((~chosen).sum())) if chosen is not None else None
    return UmapResult(output if isinstance(output, Path) else None, points, rows, name, counts)


def fit(latents: NDArray[np.float32], seed: int | None, report: Report) -> NDArray[np.float32]:
    """Return the UMAP coordinates (N, 2) float32 of latents (N, latent_dim), reporting the layout's epochs.

    Any N from 10 on; with a seed the fit is repeatable and runs on one core.
    """
    report(Progress("umap: neighbours", 0, None, "epochs"))
    with warnings.catch_warnings():
        # What umap-learn and numba warn of (missing optional parts, few samples) is nothing the user can act on.
        warnings.simplefilter("ignore")
        from umap import UMAP

        model = UMAP(
            n_components=2,
            n_neighbors=min(N_NEIGHBORS, len(latents) - 1),
            min_dist=MIN_DIST,
            random_state=seed,
            n_jobs=-1 if seed is None else 1,
            tqdm_kwds=_tqdm_options(report),
        )
        coordinates: NDArray[np.float32] = np.asarray(model.fit_transform(latents), dtype=np.float32)
    if not np.isfinite(coordinates).all():
        raise DataError("UMAP found no finite layout for these latents: try other latents, or more of them.")
    return coordinates


class _TqdmListener(io.StringIO):
    """Stands in for the terminal of umap-learn's own progress bar, and passes its count on to `report`."""

    def __init__(self, report: Report) -> None:
        super().__init__()
        self._report = report

    def write(self, text: str) -> int:
        done, _, total = text.strip().partition("/")
        if done.isdecimal() and total.isdecimal():
            self._report(Progress("umap: layout", int(done), int(total), "epochs"))
        return len(text)


def _tqdm_options(report: Report) -> dict[str, object]:
    return {
        "file": _TqdmListener(report),
        "bar_format": "{n_fmt}/{total_fmt}",
        "disable": False,
        "mininterval": 0.2,
        "desc": "",
    }


def _labels(latents: Latents, attribute: str | None, report: Report) -> tuple[str | None, NDArray[np.bool_] | None]:
    """Return the colouring attribute's name and, for every latent, whether it has it; (None, None) without attributes."""
    if latents.attributes is None and attribute is None:
        report(Notice(f"{latents.path} holds no attributes: the dots are all of one colour."))
        return None, None
    index = find_attribute(attribute or DEFAULT_ATTRIBUTE, latents.attribute_names, str(latents.path))
    assert latents.attributes is not None
    return latents.attribute_names[index], latents.attributes[:, index] > 0


def _choose_rows(count: int, max_points: int | None, seed: int | None) -> NDArray[np.int64]:
    if max_points is None or max_points >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed or 0).choice(count, max_points, replace=False))
