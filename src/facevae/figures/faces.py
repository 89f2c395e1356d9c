"""The pictures of faces: samples, reconstructions, morphs."""

from __future__ import annotations

from collections.abc import Sequence

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
) -> Image.Image:
    """Return one row a face: the original, then its decoded latent moved by each step.

    `originals` is (N, S, S, 3), `morphs` (N, K, S, S, 3) for K steps; `length` is the length of the direction.
    """
    rows = [[original, *row] for original, row in zip(originals, morphs, strict=True)]
    return draw_grid(
        Grid(
            rows,
            tile_size,
            title=attribute,
            subtitle=f"decoded z + n δ, with |δ| = {length:.2f}",
            column_labels=["original", *(signed(step) for step in steps)],
            row_labels=names if len(names) > 1 else (),
        )
    )


def morph_frames(
    morphs: NDArray[np.uint8], steps: Sequence[float], attribute: str, tile_size: int
) -> list[Image.Image]:
    """Return the frames of an animation there and back along the steps, all faces side by side.

    `morphs` is (N, K, S, S, 3) for K steps.
    """
    forth = [
        draw_grid(Grid([list(morphs[:, index])], tile_size, title=f"{attribute}  n = {_frame_label(step)}"))
        for index, step in enumerate(steps)
    ]
    # A long title decides the width of its frame, and the frames of an animation are of one size.
    return there_and_back(forth)


def _frame_label(step: float) -> str:
    """Return a multiplier with its sign and one decimal always, so that the title does not jump between frames."""
    return f"{round(step, 1) + 0.0:+.1f}".replace("-", "−")
