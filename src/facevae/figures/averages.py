"""The picture of the mean faces of attributes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facevae.figures.canvas import Grid, draw_grid


def class_grid(
    means: NDArray[np.uint8], attributes: Sequence[str], counts: Sequence[tuple[int, int]], tile_size: int
) -> Image.Image:
    """Return a row for each attribute: the mean face of those without it and of those with it, each over how many they are.

    `means` is (A, 2, S, S, 3), without and with.
    """
    return draw_grid(
        Grid(
            [list(pair) for pair in means],
            tile_size,
            column_labels=["without", "with"],
            row_labels=attributes,
            captions=[[f"{count:,} faces" for count in pair] for pair in counts],
        )
    )
