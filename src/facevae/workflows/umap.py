"""`umap`: the map of the latent means in two dimensions (McInnes, Healy & Melville 2018, through umap-learn)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from facevae.config import DEFAULT_ATTRIBUTE, FACES_FILE, LATENTS_FILE, UMAP_FILE
from facevae.errors import DataError, UsageError
from facevae.figures.picture import check_plot_name, plot_bytes
from facevae.figures.plots import scatter_plot
from facevae.progress import Notice, Report, silent
from facevae.storage.attributes import find_attribute
from facevae.storage.coordinates import FittedMap, write_coordinates
from facevae.storage.kinds import COORDINATES
from facevae.storage.latents import Latents
from facevae.storage.output import Output, StrPath, as_output, check_output, output_name, write_bytes
from facevae.workflows.umap_fit import MIN_DIST, N_NEIGHBORS, fit
from facevae.workflows.umap_page import MapDots, PageOptions, check_page, embedded_faces, write_page
from facevae.workflows.umap_place import place

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
        page: the page, None where none was asked for.
    """

    path: Path | None
    coordinates: NDArray[np.float32]
    rows: NDArray[np.int64]
    attribute: str | None
    counts: tuple[int, int] | None
    page: Path | None = None


def umap(
    latents: StrPath = LATENTS_FILE,
    output: StrPath | BinaryIO = UMAP_FILE,
    *,
    attribute: str | None = None,
    coordinates: StrPath | None = None,
    fit_on: StrPath | None = None,
    max_points: int | None = None,
    seed: int | None = None,
    html: StrPath | None = None,
    faces: StrPath = FACES_FILE,
    thumbnails: bool = True,
    report: Report = silent,
) -> UmapResult:
    """Draw a two-dimensional UMAP of the latent means, coloured by an attribute, with the class means as disks.

    Args:
        latents: the latents file.
        output: the picture (.png, .svg or .pdf), or a binary stream for a PNG.
        attribute: which attribute colours the dots; by default Attractive, or one colour where the latents have none.
        coordinates: also write the coordinates to this HDF5 file; those of a fit can be given to `fit_on` later.
        fit_on: place the latents on the map in this file instead of fitting one; its dots stay where they are, and are
            drawn in grey underneath.
        max_points: take only so many latents, chosen at random (the same ones each time).
        seed: makes the fit repeatable. Its layout then runs on one core and is so much slower.
        html: also write the map as a page to this file, which opens in a browser without anything else.
        faces: the prepared faces that the latents were made from, which the page shows; without them it has no pictures.
        thumbnails: False leaves the faces out of the page.
        report: is called with progress and notices.

    Raises:
        DataError: the latents or the map are missing, damaged, or too few.
        MismatchError: latents and map were made by different weights.
        UsageError: there is no such attribute, or a value is out of range.
    """
    latents, output = Path(latents), as_output(output)
    coordinates = Path(coordinates) if coordinates is not None else None
    fit_on = Path(fit_on) if fit_on is not None else None
    page = PageOptions(Path(html), Path(faces) if thumbnails else None) if html is not None else None
    _check_values(max_points, seed)
    _check_outputs(output, coordinates, page, [path for path in (latents, fit_on) if path is not None])
    with Latents(latents) as opened:
        name, labels = _labels(opened, attribute, report)
        fewest = _FEWEST if fit_on is None else 1
        if opened.count < fewest:
            raise DataError(f"{latents} holds {opened.count} latents: a map needs at least {fewest}.")
        rows = _choose_rows(opened.count, max_points, seed)
        sheets = embedded_faces(page, opened, rows, report) if page is not None else None
        if fit_on is None:
            points, beneath = _fit(opened, rows, coordinates, seed, report), None
        else:
            points, beneath = _place(opened, rows, coordinates, fit_on, report)
        subtitle = _subtitle(len(rows), opened.count, beneath)
        if page is not None:
            write_page(page.path, opened, MapDots(points, rows, beneath), name, sheets, subtitle)
    chosen = labels[rows] if labels is not None else None
    figure = scatter_plot(points, chosen, name or "", subtitle=subtitle, beneath=beneath)
    write_bytes(output, plot_bytes(figure, output_name(output)))
    counts = (int(chosen.sum()), int((~chosen).sum())) if chosen is not None else None
    picture = output if isinstance(output, Path) else None
    return UmapResult(picture, points, rows, name, counts, page.path if page is not None else None)


def _check_values(max_points: int | None, seed: int | None) -> None:
    if max_points is not None and max_points < _FEWEST:
        raise UsageError(f"A map of {max_points} points is too small: ask for at least {_FEWEST}.")
    if seed is not None and not 0 <= seed < 2**32:
        raise UsageError(f"A seed of {seed} is out of range: use a whole number from 0 to 4294967295.")


def _check_outputs(output: Output, coordinates: Path | None, page: PageOptions | None, inputs: list[Path]) -> None:
    check_plot_name(output_name(output))
    check_output(output, inputs=inputs)
    if coordinates is not None:
        check_output(coordinates, inputs=inputs, kind=COORDINATES, option="--coordinates")
        if coordinates == output:
            raise UsageError(f"{output} cannot hold both the picture and the coordinates: name two files.")
    if page is not None:
        check_page(page, inputs, [path for path in (output, coordinates) if isinstance(path, Path)])


def _subtitle(count: int, total: int, beneath: NDArray[np.float32] | None) -> str:
    """Return how many faces the map shows, in words."""
    faces = "1 face" if total == 1 else f"{total:,} faces"
    text = f"{count:,} of {faces}" if count < total else faces
    return text if beneath is None else f"{text}, placed on a map of {len(beneath):,}"


def _fit(
    latents: Latents, rows: NDArray[np.int64], coordinates: Path | None, seed: int | None, report: Report
) -> NDArray[np.float32]:
    mean = _mean_of(latents, rows)
    points = fit(mean, seed, report)
    if coordinates is not None:
        settings: dict[str, float | int | str] = {
            # As many as there are, where there are fewer than usual.
            "n_neighbors": min(N_NEIGHBORS, len(rows) - 1),
            "min_dist": MIN_DIST,
            "seed": -1 if seed is None else seed,
            "placed_on": "",
        }
        write_coordinates(coordinates, points, rows, latents, settings, mean=mean)
    return points


def _place(
    latents: Latents, rows: NDArray[np.int64], coordinates: Path | None, fit_on: Path, report: Report
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return where the latents belong on the map, and the dots of the map itself."""
    with FittedMap(fit_on) as fitted:
        fitted.check_takes(latents)
        points = place(_mean_of(latents, rows), fitted.mean(), fitted.coordinates, fitted.n_neighbors, report=report)
        if coordinates is not None:
            settings: dict[str, float | int | str] = {
                "n_neighbors": fitted.n_neighbors,
                "min_dist": fitted.min_dist,
                "seed": fitted.seed,
                "placed_on": fitted.fingerprint(),
            }
            write_coordinates(coordinates, points, rows, latents, settings)
        return points, fitted.coordinates


def _mean_of(latents: Latents, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    mean = latents.mean()
    # All of them are not copied: of CelebA they are 160 MB.
    return mean if len(rows) == len(mean) else mean[rows]


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
