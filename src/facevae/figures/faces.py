"""The pictures of faces: samples, reconstructions, morphs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facevae.figures.animation import there_and_back
from facevae.figures.canvas import Grid, draw_grid

Images = NDArray[np.uint8]

_SAMPLE_COLUMNS = 10


def signed(step: float) -> str:
    """Return a multiplier as a label: 0, +1, −2.5 (with a true minus sign)."""
    text = f"{step:+g}" if step else "0"
    return text.replace("-", "−")


class MorphAxis(NamedTuple):
    """One of the two directions of `morph_plane`: what it is called, its steps, its length."""

    name: str
    steps: Sequence[float]
    length: float

    def labels(self) -> list[str]:
        """Return a label for each step: with the name, unless that is a sum and so too long."""
        return [signed(step) if " " in self.name else f"{self.name} {signed(step)}" for step in self.steps]


def sample_grid(faces: Images, tile_size: int) -> Image.Image:
    """Return faces (N, S, S, 3) as a grid, ten a row."""
    columns = min(_SAMPLE_COLUMNS, len(faces))
    rows = [list(faces[start : start + columns]) for start in range(0, len(faces), columns)]
    return draw_grid(Grid(rows, tile_size))


def reconstruction_grid(
    inputs: Images, outputs: Images, errors: Sequence[float], names: Sequence[str], tile_size: int
) -> Image.Image:
    """Return inputs in the top row over their reconstructions, each column with its name and mean squared error."""
    captions = [["" for _ in errors], [f"MSE {error:.4f}" for error in errors]]
    return draw_grid(
        Grid(
            [list(inputs), list(outputs)],
            tile_size,
            column_labels=names,
            row_labels=["input", "reconstruction"],
            captions=captions,
        )
    )


def morph_grid(
    originals: Images,
    morphs: NDArray[np.uint8],
    steps: Sequence[float],
    names: Sequence[str],
    attribute: str,
    length: float,
    tile_size: int,
    how: str = "",
    first: str = "original",
) -> Image.Image:
    """Return one row a face: the original, then its decoded latent moved by each step.

    `originals` is (N, S, S, 3), `morphs` (N, K, S, S, 3) for K steps; `length` is the length of the direction, and `how` what
    else is to be said of it. `first` is the label of the originals' column.
    """
    rows = [[original, *row] for original, row in zip(originals, morphs, strict=True)]
    return draw_grid(
        Grid(
            rows,
            tile_size,
            title=attribute,
            subtitle="; ".join(part for part in (f"decoded z + n δ, with |δ| = {length:.2f}", how) if part),
            column_labels=[first, *(signed(step) for step in steps)],
            row_labels=names if len(names) > 1 else (),
        )
    )


def morph_plane(
    original: NDArray[np.uint8],
    morphs: NDArray[np.uint8],
    across: MorphAxis,
    down: MorphAxis,
    tile_size: int,
    how: str = "",
    first: str = "original",
) -> Image.Image:
    """Return a face moved in two directions: a column for each step across, a row for each step down, the original on the left.

    `original` is (S, S, 3), `morphs` (K2, K, S, S, 3) for K steps across and K2 down. `first` is the label of its column.
    """
    middle = min(range(len(down.steps)), key=lambda row: abs(down.steps[row]))
    rows = [[original if number == middle else None, *row] for number, row in enumerate(morphs)]
    lengths = f"|δ| = {across.length:.2f} across and {down.length:.2f} down"
    return draw_grid(
        Grid(
            rows,
            tile_size,
            title=f"across: {across.name}   down: {down.name}",
            subtitle="; ".join(part for part in (f"decoded z + n δ + n′ δ′, with {lengths}", how) if part),
            column_labels=[first, *across.labels()],
            row_labels=down.labels(),
        )
    )


def morph_frames(
    morphs: NDArray[np.uint8], steps: Sequence[float], attribute: str, tile_size: int, how: str = ""
) -> list[Image.Image]:
    """Return the frames of an animation there and back along the steps, all faces side by side.

    `morphs` is (N, K, S, S, 3) for K steps; `how` is what else is to be said of the direction.
    """
    forth = [
        draw_grid(Grid([list(morphs[:, index])], tile_size, f"{attribute}  n = {_frame_label(step)}", how))
        for index, step in enumerate(steps)
    ]
    # A long title decides the width of its frame, and the frames of an animation are of one size.
    return there_and_back(forth)


def _frame_label(step: float) -> str:
    """Return a multiplier with its sign and one decimal always, so that the title does not jump between frames."""
    return f"{round(step, 1) + 0.0:+.1f}".replace("-", "−")
